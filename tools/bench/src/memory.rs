//! Resident bytes per device, against the bytes of topic and payload: what the service holds with every device less what
//! it holds with none, divided by their number. What the broker takes for the same messages is printed beside it. With the
//! default store, once everything is written, unless another is named.

use std::path::Path;
use std::time::{Duration, Instant};

use platform_broker::{Limits, PlatformBroker};

use crate::broker::Broker;
use crate::last_wills::LastWills;
use crate::messages::{self, Message, Shape};
use crate::process::{Resident, pause, until};
use crate::rounds::{Figures, print_ratio};
use crate::service::{Service, binary};
use crate::{Outcome, Size};

/// Memory counts as settled once it has hardly changed for this long: the allocator gives back what was freed after a second.
const SETTLED: Duration = Duration::from_secs(3);
/// A change by less than this share of the whole is hardly one.
const SETTLED_SHARE: u64 = 200;
/// How long the service may take to write what it has.
const WRITE_BOUND: Duration = Duration::from_secs(300);
/// It is taken as it is after this long.
const SETTLE_BOUND: Duration = Duration::from_secs(60);

#[derive(clap::Args, Clone)]
pub struct Options {
    /// How the senders write the platform's fields.
    #[arg(long, value_enum, default_value_t = Shape::Exact)]
    shape: Shape,
    /// The devices of this source, for example tasmota, instead of the platform's. What no client retains comes from a stand-in for a
    /// broker, after the service has subscribed.
    #[arg(long, conflicts_with = "shape")]
    source: Option<String>,
    /// The store, for example `memory:`, instead of the default one.
    #[arg(long)]
    store: Option<String>,
}

pub fn run(size: &Size, options: &Options) -> Outcome<()> {
    let binary = binary(size)?;
    let empty_broker = Broker::start(0)?;
    let empty_bytes = empty_broker.process.resident_bytes()?.now;
    let fleet =
        options.source.as_deref().map(|source| LastWills::of_any(source, size.devices)).transpose()?;
    let platform = |device| messages::written_as(options.shape, messages::message(device));
    let retained: Box<dyn Iterator<Item = Message>> = match &fleet {
        Some(fleet) if fleet.is_retained() => Box::new(fleet.messages()),
        Some(_) => Box::new(std::iter::empty()),
        None => Box::new((0..size.devices).map(platform)),
    };
    let broker = Broker::roomy(size.devices, retained)?;
    let mut arguments = vec!["--source", options.source.as_deref().unwrap_or("iot-platform")];
    arguments.extend(options.store.as_deref().iter().flat_map(|store| ["--store", store]));
    let devices = f64::from(size.devices);
    let broker_bytes = broker.process.resident_bytes()?.now.saturating_sub(empty_bytes) as f64;
    println!("mosquitto itself holds {:.1} resident bytes per message", broker_bytes / devices);
    let watched = fleet.as_ref().filter(|fleet| !fleet.is_retained());
    let message_bytes = watched.map_or(broker.message_bytes, LastWills::event_bytes);
    let mut ours = Figures::new("devstatus", "resident bytes/device");
    let mut peak = Figures::new("devstatus, at its peak", "resident bytes/device");
    let mut peer = Figures::new("topic and payload", "bytes/device");
    for round in 1..=size.rounds {
        println!("round {round}");
        let empty = resident(&binary, &empty_broker, &arguments, 0)?;
        let full = match watched {
            Some(fleet) => resident_after_events(&binary, fleet, &arguments, size.devices)?,
            None => resident(&binary, &broker, &arguments, size.devices)?,
        };
        ours.push(full.now.saturating_sub(empty.now) as f64 / devices);
        peak.push(full.peak.saturating_sub(empty.peak) as f64 / devices);
        peer.push(message_bytes as f64 / devices);
    }
    println!("\nat its peak                {:>14.1} resident bytes/device, median", peak.median());
    print_ratio("memory", &ours, &peer);
    Ok(())
}

/// What a service takes once it knows so many devices, is ready and has settled.
fn resident(binary: &Path, broker: &Broker, arguments: &[&str], devices: u32) -> Outcome<Resident> {
    let mut service = Service::start_with(binary, &broker.url(), arguments)?;
    service.wait_for_devices(devices)?;
    service.wait_until_ready()?;
    settled(&service)
}

/// The same of devices whose states nobody retains: what they and their broker say comes while the service listens.
fn resident_after_events(
    binary: &Path,
    fleet: &LastWills,
    arguments: &[&str],
    devices: u32,
) -> Outcome<Resident> {
    let broker =
        PlatformBroker::start(Limits { buffer_messages: usize::MAX, any_topics: true, ..Limits::default() });
    let mut service = Service::start_with(binary, &broker.url(), arguments)?;
    service.wait_until_ready()?;
    for event in fleet.events() {
        broker.publish(&event.topic, event.payload, event.is_retained);
    }
    service.wait_for_devices(devices)?;
    settled(&service)
}

/// What the service takes once that hardly changes.
fn settled(service: &Service) -> Outcome<Resident> {
    until("everything to be written", WRITE_BOUND, || service.is_all_written())?;
    let deadline = Instant::now() + SETTLE_BOUND;
    loop {
        let before = service.process.resident_bytes()?;
        pause(SETTLED);
        let after = service.process.resident_bytes()?;
        let is_settled = before.now.abs_diff(after.now) < after.now / SETTLED_SHARE;
        if is_settled || Instant::now() >= deadline {
            return Ok(after);
        }
    }
}
