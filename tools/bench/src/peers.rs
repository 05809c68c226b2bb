//! What other readers of retained messages achieve in a given time: mosquitto's own client and Python's paho.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::messages::Message;
use crate::organization::right_in;
use crate::process::Process;

/// How long a reader may take to end after its time is over.
const END_BOUND: Duration = Duration::from_secs(120);
/// How long the Python environment may take to be made.
const SETUP_BOUND: Duration = Duration::from_secs(300);

/// What the sides are given.
#[derive(clap::Args, Clone)]
pub struct Given {
    /// Milliseconds of silence that devstatus takes for the end of a replay.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub quiet_interval_ms: u32,
    /// Seconds that each peer may read.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub seconds: u32,
}

/// What a peer reads: a broker's port on loopback, and under which client id and filter.
pub struct Target<'a> {
    pub port: u16,
    pub client_id: &'a str,
    pub filter: &'a str,
}

/// How many devices `mosquitto_sub` has right after its time.
pub fn mosquitto_sub(
    messages: impl Iterator<Item = Message>,
    target: &Target<'_>,
    given: &Given,
) -> Outcome<u32> {
    let output = tempfile::NamedTempFile::new()?;
    let mut command = Command::new("mosquitto_sub");
    command.args(["-h", "127.0.0.1", "-p", &target.port.to_string(), "-i", target.client_id]);
    command.args(["-t", target.filter, "-F", "%t %p", "-W", &given.seconds.to_string()]);
    command.stdin(Stdio::null()).stdout(output.reopen()?).stderr(Stdio::null());
    // It says with its status that its time was over.
    Process::start(&mut command)?.finish(Duration::from_secs(given.seconds.into()) + END_BOUND)?;
    right_in(messages, BufReader::new(File::open(output.path())?))
}

/// How many devices a reader with Python's paho has right after its time.
pub fn paho(messages: impl Iterator<Item = Message>, target: &Target<'_>, given: &Given) -> Outcome<u32> {
    let output = tempfile::NamedTempFile::new()?;
    let mut command = Command::new(python()?);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/paho_reader.py"));
    command.args([&target.port.to_string(), target.client_id, target.filter, &given.seconds.to_string()]);
    command.stdin(Stdio::null()).stdout(output.reopen()?);
    let status =
        Process::start(&mut command)?.finish(Duration::from_secs(given.seconds.into()) + END_BOUND)?;
    if !status.success() {
        return Err(format!("the reader with paho ended with {status}").into());
    }
    right_in(messages, BufReader::new(File::open(output.path())?))
}

/// Seconds from the start of `mosquitto_sub` to its end, its output to `/dev/null`, on a broker that drops nothing.
pub fn drain_seconds(port: u16, filter: &str, devices: u32) -> Outcome<f64> {
    let started = Instant::now();
    let mut command = Command::new("mosquitto_sub");
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-t", filter]);
    command.args(["-C", &devices.to_string(), "-W", "600"]).stdin(Stdio::null()).stdout(Stdio::null());
    let status = Process::start(&mut command)?.finish(Duration::from_secs(600) + END_BOUND)?;
    if !status.success() {
        return Err(format!("mosquitto_sub ended with {status}: it did not get every message").into());
    }
    Ok(started.elapsed().as_secs_f64())
}

/// The interpreter of the environment that the tests of the configuration use, too.
fn python() -> Outcome<String> {
    let setup = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/peers/setup.sh");
    let output = tempfile::NamedTempFile::new()?;
    let mut command = Command::new("sh");
    command.arg(setup).stdin(Stdio::null()).stdout(output.reopen()?);
    let status = Process::start(&mut command)?.finish(SETUP_BOUND)?;
    if !status.success() {
        return Err(format!("the Python environment of the peers cannot be made: {status}").into());
    }
    Ok(std::fs::read_to_string(output.path())?.trim().to_owned())
}

/// Prints how many devices each side has right.
pub fn print_right(total: u32, sides: &[(&str, u32)]) {
    println!("\ndevices with the right status, of {total}");
    for (side, right) in sides {
        println!("  {side:<24} {right:>10}   {:6.2} %", f64::from(*right) / f64::from(total) * 100.0);
    }
}
