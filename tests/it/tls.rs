//! TLS of the listeners.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::{Gateway, PATIENCE, PROFILES};

#[test]
fn a_gateway_with_a_certificate_speaks_tls_and_nothing_else() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.path().join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let gateway = Gateway::start_in(
        folder,
        &format!(
            "[server]\nlisten = \"127.0.0.1:0\"\ntls = {{ cert = \"cert.pem\", key = \"key.pem\" }}\n{PROFILES}"
        ),
        &[],
    );
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let session = ClientConnection::new(Arc::new(config), name).unwrap();
    let tcp = TcpStream::connect(&gateway.address).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = StreamOwned::new(session, tcp);
    let body = r#"{"email":"admin@example.com","password":"correct horse battery"}"#;
    write!(
        stream,
        "POST /api/v1/auth/register HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = Vec::new();
    // The end of the connection need not be told by TLS.
    drop(stream.read_to_end(&mut answer));
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let cookie = answer.lines().find(|line| line.starts_with("set-cookie")).unwrap();
    assert!(cookie.ends_with("; Secure"), "{cookie}");
    assert!(gateway.log().contains("listening on https://"));

    let mut plain = TcpStream::connect(&gateway.address).unwrap();
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(plain, "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut refused = Vec::new();
    drop(plain.read_to_end(&mut refused));
    assert!(!refused.starts_with(b"HTTP/"), "no plain answer");
    let status = gateway.cli(&["status"]);
    assert!(String::from_utf8_lossy(&status.stdout).contains("https://"), "{status:?}");
}
