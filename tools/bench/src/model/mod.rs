//! What broker, store and instances have to do for a fleet of any size, for each way to share the work: a simulation of events
//! (`run`), printed as a table, and held against real instances (`check`).
//!
//! Modelled: the messages that each instance hears; the changed devices that wait, each once; the batches of the writer, with
//! their pause and their largest size; the store as a queue of work on a number of cores; the looks for others' changes, with
//! their pause, the notification and the pages; an instance that dies and comes back. Not modelled: the network, a store that fails,
//! and what HTTP costs. Devices of one class change independently.

mod chance;
mod check;
mod queue;
mod run;
mod scenario;

use self::run::{Counted, Outcome as Played, run as play};
use self::scenario::{Class, Death, Engine, InstanceCosts, Scenario, Sharing, StoreCosts, falling_types};
use crate::{Outcome, Size};

#[derive(clap::Args, Clone)]
pub struct Options {
    /// Devices of the fleets that are modelled.
    #[arg(long, value_delimiter = ',', default_values_t = [10_000_u32, 1_000_000, 10_000_000, 100_000_000])]
    fleets: Vec<u32>,
    /// Instances for each of them.
    #[arg(long, value_delimiter = ',', default_values_t = [2_u32, 3, 6, 50])]
    instances: Vec<u32>,
    /// Status messages of one device in a day.
    #[arg(long, default_value_t = 24.0)]
    messages_per_day: f64,
    /// Share of the devices that flap, and the share of the messages that comes from them.
    #[arg(long, default_value_t = 0.001)]
    flapping: f64,
    #[arg(long, default_value_t = 0.2)]
    flapping_messages: f64,
    /// Device types; the first has the most devices, the second half as many, the third a third.
    #[arg(long, default_value_t = 40)]
    types: u32,
    /// Only this way to share the work, or this store.
    #[arg(long)]
    sharing: Option<Sharing>,
    #[arg(long)]
    store: Option<Engine>,
    /// `--flush-interval-ms` of the instances.
    #[arg(long, default_value_t = 200)]
    flush_interval_ms: u32,
    /// Cores of the store that its work is spread over.
    #[arg(long, default_value_t = 8)]
    store_cores: u32,
    /// Seconds that are simulated; in the middle of them one instance dies and is away for a quarter.
    #[arg(long, default_value_t = 120)]
    seconds: u32,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Start real instances with a real broker and store instead, and compare; `--devices` says how many devices.
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    load: check::Load,
}

pub fn run(size: &Size, options: &Options) -> Outcome<()> {
    if options.check {
        return check::run(size, options);
    }
    if options.fleets.len() != options.instances.len() {
        return Err("--fleets and --instances must list as many numbers".into());
    }
    let sharings = Sharing::ALL.into_iter().filter(|one| options.sharing.is_none_or(|only| only == *one));
    let engines = Engine::ALL.into_iter().filter(|one| options.store.is_none_or(|only| only == *one));
    println!(
        "{} messages of a device in a day, {} % of the devices send {} % of them, flush interval {} ms, {} s",
        options.messages_per_day,
        options.flapping * 100.0,
        options.flapping_messages * 100.0,
        options.flush_interval_ms,
        options.seconds
    );
    println!("| {} |\n|{}", HEADINGS.join(" | "), "---|".repeat(HEADINGS.len()));
    for (devices, instances) in options.fleets.iter().zip(&options.instances) {
        for sharing in sharings.clone() {
            for engine in engines.clone() {
                let scenario = scenario(options, f64::from(*devices), *instances, sharing, engine);
                println!("| {} |", row(&scenario, engine, &play(&scenario)).join(" | "));
            }
        }
    }
    Ok(())
}

const HEADINGS: [&str; 17] = [
    "devices",
    "instances",
    "sharing",
    "store",
    "broker sends/s",
    "instance hears/s, at most",
    "its ingest busy",
    "rows written/s",
    "changes/s",
    "devices read back/s",
    "looks/s",
    "store cores busy",
    "store GB",
    "instance GB",
    "answered everywhere after ms, p50/p99",
    "one dies: unheard/unwritten",
    "known again after s",
];

fn row(scenario: &Scenario, engine: Engine, played: &Played) -> Vec<String> {
    let per_second = |number: f64| format!("{:.0}", number / scenario.seconds);
    let sum = |of: fn(&Counted) -> f64| played.instances.iter().map(of).sum::<f64>();
    let most = |of: &dyn Fn(&Counted) -> f64| played.instances.iter().map(of).fold(0.0, f64::max);
    let costs = &scenario.instance;
    let ingest = most(&|one| one.messages * costs.message + one.peer_updates * costs.peer_updates);
    let mut lags = played.lags.clone();
    lags.sort_unstable_by(f64::total_cmp);
    let lag = |share: f64| lags.get((lags.len() as f64 * share) as usize).map_or(0.0, |lag| lag * 1000.0);
    let gigabytes = |bytes: f64| format!("{:.2}", bytes / 1e9);
    vec![
        format!("{:.0}", scenario.devices()),
        scenario.instances.to_string(),
        scenario.sharing.word().to_owned(),
        engine.word().to_owned(),
        per_second(sum(|one| one.messages)),
        per_second(most(&|one| one.messages)),
        format!("{:.1} %", ingest / scenario.seconds * 100.0),
        per_second(sum(|one| one.rows)),
        per_second(played.changes),
        per_second(sum(|one| one.peer_updates)),
        per_second(sum(|one| one.polls)),
        format!("{:.2}", played.store_busy / scenario.seconds),
        gigabytes(scenario.devices() * scenario.store.bytes_per_device),
        gigabytes(scenario.memory(scenario.devices(), most(&|one| one.waiting_max))),
        // Where every instance hears everything nobody waits for the store.
        if scenario.sharing == Sharing::All {
            "-".to_owned()
        } else {
            format!("{:.0}/{:.0}", lag(0.50), lag(0.99))
        },
        format!("{:.0}/{:.0}", played.unreceived, played.lost),
        format!("{:.0}", scenario.repaired_after()),
    ]
}

fn scenario(options: &Options, devices: f64, instances: u32, sharing: Sharing, engine: Engine) -> Scenario {
    let messages = devices * options.messages_per_day / 86_400.0;
    let seconds = f64::from(options.seconds);
    Scenario {
        classes: classes(devices, messages, options.flapping, options.flapping_messages),
        types: falling_types(options.types),
        instances: instances as usize,
        sharing,
        store: StoreCosts { cores: options.store_cores as usize, ..StoreCosts::of(engine) },
        instance: InstanceCosts::MEASURED,
        flush_pause: f64::from(options.flush_interval_ms) / 2000.0,
        seconds,
        death: (instances > 1).then_some(Death { at: seconds / 2.0, down: seconds / 4.0 }),
        seed: options.seed,
    }
}

/// Those that flap, and the others.
fn classes(devices: f64, messages: f64, flapping: f64, flapping_messages: f64) -> Vec<Class> {
    let some = (devices * flapping).round();
    let of = |devices: f64, share: f64| Class { devices, messages: messages * share };
    let classes = [of(some, flapping_messages), of(devices - some, 1.0 - flapping_messages)];
    classes.into_iter().filter(|class| class.devices >= 1.0).collect()
}
