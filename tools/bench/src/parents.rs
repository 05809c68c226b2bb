//! A parent of many devices flips: how long after its message each child's change has come on the service's stream, what
//! lookups take meanwhile against the same while nothing flips, and how long other messages wait for the decoder. The service
//! and the client that looks devices up have a processor of their own; the stream is read on the other one.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use memchr::memmem;

use crate::broker::{Broker, Publisher};
use crate::http::Client;
use crate::latencies::Latencies;
use crate::lookups::{self, Lookup, random_after};
use crate::messages::Message;
use crate::process::pause;
use crate::processors::{Processors, move_process, move_thread};
use crate::rounds::{Figures, print_ratio};
use crate::service::{Service, binary};
use crate::{Outcome, Size};

/// How long the changes of one flip may take.
const FLIP_BOUND: Duration = Duration::from_secs(60);
/// So long after the last change of a flip the next begins.
const BETWEEN_FLIPS: Duration = Duration::from_millis(100);
/// Other messages are sent at this interval.
const PROBE_INTERVAL: Duration = Duration::from_millis(1);
const READ_BYTES: usize = 256 * 1024;
/// What begins the data of a child's change.
const CHILD: &[u8] = br#"data: {"type":"zigbee""#;

/// What is measured.
#[derive(clap::Args, Clone)]
pub struct Load {
    /// Devices that are reached through the parent; the others have none.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    children: u32,
    /// How often the parent flips in each round.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    flips: u32,
    /// Connections that look devices up.
    #[arg(long, default_value_t = 2)]
    readers: u32,
    /// Lookups a second on each of them.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    lookups: u32,
}

struct Bench<'a> {
    service: Service,
    publisher: Publisher,
    /// How many changes of children have come, and when.
    changes: Receiver<(Instant, u32)>,
    load: &'a Load,
    others: u32,
    is_online: bool,
    /// Changes of the devices without a parent so far.
    steps: AtomicU32,
    processors: Option<Processors>,
    _broker: Broker,
}

pub fn run(size: &Size, load: &Load) -> Outcome<()> {
    let mut bench = Bench::start(size, load)?;
    let mut with = Figures::new("p99 of lookups in flips", "us");
    let mut without = Figures::new("p99 of lookups without", "us");
    let mut delivery = Figures::new("median delivery", "ms");
    for round in 1..=size.rounds {
        println!("round {round}");
        without.push(bench.quiet()?);
        let flips = bench.flips()?;
        with.push(flips.lookups_p99_us);
        delivery.push(flips.delivery_median_ms);
    }
    println!("\nfrom the message of a parent to the change of a child: {:.1} ms, median", delivery.median());
    print_ratio("parents", &with, &without);
    Ok(())
}

/// The result of a round of flips.
struct Flips {
    lookups_p99_us: f64,
    delivery_median_ms: f64,
}

impl<'a> Bench<'a> {
    fn start(size: &Size, load: &'a Load) -> Outcome<Self> {
        let binary = binary(size)?;
        let others = size.devices.max(1);
        let bridge = std::iter::once(bridge(true));
        let all =
            bridge.chain((0..load.children).map(child)).chain((0..others).map(|number| other(number, 0)));
        let broker = Broker::roomy(load.children + others + 1, all)?;
        let sources = ["--source", "zigbee2mqtt", "--source", "tasmota", "--store", "memory:"];
        let mut service = Service::start_with(&binary, &broker.url(), &sources)?;
        service.wait_for_devices(load.children + others + 1)?;
        service.wait_until_ready()?;
        let publisher = Publisher::connect(broker.port)?;
        let processors = Processors::two()?;
        if let Some(processors) = processors {
            move_process(service.process.id(), &processors.measured())?;
            move_process(broker.process.id(), &processors.others())?;
            // And the threads that are started from here on.
            move_thread(&processors.others())?;
        } else {
            println!("there is one processor, which the service, its clients and the broker share");
        }
        let address = service.url.strip_prefix("http://").ok_or("the service listens without TLS")?;
        let changes = follow(address.parse()?)?;
        let (steps, is_online) = (AtomicU32::new(0), true);
        Ok(Self { service, publisher, changes, load, others, is_online, steps, processors, _broker: broker })
    }

