//! A Python program of `tests/devices` that plays devices with somebody else's library: it takes orders on stdin, says on stdout
//! what its devices have reached, and can be killed or stopped with all of them.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::child::ChildProcess;
use super::peers;

/// How long thousands of clients may take on a busy machine.
const STATE_BOUND: Duration = Duration::from_secs(120);

pub struct DeviceProcess {
    child: ChildProcess,
    states: Receiver<String>,
}

impl DeviceProcess {
    /// Starts a script with its arguments.
    pub fn start(script: &str, arguments: &[&str]) -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/devices");
        let mut command = Command::new(peers::python("devices"));
        command.arg("-B").arg(directory.join(script)).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = ChildProcess::start(&mut command);
        let stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        let (sender, states) = channel();
        // Ends with the process, which closes its stdout.
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { child, states }
    }

    /// Sends a line of text.
    pub fn order(&mut self, order: &str) {
        let stdin = self.child.stdin.as_mut().expect("stdin is a pipe");
        writeln!(stdin, "{order}").expect("the devices read their orders");
    }

    /// Waits until the devices have reached that state; other states on the way count for nothing.
    pub fn wait_for(&self, state: &str) {
        loop {
            let reached = self.states.recv_timeout(STATE_BOUND);
            let reached = reached.unwrap_or_else(|error| panic!("{error}: the devices are not {state}"));
            if reached == state {
                return;
            }
        }
    }

    /// The process goes on existing, and neither reads nor writes.
    pub fn freeze(&self, frozen: bool) {
        self.child.freeze(frozen);
    }

    /// Ends all of its devices as a power cut does, but for the sockets, which the system closes.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child of ours can be killed");
        self.child.wait().expect("a child can be waited for");
    }
}
