//! What statuses that change all the time do to a service with a store: the latency of lookups with the changes against that
//! of a service that is left alone while as many changes keep another one on the same machine as busy, in turns; how far what
//! is applied is behind what is published; how large the file gets.

mod streams;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::broker::{Broker, Publisher};
use crate::lookups::{self, random_after};
use crate::messages::{change, path};
use crate::process::{pause, until};
use crate::rounds::{Figures, print_ratio};
use crate::service::{Service, binary};
use crate::{Outcome, Size};

/// How long the service may take over what was published once nothing more is.
const CATCH_UP_BOUND: Duration = Duration::from_secs(120);
/// The changes of so long are sent at once: short against everything that is measured.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(5);

/// What happens, and how often it is looked at.
#[derive(clap::Args, Clone)]
pub struct Load {
    /// Status changes a second.
    #[arg(long, default_value_t = 20_000)]
    changes: u32,
    /// Seconds of changes in each round, as many elsewhere before it, and half as many without any.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Connections that look devices up.
    #[arg(long, default_value_t = 4)]
    readers: u32,
    /// Lookups a second on each of them.
    #[arg(long, default_value_t = 100)]
    lookups: u32,
    /// Streams that are resumed from an early event again and again while devices change, beside one that takes snapshots.
    #[arg(long, default_value_t = 0)]
    resumptions: u32,
    /// Events that the service keeps of one device: few enough that the bound of the file is reached within a round.
    #[arg(long, default_value_t = 3)]
    history_per_device: u32,
}

/// Everything that runs.
struct Bench<'a> {
    service: Service,
    publisher: Publisher,
    file: PathBuf,
    devices: u32,
    load: &'a Load,
    /// Steps that every device has made.
    steps: u32,
    /// Messages that the service had received before the first change.
    before: u64,
    published: AtomicU64,
    _broker: Broker,
    _directory: TempDir,
}

pub fn run(size: &Size, load: &Load) -> Outcome<()> {
    let binary = binary(size)?;
    let mut bench = Bench::start(&binary, size.devices, load)?;
    let mut elsewhere = Bench::start(&binary, size.devices, load)?;
    let url = bench.service.url.clone();
    let mut with = Figures::new("p99 with changes", "us");
    let mut beside = Figures::new("p99 with changes elsewhere", "us");
    let mut without = Figures::new("p99 without", "us");
    let seconds = Duration::from_secs(load.seconds.into());
    for round in 1..=size.rounds {
        println!("round {round}");
        without.push(bench.look_up(&url, seconds / 2, false)?);
        beside.push(elsewhere.look_up(&url, seconds, true)?);
        elsewhere.catch_up()?;
        with.push(bench.look_up(&url, seconds, true)?);
        bench.catch_up()?;
    }
    println!("\nleft alone on an idle machine {:>11.1} us, median", without.median());
    print_ratio("sustained", &with, &beside);
    Ok(())
}

impl<'a> Bench<'a> {
    /// A service with a store and a broker of its own, with which everything is written.
    fn start(binary: &Path, devices: u32, load: &'a Load) -> Outcome<Self> {
        let broker = Broker::start(devices)?;
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("store.db");
        let (store, kept) = (format!("sqlite:{}", file.display()), load.history_per_device.to_string());
        let mut service = Service::start_with(
            binary,
            &broker.url(),
            &["--store", &store, "--history-per-device", &kept, "--reconcile-interval", "86400"],
        )?;
        service.wait_for_devices(devices)?;
        service.wait_until_ready()?;
        let before = service.metric("devstatus_messages_received_total")?;
        let publisher = Publisher::connect(broker.port)?;
        let published = AtomicU64::new(0);
        let bench = Self {
            service,
            publisher,
            file,
            devices,
            load,
            steps: 0,
            before,
            published,
            _broker: broker,
            _directory: directory,
        };
        // What the population has brought is written before anything is measured.
        until("the population to be written", CATCH_UP_BOUND, || bench.service.is_all_written())?;
        Ok(bench)
    }

