//! Which answer a request gets, and sending files: whole, from a byte on, slowly, wrongly, in part.

use std::io::{Read, Seek, SeekFrom, Write};
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::Hub;
use crate::api::{self, Answer, json_answer, refusal};
use crate::content::{File, Model};
use crate::control::Fault;
use crate::http1::{Head, Request};

/// Bytes sent at once.
const PIECE: usize = 16 * 1024;

pub fn answer(hub: &Hub, request: &Request, out: &mut dyn Write) -> std::io::Result<()> {
    if let Some(done) = control(hub, request) {
        return send(&done, request, out);
    }
    let fault = hub.control.note(request);
    if fault.close {
        return Ok(());
    }
    if let Some(status) = fault.status {
        let mut refused = refusal(status, fault.code.as_deref(), "It goes wrong on request.");
        if let Some(seconds) = fault.retry_after {
            refused.0 = refused.0.with("Retry-After", seconds);
        }
        return send(&refused, request, out);
    }
    match route(hub, request) {
        Ok(Found::Json(answer)) => send(&answer, request, out),
        Ok(Found::Elsewhere(head)) => send(&(head, Vec::new()), request, out),
        Ok(Found::File(file, head)) => send_file(hub, &file, head, &fault, request, out),
        Err(refused) => send(&refused, request, out),
    }
}

enum Found {
    Json(Answer),
    /// A redirect.
    Elsewhere(Head),
    File(File, Head),
}

fn control(hub: &Hub, request: &Request) -> Option<Answer> {
    match (request.method.as_str(), request.path.as_str()) {
        ("POST", "/__faults") => Some(match hub.control.set(&request.body) {
            Ok(()) => json_answer(&serde_json::json!({"ok": true})),
            Err(error) => refusal(400, None, &error),
        }),
        ("GET", "/__seen") => Some(json_answer(&hub.control.seen())),
        ("DELETE", "/__seen") => {
            hub.control.forget();
            Some(json_answer(&serde_json::json!({"ok": true})))
        }
        _ => None,
    }
}

fn route(hub: &Hub, request: &Request) -> Result<Found, Answer> {
    let parts: Vec<&str> = request.path.trim_matches('/').split('/').collect();
    let missing = || refusal(404, Some("EntryNotFound"), "Entry not found");
    match parts.as_slice() {
        ["api", "models"] => Ok(Found::Json(api::search(hub, request))),
        ["api", "models", owner, name] => {
            let model = api::model(hub, &format!("{owner}/{name}"), request, false)?;
            Ok(Found::Json(json_answer(&model.info())))
        }
        ["api", "models", owner, name, "revision", revision] => {
            let model = at(api::model(hub, &format!("{owner}/{name}"), request, false)?, revision)?;
            Ok(Found::Json(json_answer(&model.info())))
        }
        ["api", "models", owner, name, "tree", revision] => {
            let model = at(api::model(hub, &format!("{owner}/{name}"), request, false)?, revision)?;
            Ok(Found::Json(api::tree(hub, &model, request)))
        }
        // Where small files are: the hub leads to it with a relative redirect.
        ["api", "resolve-cache", "models", owner, name, _, path @ ..] => {
            let model = api::model(hub, &format!("{owner}/{name}"), request, true)?;
            let file = model.file(&path.join("/")).ok_or_else(missing)?.clone();
            let head =
                Head::new(200).with("ETag", format!("\"{}\"", file.oid)).with("X-Repo-Commit", &model.commit);
            Ok(Found::File(file, head))
        }
        // The CDN: it knows no account.
        ["cdn", owner, name, hash, ..] => {
            let model = Model::find(&hub.root, &format!("{owner}/{name}"), hub.large).ok_or_else(missing)?;
            let file =
                model.files.iter().find(|file| file.lfs.as_deref() == Some(hash)).ok_or_else(missing)?;
            Ok(Found::File(file.clone(), Head::new(200).with("ETag", format!("\"{hash}\""))))
        }
        [owner, name, "resolve", revision, path @ ..] => {
            let model = at(api::model(hub, &format!("{owner}/{name}"), request, true)?, revision)?;
            let file = model.file(&path.join("/")).ok_or_else(missing)?;
            Ok(Found::Elsewhere(resolved(hub, &model, file)))
        }
        _ => Err(missing()),
    }
}

