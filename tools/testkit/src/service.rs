//! The real binary in an empty directory: started with arguments, environment and files, asked over HTTP, ended by signals.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tempfile::TempDir;

pub use rustix::process::Signal;

use super::broker_client::BrokerClient;
use super::child::ChildProcess;
use super::http::{self, Connection, Response};
use super::status::{APPLICATION, KEY, ORG, TOKEN};
use super::{PATIENCE, poll};

/// What comes before the address in the line that the service logs once it listens.
const LISTENING: &str = "listening on http";

/// How the binary is to be started.
#[derive(Clone, Debug, Default)]
pub struct Launch {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    files: Vec<(String, String)>,
    /// What a shell does before the service takes its place.
    preparations: Vec<String>,
    own_mounts: bool,
    /// A program that runs the binary, with its arguments.
    runner: Vec<String>,
}

impl Launch {
    /// The seed's usage: everything by flags, on a port that the kernel chooses.
    pub fn to(broker_url: &str) -> Self {
        Self::as_application(APPLICATION, broker_url)
    }

    /// The same as another application.
    pub fn as_application(id: &str, broker_url: &str) -> Self {
        let flags = ["-o", ORG, "-i", id, "-k", KEY, "-t", TOKEN, "-p", "0", "--broker", broker_url];
        Self::default().arguments(&flags)
    }

    /// Under another application id, so that several can be at one broker.
    pub fn application(mut self, id: &str) -> Self {
        let at =
            self.arguments.iter().position(|argument| argument == "-i").expect("the seed's usage names one");
        self.arguments[at + 1] = id.to_owned();
        self
    }

