//! The model held against the real thing: a mosquitto, a store, a few instances, a known load; what each instance counts in its
//! metrics beside what the model says of the same load. From the run the model is told how fast the messages came and how long
//! a batch took, which is for the machine to say; everything that is compared it works out itself.

use std::path::Path;
use std::time::{Duration, Instant};

use super::chance::Chance;
use super::run::run as play;
use super::scenario::{Class, DeviceType, Engine, InstanceCosts, Scenario, Sharing, StoreCosts};
use super::{Options, classes};
use crate::broker::{Broker, Publisher};
use crate::messages::{TYPES, change, device_type};
use crate::process::{pause, until};
use crate::service::{Service, binary};
use crate::shared_store::SharedStore;
use crate::{Outcome, Size};

/// How far the model may be off.
const TOLERANCE: f64 = 0.20;
/// Fewer than so many are left to chance.
const COMPARED_FROM: f64 = 100.0;
const SETTLE_BOUND: Duration = Duration::from_secs(120);
/// The messages of so long are sent at once.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(5);

/// What real instances are given to do.
#[derive(clap::Args, Clone)]
pub struct Load {
    /// With --check: messages a second.
    #[arg(long, default_value_t = 1_000)]
    messages: u32,
    /// With --check: seconds of messages.
    #[arg(long, default_value_t = 20)]
    load_seconds: u32,
    /// With --check: instances.
    #[arg(long, default_value_t = 3)]
    real_instances: u32,
}

/// What an instance has counted, as its metrics name it.
const COUNTERS: [(&str, &str); 4] = [
    ("messages heard", "devstatus_messages_received_total"),
    ("devices written", "devstatus_store_devices_written_total"),
    ("events written", "devstatus_store_events_written_total"),
    ("peer updates from the store", "devstatus_store_peer_updates_total"),
];
/// Counted apart, and told all the same.
const PEER_UPDATES_KNOWN: &str = "devstatus_store_peer_updates_known_total";

struct Measured {
    counts: Vec<[f64; 4]>,
    bytes: Vec<f64>,
    empty_bytes: f64,
    published: f64,
    seconds: f64,
    batch_seconds: f64,
}

pub fn run(size: &Size, options: &Options) -> Outcome<()> {
    let binary = binary(size)?;
    let mut worst = 0.0_f64;
    for engine in Engine::ALL.into_iter().filter(|one| options.store.is_none_or(|only| only == *one)) {
        for sharing in Sharing::ALL.into_iter().filter(|one| options.sharing.is_none_or(|only| only == *one))
        {
            println!("\n{}, {}", sharing.word(), engine.word());
            worst = worst.max(compare(size, options, &binary, (engine, sharing))?);
        }
    }
    println!("\nthe model is off by {:.1} % at most; allowed are {:.0} %", worst * 100.0, TOLERANCE * 100.0);
    if worst <= TOLERANCE { Ok(()) } else { Err("the model does not tell what happens".into()) }
}

/// How far the model is off at most.
fn compare(size: &Size, options: &Options, binary: &Path, kind: (Engine, Sharing)) -> Outcome<f64> {
    let (engine, sharing) = kind;
    let measured = measure(size, options, binary, kind)?;
    let devices = f64::from(size.devices);
    let messages = measured.published / measured.seconds;
    let scenario = Scenario {
        classes: classes(devices, messages, options.flapping, options.flapping_messages),
        types: bench_types(),
        instances: measured.counts.len(),
        sharing,
        store: StoreCosts {
            batch: measured.batch_seconds,
            row: 0.0,
            known_row: 0.0,
            cores: 64,
            ..StoreCosts::of(engine)
        },
        instance: InstanceCosts { base_bytes: measured.empty_bytes, ..InstanceCosts::MEASURED },
        flush_pause: f64::from(options.flush_interval_ms) / 2000.0,
        seconds: measured.seconds,
        death: None,
        seed: options.seed,
    };
    let modelled = play(&scenario);
    let mut worst = 0.0_f64;
    let mut line = |what: &str, number: usize, real: f64, model: f64| {
        let off = if real.max(model) < COMPARED_FROM { 0.0 } else { (model / real - 1.0).abs() };
        println!(
            "  instance {number}: {what:<26} {real:>12.0} real {model:>12.0} modelled  {:>6.1} % off",
            off * 100.0
        );
        worst = worst.max(off);
    };
    for (number, (real, model)) in measured.counts.iter().zip(&modelled.instances).enumerate() {
        let modelled = [model.messages, model.rows, model.events, model.peer_updates];
        for (((what, _), real), model) in COUNTERS.iter().zip(real).zip(modelled) {
            line(what, number, *real, model);
        }
        line("resident bytes", number, measured.bytes[number], scenario.memory(devices, model.waiting_max));
    }
    Ok(worst)
}

