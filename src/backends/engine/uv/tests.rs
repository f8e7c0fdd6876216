//! Fetching from an index that is served here, with a wheel made up for it.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const FILE: &str = "uv-9.9.9-py3-none-any.whl";

/// Serves files by path; ends with the test's runtime.
struct Index {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

async fn serve(files: BTreeMap<&'static str, Vec<u8>>) -> Index {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/simple/", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    tokio::task::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).await.unwrap_or(0) == 0 {
                    break;
                }
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let (status, body) = match files.get(path.as_str()) {
                Some(body) => ("200 OK", body.clone()),
                None => ("404 Not Found", Vec::new()),
            };
            log.lock().unwrap().push(path);
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&body).await.unwrap();
        }
    });
    Index { url, asked }
}

fn fake_wheel() -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    writer.start_file("uv-9.9.9.data/scripts/uv", options).unwrap();
    writer.write_all(b"#!/bin/sh\necho uv 9.9.9\n").unwrap();
    writer.finish().unwrap().into_inner()
}

fn page() -> Vec<u8> {
    format!("<a href=\"../../files/other.whl\">x</a> <a href=\"../../files/{FILE}#sha256=0\">{FILE}</a>")
        .into_bytes()
}

fn leaked_hash(bytes: &[u8]) -> &'static str {
    Box::leak(hex_sha256(&[bytes]).into_boxed_str())
}

#[tokio::test]
async fn the_pinned_uv_is_fetched_through_the_index_once() {
    let bytes = fake_wheel();
    let wheel = Wheel { version: "9.9.9", file: FILE, sha256: leaked_hash(&bytes) };
    let files = [("/simple/uv/", page()), ("/files/uv-9.9.9-py3-none-any.whl", bytes)].into();
    let index = serve(files).await;
    let dir = tempfile::tempdir().unwrap();
    let program = ensure(wheel, Some(&index.url), dir.path()).await.unwrap();
    assert_eq!(std::fs::read(&program).unwrap(), b"#!/bin/sh\necho uv 9.9.9\n");
    assert_eq!(program.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(ensure(wheel, Some(&index.url), dir.path()).await.unwrap(), program);
    assert_eq!(index.asked.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_file_with_another_hash_is_refused() {
    let wheel = Wheel { version: "9.9.9", file: FILE, sha256: leaked_hash(b"something else") };
    let files = [("/simple/uv/", page()), ("/files/uv-9.9.9-py3-none-any.whl", fake_wheel())].into();
    let index = serve(files).await;
    let dir = tempfile::tempdir().unwrap();
    let error = ensure(wheel, Some(&index.url), dir.path()).await.unwrap_err();
    assert!(matches!(error, UvError::Hash { .. }), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing may be left behind");
}

#[tokio::test]
async fn an_index_that_lacks_the_file_is_named() {
    let wheel = Wheel { version: "9.9.9", file: FILE, sha256: "" };
    let index = serve([("/simple/uv/", b"<html></html>".to_vec())].into()).await;
    let dir = tempfile::tempdir().unwrap();
    let error = ensure(wheel, Some(&index.url), dir.path()).await.unwrap_err().to_string();
    assert!(error.contains(&index.url) && error.contains(FILE), "{error}");
}

#[tokio::test]
async fn an_index_that_is_not_there_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/simple", listener.local_addr().unwrap());
    drop(listener);
    let dir = tempfile::tempdir().unwrap();
    let wheel = wheel(Platform::LinuxX86_64).unwrap();
    let error = ensure(wheel, Some(&url), dir.path()).await.unwrap_err().to_string();
    assert!(error.contains("could not be reached"), "{error}");
}

#[test]
fn every_machine_that_matters_has_a_wheel_of_the_pinned_version() {
    for platform in [Platform::MacosArm64, Platform::MacosX86_64, Platform::LinuxX86_64, Platform::LinuxArm64]
    {
        let wheel = wheel(platform).unwrap();
        assert!(wheel.file.starts_with(&format!("uv-{VERSION}-")), "{wheel:?}");
        assert_eq!(wheel.sha256.len(), 64);
    }
    assert!(wheel(Platform::Other).is_err());
}