    /// Lookups beside other messages while nothing flips, for about as long as a round of flips.
    fn quiet(&mut self) -> Outcome<f64> {
        let lasts = BETWEEN_FLIPS * 2 * self.load.flips;
        let (_, lookups) = self.beside_load(|_, _| {
            pause(lasts);
            Ok(())
        })?;
        let latencies = lookups.iter().map(|lookup| lookup.took).collect();
        Ok(show("lookups without", latencies))
    }

    fn flips(&mut self) -> Outcome<Flips> {
        let (load, mut is_online) = (self.load, self.is_online);
        let lag_before = self.lags()?;
        let (flips, lookups) = self.beside_load(|publisher, changes| {
            let mut deliveries = Latencies::default();
            let mut during = Vec::new();
            for _ in 0..load.flips {
                is_online = !is_online;
                let mut publisher = publisher.lock().expect("no holder panics");
                publisher.retain(&bridge(is_online))?;
                let began = Instant::now();
                publisher.write()?;
                drop(publisher);
                let mut left = load.children;
                let mut ended = began;
                while left > 0 {
                    let (at, number) = changes.recv_timeout(FLIP_BOUND)?;
                    let took = u64::try_from(at.duration_since(began).as_nanos()).unwrap_or(u64::MAX);
                    (0..number).for_each(|_| deliveries.add(took));
                    left = left.checked_sub(number).ok_or("more changes come than there are children")?;
                    ended = at;
                }
                during.push((began, ended));
                pause(BETWEEN_FLIPS);
            }
            Ok((deliveries, during))
        })?;
        self.is_online = is_online;
        let (deliveries, during) = flips;
        println!("  changes of children: {deliveries}");
        self.show_lags(&lag_before)?;
        let is_within = |at: Instant| during.iter().any(|(began, ended)| (*began..*ended).contains(&at));
        let meanwhile: Vec<_> =
            lookups.iter().filter(|lookup| is_within(lookup.due)).map(|lookup| lookup.took).collect();
        let longest = during.iter().map(|(began, ended)| ended.duration_since(*began)).max();
        println!("  the longest flip took {:.1} ms", longest.unwrap_or_default().as_secs_f64() * 1e3);
        Ok(Flips {
            lookups_p99_us: show("lookups in flips", meanwhile),
            delivery_median_ms: deliveries.at(500),
        })
    }

    /// Does something while devices are looked up and other messages come.
    fn beside_load<T>(
        &mut self,
        work: impl FnOnce(&Mutex<&mut Publisher>, &Receiver<(Instant, u32)>) -> Outcome<T>,
    ) -> Outcome<(T, Vec<Lookup>)> {
        let over = AtomicBool::new(false);
        let publisher = Mutex::new(&mut self.publisher);
        let (url, load, others, over) = (self.service.url.as_str(), self.load, self.others, &over);
        let (steps, processors) = (&self.steps, self.processors);
        let place = move || processors.map_or(Ok(()), |processors| move_thread(&processors.measured()));
        thread::scope(|scope| {
            let readers: Vec<_> = (0..load.readers)
                .map(|reader| {
                    let looked_up = move || place().and_then(|()| look_up(url, load, reader, over));
                    scope.spawn(move || looked_up().map_err(|error| error.to_string()))
                })
                .collect();
            let probes = scope.spawn(|| probe(&publisher, others, steps, over).map_err(|e| e.to_string()));
            let outcome = work(&publisher, &self.changes);
            over.store(true, Ordering::Relaxed);
            let mut lookups = Vec::new();
            for reader in readers {
                lookups.extend(reader.join().map_err(|_| "a reader panicked")??);
            }
            probes.join().map_err(|_| "the publisher panicked")??;
            Ok((outcome?, lookups))
        })
    }

    /// How many batches have waited for the decoder no longer than each bound.
    fn lags(&self) -> Outcome<Vec<(String, u64)>> {
        let metrics = Client::new().ask(&format!("{}/metrics", self.service.url))?.body;
        let buckets = metrics.lines().filter_map(|line| {
            let (bound, number) =
                line.strip_prefix("devstatus_ingest_lag_seconds_bucket{le=\"")?.split_once("\"} ")?;
            Some((bound.to_owned(), number.parse().ok()?))
        });
        Ok(buckets.collect())
    }

