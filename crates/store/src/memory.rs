//! The store that ends with the process: for the demo, for tests, and the model that the other stores are compared with.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use futures_util::future::{BoxFuture, ready};
use parking_lot::Mutex;

use super::{
    Batch, ChangeCursor, Changes, DeliveryLease, DeliveryState, ForgottenDevice, IfExists, KeepSeries,
    LoadSink, PAGE_MAX, PruneStep, REPEATS_WITHIN, ReadDevices, ReadHistory, Retention, SeriesRange,
    SeriesRow, Store, StoreError, StoredDevice, totals,
};
use presence::history::{EventPage, HistoryEvent, HistoryPosition, HistoryRow, StoredEvent};
use presence::query::{Page, Scan, Total};
use presence::{DeviceName, DeviceState, EventKind, Status, UnixSeconds};
use system::turn::give_way;

/// What is merged under one lock, a tenth of a millisecond or so. It is done on a thread that also serves clients, which have their
/// turn in between.
const MERGED_AT_ONCE: usize = 64;

/// Devices whose events one step of a pruning looks at: a millisecond or so, in which nothing else is read or written.
const PRUNED_AT_ONCE: usize = 10_000;

/// Everything in one ordered map.
pub struct MemoryStore {
    contents: Mutex<Contents>,
    retention: Retention,
}

#[derive(Default)]
struct Contents {
    /// Another one in every process.
    order: u64,
    devices: BTreeMap<DeviceName, MemoryEntry>,
    changed: u64,
    sequence: u64,
    /// The highest sequence of an event that was dropped or lost.
    dropped: u64,
    /// Up to which device a pruning has come.
    pruned_to: Option<DeviceName>,
    retention_time: Option<UnixSeconds>,
    deliveries: BTreeMap<Box<str>, Box<str>>,
    /// By step, in the order of writing.
    series: BTreeMap<u32, VecDeque<SeriesRow>>,
}

#[derive(Default)]
struct MemoryEntry {
    state: DeviceState,
    received_at: Option<UnixSeconds>,
    changed: u64,
    /// Oldest first.
    history: VecDeque<HistoryRow>,
}

impl MemoryStore {
    pub fn new(retention: Retention) -> Self {
        let contents = Contents { order: rand::random(), ..Contents::default() };
        Self { contents: Mutex::new(contents), retention }
    }

    fn merge(&self, batch: &Batch) {
        for devices in batch.devices.chunks(MERGED_AT_ONCE) {
            self.merge_devices(devices);
            give_way();
        }
        if batch.events_lost {
            // It takes a place in the order, so that whoever has read up to here is told.
            let mut contents = self.contents.lock();
            contents.sequence += 1;
            contents.dropped = contents.sequence;
        }
        for events in batch.events.chunks(MERGED_AT_ONCE) {
            self.add_events(events);
            give_way();
        }
    }

    fn merge_devices(&self, devices: &[StoredDevice]) {
        let contents = &mut *self.contents.lock();
        for device in devices {
            let entry = contents.devices.entry(device.name.clone()).or_default();
            let grown = entry.state.merge(device.state.clone());
            entry.learned(grown, device.received_at, &mut contents.changed);
        }
    }

    fn add_events(&self, events: &[HistoryEvent]) {
        let contents = &mut *self.contents.lock();
        for incoming in events {
            let name = DeviceName { device_type: Arc::clone(&incoming.device_type), id: incoming.id.clone() };
            if incoming.event.kind == EventKind::FailedLogin && !contents.devices.contains_key(&name) {
                continue;
            }
            let entry = contents.devices.entry(name).or_default();
            let grown = entry.state.apply(incoming.event.clone());
            entry.learned(grown, incoming.received_at, &mut contents.changed);
            let mut newest = entry.history.iter().rev().take(REPEATS_WITHIN);
            if newest.any(|row| row.event == incoming.event) {
                continue;
            }
            contents.sequence += 1;
            let (event, received_at) = (incoming.event.clone(), incoming.received_at);
            let (sequence, is_first_seen) = (contents.sequence, incoming.is_first_seen);
            entry.history.push_back(HistoryRow { sequence, event, received_at, is_first_seen });
            if entry.history.len() > self.retention.per_device {
                let oldest = entry.history.pop_front().map_or(0, |row| row.sequence);
                contents.dropped = contents.dropped.max(oldest);
            }
        }
    }

    fn page(&self, scan: &Scan) -> Page<StoredDevice> {
        let contents = self.contents.lock();
        let wanted = |device: &StoredDevice| {
            scan.device_type.as_deref().is_none_or(|wanted| *device.name.device_type == *wanted)
                && scan.status.is_none_or(|wanted| status(&device.state) == Some(wanted))
                && scan
                    .after
                    .as_ref()
                    .is_none_or(|after| scan.sort.compare(&device.position(), after) == Ordering::Greater)
        };
        let mut devices: Vec<_> = contents.all().filter(wanted).collect();
        devices.sort_by(|one, other| scan.sort.compare(&one.position(), &other.position()));
        let limit = scan.limit.min(PAGE_MAX);
        let more = devices.len() > limit;
        devices.truncate(limit);
        let next = devices.last().filter(|_| more).map(StoredDevice::position);
        Page { devices, next }
    }

