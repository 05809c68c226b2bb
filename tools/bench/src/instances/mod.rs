//! Merged changes a second that three instances write into the store they share, each following the changes of the other two,
//! against the same instances setting plain values; and what a device takes in the store's memory, against its message as a
//! plain value under a key of its own. The instances are the stores of three instances, not whole ones: what the messages
//! cost before they reach the store is measured elsewhere.

mod database;
mod grid;

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use formats::iot_platform::{PlatformMessage, decode};
use presence::history::HistoryEvent;
use presence::{Device, DeviceName, DeviceState, PresenceEvent, UnixSeconds};
use store::settings::StoreSettings;
use store::{self, Batch, Store, StoredDevice};

use crate::messages::{self, Message};
use crate::process::until;
use crate::rounds::{Figures, print_ratio};
use crate::{Outcome, Size};

const INSTANCES: u32 = 3;
/// As the service writes them at most.
const BATCH: usize = 4_096;
/// How long the last change may take to be everywhere.
const FOLLOW_BOUND: Duration = Duration::from_secs(60);

#[derive(clap::Args)]
pub struct Load {
    /// Which store, started for it: Debian's PostgreSQL, or a cluster of six redis-servers.
    #[arg(long, value_enum, default_value_t = Kind::Valkey)]
    store: Kind,
    /// Changes of each device in each round.
    #[arg(long, default_value_t = 1)]
    changes: u32,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Postgres,
    Valkey,
}

pub fn run(size: &Size, load: &Load) -> Outcome<()> {
    match load.store {
        Kind::Postgres => database::run(size, load),
        Kind::Valkey => grid::run(size, load),
    }
}

/// The store's own server with plain values in it: what the peer sets, and what both sides take there.
trait Plain {
    fn settings(&self) -> StoreSettings;

    /// Bytes in use once nothing is kept.
    fn emptied(&self) -> Outcome<u64>;

    fn used(&self) -> Outcome<u64>;

    /// Seconds that as many connections as there are instances take to set the devices' messages.
    fn set(&self, devices: u32, message: impl Fn(u32) -> Message + Sync) -> Outcome<f64>;
}

/// What the ratios and the figures of the peer are called.
struct Names {
    room: &'static str,
    value: &'static str,
    set: &'static str,
}

fn measure(plain: &impl Plain, names: &Names, size: &Size, load: &Load) -> Outcome<()> {
    let mut ours = Figures::new("devstatus", "changes/s");
    let mut delay = Figures::new("until all have followed", "ms after the last write");
    let mut peer = Figures::new(names.set, "changes/s");
    let mut our_bytes = Figures::new("devstatus", "bytes/device");
    let mut peer_bytes = Figures::new(names.value, "bytes/device");
    let devices = f64::from(size.devices);
    let settings = plain.settings();
    for round in 1..=size.rounds {
        println!("round {round}");
        let empty = plain.emptied()?;
        plain.set(size.devices, messages::message)?;
        peer_bytes.push((plain.used()? - empty) as f64 / devices);
        let mut seconds = 0.0;
        for change in 0..load.changes {
            seconds += plain.set(size.devices, |device| messages::change(device, change))?;
        }
        peer.push(devices * f64::from(load.changes) / seconds);

        let empty = plain.emptied()?;
        write(&settings, size.devices, |device| batch_part(device, &messages::message(device), false))?;
        our_bytes.push((plain.used()? - empty) as f64 / devices);
        let (changes, late) = change_all(&settings, size, load)?;
        ours.push(changes);
        delay.push(late);
    }
    print_ratio(names.room, &our_bytes, &peer_bytes);
    print_ratio("changes", &ours, &peer);
    Ok(())
}

/// Changes every device as often as the load says: changes a second, and the milliseconds after the last write until all
/// instances had followed.
fn change_all(settings: &StoreSettings, size: &Size, load: &Load) -> Outcome<(f64, f64)> {
    let (mut seconds, mut late) = (0.0, 0.0);
    for change in 0..load.changes {
        let part = |device| batch_part(device, &messages::change(device, change), true);
        let (written, followed) = write(settings, size.devices, part)?;
        seconds += written;
        late = f64::max(late, followed * 1000.0);
    }
    Ok((f64::from(size.devices) * f64::from(load.changes) / seconds, late))
}

