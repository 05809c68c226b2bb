//! Programs of others that the tests compare with or read with: the Python environments that `tests/peers/setup.sh`
//! makes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The Python with the packages that `tests/{list}/requirements.txt` asks for; they are installed if they are not there yet.
pub fn python(list: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests");
    let mut setup = Command::new(tests.join("peers/setup.sh"));
    let setup = setup.arg(tests.join(list).join("requirements.txt")).stderr(Stdio::inherit()).output();
    let setup = setup.expect("a shell");
    assert!(setup.status.success(), "the packages of {list} cannot be installed, see above");
    String::from_utf8(setup.stdout).expect("a path").trim().into()
}

/// Runs a script of `tests/peers` with a text on its stdin; gives its stdout.
pub fn run(script: &str, stdin: &str) -> String {
    let mut command = Command::new(python("peers"));
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/peers").join(script))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("Python can be started");
    child.stdin.take().expect("stdin is a pipe").write_all(stdin.as_bytes()).expect("the script reads");
    let output = child.wait_with_output().expect("a child can be waited for");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script} fails:\n{errors}\non:\n{stdin}");
    String::from_utf8(output.stdout).expect("text")
}