    fn changes_since(&self, since: ChangeCursor, limit: usize) -> Changes {
        let contents = self.contents.lock();
        let mut changed: Vec<_> =
            contents.devices.iter().filter(|(_, entry)| entry.changed > since.number()).collect();
        changed.sort_by_key(|(_, entry)| entry.changed);
        let limit = limit.min(PAGE_MAX);
        let is_all = changed.len() <= limit;
        changed.truncate(limit);
        let cursor = changed.last().map_or(since, |(_, entry)| ChangeCursor::at(entry.changed));
        let devices = changed.into_iter().map(|(name, entry)| entry.stored(name)).collect();
        Changes { forgotten: Vec::new(), devices, cursor, is_all }
    }
}

impl Contents {
    /// Goes through everything: this store is a model, and who asks it keeps a process's memory, not a fleet.
    fn events_after(&self, after: HistoryPosition, limit: usize) -> EventPage {
        let limit = limit.min(PAGE_MAX);
        let is_of_this_order = after == HistoryPosition::BEGINNING || after.order == self.order;
        let incomplete = !is_of_this_order || self.dropped > after.number || after.number > self.sequence;
        let at = |number| HistoryPosition { order: self.order, number };
        let (newest, begun) = (at(self.sequence), at(self.sequence));
        if limit == 0 {
            return EventPage { events: Vec::new(), reached: after, newest, begun, incomplete };
        }
        let rows = self.devices.iter().flat_map(|(name, entry)| {
            let newer = entry.history.iter().filter(move |row| row.sequence > after.number);
            newer.map(move |row| (name, row))
        });
        let mut rows: Vec<_> = rows.collect();
        rows.sort_unstable_by_key(|(_, row)| row.sequence);
        let is_all = rows.len() <= limit;
        rows.truncate(limit);
        let reached = rows.last().filter(|_| !is_all).map_or(newest, |(_, row)| at(row.sequence));
        let kept = |(name, row): (&DeviceName, &HistoryRow)| StoredEvent {
            device_type: Arc::clone(&name.device_type),
            id: name.id.clone(),
            position: at(row.sequence),
            row: row.clone(),
        };
        EventPage { events: rows.into_iter().map(kept).collect(), reached, newest, begun, incomplete }
    }
}

fn status(state: &DeviceState) -> Option<Status> {
    state.resolve().map(|resolved| resolved.status)
}

impl Contents {
    fn all(&self) -> impl Iterator<Item = StoredDevice> {
        self.devices.iter().map(|(name, entry)| entry.stored(name))
    }
}

impl MemoryEntry {
    fn learned(&mut self, grown: bool, received_at: UnixSeconds, changed: &mut u64) {
        if grown || self.received_at < Some(received_at) {
            *changed += 1;
            self.changed = *changed;
            self.received_at = self.received_at.max(Some(received_at));
        }
    }

    fn stored(&self, name: &DeviceName) -> StoredDevice {
        let received_at = self.received_at.unwrap_or(UnixSeconds(0));
        StoredDevice { name: name.clone(), state: self.state.clone(), received_at }
    }
}

impl ReadDevices for MemoryStore {
    fn read(&self, names: Vec<DeviceName>) -> BoxFuture<'_, Result<Vec<StoredDevice>, StoreError>> {
        let contents = self.contents.lock();
        let names: BTreeSet<DeviceName> = names.into_iter().collect();
        let kept = names.iter().filter_map(|name| Some(contents.devices.get(name)?.stored(name)));
        Box::pin(ready(Ok(kept.collect())))
    }

    fn list(&self, scan: Scan) -> BoxFuture<'_, Result<Page<StoredDevice>, StoreError>> {
        Box::pin(ready(Ok(self.page(&scan))))
    }

    fn totals(&self) -> BoxFuture<'_, Result<Vec<Total>, StoreError>> {
        Box::pin(totals::count(self))
    }
}

impl ReadHistory for MemoryStore {
    fn history(
        &self,
        name: DeviceName,
        before: Option<u64>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<HistoryRow>, StoreError>> {
        let contents = self.contents.lock();
        let rows = contents.devices.get(&name).map(|entry| {
            let newest = entry.history.iter().rev();
            newest
                .filter(|row| before.is_none_or(|before| row.sequence < before))
                .take(limit)
                .cloned()
                .collect()
        });
        Box::pin(ready(Ok(rows.unwrap_or_default())))
    }

    fn events(
        &self,
        after: HistoryPosition,
        limit: usize,
    ) -> BoxFuture<'_, Result<Option<EventPage>, StoreError>> {
        Box::pin(ready(Ok(Some(self.contents.lock().events_after(after, limit)))))
    }
}

