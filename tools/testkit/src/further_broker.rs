//! Brokers that no package of Debian has, on a loopback port: aedes, a program of Node.js, and RMQTT, which is built here. They keep
//! everything in memory and let everybody in.

use std::path::Path;
use std::process::{Command, Stdio};

use super::child::ChildProcess;
use super::port::Port;

/// How often a start is tried again with a new port because someone outside the tests has taken one.
const START_TRIES: usize = 5;

pub struct FurtherBroker {
    port: Port,
    _child: ChildProcess,
}

impl FurtherBroker {
    /// It is installed if it is not there yet.
    pub fn aedes() -> Self {
        let program = setup("aedes");
        Self::start(|port| {
            let mut command = Command::new("node");
            command.args([&program, "start", "--host", "127.0.0.1", "--port", port]);
            command
        })
    }

    /// It is built if it is not there yet, which takes minutes.
    pub fn rmqtt() -> Self {
        let program = setup("rmqtt");
        Self::start(|port| {
            let mut command = Command::new(&program);
            command.arg(port);
            command
        })
    }

    fn start(command: impl Fn(&str) -> Command) -> Self {
        (0..START_TRIES).find_map(|_| Self::try_start(&command)).expect("the broker starts")
    }

    fn try_start(command: impl Fn(&str) -> Command) -> Option<Self> {
        let port = Port::take();
        let mut command = command(&port.number.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        let mut child = ChildProcess::start(&mut command);
        child.listens(&[port.number]).then_some(Self { port, _child: child })
    }

    pub fn port(&self) -> u16 {
        self.port.number
    }

    /// The URL for `--broker`.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port.number)
    }
}

/// What the setup of a broker prints: the path of its program.
fn setup(broker: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests").join(broker).join("setup.sh");
    let done = Command::new(script).stderr(Stdio::inherit()).output().expect("a shell");
    assert!(done.status.success(), "{broker} cannot be installed, see above");
    String::from_utf8(done.stdout).expect("a path").trim().to_owned()
}