    /// Looks devices up at a service for so long, with changes here or without; gives the latency that one lookup in a
    /// hundred exceeds, in microseconds.
    fn look_up(&mut self, url: &str, lasts: Duration, changes: bool) -> Outcome<f64> {
        let over = AtomicBool::new(false);
        let (over, devices, load) = (&over, self.devices, self.load);
        let (publisher, published, steps) = (&mut self.publisher, &self.published, &mut self.steps);
        let (service, file, before) = (&self.service, &self.file, self.before);
        let mut latencies: Vec<Duration> = thread::scope(|scope| -> Outcome<_> {
            let readers: Vec<_> = (0..load.readers)
                .map(|reader| {
                    scope.spawn(move || read(url, devices, load, reader, over).map_err(|e| e.to_string()))
                })
                .collect();
            let publishing = changes.then(|| {
                scope.spawn(move || {
                    publish(publisher, published, steps, devices, load, over).map_err(|e| e.to_string())
                })
            });
            let address = service.url.strip_prefix("http://").ok_or("the service listens without TLS")?;
            let streams = if changes { load.resumptions } else { 0 };
            let snapshots = (streams > 0)
                .then(|| scope.spawn(|| streams::snapshots(address, over).map_err(|e| e.to_string())));
            let resumptions: Vec<_> = (0..streams)
                .map(|_| scope.spawn(|| streams::resumptions(address, over).map_err(|e| e.to_string())))
                .collect();
            let started = Instant::now();
            let mut next = Duration::from_secs(5);
            while started.elapsed() < lasts {
                pause(Duration::from_millis(20));
                if changes && started.elapsed() >= next {
                    show(service, published, before, file, started.elapsed())?;
                    next += Duration::from_secs(5);
                }
            }
            over.store(true, Ordering::Relaxed);
            let mut latencies = Vec::new();
            for reader in readers {
                latencies.extend(reader.join().map_err(|_| "a reader panicked")??);
            }
            if let Some(publishing) = publishing {
                publishing.join().map_err(|_| "the publisher panicked")??;
                let rate = published.load(Ordering::Relaxed) as f64;
                println!("  {rate:.0} changes published so far");
            }
            let mut resumed = 0;
            for stream in resumptions {
                resumed += stream.join().map_err(|_| "a stream panicked")??;
            }
            if let Some(snapshots) = snapshots {
                let snapshots = snapshots.join().map_err(|_| "a stream panicked")??;
                println!("  {snapshots} whole snapshots, {resumed} resumptions");
            }
            Ok(latencies)
        })?;
        latencies.sort_unstable();
        let at = |share: usize| latencies[latencies.len() * share / 1000].as_micros();
        println!(
            "  {} lookups: median {} us, p99 {} us, p99.9 {} us",
            latencies.len(),
            at(500),
            at(990),
            at(999)
        );
        Ok(at(990) as f64)
    }

    /// Waits until everything published is applied and written, and looks whether it is right.
    fn catch_up(&mut self) -> Outcome<()> {
        self.publisher.flush()?;
        let started = Instant::now();
        until("the service to catch up", CATCH_UP_BOUND, || {
            let applied = self.service.metric("devstatus_messages_received_total")? - self.before;
            Ok(applied >= self.published.load(Ordering::Relaxed) && self.service.is_all_written()?)
        })?;
        println!("  all applied and written {:.2} s after the last change", started.elapsed().as_secs_f64());
        println!("  {} MB resident at most", self.service.process.resident_bytes()?.peak >> 20);
        let last =
            self.steps.checked_sub(1).ok_or("not every device changed: more seconds, or fewer devices")?;
        self.service.check_changes(self.devices, last)
    }
}

/// One line on how far it is.
fn show(
    service: &Service,
    published: &AtomicU64,
    before: u64,
    file: &Path,
    elapsed: Duration,
) -> Outcome<()> {
    let published = published.load(Ordering::Relaxed);
    let behind = published.saturating_sub(service.metric("devstatus_messages_received_total")? - before);
    let waiting = service.metric("devstatus_store_devices_waiting")?;
    let events = service.metric("devstatus_store_events_waiting")?;
    let dropped = service.metric("devstatus_store_events_dropped_total")?;
    let bytes =
        |suffix: &str| fs::metadata(format!("{}{suffix}", file.display())).map_or(0, |file| file.len());
    println!(
        "  {:>3.0} s: {published} published, {behind} of them not applied; to be written {waiting} devices, {events} events ({dropped} dropped); file {} MB, its log {} MB",
        elapsed.as_secs_f64(),
        bytes("") >> 20,
        bytes("-wal") >> 20,
    );
    Ok(())
}

/// Looks random devices up at a steady rate; gives how long each took from when it was due.
fn read(url: &str, devices: u32, load: &Load, reader: u32, over: &AtomicBool) -> Outcome<Vec<Duration>> {
    let interval = Duration::from_secs(1) / load.lookups.max(1);
    let begins = Instant::now() + interval * reader / load.readers.max(1);
    let mut device = reader;
    let path = || {
        device = random_after(device);
        path(device % devices)
    };
    let lookups = lookups::at_rate(url, load.lookups, begins, path, || over.load(Ordering::Relaxed))?;
    Ok(lookups.iter().map(|lookup| lookup.took).collect())
}

/// Publishes changes of one device after the other at a steady rate, until every device has made the last step begun.
fn publish(
    publisher: &mut Publisher,
    published: &AtomicU64,
    steps: &mut u32,
    devices: u32,
    load: &Load,
    over: &AtomicBool,
) -> Outcome<()> {
    let at_once = (f64::from(load.changes) * PUBLISH_INTERVAL.as_secs_f64()).ceil() as u32;
    let mut due = Instant::now();
    let mut sent = 0;
    while !over.load(Ordering::Relaxed) {
        for device in 0..devices {
            publisher.retain(&change(device, *steps))?;
            sent += 1;
            if sent == at_once {
                publisher.write()?;
                published.fetch_add(u64::from(sent), Ordering::Relaxed);
                sent = 0;
                due += PUBLISH_INTERVAL;
                pause(due.saturating_duration_since(Instant::now()));
            }
        }
        *steps += 1;
    }
    publisher.write()?;
    published.fetch_add(u64::from(sent), Ordering::Relaxed);
    Ok(())
}
