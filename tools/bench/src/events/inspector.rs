//! One client that understands everything: that each change is one that was published, and that those of a device come in their
//! order. Changes of several devices may come in another one: while the devices are still being found, live messages come over
//! two connections.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;

use super::{DEVICES, message};
use crate::Outcome;

/// How long it may wait for the next change.
const SILENCE_BOUND: Duration = Duration::from_secs(60);
const READ_BYTES: usize = 256 * 1024;

/// Opens the stream of a service's changes, and returns once it has begun.
pub fn open(address: SocketAddr) -> Outcome<BufReader<TcpStream>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(SILENCE_BOUND))?;
    stream.write_all(b"GET /api/v1/events HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut lines = BufReader::with_capacity(READ_BYTES, stream);
    // The first lines of the stream say that it has begun.
    let mut line = String::new();
    while !line.starts_with("retry: ") {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            return Err("the service refuses the stream".into());
        }
    }
    Ok(lines)
}

/// Begins to read; the outcome is known once all changes have come.
pub fn start(address: SocketAddr, changes: u64) -> Outcome<JoinHandle<Result<(), String>>> {
    let lines = open(address)?;
    let inspect = move || inspect(lines, changes).map_err(|error| error.to_string());
    Ok(thread::Builder::new().name("inspector".to_owned()).spawn(inspect)?)
}

fn inspect(lines: BufReader<TcpStream>, changes: u64) -> Outcome<()> {
    let mut came = 0;
    let mut turns: HashMap<u64, u64> = HashMap::new();
    for line in lines.lines() {
        let line = line?;
        let Some(data) = line.strip_prefix("data: ") else { continue };
        let seen: Value = serde_json::from_str(data)?;
        let device = seen["id"].as_str().and_then(|id| id.trim_start_matches('d').parse().ok());
        let device: u64 = device.ok_or_else(|| format!("{data} came, which is no device of ours"))?;
        let turn = turns.entry(device).or_default();
        let change = device + *turn * u64::from(DEVICES);
        let sent: Value = serde_json::from_str(&message(change).payload)?;
        let status = if sent["Action"] == "Connect" { "connected" } else { "disconnected" };
        if seen["client_id"] != sent["ClientID"] || seen["since"] != sent["Time"] || seen["status"] != status
        {
            return Err(format!("change {change} was {sent}, and {data} came").into());
        }
        *turn += 1;
        came += 1;
        if came == changes {
            return Ok(());
        }
    }
    Err(format!("the stream ended after {came} of {changes} changes").into())
}
