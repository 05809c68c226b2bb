//! Programs of others that the tests compare with or read with: the Python environment that `tests/peers/setup.sh` makes.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs a script of `tests/peers` with a text on its stdin; gives its stdout.
pub fn run(script: &str, stdin: &str) -> String {
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers");
    let setup = Command::new(peers.join("setup.sh")).stderr(Stdio::inherit()).output().expect("a shell");
    assert!(setup.status.success(), "the peers cannot be installed, see above");
    let python = String::from_utf8(setup.stdout).expect("a path");
    let mut command = Command::new(python.trim());
    command.arg(peers.join(script)).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("Python can be started");
    child.stdin.take().expect("stdin is a pipe").write_all(stdin.as_bytes()).expect("the script reads");
    let output = child.wait_with_output().expect("a child can be waited for");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script} fails:\n{errors}\non:\n{stdin}");
    String::from_utf8(output.stdout).expect("text")
}