fn measure(size: &Size, options: &Options, binary: &Path, kind: (Engine, Sharing)) -> Outcome<Measured> {
    let (engine, sharing) = kind;
    let empty_bytes = empty(binary)?;
    let broker = Broker::start(size.devices)?;
    let mut store = match engine {
        Engine::Postgres => SharedStore::postgres()?,
        Engine::Valkey => SharedStore::redis()?,
    };
    let mut services = (0..options.load.real_instances)
        .map(|number| start(options, binary, (&broker.url(), &store.url), sharing, number))
        .collect::<Outcome<Vec<_>>>()?;
    for service in &mut services {
        service.wait_for_devices(size.devices)?;
        service.wait_until_ready()?;
    }
    settle(&services)?;
    let held = store.file_bytes()?.max(store.resident_bytes()?) as f64 / f64::from(size.devices);
    let before = State::of(&services, &mut store)?;
    let classes = classes(
        size.devices.into(),
        options.load.messages.into(),
        options.flapping,
        options.flapping_messages,
    );
    let (published, seconds) = publish(&broker, &classes, options)?;
    settle(&services)?;
    let after = State::of(&services, &mut store)?;
    let batch_seconds = (after.batch_seconds - before.batch_seconds) / (after.batches - before.batches);
    let counts: Vec<[f64; 4]> = std::iter::zip(&after.counts, &before.counts)
        .map(|(after, before)| std::array::from_fn(|counter| after[counter] - before[counter]))
        .collect();
    let written: f64 = counts.iter().map(|counts| counts[1]).sum();
    println!(
        "  {published:.0} messages in {seconds:.1} s; {:.0} batches of {:.1} ms; {:.0} us of the store's cores a row, {:.0} us of an \
         instance's a message; {held:.0} bytes of the store a device",
        after.batches - before.batches,
        batch_seconds * 1e3,
        (after.store_cpu - before.store_cpu) / written * 1e6,
        (after.instances_cpu - before.instances_cpu) / counts.iter().map(|counts| counts[0]).sum::<f64>()
            * 1e6,
    );
    let bytes = services.iter().map(|service| Ok(service.process.resident_bytes()?.now as f64));
    let bytes = bytes.collect::<Outcome<Vec<_>>>()?;
    Ok(Measured { counts, bytes, empty_bytes, published, seconds, batch_seconds })
}

/// What everybody has counted so far.
struct State {
    counts: Vec<[f64; 4]>,
    batches: f64,
    batch_seconds: f64,
    store_cpu: f64,
    instances_cpu: f64,
}

impl State {
    fn of(services: &[Service], store: &mut SharedStore) -> Outcome<Self> {
        let mut state = Self {
            counts: counts(services)?,
            batches: 0.0,
            batch_seconds: 0.0,
            store_cpu: store.cpu_seconds()?,
            instances_cpu: 0.0,
        };
        for service in services {
            state.batches += service.figure("devstatus_store_flush_duration_seconds_count")?;
            state.batch_seconds += service.figure("devstatus_store_flush_duration_seconds_sum")?;
            state.instances_cpu += service.process.processor_time()?.as_secs_f64();
        }
        Ok(state)
    }
}

