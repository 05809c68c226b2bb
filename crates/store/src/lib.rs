//! What outlives the process: the states of all devices and their histories. This file says what every store promises;
//! each backend has a module of its own, and all pass `tests/store_contract`.
//!
//! ```text
//! map -dirty devices-> writer -Batch-> Store -load-> restore -> map
//! ```
//!
//! A state in a store only grows, by the merge rule of `presence`: writing an old state over a newer one changes
//! nothing. So a batch may be written twice, late, or by two instances at once.

mod encoding;
mod forget;
pub mod memory;
mod open;
pub mod postgres;
mod series;
pub mod settings;
pub mod sqlite;
mod totals;
mod type_names;
pub mod valkey;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, pending, ready};

use presence::history::{EventPage, HistoryEvent, HistoryPosition, HistoryRow};
use presence::query::{Page, Position, Scan, Total};
use presence::{Device, DeviceName, DeviceState, Moment, UnixSeconds};

pub use self::forget::{ForgottenDevice, ForgottenDevices, TOMBSTONES_MAX};
pub use self::series::{IfExists, KeepSeries, SeriesRange, SeriesRow};
pub use open::{open, open_to_read};

/// Devices that one page of a list or of changes may hold.
pub const PAGE_MAX: usize = 10_000;

/// How many of a device's newest events are compared with a new one so that no event is stored twice. A broker repeats a
/// message, and other instances receive it, within moments of the first; a repetition after so many other events is stored
/// twice.
pub const REPEATS_WITHIN: usize = 32;

/// What is stored of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDevice {
    pub name: DeviceName,
    /// Of at least one event.
    pub state: DeviceState,
    /// When the latest message that changed the state arrived. A merge takes the later of two.
    pub received_at: UnixSeconds,
}

impl StoredDevice {
    /// The memory that it takes, about.
    pub fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.name.id.len() + self.state.payload_bytes()
    }

    /// Its place in a list.
    pub fn position(&self) -> Position {
        let DeviceName { device_type, id } = &self.name;
        let time = self.state.resolve().map_or(Moment::UNKNOWN, |resolved| resolved.event.time);
        Position { device_type: device_type.to_string(), id: id.to_string(), time }
    }
}

/// What is written at once: all of it or nothing, or, where devices are spread over many servers, each device. One that has
/// failed is written again whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    pub devices: Vec<StoredDevice>,
    /// The event of each is also merged into the state of its device, which therefore is never missing.
    /// Except a failed login, which says nothing of the state: it is stored only for a device that the store knows by then.
    pub events: Vec<HistoryEvent>,
    /// Events that belong before or among these could not wait for the store and are lost. A store that orders its events
    /// tells a reader that goes on from an earlier one that some are missing.
    pub events_lost: bool,
    /// Up to where the writer had dropped forgotten devices when it made the batch; `None`: it holds no earlier states, so what
    /// it writes counts for every device.
    pub based_on: Option<ChangeCursor>,
}

/// A point in the order of all changes of one store; [`ChangeCursor::BEGINNING`] is before the first. Each store decides what
/// the numbers mean: one is enough where all changes are in one order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeCursor(pub Vec<u64>);

impl ChangeCursor {
    pub const BEGINNING: ChangeCursor = ChangeCursor(Vec::new());

    /// Of a store that numbers its changes.
    pub fn at(number: u64) -> Self {
        if number == 0 { Self::BEGINNING } else { Self(vec![number]) }
    }

    /// The number of [`ChangeCursor::at`].
    pub fn number(&self) -> u64 {
        self.0.first().copied().unwrap_or(0)
    }
}

/// An instance of the service, as the others know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Unlike any other's, and another one after a restart.
    pub id: Box<str>,
    /// What it tells the others about itself.
    pub note: Box<str>,
}

/// Devices that changed after a cursor, each once and as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Changes {
    /// Devices that were forgotten. Their earlier states count no longer; what they are now is in `devices`.
    pub forgotten: Vec<ForgottenDevice>,
    pub devices: Vec<StoredDevice>,
    /// Where to go on. Equal to the cursor asked for if nothing has changed.
    pub cursor: ChangeCursor,
    /// Nothing followed when they were read.
    pub is_all: bool,
}

/// How much history is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    pub per_device: usize,
}

