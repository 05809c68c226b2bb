//! The broker aedes, a program of Node.js, on a loopback port. It keeps everything in memory.

use std::path::Path;
use std::process::{Command, Stdio};

use super::child::ChildProcess;
use super::port::Port;

/// How often a start is tried again with a new port because someone outside the tests has taken one.
const START_TRIES: usize = 5;

pub struct Aedes {
    port: Port,
    child: ChildProcess,
}

impl Aedes {
    /// A broker that lets everybody in. It is installed if it is not there yet.
    pub fn start() -> Self {
        let setup = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/aedes/setup.sh");
        let setup = Command::new(setup).stderr(Stdio::inherit()).output().expect("a shell");
        assert!(setup.status.success(), "aedes cannot be installed, see above");
        let program = String::from_utf8(setup.stdout).expect("a path");
        (0..START_TRIES).find_map(|_| Self::try_start(program.trim())).expect("aedes starts")
    }

    fn try_start(program: &str) -> Option<Self> {
        let port = Port::take();
        let mut command = Command::new("node");
        command.args([program, "start", "--host", "127.0.0.1", "--port", &port.number.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        let mut broker = Self { port, child: ChildProcess::start(&mut command) };
        broker.child.listens(&[broker.port.number]).then_some(broker)
    }

    pub fn port(&self) -> u16 {
        self.port.number
    }

    /// The URL for `--broker`.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port.number)
    }
}
