//! What is measured, and what it is measured against: each started on free ports of this machine.

pub mod gateway;
pub mod naive;
pub mod nginx;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::processes::{Running, role};

const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Short, for this is how well the time until it serves is known.
const POLL: Duration = Duration::from_micros(500);

/// The mock upstream.
pub struct Upstream {
    pub port: u16,
    /// Ends with this.
    _running: Running,
}

impl Upstream {
    pub fn start(model: &str) -> Outcome<Upstream> {
        let mut running = Running::start("the mock upstream", role("mock")?.arg(model))?;
        let port = running.line()?.parse()?;
        Ok(Upstream { port, _running: running })
    }
}

/// A port that nobody has; somebody else may take it before it is used, which then is an error.
pub fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Waits until GET `path` is answered with 200.
pub fn wait_until_served(running: &mut Running, port: u16, path: &str, limit: Duration) -> Outcome<Instant> {
    let deadline = Instant::now() + limit;
    while !answers(port, path) {
        running.still_there()?;
        if Instant::now() > deadline {
            return Err(format!("{path} is not answered within {limit:?}").into());
        }
        std::thread::sleep(POLL);
    }
    Ok(Instant::now())
}

fn answers(port: u16, path: &str) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n")?;
        let mut start = [0; 12];
        stream.read_exact(&mut start)?;
        Ok(&start == b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}
