//! From MQTT publish until each of three instances that share a store tells of it, whichever of them got the message, at a pace
//! that all of them together have to merge; against one instance alone at the same pace, which needs no store for it. All
//! instances know the whole fleet before the changes begin.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use clap::ValueEnum;
use memchr::memmem;

use crate::broker::Broker;
use crate::events::{self, Pace, Times, publish};
use crate::latencies::Latencies;
use crate::messages::{self, Message};
use crate::rounds::{Figures, print_ratio};
use crate::service::{Service, binary};
use crate::shared_store::SharedStore;
use crate::{Outcome, Size};
use testkit::redis::RedisCluster;

const INSTANCES: usize = 3;
/// What is measured.
#[derive(clap::Args, Clone)]
pub struct Load {
    /// Which store they share: Debian's PostgreSQL, or a cluster of six redis-servers.
    #[arg(long, value_enum, default_value_t = Kind::Postgres)]
    store: Kind,
    /// Changes a second.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    changes: u32,
    /// Seconds of changes in each round, of which the first two are not counted.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(3..=3_600))]
    seconds: u32,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Postgres,
    Valkey,
}

pub fn run(size: &Size, load: &Load) -> Outcome<()> {
    let binary = binary(size)?;
    let pace = Pace { changes: load.changes, seconds: load.seconds };
    let fleet = Fleet { devices: size.devices };
    let mut ours = Figures::new("p99, three instances", "ms");
    let mut peer = Figures::new("p99, one alone", "ms");
    for round in 1..=size.rounds {
        println!("round {round}");
        let alone: &[&str] = &["--store", "memory:"];
        peer.push(measure(&binary, fleet, pace, &[alone])?);
        let (url, _store) = start(load.store)?;
        let shared: &[&str] = &["--store", &url, "--share", "bench"];
        ours.push(measure(&binary, fleet, pace, &[shared; INSTANCES])?);
    }
    print_ratio("spread", &ours, &peer);
    Ok(())
}

/// A store that runs until it is dropped.
enum Running {
    Postgres { _server: SharedStore },
    Valkey { _cluster: RedisCluster },
}

fn start(kind: Kind) -> Outcome<(String, Running)> {
    Ok(match kind {
        Kind::Postgres => {
            let server = SharedStore::postgres()?;
            (server.url.clone(), Running::Postgres { _server: server })
        }
        Kind::Valkey => {
            let cluster = RedisCluster::start();
            let nodes = cluster.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port()));
            let url = format!("valkey://{}", nodes.collect::<Vec<_>>().join(","));
            (url, Running::Valkey { _cluster: cluster })
        }
    })
}

/// Publishes to as many instances as there are arguments for; the latency that one in a hundred exceeds, in milliseconds.
fn measure(binary: &Path, fleet: Fleet, pace: Pace, instances: &[&[&str]]) -> Outcome<f64> {
    let retained = (0..u64::from(fleet.devices)).map(|number| fleet.message(number));
    let broker = Broker::roomy(fleet.devices.max(pace.total() as u32), retained)?;
    let mut services = Vec::new();
    for (number, arguments) in instances.iter().enumerate() {
        services.push(Service::start_as(&format!("bench-{number}"), binary, &broker.url(), arguments)?);
    }
    for service in &mut services {
        service.wait_until_ready()?;
        service.wait_for_devices(fleet.devices)?;
    }
    let times = Arc::new(Times::new(pace.total()));
    let listening: Vec<_> = services
        .iter()
        .map(|service| listen(&service.url, fleet, pace, Arc::clone(&times)))
        .collect::<Outcome<_>>()?;
    publish(&broker, pace, &times, |change| fleet.message(u64::from(fleet.devices) + change))?;
    let mut all = Latencies::default();
    for listener in listening {
        all.add_all(&listener.join().map_err(|_| "a listener panicked")??);
    }
    println!("  {all}");
    Ok(all.at(990))
}

/// Devices that change in turn. The first message of each is retained before.
#[derive(Clone, Copy)]
struct Fleet {
    devices: u32,
}

impl Fleet {
    fn message(self, number: u64) -> Message {
        let devices = u64::from(self.devices);
        messages::change((number % devices) as u32, (number / devices) as u32)
    }

    /// The number of the message that is told of in this line, by the device's number in its id and the second of its time.
    fn number(self, line: &[u8]) -> Option<u64> {
        let behind = |name: &[u8]| Some(&line[memmem::find(line, name)? + name.len()..]);
        let device = number(behind(br#""id":"d"#)?.get(..8)?)?;
        let time = behind(br#""since":"2026-12-01T"#)?;
        let part = |at: usize| number(time.get(at..at + 2)?);
        Some((part(0)? * 3600 + part(3)? * 60 + part(6)?) * u64::from(self.devices) + device)
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Follows an instance until it has told of every change once.
fn listen(
    url: &str,
    fleet: Fleet,
    pace: Pace,
    times: Arc<Times>,
) -> Outcome<JoinHandle<Result<Latencies, String>>> {
    let address = url.strip_prefix("http://").ok_or("the service listens without TLS")?;
    let lines = events::open(address.parse()?)?;
    let follow = move || follow(lines, fleet, pace, &times).map_err(|error| error.to_string());
    Ok(thread::Builder::new().name("listener".to_owned()).spawn(follow)?)
}

fn follow(mut lines: BufReader<TcpStream>, fleet: Fleet, pace: Pace, times: &Times) -> Outcome<Latencies> {
    let mut seen = vec![false; pace.total() as usize];
    let mut missing = seen.len();
    let mut latencies = Latencies::default();
    let mut line = Vec::new();
    while missing > 0 {
        line.clear();
        if lines
            .read_until(b'\n', &mut line)
            .map_err(|error| format!("{missing} changes do not come: {error}"))?
            == 0
        {
            return Err(format!("the stream ended with {missing} changes to come").into());
        }
        if !line.starts_with(b"data: ") {
            continue;
        }
        let now = times.now();
        let number =
            fleet.number(&line).ok_or_else(|| format!("no change: {}", String::from_utf8_lossy(&line)))?;
        let change = number.checked_sub(fleet.devices.into()).ok_or("a change from before")?;
        let published = times.published(change).ok_or("a change that nobody has published")?;
        if std::mem::replace(&mut seen[change as usize], true) {
            return Err(format!("change {change} comes twice").into());
        }
        missing -= 1;
        if change >= pace.counted_from() {
            latencies.add(now.saturating_sub(published));
        }
    }
    Ok(latencies)
}

#[cfg(test)]
mod tests {
    use super::Fleet;

    #[test]
    fn a_message_is_identified_by_its_device_and_its_time() {
        let fleet = Fleet { devices: 1_000 };
        for number in [0, 999, 1_000, 61_234, 3_700_001] {
            let payload: serde_json::Value = serde_json::from_str(&fleet.message(number).payload).unwrap();
            let id = payload["ClientID"].as_str().unwrap().rsplit(':').next().unwrap();
            let line =
                serde_json::json!({ "client_id": payload["ClientID"], "id": id, "since": payload["Time"] });
            assert_eq!(fleet.number(line.to_string().as_bytes()), Some(number), "{line}");
        }
        assert_eq!(fleet.number(br#"{"id":"d0000000x","since":"2026-12-01T00:00:00Z"}"#), None);
    }
}
