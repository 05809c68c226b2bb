//! Requests a second on `GET /{type}/{id}` with a key on every request, against the same service without keys. Both get the same
//! load, from wrk, with a header of the same length: what a key costs is its check, not the bytes that carry it.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::broker::Broker;
use crate::lookup::{Load, place_clients, place_servers, wrk};
use crate::rounds::{Figures, print_ratio};
use crate::service::{Service, binary};
use crate::{Outcome, Size};

/// What is measured must not run into the limit that a key has.
const UNLIMITED: [&str; 4] = ["--store", "memory:", "--requests-per-second", "10000000"];

pub fn run(size: &Size, load: &Load) -> Outcome<()> {
    let binary = binary(size)?;
    let broker = Broker::start(size.devices)?;
    let directory = tempfile::tempdir()?;
    let file = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let (keys, none) = (file("keys"), file("none"));
    let authorization = format!("Bearer {}", create_key(&binary, &keys)?);
    // Each under an id of its own, or the broker would let one take the place of the other again and again.
    let start = |id: &str, keys_file: &str| {
        // The side without keys names a file that is not there, which the service must be told to accept.
        let open: &[&str] = if keys_file == none { &["--allow-anonymous"] } else { &[] };
        let arguments = [&UNLIMITED[..], &["--keys-file", keys_file], open].concat();
        let mut service = Service::start_as(id, &binary, &broker.url(), &arguments)?;
        service.wait_until_ready()?;
        Ok::<_, Box<dyn std::error::Error>>(service)
    };
    let processors = load.processors()?;
    place_servers(processors)?;
    let (keyed, open) = (start("bench-keyed", &keys)?, start("bench-open", &none)?);
    place_clients(processors)?;
    let mut ours = Figures::new("with a key", "requests/s");
    let mut peer = Figures::new("without", "requests/s");
    for round in 1..=size.rounds {
        println!("round {round}");
        peer.push(wrk(&open.url, size.devices, load, round, Some(&authorization))?.rate);
        ours.push(wrk(&keyed.url, size.devices, load, round, Some(&authorization))?.rate);
    }
    print_ratio("auth", &ours, &peer);
    Ok(())
}

/// A new key as a Bearer token.
fn create_key(binary: &Path, file: &str) -> Outcome<String> {
    let mut command = Command::new(binary);
    command.args(["keys", "create", "bench", "-o", "org1", "--keys-file", file]).stdin(Stdio::null());
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let bearer = text.lines().find_map(|line| line.strip_prefix("bearer:"));
    Ok(bearer.ok_or_else(|| format!("no key in {text}"))?.trim().to_owned())
}