/// What one step of a pruning has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PruneStep {
    /// Events that were dropped because they were too old.
    pub expired: u64,
    /// The pruning is over; the next step begins another one.
    pub is_all: bool,
}

/// A text that the deliveries to a webhook endpoint, or the alert rules, need after a restart. The store does not look into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryState {
    pub name: Box<str>,
    pub state: Box<str>,
}

/// The right to deliver to an endpoint of webhooks, to evaluate alert rules, or to republish, which one instance has at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryLease {
    pub endpoint: Box<str>,
    pub holder: Box<str>,
}

/// What went wrong with a store.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    #[error("another process uses {0}; give each its own --store")]
    Locked(PathBuf),
    #[error(
        "{path} was written by a newer devstatus (its format is {found}, this one knows up to {known}): start that one, or name another file with --store"
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error(
        "the schema {schema} was written by a newer devstatus (its version is {found}, this one knows up to {known}): start that one, or name another with --store-schema"
    )]
    NewerSchema { schema: String, found: i64, known: i64 },
    #[error("{0} is a database, but not of devstatus: name another file with --store")]
    Foreign(PathBuf),
    #[error("cannot use the store at {server}: {why}")]
    Connect { server: String, why: String },
    #[error("cannot use {path}: {why}")]
    Open { path: PathBuf, why: String },
    /// The store found its own contents damaged, has put them aside and begun anew: everything must be written again.
    #[error(
        "the store was damaged and has been replaced by an empty one; the damaged file is in {set_aside}"
    )]
    BegunAnew { set_aside: PathBuf },
    /// The store cannot say what has changed since a cursor: it keeps those changes no longer, or is not the one it was, because
    /// it was restored from a backup or replaced by a copy that lagged behind.
    #[error("changes were missed: {0}")]
    Gap(String),
    #[error("{0}")]
    Write(String),
    /// What was to be written is refused for what it is, so it would be refused again. The store itself works; of the batch
    /// nothing was written, or, where devices are spread over many servers, not all.
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Read(String),
    #[error("the store is open to be read only")]
    ReadOnly,
    /// Or an internal error has kept it from an answer.
    #[error("the store has ended without an answer")]
    Ended,
}

/// Where a load goes: called from several threads at once if the store reads with several.
pub trait LoadSink: Send + Sync {
    /// About how many devices will come; called before the first.
    fn expect(&self, devices: usize);
    fn take(&self, devices: Vec<StoredDevice>);
}

/// The devices of a store, as they are read.
pub trait ReadDevices: Send + Sync {
    /// Gives those of the devices that are stored, each once and in any order, in one round trip to each server that has some.
    /// What was written before is found.
    fn read(&self, names: Vec<DeviceName>) -> BoxFuture<'_, Result<Vec<StoredDevice>, StoreError>>;

    /// Part of a list of at most [`PAGE_MAX`] devices. Devices that do not change while it is read are neither skipped nor
    /// repeated.
    fn list(&self, scan: Scan) -> BoxFuture<'_, Result<Page<StoredDevice>, StoreError>>;

    /// How many devices there are, by type, status and, of disconnected ones, close code; in any order.
    fn totals(&self) -> BoxFuture<'_, Result<Vec<Total>, StoreError>>;
}

/// The history of a store, as it is read.
pub trait ReadHistory: Send + Sync {
    /// The newest events of a device with a sequence before the given, newest first, at most so many.
    fn history(
        &self,
        name: DeviceName,
        before: Option<u64>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<HistoryRow>, StoreError>>;

    /// The events of all devices after that position, oldest first, about [`PAGE_MAX`] or so many at most, as those that were
    /// stored in one step may come together: none that is stored later comes before one that was given here. Of one device,
    /// those of a page come in the order of its history. A position of another store, or of this one before it was restored
    /// from a copy, is no error: the page is `incomplete`. `None`, at once, if the store keeps no order over all devices: a
    /// stream of changes then cannot go on from it, and says so.
    fn events(
        &self,
        _after: HistoryPosition,
        _limit: usize,
    ) -> BoxFuture<'_, Result<Option<EventPage>, StoreError>> {
        Box::pin(ready(Ok(None)))
    }
}

