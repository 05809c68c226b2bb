//! Debian's prometheus-alertmanager on a loopback port, and amtool, which asks it.

use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::child::ChildProcess;
use super::port::Port;
use super::{PATIENCE, poll};

/// Gathers nothing and notifies nobody: the tests look at what it was told.
const CONFIGURATION: &str = "route:\n  receiver: none\n  group_by: [alertname]\nreceivers:\n- name: none\n";

pub struct Alertmanager {
    port: Port,
    child: Option<ChildProcess>,
    directory: TempDir,
}

impl Alertmanager {
    pub fn start() -> Self {
        let (directory, port) = (tempfile::tempdir().expect("a directory can be made"), Port::take());
        let file = directory.path().join("alertmanager.yml");
        std::fs::write(&file, CONFIGURATION).expect("a file can be written");
        let child = Some(start(&directory, &port));
        let server = Self { port, child, directory };
        server.wait_until_ready();
        server
    }

    /// Kills it and starts it again on the same port, without the alerts that it had.
    pub fn restart(&mut self) {
        // The port must be free before the next one begins.
        self.child = None;
        self.child = Some(start(&self.directory, &self.port));
        self.wait_until_ready();
    }

    fn wait_until_ready(&self) {
        assert!(poll(PATIENCE, || self.query()).is_some(), "prometheus-alertmanager is not ready");
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/api/v2/alerts", self.port.number)
    }

    /// The alerts that fire, as amtool shows them.
    pub fn firing(&self) -> Vec<Value> {
        self.query().expect("Alertmanager answers")
    }

    fn query(&self) -> Option<Vec<Value>> {
        let url = format!("--alertmanager.url=http://127.0.0.1:{}", self.port.number);
        let asked = Command::new("amtool").args(["alert", "query", "-o", "json", &url]).output();
        let answer = asked.expect("amtool is installed: ./test --install");
        if answer.status.success() { serde_json::from_slice(&answer.stdout).ok() } else { None }
    }
}

fn start(directory: &TempDir, port: &Port) -> ChildProcess {
    let mut command = Command::new("prometheus-alertmanager");
    command
        .arg(format!("--config.file={}", directory.path().join("alertmanager.yml").display()))
        .arg(format!("--storage.path={}", directory.path().display()))
        .arg(format!("--web.listen-address=127.0.0.1:{}", port.number))
        .arg("--cluster.listen-address=")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    ChildProcess::start(&mut command)
}
