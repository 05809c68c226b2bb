//! Debian's mosquitto on loopback ports, with a configuration and a directory of its own.

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use super::child::ChildProcess;
use super::port::Port;
use super::private_ca::{Flaw, PrivateCa};
use super::publisher::Publisher;
use super::status::Device;

/// How often a start is tried again with new ports because someone outside the tests has taken one.
const START_TRIES: usize = 5;

/// What clients of the service's kind connect with. A plain listener for the publisher is always there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Tls,
    Ws,
    Wss,
}

/// How the broker is to be started.
#[derive(Clone, Debug)]
pub struct Setup {
    pub transport: Transport,
    /// The names in the server certificate, for the transports that have one.
    pub certificate_names: Vec<&'static str>,
    pub certificate_flaw: Option<Flaw>,
    /// The only user and password that are let in; `None` lets everybody in.
    pub login: Option<(&'static str, &'static str)>,
    /// Whether retained messages survive a restart.
    pub persistence: bool,
    /// Lines for the end of the configuration file.
    pub extra: Vec<String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            transport: Transport::Tcp,
            certificate_names: vec!["localhost", "127.0.0.1"],
            certificate_flaw: None,
            login: None,
            persistence: false,
            extra: Vec::new(),
        }
    }
}

pub struct Mosquitto {
    directory: TempDir,
    setup: Setup,
    ca: PrivateCa,
    plain: Port,
    special: Port,
    child: Option<ChildProcess>,
}

impl Mosquitto {
    /// A broker that lets everybody in over plain TCP.
    pub fn start() -> Self {
        Self::start_with(Setup::default())
    }

    pub fn start_with(setup: Setup) -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let ca = PrivateCa::issue_with(directory.path(), &setup.certificate_names, setup.certificate_flaw);
        let (plain, special) = (Port::take(), Port::take());
        let mut broker = Self { directory, setup, ca, plain, special, child: None };
        for _ in 0..START_TRIES {
            if broker.try_start() {
                return broker;
            }
            (broker.plain, broker.special) = (Port::take(), Port::take());
        }
        panic!("mosquitto did not start {START_TRIES} times; its log:\n{}", broker.log());
    }

    /// With these statuses retained.
    pub fn retaining<'a>(self, statuses: impl IntoIterator<Item = (Device<'a>, String)>) -> Self {
        self.retain(&statuses.into_iter().collect::<Vec<_>>());
        self
    }

    /// Publishes these statuses as retained messages; returns once the broker has them.
    pub fn retain(&self, statuses: &[(Device<'_>, String)]) {
        let mut publisher = self.publisher();
        for (device, payload) in statuses {
            publisher.retain(&device.topic(), payload);
        }
        publisher.flush();
    }

    /// The same with messages that are not retained.
    pub fn publish(&self, statuses: &[(Device<'_>, String)]) {
        let mut publisher = self.publisher();
        for (device, payload) in statuses {
            publisher.publish(&device.topic(), payload);
        }
        publisher.flush();
    }

    /// The URL for `--broker`; over TLS by name, so that the name is verified.
    pub fn url(&self) -> String {
        match self.setup.transport {
            Transport::Tcp => format!("mqtt://127.0.0.1:{}", self.plain.number),
            Transport::Tls => format!("mqtts://localhost:{}", self.special.number),
            Transport::Ws => format!("ws://127.0.0.1:{}", self.special.number),
            Transport::Wss => format!("wss://localhost:{}", self.special.number),
        }
    }

    /// The port of the plain listener.
    pub fn port(&self) -> u16 {
        self.plain.number
    }

    pub fn ca_file(&self) -> &Path {
        &self.ca.ca_file
    }

    pub fn publisher(&self) -> Publisher {
        Publisher::connect(self.plain.number, self.setup.login)
    }

    /// What mosquitto has written to its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Asks the broker to end, which is when it writes what persists, and waits until it has.
    pub fn stop(&mut self) {
        self.end(Signal::TERM);
    }

    /// Ends the broker as a power cut does.
    pub fn kill(&mut self) {
        self.end(Signal::KILL);
    }

    /// Starts the broker again on the same ports.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "the broker is stopped before it is started again");
        assert!(self.try_start(), "mosquitto did not start again; its log:\n{}", self.log());
    }

    fn end(&mut self, signal: Signal) {
        if let Some(child) = self.child.take() {
            child.end(signal);
        }
    }

    /// Whether the broker listens; `false` when it ended instead, which a port taken by somebody else explains.
    fn try_start(&mut self) -> bool {
        let config = self.write_config();
        let log =
            File::options().create(true).append(true).open(self.log_file()).expect("a log file can be made");
        let mut command = Command::new(program());
        command.arg("-c").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut child = ChildProcess::start(&mut command);
        let listens = child.listens(&[self.plain.number, self.special.number]);
        self.child = listens.then_some(child);
        listens
    }

    fn write_config(&self) -> PathBuf {
        let mut text =
            String::from("user root\nlog_dest stderr\nlog_type error\nlog_type warning\nlog_type notice\n");
        match self.setup.login {
            None => text.push_str("allow_anonymous true\n"),
            Some((user, password)) => {
                let file = self.write_passwords(user, password);
                write!(text, "allow_anonymous false\npassword_file {}\n", file.display())
                    .expect("text grows");
            }
        }
        if self.setup.persistence {
            write!(text, "persistence true\npersistence_location {}/\n", self.directory.path().display())
                .expect("text grows");
        }
        writeln!(text, "listener {} 127.0.0.1", self.plain.number).expect("text grows");
        writeln!(text, "listener {} 127.0.0.1", self.special.number).expect("text grows");
        if matches!(self.setup.transport, Transport::Ws | Transport::Wss) {
            text.push_str("protocol websockets\n");
        }
        if matches!(self.setup.transport, Transport::Tls | Transport::Wss) {
            let (certificate, key) = (self.ca.certificate_file.display(), self.ca.key_file.display());
            write!(text, "certfile {certificate}\nkeyfile {key}\n").expect("text grows");
        }
        for line in &self.setup.extra {
            text.push_str(line);
            text.push('\n');
        }
        let path = self.directory.path().join("mosquitto.conf");
        std::fs::write(&path, text).expect("a file can be written into the test's directory");
        path
    }

    fn write_passwords(&self, user: &str, password: &str) -> PathBuf {
        let path = self.directory.path().join("passwords");
        let made =
            Command::new("mosquitto_passwd").args(["-b", "-c"]).arg(&path).args([user, password]).output();
        let made = made.expect("mosquitto_passwd is installed");
        assert!(made.status.success(), "mosquitto_passwd: {}", String::from_utf8_lossy(&made.stderr));
        path
    }

    fn log_file(&self) -> PathBuf {
        self.directory.path().join("mosquitto.log")
    }
}

/// Debian installs daemons where a user's search path does not reach.
fn program() -> &'static str {
    const DEBIAN: &str = "/usr/sbin/mosquitto";
    if Path::new(DEBIAN).exists() { DEBIAN } else { "mosquitto" }
}
