//! Resident bytes per device, against the bytes of topic and payload: what the service holds with every device less what
//! it holds with none, divided by their number. What the broker takes for the same messages is printed beside it.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::process::{Resident, pause};
use crate::rounds::{Figures, print_ratio};
use crate::service::{Service, binary};
use crate::{Outcome, Size};

/// Memory counts as settled once it has not changed for this long.
const SETTLED: Duration = Duration::from_millis(500);
/// It is taken as it is after this long.
const SETTLE_BOUND: Duration = Duration::from_secs(10);

pub fn run(size: &Size) -> Outcome<()> {
    let binary = binary(size)?;
    let empty_broker = Broker::start(0)?;
    let empty_bytes = empty_broker.process.resident_bytes()?.now;
    let broker = Broker::start(size.devices)?;
    let devices = f64::from(size.devices);
    let broker_bytes = broker.process.resident_bytes()?.now.saturating_sub(empty_bytes) as f64;
    println!("mosquitto itself holds {:.1} resident bytes per message", broker_bytes / devices);
    let mut ours = Figures::new("devstatus", "resident bytes/device");
    let mut peak = Figures::new("devstatus, at its peak", "resident bytes/device");
    let mut peer = Figures::new("topic and payload", "bytes/device");
    for round in 1..=size.rounds {
        println!("round {round}");
        let empty = resident(&binary, &empty_broker, 0)?;
        let full = resident(&binary, &broker, size.devices)?;
        ours.push(full.now.saturating_sub(empty.now) as f64 / devices);
        peak.push(full.peak.saturating_sub(empty.peak) as f64 / devices);
        peer.push(broker.message_bytes as f64 / devices);
    }
    println!("\nat its peak                {:>14.1} resident bytes/device, median", peak.median());
    print_ratio("memory", &ours, &peer);
    Ok(())
}

/// What a service takes once it knows so many devices, is ready and has settled.
fn resident(binary: &Path, broker: &Broker, devices: u32) -> Outcome<Resident> {
    let mut service = Service::start(binary, broker)?;
    service.wait_for_devices(devices)?;
    service.wait_until_ready()?;
    let deadline = Instant::now() + SETTLE_BOUND;
    loop {
        let before = service.process.resident_bytes()?;
        pause(SETTLED);
        let after = service.process.resident_bytes()?;
        if before == after || Instant::now() >= deadline {
            return Ok(after);
        }
    }
}
