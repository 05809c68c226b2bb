//! The real devstatus binary, built, started against a broker, and asked how far it is. What is measured of it is in
//! the commands.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use std::{env, thread};

use serde_json::Value;
use tempfile::TempDir;

use crate::broker::Broker;
use crate::http::Client;
use crate::process::{Process, until};
use crate::{Outcome, Size};

/// How long it may take to listen: thirty million devices are read from a file in 36 s before that.
const START_BOUND: Duration = Duration::from_secs(120);
/// How long a population may take, whatever its size; a peer has the same.
pub const POPULATION_BOUND: Duration = Duration::from_secs(600);
/// What the log says before the address.
const LISTENING: &str = "listening on ";

/// The binary to measure.
pub fn binary(size: &Size) -> Outcome<PathBuf> {
    if let Some(path) = &size.devstatus {
        return Ok(path.clone());
    }
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/devstatus/Cargo.toml");
    let mut command = Command::new(cargo);
    command.args([
        "build",
        "--quiet",
        "--locked",
        "--package",
        "devstatus",
        "--bin",
        "devstatus",
        "--manifest-path",
    ]);
    command.arg(manifest);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let status = command.status()?;
    let built = env::current_exe()?.with_file_name("devstatus");
    if status.success() && built.is_file() {
        Ok(built)
    } else {
        Err(format!("no binary at {} after a build that ended with {status}", built.display()).into())
    }
}

/// A running service.
pub struct Service {
    pub process: Process,
    /// `http://127.0.0.1:PORT`
    pub url: String,
    client: Client,
    _state: TempDir,
}

impl Service {
    /// Starts it without a store and waits until it listens. What a store costs is measured by commands of its own.
    pub fn start(binary: &Path, broker: &Broker) -> Outcome<Self> {
        Self::start_with(binary, &broker.url(), &["--store", "memory:"])
    }

    /// Starts it with further arguments and waits until it listens.
    pub fn start_with(binary: &Path, broker_url: &str, arguments: &[&str]) -> Outcome<Self> {
        Self::start_as("bench", binary, broker_url, arguments)
    }

    /// Starts one of several, each with its own application id.
    pub fn start_as(id: &str, binary: &Path, broker_url: &str, arguments: &[&str]) -> Outcome<Self> {
        let mut command = Command::new(binary);
        command.args(["-o", "org1", "-i", id, "-p", "0", "--broker", broker_url]).args(arguments);
        // What the person who measures has set or kept for a real service must not change what is measured, nor what an
        // earlier command has left.
        let state = tempfile::tempdir()?;
        command.env("XDG_STATE_HOME", state.path()).env_remove("STATE_DIRECTORY");
        let ours = |name: &str| name.starts_with("DEVSTATUS_") || name.starts_with("WIOTP_");
        for name in env::vars_os().filter_map(|(name, _)| name.into_string().ok()).filter(|name| ours(name)) {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = Process::start(&mut command)?;
        let stderr = process.child().stderr.take().ok_or("stderr was not piped")?;
        let url = match address(stderr).recv_timeout(START_BOUND) {
            Ok(url) => url,
            Err(RecvTimeoutError::Timeout) => return Err("devstatus does not say where it listens".into()),
            Err(RecvTimeoutError::Disconnected) => return Err("devstatus ended before it listened".into()),
        };
        Ok(Self { process, url, client: Client::new(), _state: state })
    }

    /// Waits until it knows so many devices; returns what it then says of its population.
    pub fn wait_for_devices(&mut self, devices: u32) -> Outcome<Value> {
        let mut population = Value::Null;
        until(&format!("{devices} devices"), POPULATION_BOUND, || {
            let mut summary = self.summary()?;
            let total = summary["total"].as_u64().ok_or_else(|| format!("no total in {summary}"))?;
            population = summary["population"].take();
            Ok(total >= u64::from(devices))
        })?;
        Ok(population)
    }

    /// Waits until the first round of its population has a result, and returns it.
    pub fn wait_for_outcome(&mut self) -> Outcome<String> {
        let mut outcome = String::new();
        until("the outcome of the population", POPULATION_BOUND, || {
            outcome = self.summary()?["population"].as_str().unwrap_or_default().to_owned();
            Ok(["complete", "unproven", "incomplete"].contains(&outcome.as_str()))
        })?;
        Ok(outcome)
    }

    /// Waits until its population is proven to be complete; says whether it is by then.
    pub fn wait_for_proof(&mut self, bound: Duration) -> Outcome<bool> {
        let deadline = Instant::now() + bound;
        let mut is_proven = false;
        until("the proof of the population", bound * 2, || {
            is_proven = self.summary()?["population"] == "complete";
            Ok(is_proven || Instant::now() > deadline)
        })?;
        Ok(is_proven)
    }

    fn summary(&mut self) -> Outcome<Value> {
        self.process.check_runs()?;
        let answer = self.client.ask(&format!("{}/api/v1/summary", self.url))?;
        Ok(serde_json::from_str(&answer.body)?)
    }

    /// Asks for a device, and fails unless the answer is this message.
    pub fn check_answer(&self, path: &str, message: &str) -> Outcome<()> {
        let answer = self.client.ask(&format!("{}{path}", self.url))?;
        if answer.status == 200 && answer.body == message {
            Ok(())
        } else {
            Err(format!("{path} is answered {} {}, not {message}", answer.status, answer.body).into())
        }
    }

    /// The value of a metric without labels.
    pub fn metric(&self, name: &str) -> Outcome<u64> {
        Ok(self.sample(name)?.parse()?)
    }

    /// The same of one that need not be whole.
    pub fn figure(&self, name: &str) -> Outcome<f64> {
        Ok(self.sample(name)?.parse()?)
    }

    fn sample(&self, name: &str) -> Outcome<String> {
        let metrics = self.client.ask(&format!("{}/metrics", self.url))?.body;
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(value.ok_or_else(|| format!("no metric {name}"))?.to_owned())
    }

    /// Waits until it says that it is ready: from then on, every device gets an answer.
    pub fn wait_until_ready(&mut self) -> Outcome<()> {
        let url = format!("{}/readyz", self.url);
        until("the service to be ready", POPULATION_BOUND, || {
            self.process.check_runs()?;
            Ok(self.client.ask(&url)?.status == 200)
        })
    }
}

/// Reads the log on a thread of its own, to the end: a full pipe would stop the service.
fn address(stderr: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut early = Vec::new();
        let mut found = false;
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if !found && let Some((_, url)) = line.split_once(LISTENING) {
                found = sender.send(url.trim().to_owned()).is_ok();
            }
            if !found {
                early.push(line);
            }
        }
        if !found {
            eprintln!("{}", early.join("\n"));
        }
    });
    receiver
}
