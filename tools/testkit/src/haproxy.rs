//! Debian's haproxy before a broker, as a load balancer that passes bytes on and ends idle connections.

use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::child::ChildProcess;
use super::port::Port;

pub struct Haproxy {
    port: Port,
    _child: ChildProcess,
    _directory: TempDir,
}

impl Haproxy {
    /// Passes connections on to a port of loopback and ends those that are idle for as long as `timeout` says.
    pub fn start(broker_port: u16, timeout: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let port = Port::take();
        let config = format!(
            "global\n maxconn 100\ndefaults\n mode tcp\n timeout connect 5s\n timeout client {timeout}\n timeout server {timeout}\n\
             listen broker\n bind 127.0.0.1:{}\n server broker 127.0.0.1:{broker_port}\n",
            port.number
        );
        let file = directory.path().join("haproxy.cfg");
        std::fs::write(&file, config).expect("a file can be written into the test's directory");
        let mut command = Command::new(program());
        command.arg("-db").arg("-f").arg(&file);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = ChildProcess::start(&mut command);
        assert!(child.listens(&[port.number]), "haproxy does not listen");
        Self { port, _child: child, _directory: directory }
    }

    pub fn port(&self) -> u16 {
        self.port.number
    }

    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port.number)
    }
}

/// Debian installs daemons where a user's search path does not reach.
fn program() -> &'static str {
    const DEBIAN: &str = "/usr/sbin/haproxy";
    if Path::new(DEBIAN).exists() { DEBIAN } else { "haproxy" }
}