    fn show_lags(&self, before: &[(String, u64)]) -> Outcome<()> {
        let now = self.lags()?;
        let counts: Vec<_> =
            now.iter().zip(before).map(|((bound, now), (_, then))| (bound, now - then)).collect();
        let all = counts.last().map_or(0, |(_, number)| *number);
        let bound = |share: f64| {
            let least = (all as f64 * share).ceil() as u64;
            counts.iter().find(|(_, number)| *number >= least).map_or("+Inf", |(bound, _)| bound.as_str())
        };
        println!(
            "  {all} batches taken within: half of them {} s, 99 of 100 {} s, all {} s",
            bound(0.5),
            bound(0.99),
            bound(1.0)
        );
        Ok(())
    }
}

fn bridge(is_online: bool) -> Message {
    state("zigbee2mqtt/bridge/state".to_owned(), is_online)
}

fn child(number: u32) -> Message {
    state(format!("zigbee2mqtt/plug-{number:06}/availability"), true)
}

fn state(topic: String, is_online: bool) -> Message {
    let state = if is_online { "online" } else { "offline" };
    Message { topic, payload: format!(r#"{{"state":"{state}"}}"#) }
}

fn other(number: u32, step: u32) -> Message {
    let payload = if step.is_multiple_of(2) { "Online" } else { "Offline" };
    Message { topic: format!("tele/lamp-{number:07}/LWT"), payload: payload.to_owned() }
}

/// Looks children up at a steady rate.
fn look_up(url: &str, load: &Load, reader: u32, over: &AtomicBool) -> Outcome<Vec<Lookup>> {
    let mut device = reader;
    let path = || {
        device = random_after(device);
        format!("/zigbee/plug-{:06}", device % load.children)
    };
    lookups::at_rate(url, load.lookups, Instant::now(), path, || over.load(Ordering::Relaxed))
}

/// Publishes changes of other devices at a steady rate.
fn probe(
    publisher: &Mutex<&mut Publisher>,
    others: u32,
    steps: &AtomicU32,
    over: &AtomicBool,
) -> Outcome<()> {
    let mut due = Instant::now();
    while !over.load(Ordering::Relaxed) {
        let step = steps.fetch_add(1, Ordering::Relaxed);
        let mut publisher = publisher.lock().expect("no holder panics");
        publisher.retain(&other(step % others, 1 + step / others))?;
        publisher.write()?;
        drop(publisher);
        due += PROBE_INTERVAL;
        pause(due.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// Prints latencies, and gives the one that one in a hundred exceeds, in microseconds.
fn show(what: &str, mut latencies: Vec<Duration>) -> f64 {
    latencies.sort_unstable();
    let at = |share: usize| latencies.get(latencies.len() * share / 1000).map_or(0, Duration::as_micros);
    println!("  {what}: {} of them, median {} us, p99 {} us", latencies.len(), at(500), at(990));
    at(990) as f64
}

/// Reads the service's stream of changes as fast as it comes, until it ends.
fn follow(address: SocketAddr) -> Outcome<Receiver<(Instant, u32)>> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET /api/v1/events HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    if !status.ends_with(b" 200") {
        return Err("the service refuses the stream".into());
    }
    let (sender, receiver) = channel();
    thread::Builder::new().name("stream".to_owned()).spawn(move || {
        let mut buffer = vec![0; READ_BYTES];
        // What may be the beginning of a child's change is looked at again with the next bytes.
        let mut carried = 0;
        while let Ok(read @ 1..) = stream.read(&mut buffer[carried..]) {
            let (at, bytes) = (Instant::now(), &buffer[..carried + read]);
            let (mut number, mut from) = (0, bytes.len().saturating_sub(CHILD.len() - 1));
            for found in memmem::find_iter(bytes, CHILD) {
                number += 1;
                from = from.max(found + CHILD.len());
            }
            carried = bytes.len() - from;
            buffer.copy_within(from..from + carried, 0);
            // Nobody waits any more once the measurement has ended.
            if number > 0 && sender.send((at, number)).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}
