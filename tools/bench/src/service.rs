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
use crate::messages;
use crate::process::{POLL_INTERVAL, Process, pause, until};
use crate::{Outcome, Size};

/// How long it may take to listen: thirty million devices are read from a file in 36 s before that.
const START_BOUND: Duration = Duration::from_secs(120);
/// How long a population may take, whatever its size; a peer has the same.
pub const POPULATION_BOUND: Duration = Duration::from_secs(600);
/// It is asked for its devices at least so often.
const POLL_MAX: Duration = Duration::from_millis(200);
/// So many devices are asked for after changes, and their answers compared with what was published last.
const CHECKED: u32 = 500;
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

    /// Waits until it knows so many devices; returns what it then says of its population. It is asked seldom while many are
    /// missing, because each question takes processor time of what is measured.
    pub fn wait_for_devices(&mut self, devices: u32) -> Outcome<Value> {
        let deadline = Instant::now() + POPULATION_BOUND;
        let mut first: Option<(Instant, u64)> = None;
        loop {
            let mut summary = self.summary()?;
            let total = summary["total"].as_u64().ok_or_else(|| format!("no total in {summary}"))?;
            let missing = u64::from(devices).saturating_sub(total);
            if missing == 0 {
                return Ok(summary["population"].take());
            }
            let now = Instant::now();
            if now >= deadline {
                return Err(format!("waited {} s for {devices} devices", POPULATION_BOUND.as_secs()).into());
            }
            if total > 0 && first.is_none() {
                first = Some((now, total));
            }
            let (since, before) = first.unwrap_or((now, total));
            pause(half_of_the_rest(missing, total - before, now - since));
        }
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

    /// Asks for some devices all over the fleet, and fails unless each answer is the change of this step.
    pub fn check_changes(&self, devices: u32, step: u32) -> Outcome<()> {
        for device in (0..devices).step_by((devices / CHECKED).max(1) as usize) {
            self.check_answer(&messages::path(device), &messages::change(device, step).payload)?;
        }
        Ok(())
    }

    /// Whether no device and no event waits for the store.
    pub fn is_all_written(&self) -> Outcome<bool> {
        let devices = self.metric("devstatus_store_devices_waiting")?;
        Ok(devices == 0 && self.metric("devstatus_store_events_waiting")? == 0)
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

/// Half the time until the missing devices are there, if they come as fast as these did; at most as long as those were observed.
fn half_of_the_rest(missing: u64, counted: u64, observed: Duration) -> Duration {
    let rest = observed.as_secs_f64() * missing as f64 / counted.max(1) as f64;
    let longest = observed.min(POLL_MAX).max(POLL_INTERVAL);
    Duration::from_secs_f64(rest / 2.0).clamp(POLL_INTERVAL, longest)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_asked_again_after_half_of_the_rest_and_not_later_than_it_was_observed() {
        let ms = Duration::from_millis;
        assert_eq!(half_of_the_rest(1_000, 0, ms(0)), POLL_INTERVAL);
        assert_eq!(half_of_the_rest(50_000, 50_000, ms(100)), ms(50));
        assert_eq!(half_of_the_rest(190_000, 10_000, ms(20)), ms(20));
        assert_eq!(half_of_the_rest(100, 199_900, ms(600)), POLL_INTERVAL);
        assert_eq!(half_of_the_rest(1_000, 0, ms(60_000)), POLL_MAX);
    }
}