fn at(model: Model, revision: &str) -> Result<Model, Answer> {
    let known = revision == "main" || revision == model.commit;
    known.then_some(model).ok_or_else(|| refusal(404, Some("RevisionNotFound"), "Invalid rev id"))
}

fn resolved(hub: &Hub, model: &Model, file: &File) -> Head {
    let Model { id, commit, .. } = model;
    let head = |status| Head::new(status).with("X-Repo-Commit", commit).with("X-Linked-Size", file.size);
    match &file.lfs {
        // Under another name of this machine, so that a client that sends its token on is seen.
        Some(hash) => head(302)
            .with("X-Linked-ETag", format!("\"{hash}\""))
            .with("X-Xet-Hash", hash.chars().rev().collect::<String>())
            .with("Location", format!("http://localhost:{}/cdn/{id}/{hash}?signature=x", hub.port)),
        None => head(307)
            .with("ETag", format!("\"{}\"", file.oid))
            .with("Location", format!("/api/resolve-cache/models/{id}/{commit}/{}", encoded(&file.path))),
    }
}

fn encoded(path: &str) -> String {
    let parts = path.split('/').map(|part| utf8_percent_encode(part, NON_ALPHANUMERIC).to_string());
    parts.collect::<Vec<_>>().join("/")
}

fn send((head, body): &Answer, request: &Request, out: &mut dyn Write) -> std::io::Result<()> {
    let head = Head { status: head.status, headers: head.headers.clone() };
    head.with("Content-Length", body.len()).write(out)?;
    if request.method == "HEAD" { Ok(()) } else { out.write_all(body) }
}

fn send_file(
    hub: &Hub,
    file: &File,
    mut head: Head,
    fault: &Fault,
    request: &Request,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let start = request.range_start().filter(|_| !fault.ignore_range).unwrap_or(0);
    if start >= file.size && file.size > 0 && start > 0 {
        return Head::new(416).with("Content-Length", 0).write(out);
    }
    if request.range_start().is_some() && !fault.ignore_range {
        head.status = 206;
        head = head.with("Content-Range", format!("bytes {start}-{}/{}", file.size - 1, file.size));
    }
    head.with("Accept-Ranges", "bytes").with("Content-Length", file.size - start).write(out)?;
    if request.method == "HEAD" {
        return Ok(());
    }
    let mut bytes = std::fs::File::open(&file.place)?;
    bytes.seek(SeekFrom::Start(start))?;
    let (mut sent, version) = (0_u64, hub.control.version());
    loop {
        let wanted = fault.bytes_per_s.map_or(PIECE, |rate| ((rate / 20).max(1) as usize).min(PIECE));
        let ends = [fault.cut_after, fault.hold_after].into_iter().flatten().min();
        let room = ends.map_or(wanted as u64, |end| end.saturating_sub(sent).min(wanted as u64));
        let mut piece = vec![0; room as usize];
        let read = bytes.read(&mut piece)?;
        piece.truncate(read);
        if fault.corrupt {
            piece.iter_mut().for_each(|byte| *byte ^= 0x55);
        }
        out.write_all(&piece)?;
        out.flush()?;
        sent += read as u64;
        if fault.cut_after.is_some_and(|end| sent >= end) {
            return Ok(());
        }
        if fault.hold_after.is_some_and(|end| sent >= end) {
            while hub.control.version() == version {
                std::thread::sleep(Duration::from_millis(5));
            }
            return Ok(());
        }
        if read == 0 {
            return Ok(());
        }
        if fault.bytes_per_s.is_some() {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
