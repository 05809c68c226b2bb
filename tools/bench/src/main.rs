//! Measures devstatus against peers in the same run: `target/release/bench COMMAND`. Here is the command
//! line; each command has a file of its own and prints one ratio. No command judges its figures, people do.

mod alerts;
mod all;
mod auth;
mod broker;
mod decode;
mod events;
mod growth;
mod http;
mod ingest;
mod instances;
mod last_wills;
mod latencies;
mod latency;
mod list;
mod live;
mod lookup;
mod lookups;
mod memory;
mod messages;
mod model;
mod organization;
mod page;
mod parents;
mod peers;
mod platform_population;
mod population;
mod process;
mod processors;
mod redis;
mod restart;
mod rounds;
mod service;
mod shared_store;
mod socket;
mod spread;
mod sustained;
mod webhooks;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The allocator of the service, for what is measured in this process.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What goes wrong in a measurement ends it; nobody handles the kinds apart.
type Outcome<T> = Result<T, Box<dyn Error>>;

#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    size: Size,
}

/// How much is measured.
#[derive(clap::Args, Clone)]
struct Size {
    /// Devices with a retained status each.
    #[arg(long, global = true, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1..=30_000_000))]
    devices: u32,
    /// How often each side is measured; the sides take turns, the median counts.
    #[arg(long, global = true, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// The devstatus binary to measure; it is built in this program's own profile if none is given.
    #[arg(long, global = true)]
    devstatus: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Several of these in turns, and with --compare the same of another commit: what a change costs or gains.
    All(all::Options),
    /// Microseconds of a core a second that ten alert rules take of a fleet of which half is offline, and bytes for each alert.
    Alerts,
    /// Requests a second with a key on every request, against the same without keys.
    Auth(lookup::Load),
    /// Messages a second that the decoder takes of other sources, against those of the platform.
    Decode,
    /// Milliseconds from MQTT publish to each of many clients of the live changes, against mosquitto's own subscribers.
    Events(events::Load),
    /// How lookup, list page, merge, memory and restart grow from 10,000 devices to --devices; a chart with the exponents.
    Growth(growth::Options),
    /// Messages a second from process start to the last retained status, against `mosquitto_sub` and a bare socket.
    Ingest(ingest::Options),
    /// Requests a second for the status of random devices, against nginx returning an equal answer.
    Lookup(lookup::Load),
    /// Changes a second that three instances write into the store they share, against plain values; memory of a device there.
    Instances(instances::Load),
    /// Median and 99th percentile of lookups at 10, 50 and 90 % of the rate that is reached, by the number of devices.
    Latency(latency::Load),
    /// 99th percentiles of a filtered page of 100 devices and of the summary, against a lookup.
    List(list::Load),
    /// Messages that the service does not get of a stock mosquitto's full rate of changes, against a bare socket.
    Live(live::Load),
    /// Resident bytes per device, against the bytes of its topic and payload.
    Memory(memory::Options),
    /// What instances, broker and store have to do for up to 100 million devices, simulated; --check: against real ones.
    Model(model::Options),
    /// Milliseconds until the web page's first view is drawn, against a static page from nginx; lookups beside a tab, against a stream.
    Page(page::Load),
    /// Milliseconds from the message of a parent of 10,000 devices to their changes; lookups meanwhile, against the same without.
    Parents(parents::Load),
    /// Seconds from process start to the first correct answer from the store, against redis-server loading an RDB.
    Restart,
    /// Milliseconds from MQTT publish until each of three instances that share a store tells of it, against one alone.
    Spread(spread::Load),
    /// Latency of lookups while statuses change, against the same without; whether the service keeps up; what it keeps.
    Sustained(sustained::Load),
    /// Devices right of all, and time to `complete`, on a stock mosquitto, which drops, against `mosquitto_sub` and paho.
    Population(population::Options),
    /// The same on a stand-in for the platform's broker, which keeps 5,000 messages for one subscription.
    PlatformPopulation(peers::Given),
    /// Milliseconds from MQTT publish to each of ten webhooks; lookups meanwhile, against the same without webhooks.
    Webhooks(webhooks::Load),
}

fn main() -> ExitCode {
    let Arguments { command, size } = Arguments::parse();
    if let Err(error) = process::end_all_with_signals() {
        eprintln!("bench: {error}");
        return ExitCode::FAILURE;
    }
    let outcome = match command {
        Command::All(options) => all::run(&size, &options),
        Command::Alerts => alerts::run(&size),
        Command::Auth(load) => auth::run(&size, &load),
        Command::Decode => decode::run(&size),
        Command::Events(load) => events::run(&size, &load),
        Command::Growth(options) => growth::run(&size, &options),
        Command::Ingest(options) => ingest::run(&size, &options),
        Command::Instances(load) => instances::run(&size, &load),
        Command::Lookup(load) => lookup::run(&size, &load),
        Command::Latency(load) => latency::run(&size, &load),
        Command::List(load) => list::run(&size, &load),
        Command::Live(load) => live::run(&size, &load),
        Command::Memory(options) => memory::run(&size, &options),
        Command::Population(options) => population::run(&size, &options),
        Command::PlatformPopulation(given) => platform_population::run(&size, &given),
        Command::Model(options) => model::run(&size, &options),
        Command::Page(load) => page::run(&size, &load),
        Command::Parents(load) => parents::run(&size, &load),
        Command::Restart => restart::run(&size),
        Command::Spread(load) => spread::run(&size, &load),
        Command::Sustained(load) => sustained::run(&size, &load),
        Command::Webhooks(load) => webhooks::run(&size, &load),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}