fn counts(services: &[Service]) -> Outcome<Vec<[f64; 4]>> {
    let of = |service: &Service| -> Outcome<[f64; 4]> {
        let mut counts = [0.0; 4];
        for (count, (_, name)) in counts.iter_mut().zip(COUNTERS) {
            *count = service.figure(name)?;
        }
        counts[3] += service.figure(PEER_UPDATES_KNOWN)?;
        Ok(counts)
    };
    services.iter().map(of).collect()
}

/// Resident bytes of a service without a device.
fn empty(binary: &Path) -> Outcome<f64> {
    let broker = Broker::start(0)?;
    let mut service = Service::start(binary, &broker)?;
    service.wait_until_ready()?;
    Ok(service.process.resident_bytes()?.now as f64)
}

fn start(
    options: &Options,
    binary: &Path,
    to: (&str, &str),
    sharing: Sharing,
    number: u32,
) -> Outcome<Service> {
    let (broker, store) = to;
    let flush = options.flush_interval_ms.to_string();
    let part = format!("{}/{}", number + 1, options.load.real_instances);
    let types: Vec<String> = bench_types().into_iter().map(|one| one.name).collect();
    let types = types.join(",");
    let mut arguments =
        vec!["--store", store, "--flush-interval-ms", &flush, "--reconcile-interval", "86400"];
    arguments.extend(match sharing {
        Sharing::All => vec![],
        Sharing::Shared => vec!["--share", "bench"],
        Sharing::Partition => vec!["--partition", &part, "--types", &types],
    });
    Service::start_as(&format!("bench-{number}"), binary, broker, &arguments)
}

/// Those of the messages that the broker is filled with, all of one size.
fn bench_types() -> Vec<DeviceType> {
    let of = |number| DeviceType { name: device_type(number), share: 1.0 / f64::from(TYPES) };
    (0..TYPES).map(of).collect()
}

/// Waits until nothing waits to be written and nobody hears or reads anything any more.
fn settle(services: &[Service]) -> Outcome<()> {
    // Longer than between two looks for changes.
    const QUIET: Duration = Duration::from_millis(1_500);
    let (mut last, mut since) = (counts(services)?, Instant::now());
    until("all to be written and read", SETTLE_BOUND, || {
        pause(Duration::from_millis(100));
        let now = counts(services)?;
        let mut waiting = 0.0;
        for service in services {
            waiting += service.figure("devstatus_store_devices_waiting")?;
            waiting += service.figure("devstatus_store_events_waiting")?;
        }
        if now != last || waiting > 0.0 {
            (last, since) = (now, Instant::now());
        }
        Ok(since.elapsed() >= QUIET)
    })
}

/// Publishes changes of devices by chance; gives how many there were and how long it took.
fn publish(broker: &Broker, classes: &[Class], options: &Options) -> Outcome<(f64, f64)> {
    let mut publisher = Publisher::connect(broker.port)?;
    let mut chance = Chance(options.seed);
    let devices: f64 = classes.iter().map(|class| class.devices).sum();
    let mut steps = vec![0; devices as usize];
    let (started, lasts) = (Instant::now(), Duration::from_secs(options.load.load_seconds.into()));
    let (mut published, mut due) = (0.0, Duration::ZERO);
    while due < lasts {
        let mut first = 0.0;
        for class in classes {
            let count = chance.count(class.messages * PUBLISH_INTERVAL.as_secs_f64());
            for _ in 0..count as u32 {
                let device = (first + chance.share() * class.devices) as usize;
                publisher.retain(&change(device as u32, steps[device]))?;
                steps[device] += 1;
            }
            published += count;
            first += class.devices;
        }
        publisher.write()?;
        due += PUBLISH_INTERVAL;
        pause(due.saturating_sub(started.elapsed()));
    }
    publisher.flush()?;
    Ok((published, started.elapsed().as_secs_f64()))
}
