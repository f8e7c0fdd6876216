//! `fake_hub`: a real process that speaks the wire format of the Hugging Face hub over the folders
//! below a root, or goes wrong on request. See README.md here. Standard library only; one connection, one thread.

mod answer;
mod api;
mod content;
mod control;
mod digest;
mod http1;

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;

use control::Control;

/// What every connection is given.
pub struct Hub {
    pub root: PathBuf,
    pub port: u16,
    /// Files of at least so many bytes are stored apart (LFS, Xet).
    pub large: u64,
    pub control: Control,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (mut root, mut port, mut large) = (None, 0, 1024);
    while let Some(flag) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| panic!("{flag} needs a value"));
        match flag.as_str() {
            "--root" => root = Some(PathBuf::from(value())),
            "--port" => port = value().parse().expect("--port is a number"),
            "--large" => large = value().parse().expect("--large is a number"),
            other => panic!("unknown flag {other}"),
        }
    }
    let root = root.expect("--root FOLDER: models lie in FOLDER/OWNER/NAME");
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    let port = listener.local_addr().expect("it is bound").port();
    watch_parent();
    println!("Hub listening on http://127.0.0.1:{port}");
    let hub = Arc::new(Hub { root, port, large, control: Control::default() });
    for stream in listener.incoming().flatten() {
        let hub = Arc::clone(&hub);
        std::thread::spawn(move || http1::serve(&stream, |request, out| answer::answer(&hub, request, out)));
    }
}

/// Ends with whoever started it, so that a test that is killed leaves nothing behind.
fn watch_parent() {
    let parent = std::os::unix::process::parent_id();
    std::thread::spawn(move || {
        while std::os::unix::process::parent_id() == parent {
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        std::process::exit(0);
    });
}