    /// Keeps what it knows in that store, and is as quick as a test wants it to write and to take a broker for quiet.
    pub fn on_store(self, store: &str) -> Self {
        self.arguments(&["--store", store, "--flush-interval-ms", "50", "--quiet-interval-ms", "300"])
    }

    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A file in the directory in which the service is started.
    pub fn file(mut self, name: &str, text: &str) -> Self {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// A file that may not grow any more is an error to the service, as a full disk is, and not the end of it.
    pub fn outliving_its_limits(mut self) -> Self {
        // Signals that are ignored stay so for the program that takes the shell's place.
        self.preparations.push("trap '' XFSZ".to_owned());
        self
    }

    /// Where nobody else sees it, the directory is a filesystem of so many bytes, as `mount` takes them.
    pub fn on_a_filesystem_of_its_own(mut self, directory: &Path, size: &str) -> Self {
        self.own_mounts = true;
        let directory = directory.display();
        self.preparations.push(format!("mount -t tmpfs -o size={size},mode=0700 tmpfs '{directory}'"));
        self
    }

    /// In a session of its own, as a supervisor starts it, wherever the tests run.
    pub fn without_terminal(mut self) -> Self {
        self.runner.push("setsid".to_owned());
        self
    }

    /// As a user who may do what owner and mode of files allow and nothing more, also where root runs the tests.
    pub fn bound_by_file_modes(mut self) -> Self {
        // In a namespace of its own even others than root may give up what root may do.
        self.own_mounts = true;
        self.runner.extend(["setpriv", "--bounding-set=-dac_override,-dac_read_search"].map(str::to_owned));
        self
    }

    /// Where nobody else sees it, nothing can be written to the filesystem that holds the directory.
    pub fn on_a_read_only_filesystem(mut self, directory: &Path) -> Self {
        self.own_mounts = true;
        let directory = directory.display();
        self.preparations.push(format!("mount --bind '{directory}' '{directory}'"));
        self.preparations.push(format!("mount -o remount,bind,ro '{directory}'"));
        self
    }

    /// Where nobody else sees it, a single file is mounted at another path, as container engines mount one.
    pub fn with_mounted_file(mut self, from: &Path, to: &Path) -> Self {
        self.own_mounts = true;
        self.preparations.push(format!("mount --bind '{}' '{}'", from.display(), to.display()));
        self
    }

    /// Under a limit, as `ulimit` of the shell takes it.
    pub fn limited_to(mut self, limit: &str) -> Self {
        self.preparations.push(format!("ulimit {limit}"));
        self
    }

    /// Starts the service and waits until it listens.
    pub fn start(self) -> Service {
        let client = BrokerClient::of(&self.arguments);
        let mut process = self.spawn();
        let address = poll(PATIENCE, || match process.address() {
            Some(address) => Some(Ok(address)),
            None => process.child.try_wait().expect("a child can be waited for").map(Err),
        });
        match address {
            Some(Ok(address)) => Service { process, address, _client: client },
            Some(Err(status)) => {
                panic!("the service ended with {status} before it listened:\n{}", process.logs())
            }
            None => panic!("no line with {LISTENING:?} after {PATIENCE:?}:\n{}", process.logs()),
        }
    }

    /// Starts the service and waits until it has read everything.
    pub fn start_ready(self) -> Service {
        let service = self.start();
        service.wait_until_ready();
        service
    }

    /// Starts the service and waits until it ends by itself.
    pub fn run(self) -> Ended {
        self.spawn().wait()
    }

    fn spawn(self) -> Process {
        let directory = tempfile::tempdir().expect("a directory can be made");
        for (name, text) in &self.files {
            std::fs::write(directory.path().join(name), text)
                .expect("a file can be written into the directory");
        }
        let mut command = self.command();
        for (name, _) in std::env::vars_os() {
            // The settings of the user who runs the tests are not the test's.
            if ["DEVSTATUS_", "WIOTP_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        // Each test has its own keys and store, and none leaves any behind; a test that wants others says so.
        command.env("DEVSTATUS_STORE", "memory:").env("STATE_DIRECTORY", directory.path().join("state"));
        command.args(&self.arguments).envs(self.environment).current_dir(directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = ChildProcess::start(&mut command);
        let stdout = Capture::start(child.stdout.take().expect("stdout is a pipe"));
        let stderr = Capture::start(child.stderr.take().expect("stderr is a pipe"));
        Process { child, stdout, stderr, started: Instant::now(), _directory: directory }
    }
}

/// The binary under test, which Cargo puts beside the tests' own directory.
fn binary() -> PathBuf {
    let own = env::current_exe().expect("a running program has a path");
    own.ancestors().nth(2).expect("tests are built in a directory of their own").join("devstatus")
}

impl Launch {
    fn command(&self) -> Command {
        let mut words: Vec<OsString> = Vec::new();
        if self.own_mounts {
            words.extend(["unshare", "--map-root-user", "--mount"].map(OsString::from));
        }
        if !self.preparations.is_empty() {
            let script = format!("{} && exec \"$0\" \"$@\"", self.preparations.join(" && "));
            words.extend(["/bin/sh", "-c", &script].map(OsString::from));
        }
        words.extend(self.runner.iter().map(OsString::from));
        words.push(binary().into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
    }
}

/// How a service ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    /// Since the signal, or since the start if there was none.
    pub elapsed: Duration,
    pub stdout: String,
    pub stderr: String,
}

/// A running service that listens.
pub struct Service {
    process: Process,
    address: SocketAddr,
    _client: Option<BrokerClient>,
}

impl Service {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn get(&self, path: &str) -> Response {
        self.request("GET", path)
    }

    pub fn request(&self, method: &str, path: &str) -> Response {
        self.request_with(method, path, &[])
    }

    pub fn request_with(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
        let mut connection = Connection::open(self.address);
        connection.send(&http::request_with(method, path, headers));
        let answer = connection.receive(method);
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}; log:\n{}", self.log()))
    }

    /// Everything the service has written so far, to stdout and stderr.
    pub fn log(&self) -> String {
        self.process.logs()
    }

    /// The lines of the log that hold all of the words, in whatever case.
    pub fn log_lines(&self, words: &[&str]) -> Vec<String> {
        self.log().lines().filter(|line| mentions(line, words)).map(str::to_owned).collect()
    }

    /// Waits until `condition` holds, or panics with `what` was waited for and the log.
    pub fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        let held = poll(PATIENCE, || condition().then_some(()));
        assert!(held.is_some(), "waited {PATIENCE:?} in vain until {what}; log:\n{}", self.log());
    }

    pub fn wait_until_ready(&self) {
        self.wait_until("/readyz is 200", || self.get("/readyz").status == 200);
    }

    pub fn wait_until_not_ready(&self) {
        self.wait_until("/readyz is 503", || self.get("/readyz").status == 503);
    }

    /// Waits until the device's answer is 200 with exactly this body.
    pub fn wait_for_answer(&self, path: &str, body: &str) {
        self.wait_until(&format!("{path} is answered with {body}"), || {
            let answer = self.get(path);
            answer.status == 200 && answer.body == body.as_bytes()
        });
    }

    /// The arguments of the running process, as every user of the machine can read them.
    pub fn command_line(&self) -> String {
        let file = format!("/proc/{}/cmdline", self.process.child.id());
        let bytes = std::fs::read(file).expect("a process of ours can be read about");
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    }

    /// No file of the service may grow beyond that; `None`: any may again.
    pub fn limit_file_bytes(&self, most: Option<u64>) {
        let pid = Pid::from_child(&self.process.child);
        let limit = Rlimit { current: most, maximum: None };
        prlimit(Some(pid), Resource::Fsize, limit).expect("the limits of a child of ours can be set");
    }

    /// The files as the process sees them.
    pub fn root(&self) -> PathBuf {
        format!("/proc/{}/root", self.process.child.id()).into()
    }

    /// How many files and sockets the process may have open, and how many it could be allowed.
    pub fn descriptors_allowed(&self) -> (Option<u64>, Option<u64>) {
        let file = format!("/proc/{}/limits", self.process.child.id());
        let limits = std::fs::read_to_string(file).expect("a process of ours can be read about");
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        let mut numbers =
            line.expect("there is such a limit").split_whitespace().map(|word| word.parse().ok());
        (numbers.next().flatten(), numbers.next().flatten())
    }

    /// Memory that the process has at present.
    pub fn resident_bytes(&self) -> u64 {
        let file = format!("/proc/{}/status", self.process.child.id());
        let status = std::fs::read_to_string(file).expect("a process of ours can be read about");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib * 1024
    }

    pub fn is_running(&mut self) -> bool {
        self.process.child.try_wait().expect("a child can be waited for").is_none()
    }

    pub fn terminate(self) -> Ended {
        self.signal(Signal::TERM)
    }

    /// Keeps the process from doing anything, without ending it, or lets it go on.
    pub fn freeze(&self, frozen: bool) {
        self.process.child.freeze(frozen);
    }

    /// Sends a signal that does not end the service.
    pub fn notify(&self, signal: Signal) {
        self.process.child.signal(signal);
    }

    /// Sends the signal and waits until the service has ended.
    pub fn signal(mut self, signal: Signal) -> Ended {
        self.process.child.signal(signal);
        self.process.started = Instant::now();
        self.process.wait()
    }
}

/// Whether the text holds all of the words, in whatever case.
pub fn mentions(text: &str, words: &[&str]) -> bool {
    let text = text.to_lowercase();
    words.iter().all(|word| text.contains(&word.to_lowercase()))
}

struct Process {
    child: ChildProcess,
    stdout: Capture,
    stderr: Capture,
    started: Instant,
    _directory: TempDir,
}

impl Process {
    fn address(&self) -> Option<SocketAddr> {
        let log = self.stderr.text();
        let (_, rest) = log.split_once(LISTENING)?;
        let (address, _) = rest.trim_start_matches('s').strip_prefix("://")?.split_once('\n')?;
        let end =
            address.find(|c: char| !c.is_ascii_hexdigit() && !".:[]".contains(c)).unwrap_or(address.len());
        address[..end].parse().ok()
    }

    fn logs(&self) -> String {
        format!("{}{}", self.stdout.text(), self.stderr.text())
    }

    fn wait(mut self) -> Ended {
        let status = poll(PATIENCE, || self.child.try_wait().expect("a child can be waited for"));
        let elapsed = self.started.elapsed();
        let status = status
            .unwrap_or_else(|| panic!("the service has not ended after {PATIENCE:?}:\n{}", self.logs()));
        Ended { status, elapsed, stdout: self.stdout.finish(), stderr: self.stderr.finish() }
    }
}

/// What a process writes to one of its pipes, read by a thread so that the pipe never fills up.
struct Capture {
    text: Arc<Mutex<String>>,
    reading: Option<JoinHandle<()>>,
}

impl Capture {
    fn start(pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let reading = std::thread::spawn({
            let text = Arc::clone(&text);
            move || {
                let mut pipe = BufReader::new(pipe);
                let mut line = Vec::new();
                while let Ok(1..) = pipe.read_until(b'\n', &mut line) {
                    let mut text = text.lock().expect("no thread panics with the lock");
                    text.push_str(&String::from_utf8_lossy(&line));
                    line.clear();
                }
            }
        });
        Self { text, reading: Some(reading) }
    }

    fn text(&self) -> String {
        self.text.lock().expect("no thread panics with the lock").clone()
    }

    /// Everything, once the process has ended.
    fn finish(&mut self) -> String {
        if let Some(reading) = self.reading.take() {
            reading.join().expect("reading a pipe does not panic");
        }
        self.text()
    }
}