impl KeepSeries for MemoryStore {
    fn write_series(
        &self,
        row: SeriesRow,
        if_exists: IfExists,
        rows_max: u32,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        let mut contents = self.contents.lock();
        let rows = contents.series.entry(row.step_seconds).or_default();
        let written = match (rows.iter_mut().rev().find(|other| other.start == row.start), if_exists) {
            (Some(_), IfExists::Keep) => false,
            (Some(other), IfExists::Replace) => {
                *other = row;
                true
            }
            (None, _) => {
                rows.push_back(row);
                let surplus = rows.len().saturating_sub(usize::try_from(rows_max).unwrap_or(usize::MAX));
                rows.drain(..surplus);
                true
            }
        };
        Box::pin(ready(Ok(written)))
    }

    fn series(&self, range: SeriesRange) -> BoxFuture<'_, Result<Vec<SeriesRow>, StoreError>> {
        let contents = self.contents.lock();
        let rows = contents.series.get(&range.step_seconds).into_iter().flatten();
        let mut rows: Vec<_> =
            rows.filter(|row| (range.from..range.to).contains(&row.start)).cloned().collect();
        rows.sort_by_key(|row| row.start);
        Box::pin(ready(Ok(rows)))
    }
}

impl Store for MemoryStore {
    fn upsert(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.merge(&batch);
        Box::pin(ready(Ok(())))
    }

    fn load(&self, sink: Arc<dyn LoadSink>) -> BoxFuture<'_, Result<(), StoreError>> {
        let contents = self.contents.lock();
        sink.expect(contents.devices.len());
        sink.take(contents.all().collect());
        Box::pin(ready(Ok(())))
    }

    fn changes(&self, since: ChangeCursor, limit: usize) -> BoxFuture<'_, Result<Changes, StoreError>> {
        Box::pin(ready(Ok(self.changes_since(since, limit))))
    }

    fn cursor(&self) -> BoxFuture<'_, Result<ChangeCursor, StoreError>> {
        Box::pin(ready(Ok(ChangeCursor::at(self.contents.lock().changed))))
    }

    fn prune(&self, received_before: UnixSeconds) -> BoxFuture<'_, Result<PruneStep, StoreError>> {
        let contents = &mut *self.contents.lock();
        let after = contents.pruned_to.take().map_or(Bound::Unbounded, Bound::Excluded);
        let (mut expired, mut left) = (0, PRUNED_AT_ONCE);
        for (name, entry) in contents.devices.range_mut((after, Bound::Unbounded)) {
            let old = entry.history.iter().filter(|row| row.received_at < received_before);
            let dropped = old.map(|row| row.sequence).max().unwrap_or(0);
            contents.dropped = contents.dropped.max(dropped);
            let before = entry.history.len();
            entry.history.retain(|row| row.received_at >= received_before);
            expired += (before - entry.history.len()) as u64;
            left -= 1;
            if left == 0 {
                contents.pruned_to = Some(name.clone());
                break;
            }
        }
        Box::pin(ready(Ok(PruneStep { expired, is_all: contents.pruned_to.is_none() })))
    }

    fn retention_time(&self) -> BoxFuture<'_, Result<Option<UnixSeconds>, StoreError>> {
        Box::pin(ready(Ok(self.contents.lock().retention_time)))
    }

    fn set_retention_time(&self, time: UnixSeconds) -> BoxFuture<'_, Result<(), StoreError>> {
        self.contents.lock().retention_time = Some(time);
        Box::pin(ready(Ok(())))
    }

    fn delivery_states(&self) -> BoxFuture<'_, Result<Vec<DeliveryState>, StoreError>> {
        let contents = self.contents.lock();
        let states = contents.deliveries.iter();
        let states = states.map(|(name, state)| DeliveryState { name: name.clone(), state: state.clone() });
        Box::pin(ready(Ok(states.collect())))
    }

    fn delivery_states_of(
        &self,
        names: Vec<String>,
    ) -> BoxFuture<'_, Result<Vec<DeliveryState>, StoreError>> {
        let contents = self.contents.lock();
        let kept = names.iter().filter_map(|name| contents.deliveries.get_key_value(&**name));
        let states = kept.map(|(name, state)| DeliveryState { name: name.clone(), state: state.clone() });
        Box::pin(ready(Ok(states.collect())))
    }

    fn set_delivery_state(
        &self,
        _lease: &DeliveryLease,
        name: &str,
        state: Option<String>,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        let deliveries = &mut self.contents.lock().deliveries;
        match state {
            Some(state) => deliveries.insert(name.into(), state.into()),
            None => deliveries.remove(name),
        };
        Box::pin(ready(Ok(true)))
    }

    fn expire(&self, names: Vec<DeviceName>, before_nanos: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        let devices = &mut self.contents.lock().devices;
        for name in names {
            let is_expired =
                devices.get(&name).and_then(|entry| entry.state.resolve()).is_some_and(|resolved| {
                    resolved.status == Status::Disconnected
                        && resolved.event.time.nanos().is_some_and(|time| time < before_nanos)
                });
            if is_expired {
                devices.remove(&name);
            }
        }
        Box::pin(ready(Ok(())))
    }

    fn forget(&self, device: ForgottenDevice) -> BoxFuture<'_, Result<(), StoreError>> {
        self.contents.lock().devices.remove(&device.name);
        Box::pin(ready(Ok(())))
    }
}