/// The devices of one instance.
fn share(devices: u32, instance: u32) -> impl Iterator<Item = u32> {
    (0..devices).filter(move |device| device % INSTANCES == instance)
}

/// What one message becomes on its way to the store.
fn batch_part(device: u32, message: &Message, with_event: bool) -> (StoredDevice, Option<HistoryEvent>) {
    let received_at = UnixSeconds(1_800_000_000 + device % 1000);
    let (name, event) = decoded(message);
    let entry = with_event.then(|| HistoryEvent::of(name.device(), event.clone(), received_at));
    let mut state = DeviceState::default();
    state.apply(event);
    (StoredDevice { name, state, received_at }, entry)
}

fn decoded(message: &Message) -> (DeviceName, PresenceEvent) {
    match decode(message.topic.as_bytes(), message.payload.as_bytes()) {
        PlatformMessage::Event { device: Device { device_type, id }, event, .. } => {
            (DeviceName { device_type: device_type.into(), id: id.into() }, event)
        }
        _ => unreachable!("the messages are statements; a test says so"),
    }
}

/// Seconds until everything was written, and from then until every instance had seen all that the others wrote.
fn write(
    settings: &StoreSettings,
    devices: u32,
    part: impl Fn(u32) -> (StoredDevice, Option<HistoryEvent>) + Sync,
) -> Outcome<(f64, f64)> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut stores: Vec<Arc<dyn Store>> = Vec::new();
    let followers: Vec<Arc<Follower>> = (0..INSTANCES).map(|_| Arc::default()).collect();
    for follower in &followers {
        let store = runtime.block_on(store::open(settings))?.store;
        runtime.spawn(Arc::clone(follower).follow(Arc::clone(&store)));
        stores.push(store);
    }
    let all = |have: &dyn Fn(&Follower) -> bool| {
        until("the followers", FOLLOW_BOUND, || {
            match followers.iter().find_map(|follower| follower.failed.get()) {
                Some(error) => Err(format!("an instance cannot follow: {error}").into()),
                None => Ok(followers.iter().all(|follower| have(follower))),
            }
        })
    };
    // The followers have begun before anything is written.
    all(&|follower| follower.begun.load(Ordering::Relaxed))?;
    let started = Instant::now();
    thread::scope(|scope| {
        let (runtime, part) = (&runtime, &part);
        let running: Vec<_> = stores
            .iter()
            .zip(0..)
            .map(|(store, instance)| {
                scope.spawn(move || {
                    let devices: Vec<u32> = share(devices, instance).collect();
                    devices.chunks(BATCH).try_for_each(|some| {
                        let mut batch = Batch::default();
                        for (device, entry) in some.iter().map(|device| part(*device)) {
                            batch.devices.push(device);
                            batch.events.extend(entry);
                        }
                        runtime.block_on(store.upsert(Arc::new(batch)))
                    })
                })
            })
            .collect();
        running.into_iter().try_for_each(|one| one.join().unwrap_or(Err(store::StoreError::Ended)))
    })?;
    let written = started.elapsed().as_secs_f64();
    all(&|follower| follower.seen.load(Ordering::Relaxed) >= u64::from(devices))?;
    Ok((written, started.elapsed().as_secs_f64() - written))
}

/// One instance that follows the changes of all.
#[derive(Default)]
struct Follower {
    begun: AtomicBool,
    /// Changes that have come; each device changes once.
    seen: AtomicU64,
    failed: OnceLock<store::StoreError>,
}

impl Follower {
    async fn follow(self: Arc<Self>, store: Arc<dyn Store>) {
        let Err(error) = self.follow_on(&*store).await;
        self.failed.get_or_init(|| error);
    }

    /// As an instance does, until something fails.
    async fn follow_on(&self, store: &dyn Store) -> Result<Infallible, store::StoreError> {
        let mut cursor = store.cursor().await?;
        self.begun.store(true, Ordering::Relaxed);
        loop {
            let changes = store.changes(cursor.clone(), 2_000).await?;
            self.seen.fetch_add(changes.devices.len() as u64, Ordering::Relaxed);
            if std::mem::replace(&mut cursor, changes.cursor) == cursor {
                tokio::time::sleep(Duration::from_millis(20)).await;
                let _ = tokio::time::timeout(Duration::from_millis(500), store.change_notified()).await;
            }
        }
    }
}
