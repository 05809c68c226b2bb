//! Signed webhooks under load: milliseconds from the MQTT message to each of ten endpoints; and what the deliveries cost the rest of
//! the service: p99 of lookups and messages that are not applied yet, against the same service without webhooks, in turns, with a
//! broker and a store of its own each. The services and the client that looks devices up have a processor of their own.

mod receiver;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use self::receiver::{Endpoints, Sent};
use crate::broker::{Broker, Publisher};
use crate::lookups;
use crate::messages::{change, path};
use crate::process::{pause, until};
use crate::processors::{Processors, move_process, move_thread};
use crate::rounds::{Figures, print_ratio};
use crate::service::{Service, binary};
use crate::{Outcome, Size};

/// How long everything that was published may take to reach all endpoints.
const DELIVERY_BOUND: Duration = Duration::from_secs(120);
/// The changes of so long are sent at once.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(5);
/// The first of each round are not counted: connections are made, and caches filled.
const WARM_UP: Duration = Duration::from_secs(2);
/// How often it is looked at what is not applied yet.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// What happens.
#[derive(clap::Args, Clone)]
pub struct Load {
    /// Status changes a second.
    #[arg(long, default_value_t = 1_000)]
    changes: u32,
    /// Endpoints that receive each of them.
    #[arg(long, default_value_t = 10)]
    endpoints: u32,
    /// Seconds of changes in each round, with webhooks and without.
    #[arg(long, default_value_t = 30)]
    seconds: u32,
    /// Lookups a second meanwhile.
    #[arg(long, default_value_t = 200)]
    lookups: u32,
}

pub fn run(size: &Size, load: &Load) -> Outcome<()> {
    let binary = binary(size)?;
    let processors = Processors::two()?;
    if processors.is_none() {
        println!("there is one processor, which the services, their clients and the endpoints share");
    }
    let changes = size.rounds * load.changes * load.seconds;
    let sent = Arc::new(Sent::new(size.devices, changes + load.changes));
    stay(processors, Processors::others)?;
    let endpoints = Endpoints::start(load.endpoints, &sent)?;
    // A service has as many threads as there are processors that it may use at its start.
    stay(processors, Processors::both)?;
    let mut with = Side::start(&binary, size, load, &endpoints.tables())?.part(processors)?;
    let mut without = Side::start(&binary, size, load, "")?.part(processors)?;
    stay(processors, Processors::others)?;
    let unused = Arc::new(Sent::new(size.devices, changes + load.changes));
    let mut delivery = Figures::new("p99 to an endpoint", "ms");
    let mut lookups = Figures::new("p99 with webhooks", "us");
    let mut lookups_without = Figures::new("p99 without", "us");
    let mut behind = Figures::new("not applied, webhooks", "messages");
    let mut behind_without = Figures::new("not applied, without", "messages");
    for round in 1..=size.rounds {
        println!("round {round}");
        let measured = without.round(load, &unused)?;
        lookups_without.push(measured.lookup_us);
        behind_without.push(measured.behind);
        let measured = with.round(load, &sent)?;
        lookups.push(measured.lookup_us);
        behind.push(measured.behind);
        until("all endpoints to have everything", DELIVERY_BOUND, || Ok(endpoints.have_all(&sent)))?;
        let latencies = endpoints.take_latencies();
        println!("  {latencies}");
        delivery.push(latencies.at(990));
    }
    let resident = |side: &Side| side.service.process.resident_bytes().map(|resident| resident.now);
    let each = resident(&with)?.saturating_sub(resident(&without)?) / u64::from(load.endpoints.max(1));
    println!("\n{} KiB resident more for each endpoint", each >> 10);
    println!("p99 to an endpoint, median of the rounds: {:.1} ms", delivery.median());
    print_ratio("ingest", &behind, &behind_without);
    print_ratio("webhooks, lookups", &lookups, &lookups_without);
    Ok(())
}

/// This thread stays there from now on, and the threads and processes that it starts.
fn stay(processors: Option<Processors>, place: fn(Processors) -> String) -> Outcome<()> {
    processors.map_or(Ok(()), |processors| move_thread(&place(processors)))
}

/// A service with what it needs.
struct Side {
    service: Service,
    publisher: Publisher,
    devices: u32,
    /// Messages that the service had received before the first change.
    before: u64,
    published: AtomicU64,
    broker: Broker,
    processors: Option<Processors>,
    _directory: TempDir,
}

/// What a round has come to.
struct Measured {
    /// What one lookup in a hundred exceeds.
    lookup_us: f64,
    /// The mean of messages that were published and not applied.
    behind: f64,
}

/// Numbers the lookups of both sides, so that they ask for other devices each time.
static LOOKUPS: AtomicU64 = AtomicU64::new(0);

