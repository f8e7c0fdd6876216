//! Bodies that come in drops.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use crate::chaos::BODY_TIMEOUT;
use crate::clients::{BROKEN, COMPLETED, Dice, SLOW_BODY, end_of, name};
use crate::support::http::body;
use crate::{Kind, Soak};

/// A request to which the gateway has not answered by then has no end.
const PATIENCE: Duration = Duration::from_secs(BODY_TIMEOUT.as_secs() + 30);

pub fn kinds() -> Vec<Kind> {
    vec![
        Kind { name: "drips", clients: (2, 6), ask: drip, ends: &[COMPLETED, BROKEN] },
        Kind { name: "drips without end", clients: (1, 5), ask: drip_without_end, ends: &[SLOW_BODY] },
    ]
}

/// A body that is there after a second or two.
fn drip(soak: &Soak, dice: &mut Dice, id: &str) -> Option<String> {
    let request = soak.request(id, "/v1/chat/completions", "", &body("free", "#chunks=2", dice.roll(2) > 0));
    let head = request.find("\r\n\r\n")? + 4;
    let mut connection = soak.connect(&request.as_bytes()[..head])?;
    for byte in &request.as_bytes()[head..] {
        connection.write_all(&[*byte]).ok()?;
        std::thread::park_timeout(Duration::from_millis(10));
    }
    Some(end_of(&mut connection))
}

/// A body that never ends, to one of the routes that read bodies.
fn drip_without_end(soak: &Soak, dice: &mut Dice, id: &str) -> Option<String> {
    const PATHS: [&str; 6] = [
        "/v1/chat/completions",
        "/v1/messages",
        "/v1/responses",
        "/api/v1/auth/login",
        "/api/v1/auth/register",
        "/api/v1/auth/reset-password",
    ];
    let path = PATHS[dice.roll(PATHS.len() as u64) as usize];
    let request = soak.request(id, path, "", &" ".repeat(10_000));
    let mut connection = soak.connect(request.trim_end_matches(' ').as_bytes())?;
    connection.set_read_timeout(Some(Duration::from_millis(500))).ok()?;
    let (began, mut answer, mut piece) = (Instant::now(), Vec::new(), [0; 4096]);
    while began.elapsed() < PATIENCE {
        // Fails once the gateway has closed; its answer can still be read.
        connection.write_all(b" ").ok();
        match connection.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(&piece[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    let end = name(&answer);
    // Anthropic's errors have no code.
    let has_type = String::from_utf8_lossy(&answer).contains("the body comes too slowly");
    Some(if end == SLOW_BODY || (end == "status 408" && has_type) {
        SLOW_BODY.into()
    } else {
        format!("{end} of {path} after {} s", began.elapsed().as_secs())
    })
}