/// A store. Every method may be called at any time, from anywhere; none blocks the thread it is called on.
pub trait Store: ReadDevices + ReadHistory + KeepSeries {
    /// Merges a batch into the stored states, as one step; once done it outlives the process.
    fn upsert(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Why the store can never keep a device of that name; `None` if it can.
    fn refuses(&self, _device: Device<'_>) -> Option<&'static str> {
        None
    }

    /// Gives every device once, in any order.
    fn load(&self, sink: Arc<dyn LoadSink>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// What changed after the cursor, at most about so many devices; oldest change first where all changes are in one order.
    fn changes(&self, since: ChangeCursor, limit: usize) -> BoxFuture<'_, Result<Changes, StoreError>>;

    /// The same, for one who knows what this store has written itself: that may be left out.
    fn changes_of_others(
        &self,
        since: ChangeCursor,
        limit: usize,
    ) -> BoxFuture<'_, Result<Changes, StoreError>> {
        self.changes(since, limit)
    }

    /// The position of the newest change: a caller that then loads everything has missed nothing up to there.
    fn cursor(&self) -> BoxFuture<'_, Result<ChangeCursor, StoreError>>;

    /// Waits until others may have changed something. It may return for nothing, and a notification may be lost: the caller
    /// polls from time to time all the same. Waits for ever if no other instance writes the store.
    fn change_notified(&self) -> BoxFuture<'_, ()> {
        Box::pin(pending())
    }

    /// Says that this instance lives, for so long from now and by the store's own clock, and returns all that do, the one
    /// that has lived longest first. With no time at all it leaves.
    ///
    /// An instance that is late joins anew, as the youngest.
    fn heartbeat(
        &self,
        instance: Instance,
        lives_for: Duration,
    ) -> BoxFuture<'_, Result<Vec<Instance>, StoreError>> {
        let alone = if lives_for.is_zero() { Vec::new() } else { vec![instance] };
        Box::pin(ready(Ok(alone)))
    }

    /// Takes one step of a pruning, which drops events received before that time, and some of those beyond the number that a
    /// device may have. A step takes some milliseconds, so that a batch can be written between two.
    ///
    /// What is beyond the number is never shown, dropped yet or not.
    fn prune(&self, received_before: UnixSeconds) -> BoxFuture<'_, Result<PruneStep, StoreError>>;

    /// The retention time that was set last, by whichever instance; `None` if none was.
    fn retention_time(&self) -> BoxFuture<'_, Result<Option<UnixSeconds>, StoreError>> {
        Box::pin(ready(Ok(None)))
    }

    /// Keeps how late it is for everything that is deleted for being old, so that a restart and other instances go on from it.
    fn set_retention_time(&self, _time: UnixSeconds) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(ready(Ok(())))
    }

    /// Deletes those of the devices that have been disconnected since before the moment, in nanoseconds since 1970, with their
    /// histories.
    fn expire(&self, names: Vec<DeviceName>, before_nanos: i64) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Deletes a device with its history, whatever its status. A store that others write, too, keeps a tombstone, so that none
    /// of them writes the earlier state again: [`Changes`] shows it, and [`Batch::based_on`] is compared with it.
    fn forget(&self, device: ForgottenDevice) -> BoxFuture<'_, Result<(), StoreError>>;

    /// All stored states of deliveries.
    fn delivery_states(&self) -> BoxFuture<'_, Result<Vec<DeliveryState>, StoreError>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    /// The same of some names alone, in one read.
    fn delivery_states_of(
        &self,
        _names: Vec<String>,
    ) -> BoxFuture<'_, Result<Vec<DeliveryState>, StoreError>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    /// Stores a state under that name; `None` deletes it. Returns whether the lease still holds: if it does not, nothing changes.
    fn set_delivery_state(
        &self,
        _lease: &DeliveryLease,
        _name: &str,
        _state: Option<String>,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(ready(Ok(true)))
    }

    /// Takes or renews leases for so long from now, by the store's own clock, as far as no other instance holds them; returns
    /// the names whose leases this one holds. With no time at all it gives them back. A store of one instance gives all.
    fn lease_deliveries(
        &self,
        _holder: &str,
        endpoints: Vec<String>,
        _lasts: Duration,
    ) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        Box::pin(ready(Ok(endpoints)))
    }

    /// The tombstones that the store keeps.
    fn forgotten(&self) -> BoxFuture<'_, Result<Vec<ForgottenDevice>, StoreError>> {
        Box::pin(ready(Ok(Vec::new())))
    }
}
