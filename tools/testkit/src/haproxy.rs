//! Debian's haproxy before a broker, as a load balancer that passes bytes on and ends idle connections.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::port::Port;
use super::{PATIENCE, poll};

pub struct Haproxy {
    port: Port,
    child: Child,
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
        let child = Command::new(program())
            .arg("-db")
            .arg("-f")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("haproxy is installed");
        let proxy = Self { port, child, _directory: directory };
        let listens = poll(PATIENCE, || TcpStream::connect(("127.0.0.1", proxy.port.number)).ok());
        assert!(listens.is_some(), "haproxy does not listen");
        proxy
    }

    pub fn port(&self) -> u16 {
        self.port.number
    }

    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port.number)
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Debian installs daemons where a user's search path does not reach.
fn program() -> &'static str {
    const DEBIAN: &str = "/usr/sbin/haproxy";
    if Path::new(DEBIAN).exists() { DEBIAN } else { "haproxy" }
}
