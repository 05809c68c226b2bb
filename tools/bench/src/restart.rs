//! Seconds from the start of the process to the first correct answer, with every device in the store's file, against
//! redis-server loading an RDB file of the same keys and payloads. Neither has anybody else to ask: the broker of ours is out
//! of reach, so what is answered comes from the file.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use formats::iot_platform::{PlatformMessage, decode};
use presence::{DeviceName, DeviceState};
use server::clock;
use store::sqlite::SqliteStore;
use store::{Batch, Retention, Store, StoredDevice};

use crate::messages::{message, path};
use crate::process::free_port;
use crate::redis::Dump;
use crate::rounds::{Figures, print_ratio};
use crate::service::{Service, binary};
use crate::{Outcome, Size};

/// Devices that are written at once, before anything is measured.
const WRITTEN_AT_ONCE: usize = 20_000;
/// So many devices are asked for after each start, and their answers compared with what was written.
const CHECKED: u32 = 500;

pub fn run(size: &Size) -> Outcome<()> {
    let binary = binary(size)?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("store.db");
    let started = Instant::now();
    fill(&file, 0..size.devices)?;
    println!(
        "{} devices written to a file of {} MB in {:.0} s",
        size.devices,
        megabytes(file.metadata()?.len()),
        started.elapsed().as_secs_f64()
    );
    let started = Instant::now();
    let dump = Dump::make(size.devices)?;
    println!(
        "the same in an RDB file of {} MB in {:.0} s",
        megabytes(dump.bytes()?),
        started.elapsed().as_secs_f64()
    );
    let mut ours = Figures::new("devstatus", "ms");
    let mut peer = Figures::new("redis-server", "ms");
    let mut memory = Figures::new("devstatus, resident", "MB");
    let mut peer_memory = Figures::new("redis-server, resident", "MB");
    for round in 1..=size.rounds {
        println!("round {round}");
        let asked = round.wrapping_mul(2_654_435_761) % size.devices;
        let started = Instant::now();
        let mut redis = dump.start()?;
        let answer = redis.wait_until_it_answers(asked)?;
        peer.push(started.elapsed().as_secs_f64() * 1e3);
        if answer.as_ref() != Some(&message(asked).payload) {
            return Err(format!("redis-server answers {answer:?} for {}", path(asked)).into());
        }
        peer_memory.push(megabytes(redis.process.resident_bytes()?.now) as f64);
        drop(redis);
        let started = Instant::now();
        let service = restart(&binary, &file)?;
        service.check_answer(&path(asked), &message(asked).payload)?;
        ours.push(started.elapsed().as_secs_f64() * 1e3);
        memory.push(megabytes(service.process.resident_bytes()?.now) as f64);
        for device in (0..size.devices).step_by((size.devices / CHECKED).max(1) as usize) {
            service.check_answer(&path(device), &message(device).payload)?;
        }
    }
    print_ratio("memory after a restart", &memory, &peer_memory);
    print_ratio("restart", &ours, &peer);
    Ok(())
}

/// The service with that file, and with nobody else to ask.
pub fn restart(binary: &Path, file: &Path) -> Outcome<Service> {
    let nobody = format!("mqtt://127.0.0.1:{}", free_port()?);
    Service::start_with(binary, &nobody, &["--store", &format!("sqlite:{}", file.display())])
}

/// Writes the statuses of these devices, as the service would.
pub fn fill(file: &Path, devices: Range<u32>) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let store = SqliteStore::open(file, Retention { per_device: 1 })?;
    for first in devices.clone().step_by(WRITTEN_AT_ONCE) {
        let some = first..devices.end.min(first.saturating_add(WRITTEN_AT_ONCE as u32));
        let devices = some.map(stored).collect::<Outcome<_>>()?;
        runtime.block_on(store.upsert(Arc::new(Batch { devices, ..Batch::default() })))?;
    }
    Ok(())
}

fn stored(device: u32) -> Outcome<StoredDevice> {
    let message = message(device);
    let PlatformMessage::Event { device, event, .. } =
        decode(message.topic.as_bytes(), message.payload.as_bytes())
    else {
        return Err(format!("{} is no status", message.payload).into());
    };
    let name = DeviceName { device_type: device.device_type.into(), id: device.id.into() };
    let mut state = DeviceState::default();
    state.apply(event);
    Ok(StoredDevice { name, state, received_at: clock::now() })
}

fn megabytes(bytes: u64) -> u64 {
    bytes / (1 << 20)
}
