//! A store to hold a promise against, and the small values that promises are made of.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use presence::history::HistoryEvent;
use presence::payload::Payload;
use presence::{DeviceName, DeviceState, EventKind, Moment, PresenceEvent, UnixSeconds};
use store::{Batch, LoadSink, Store, StoredDevice};
use tokio::runtime::Runtime;

use crate::places::Place;

/// An empty store of its own in a place.
pub struct Fixture<'a> {
    store: Option<Arc<dyn Store>>,
    place: &'a dyn Place,
    name: String,
}

impl<'a> Fixture<'a> {
    pub fn new(place: &'a dyn Place) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("store_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let store = Some(place.open(&name));
        Self { store, place, name }
    }

    /// The store once more, as another instance has it.
    pub fn another(&self) -> Arc<dyn Store> {
        self.place.open(&self.name)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn shared(&self) -> Arc<dyn Store> {
        Arc::clone(self.store.as_ref().unwrap())
    }

    pub fn store(&self) -> &dyn Store {
        &**self.store.as_ref().unwrap()
    }

    /// Closes the store and opens it again, if there is anything left of it then.
    pub fn reopen(&mut self) {
        if self.place.outlives() {
            self.store = None;
            self.store = Some(self.another());
        }
    }

    pub fn put(&self, batch: Batch) {
        wait(self.store().upsert(Arc::new(batch))).unwrap();
    }

    pub fn all(&self) -> BTreeMap<DeviceName, (DeviceState, UnixSeconds)> {
        let sink = Arc::new(Collected::default());
        wait(self.store().load(Arc::clone(&sink) as Arc<dyn LoadSink>)).unwrap();
        let devices = std::mem::take(&mut *sink.0.lock().unwrap());
        let number = devices.len();
        let all: BTreeMap<_, _> =
            devices.into_iter().map(|device| (device.name, (device.state, device.received_at))).collect();
        assert_eq!(all.len(), number, "each device comes once");
        all
    }

    pub fn history(&self, id: &str, before: Option<u64>, limit: usize) -> Vec<presence::history::HistoryRow> {
        wait(self.store().history(name(id), before, limit)).unwrap()
    }

    /// All steps of a pruning; the events that were dropped because of the time.
    pub fn prune(&self, received_before: UnixSeconds) -> u64 {
        const STEPS_MAX: usize = 1_000;
        let mut expired = 0;
        for _ in 0..STEPS_MAX {
            let step = wait(self.store().prune(received_before)).unwrap();
            expired += step.expired;
            if step.is_all {
                return expired;
            }
        }
        panic!("the pruning does not end");
    }
}

/// Instances that write at once, and the batches of each.
pub const WRITERS: usize = 4;
const BATCHES: usize = 60;

/// Several instances write at once while somebody reads. A batch is made of the numbers of its writer, of itself, and of what
/// it holds: they are of different sizes, so that a later one may commit first. `read` looks once, and is told whether all had
/// been written before the look; what it returns ends the reading.
pub fn while_several_write<T: Send>(
    fixture: &Fixture<'_>,
    batch: impl Fn(usize, usize, usize) -> Batch + Sync,
    mut read: impl FnMut(bool) -> Option<T> + Send,
) -> T {
    let writing = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            loop {
                // Asked before the look: what was written by then is found by it.
                let last = !writing.load(Ordering::Acquire);
                if let Some(read) = read(last) {
                    return read;
                }
            }
        });
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (store, batch) = (fixture.another(), &batch);
                scope.spawn(move || {
                    for number in 0..BATCHES {
                        let size = 1 + (number * 7 + writer) % 13;
                        wait(store.upsert(Arc::new(batch(writer, number, size)))).unwrap();
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        writing.store(false, Ordering::Release);
        reading.join().unwrap()
    })
}

#[derive(Default)]
struct Collected(Mutex<Vec<StoredDevice>>);

impl LoadSink for Collected {
    fn expect(&self, _devices: usize) {}

    fn take(&self, devices: Vec<StoredDevice>) {
        self.0.lock().unwrap().extend(devices);
    }
}

/// On one runtime for all tests of the process: connections to a server live in it.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
    RUNTIME.block_on(future)
}

pub fn name(id: &str) -> DeviceName {
    DeviceName { device_type: "t".into(), id: id.into() }
}

/// When the session of that number begins: far enough apart that none is simultaneous with another.
pub fn session(number: i128) -> Moment {
    Moment::from_nanos(number * 10_000_000_000)
}

pub fn event(kind: EventKind, session: i128, time: i128) -> PresenceEvent {
    let payload =
        Payload::pack(format!(r#"{{"Time":{time},"ClientAddr":"192.0.2.1","Reason":"r"}}"#).as_bytes());
    let (session, time) = (self::session(session), Moment::from_nanos(time));
    PresenceEvent { kind, session, time, close_code: 0, payload }
}

pub fn device(id: &str, events: impl IntoIterator<Item = PresenceEvent>, received_at: u32) -> StoredDevice {
    let mut state = DeviceState::default();
    for event in events {
        state.apply(event);
    }
    StoredDevice { name: name(id), state, received_at: UnixSeconds(received_at) }
}

pub fn history_event(id: &str, event: PresenceEvent, received_at: u32) -> HistoryEvent {
    HistoryEvent::of(name(id).device(), event, UnixSeconds(received_at))
}

pub fn devices(devices: Vec<StoredDevice>) -> Batch {
    Batch { devices, ..Batch::default() }
}

pub fn events(events: Vec<HistoryEvent>) -> Batch {
    Batch { events, ..Batch::default() }
}
