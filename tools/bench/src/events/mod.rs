//! From MQTT publish to a thousand clients: the service's streams of changes against the broker's own subscriptions, the same
//! messages, at a tenth of the pace for the broker, which cannot write a million messages a second. Nothing may be lost or out of order on either side; a side that does so fails the run.

mod crowd;
mod inspector;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};

use self::crowd::{Crowd, Side};
pub use self::inspector::open;
use crate::broker::{Broker, Publisher};
use crate::messages;
use crate::process::pause;
use crate::rounds::{Figures, print_ratio};
use crate::service::{Service, binary};
use crate::{Outcome, Size};

/// Changes are sent in steps of so long; short against everything that is measured.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(1);
/// What is published in the first seconds is not counted: everything is still being touched for the first time.
const WARM_UP: Duration = Duration::from_secs(2);
/// Devices that change in turn.
const DEVICES: u32 = 5_000;
/// Files that are open beside the clients' connections.
const OTHER_FILES: u64 = 200;

/// What is measured.
#[derive(clap::Args, Clone)]
pub struct Load {
    /// Clients that follow all changes.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    clients: u32,
    /// Changes a second.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    changes: u32,
    /// Changes a second for the broker's own subscribers. More than it can write to all of them makes a queue, not a latency.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    peer_changes: u32,
    /// Seconds of changes in each round, warm-up included.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(3..=3_600))]
    seconds: u32,
}

impl Load {
    fn pace(&self, changes: u32) -> Pace {
        Pace { changes, seconds: self.seconds }
    }
}

/// How many changes come how fast.
#[derive(Clone, Copy)]
pub struct Pace {
    /// A second.
    pub changes: u32,
    pub seconds: u32,
}

impl Pace {
    /// Changes of a round.
    pub fn total(self) -> u64 {
        u64::from(self.changes) * u64::from(self.seconds)
    }

    /// The first change that is.
    pub fn counted_from(self) -> u64 {
        u64::from(self.changes) * WARM_UP.as_secs()
    }
}

/// When each change was published, in nanoseconds since the beginning.
pub struct Times {
    began: Instant,
    published: Vec<AtomicU64>,
}

impl Times {
    pub fn new(changes: u64) -> Self {
        Self { began: Instant::now(), published: (0..changes).map(|_| AtomicU64::new(0)).collect() }
    }

    pub fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// When the change was published; `None`: it is none of this run.
    pub fn published(&self, change: u64) -> Option<u64> {
        Some(self.published.get(usize::try_from(change).ok()?)?.load(Ordering::Acquire))
    }
}

/// The message that is published as number `change`.
pub fn message(change: u64) -> messages::Message {
    let devices = u64::from(DEVICES);
    messages::change((change % devices) as u32, (change / devices) as u32)
}

pub fn run(size: &Size, load: &Load) -> Outcome<()> {
    make_room(u64::from(load.clients) + OTHER_FILES)?;
    let binary = binary(size)?;
    let mut ours = Figures::new("p99, devstatus", "ms");
    let mut peer = Figures::new("p99, mosquitto", "ms");
    for round in 1..=size.rounds {
        println!("round {round}");
        peer.push(measure_broker(load.clients, load.pace(load.peer_changes))?);
        ours.push(measure_service(&binary, load.clients, load.pace(load.changes))?);
    }
    print_ratio("events", &ours, &peer);
    Ok(())
}

/// Every client is an open file, here and in the servers, which inherit the limit.
fn make_room(files: u64) -> Outcome<()> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < files) {
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit)?;
    }
    if limit.maximum.is_some_and(|most| most < files) {
        return Err(format!("{files} files must be open at once, and this process may open fewer").into());
    }
    Ok(())
}

fn measure_broker(clients: u32, pace: Pace) -> Outcome<f64> {
    let broker = Broker::roomy(pace.total() as u32, std::iter::empty())?;
    let times = Arc::new(Times::new(pace.total()));
    let crowd = Crowd::gather(Side::Broker(broker.port), clients, pace.counted_from(), Arc::clone(&times))?;
    publish(&broker, pace, &times, message)?;
    crowd.percentile_99()
}

fn measure_service(binary: &std::path::Path, clients: u32, pace: Pace) -> Outcome<f64> {
    let broker = Broker::roomy(pace.total() as u32, std::iter::empty())?;
    let mut service = Service::start(binary, &broker)?;
    service.wait_until_ready()?;
    let address = service.url.strip_prefix("http://").ok_or("the service listens without TLS")?.parse()?;
    let times = Arc::new(Times::new(pace.total()));
    let crowd = Crowd::gather(Side::Service(address), clients, pace.counted_from(), Arc::clone(&times))?;
    let inspector = inspector::start(address, pace.total())?;
    publish(&broker, pace, &times, message)?;
    let percentile = crowd.percentile_99()?;
    inspector.join().map_err(|_| "the inspector panicked")??;
    let (processor, resident) = (service.process.processor_time()?, service.process.resident_bytes()?);
    println!(
        "  devstatus used {:.1} s of processor time in {} s, and {} MiB at most",
        processor.as_secs_f64(),
        pace.seconds,
        resident.peak >> 20
    );
    Ok(percentile)
}

/// Publishes everything at an even pace.
pub fn publish(
    broker: &Broker,
    pace: Pace,
    times: &Times,
    message: impl Fn(u64) -> messages::Message,
) -> Outcome<()> {
    let mut publisher = Publisher::connect(broker.port)?;
    let started = Instant::now();
    let mut sent = 0;
    while sent < pace.total() {
        let due = (started.elapsed().as_secs_f64() * f64::from(pace.changes)) as u64;
        while sent < due.min(pace.total()) {
            publisher.retain(&message(sent))?;
            times.published[sent as usize].store(times.now(), Ordering::Release);
            sent += 1;
        }
        publisher.write()?;
        pause(PUBLISH_INTERVAL);
    }
    publisher.flush()
}
