//! nginx from the distribution's package, with the configuration in benches/nginx.conf.template.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::Outcome;
use crate::processes::Running;

use super::{free_port, wait_until_served};

const TEMPLATE: &str = include_str!("../../nginx.conf.template");
const START_MAX: Duration = Duration::from_secs(10);

pub struct Nginx {
    pub running: Running,
    /// Buffered, for whole answers.
    pub plain_port: u16,
    /// Unbuffered, for streams.
    pub streams_port: u16,
}

impl Nginx {
    pub fn start(folder: &Path, upstream: u16) -> Outcome<Nginx> {
        let (plain_port, streams_port) = (free_port()?, free_port()?);
        let config = TEMPLATE
            .replace("@FOLDER@", &folder.display().to_string())
            .replace("@UPSTREAM@", &upstream.to_string())
            .replace("@PLAIN@", &plain_port.to_string())
            .replace("@STREAMS@", &streams_port.to_string());
        let file = folder.join("nginx.conf");
        std::fs::write(&file, config)?;
        let mut command = Command::new("nginx");
        command.arg("-c").arg(&file).arg("-p").arg(folder).stdin(Stdio::null());
        let mut running = Running::start("nginx (Debian's package nginx-light)", &mut command)?;
        wait_until_served(&mut running, plain_port, "/v1/models", START_MAX)?;
        Ok(Nginx { running, plain_port, streams_port })
    }

    /// `nginx version: nginx/1.22.1`
    pub fn version() -> String {
        let output = Command::new("nginx").arg("-v").output();
        output.map_or_else(|e| e.to_string(), |o| String::from_utf8_lossy(&o.stderr).trim().into())
    }
}