impl Side {
    /// A service whose settings file holds these tables.
    fn start(binary: &Path, size: &Size, load: &Load, tables: &str) -> Outcome<Self> {
        let broker = Broker::start(size.devices)?;
        let directory = tempfile::tempdir()?;
        let at = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
        fs::write(at("hook.secret"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")?;
        fs::write(at("devstatus.toml"), tables.replace("SECRET_FILE", &at("hook.secret")))?;
        let (store, settings) = (format!("sqlite:{}", at("store.db")), at("devstatus.toml"));
        let arguments = ["-c", &settings, "--store", &store, "--reconcile-interval", "86400"];
        let mut service = Service::start_with(binary, &broker.url(), &arguments)?;
        service.wait_for_devices(size.devices)?;
        service.wait_until_ready()?;
        until("the population to be written", DELIVERY_BOUND, || {
            Ok(service.metric("devstatus_store_devices_waiting")? == 0)
        })?;
        println!("{} changes a second to come", load.changes);
        Ok(Self {
            before: service.metric("devstatus_messages_received_total")?,
            service,
            publisher: Publisher::connect(broker.port)?,
            devices: size.devices,
            published: AtomicU64::new(0),
            broker,
            processors: None,
            _directory: directory,
        })
    }

    /// Gives the service a processor of its own, and the broker the one of everybody else.
    fn part(mut self, processors: Option<Processors>) -> Outcome<Self> {
        self.processors = processors;
        if let Some(processors) = processors {
            move_process(self.service.process.id(), &processors.measured())?;
            move_process(self.broker.process.id(), &processors.others())?;
        }
        Ok(self)
    }

    /// Publishes for so long, looks devices up meanwhile, and waits until everything is applied.
    fn round(&mut self, load: &Load, sent: &Sent) -> Outcome<Measured> {
        let over = &AtomicBool::new(false);
        let Self { service, publisher, devices, before, published, processors, .. } = self;
        let (service, before, published, devices) = (&*service, *before, &*published, *devices);
        let processors = *processors;
        let measured = thread::scope(|scope| -> Outcome<Measured> {
            let publishing = scope.spawn(move || {
                publish(publisher, sent, published, load, over).map_err(|error| error.to_string())
            });
            let url = &service.url;
            let reading = scope.spawn(move || {
                let looked_up =
                    stay(processors, Processors::measured).and_then(|()| look_up(url, devices, load, over));
                looked_up.map_err(|error| error.to_string())
            });
            let (started, mut looks) = (Instant::now(), Vec::new());
            while started.elapsed() < Duration::from_secs(load.seconds.into()) {
                pause(LOOK_INTERVAL);
                let published = published.load(Ordering::SeqCst);
                let applied = service.metric("devstatus_messages_received_total")? - before;
                looks.push(published.saturating_sub(applied) as f64);
            }
            over.store(true, Ordering::SeqCst);
            publishing.join().map_err(|_| "the publisher panicked")??;
            let mut latencies = reading.join().map_err(|_| "the reader panicked")??;
            latencies.sort_unstable();
            let at = latencies.len() * 99 / 100;
            let lookup_us = latencies.get(at).ok_or("no lookup was made")?.as_micros() as f64;
            Ok(Measured { lookup_us, behind: looks.iter().sum::<f64>() / looks.len().max(1) as f64 })
        })?;
        self.publisher.flush()?;
        until("everything to be applied", DELIVERY_BOUND, || {
            let applied = self.service.metric("devstatus_messages_received_total")? - self.before;
            Ok(applied >= self.published.load(Ordering::SeqCst))
        })?;
        Ok(measured)
    }
}

/// Publishes the next changes at a steady rate until it is over.
fn publish(
    publisher: &mut Publisher,
    sent: &Sent,
    published: &AtomicU64,
    load: &Load,
    over: &AtomicBool,
) -> Outcome<()> {
    let at_once = (f64::from(load.changes) * PUBLISH_INTERVAL.as_secs_f64()).ceil() as u32;
    let started = Instant::now();
    let mut due = started;
    while !over.load(Ordering::SeqCst) {
        let is_counted = started.elapsed() >= WARM_UP;
        for _ in 0..at_once {
            let Some((device, step)) = sent.next(is_counted) else { return Ok(()) };
            publisher.retain(&change(device, step))?;
        }
        publisher.write()?;
        published.fetch_add(at_once.into(), Ordering::SeqCst);
        due += PUBLISH_INTERVAL;
        pause(due.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// Looks devices up at a steady rate; gives how long each took from when it was due.
fn look_up(url: &str, devices: u32, load: &Load, over: &AtomicBool) -> Outcome<Vec<Duration>> {
    let path = || {
        let number = LOOKUPS.fetch_add(1, Ordering::Relaxed).wrapping_mul(2_654_435_761);
        path((number % u64::from(devices)) as u32)
    };
    let is_over = || over.load(Ordering::SeqCst);
    let lookups = lookups::at_rate(url, load.lookups, Instant::now(), path, is_over)?;
    Ok(lookups.iter().map(|lookup| lookup.took).collect())
}
