//! The model: a process with its feed, a store that is written behind it as one file is, and clients whose streams break off.

mod client;

use std::collections::BTreeMap;
use std::time::Instant;

use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

pub use self::client::Client;
use self::client::Stream;
use super::super::*;
use crate::feed::settings::FeedSettings;
use crate::feed::{Behind, RemovalReason};
use crate::freshness::RoundNumber;
use crate::health::{Health, PopulationReport, PopulationState, ReadyOn};
use crate::metrics::Metrics;
use crate::registry::{LastEvent, Provenance, Snapshot};
use presence::history::HistoryRow;
use presence::payload::Payload;
use presence::{Device, DeviceState, EventKind, Moment, PresenceEvent, Status, UnixSeconds};

/// Few, so that each of them changes often.
const DEVICES: u8 = 3;
pub const CLIENTS: usize = 2;
/// So few changes are in memory that most streams must look for them elsewhere.
const BUFFER_MAX: u32 = 4;
/// So few events come in one page that a stream is in the midst of them when something happens.
const PAGE: usize = 2;
/// So few devices are looked at twice that some are not.
const EARLIER_READS: usize = 1;

/// What happens next.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// The device connects or disconnects, and the broker says so live.
    Change(u8),
    /// The beginning or end of an earlier session of a device comes late; it changes nothing.
    Late(u8, bool),
    /// The broker repeats the status of a device of which nothing is known, while the devices are being found.
    Find(u8, bool),
    /// The session of a device was renewed, which no history tells.
    Renew(u8),
    Forget(u8),
    /// The writer writes the oldest of the events that wait, or all.
    Flush {
        all: bool,
    },
    /// The oldest event gives way, because too many wait.
    Overflow,
    /// The store deletes its oldest event.
    Trim,
    /// The devices have been found.
    Populate,
    /// The process is killed and starts again.
    Restart,
    /// The stream of a client goes on by one step, or begins.
    Read(usize),
    /// A client gets an id without an event.
    KeepAlive(usize),
    Disconnect(usize),
}

pub fn step() -> impl Strategy<Value = Step> {
    let (device, client) = (0..DEVICES, 0..CLIENTS);
    prop_oneof![
        6 => device.clone().prop_map(Step::Change),
        2 => (device.clone(), any::<bool>()).prop_map(|(device, connected)| Step::Late(device, connected)),
        2 => (device.clone(), any::<bool>()).prop_map(|(device, connected)| Step::Find(device, connected)),
        1 => device.clone().prop_map(Step::Renew),
        1 => device.prop_map(Step::Forget),
        5 => any::<bool>().prop_map(|all| Step::Flush { all }),
        1 => Just(Step::Overflow),
        1 => Just(Step::Trim),
        2 => Just(Step::Populate),
        1 => Just(Step::Restart),
        8 => client.clone().prop_map(Step::Read),
        1 => client.clone().prop_map(Step::KeepAlive),
        2 => client.prop_map(Step::Disconnect),
    ]
}

/// One change of a device; the numbers rise.
#[derive(Clone, Copy, Debug)]
pub struct DeviceChange {
    pub number: u64,
    /// Each change that is not late begins or ends a session of its own.
    pub session: u64,
    pub device: u8,
    pub status: Status,
    pub kind: ChangeKind,
}

/// Sessions that begin at once may have taken over one another, so they begin apart.
const APART_NANOS: u64 = 2_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    Logged,
    /// A new device that was found, or a session that was renewed.
    Unlogged,
    Removal,
}

/// What the store has, as one file has it: each start begins another order of its events.
#[derive(Default)]
struct Store {
    order: u64,
    /// Where each earlier order ended.
    ends: Vec<u64>,
    newest: u64,
    lost: u64,
    events: Vec<(u64, DeviceChange)>,
    registry: Registry,
}

impl Store {
    /// The newest events of a device before that one, newest first.
    fn history(&self, device: u8, before: u64) -> Vec<HistoryRow> {
        let events =
            self.events.iter().rev().filter(|(number, change)| *number < before && change.device == device);
        let row = |(number, change): &(u64, DeviceChange)| HistoryRow {
            sequence: *number,
            event: change.event(),
            received_at: UnixSeconds(1),
            is_first_seen: false,
        };
        events.take(EARLIER_EVENTS).map(row).collect()
    }

    fn page(&self, after: HistoryPosition) -> EventPage {
        let at = |number| HistoryPosition { order: self.order, number };
        let is_ours = after.order == self.order
            || self.ends.get(after.order as usize).is_some_and(|end| after.number <= *end);
        let newer: Vec<_> = self.events.iter().filter(|(number, _)| *number > after.number).collect();
        let is_all = newer.len() <= PAGE;
        let events: Vec<_> =
            newer.into_iter().take(PAGE).map(|(number, change)| change.stored(at(*number))).collect();
        let reached = events.last().filter(|_| !is_all).map_or(at(self.newest), |event| event.position);
        let incomplete = !is_ours || self.lost > after.number || after.number > self.newest;
        EventPage { events, reached, newest: at(self.newest), begun: at(self.newest), incomplete }
    }
}

impl DeviceChange {
    fn event(self) -> PresenceEvent {
        let moment = |number: u64| Moment::from_nanos((number * APART_NANOS).into());
        let kind = match self.status {
            Status::Connected => EventKind::Connect,
            Status::Disconnected => EventKind::Disconnect,
        };
        let (session, time) = (moment(self.session), moment(self.number));
        PresenceEvent { kind, session, time, close_code: 0, payload: Payload::pack(b"{}") }
    }

    fn of(device: Device<'_>, event: &PresenceEvent, kind: ChangeKind) -> Self {
        let status = match event.kind {
            EventKind::Connect => Status::Connected,
            _ => Status::Disconnected,
        };
        let number = |moment: Moment| u64::try_from(moment.nanos().unwrap()).unwrap() / APART_NANOS;
        let (number, session) = (number(event.time), number(event.session));
        Self { number, session, device: device.id.parse().unwrap(), status, kind }
    }

    pub fn stored(self, position: HistoryPosition) -> StoredEvent {
        let row = HistoryRow {
            sequence: position.number,
            event: self.event(),
            received_at: UnixSeconds(1),
            is_first_seen: false,
        };
        StoredEvent { device_type: "t".into(), id: self.device.to_string().into(), position, row }
    }

    fn snapshot(self) -> Snapshot {
        let event = self.event();
        Snapshot {
            device_type: "t".into(),
            id: self.device.to_string().into(),
            status: self.status,
            inferred: false,
            latest: LastEvent { kind: event.kind, time: event.time, close_code: None },
            event,
            provenance: Provenance::Live,
            received_at: UnixSeconds(1),
            received_in: RoundNumber::NONE,
        }
    }
}

/// The state of each device.
#[derive(Clone, Default)]
pub struct Registry(BTreeMap<u8, DeviceState>);

impl Registry {
    fn status(&self, device: u8) -> Option<Status> {
        self.0.get(&device).and_then(DeviceState::resolve).map(|resolved| resolved.status)
    }

    fn newest_session(&self, device: u8) -> Option<u64> {
        let session = self.0.get(&device)?.resolve()?.event.session;
        Some(u64::try_from(session.nanos()?).unwrap() / APART_NANOS)
    }

    pub fn statuses(&self) -> BTreeMap<u8, Status> {
        self.0.keys().filter_map(|device| Some((*device, self.status(*device)?))).collect()
    }
}

impl CurrentStates for Registry {
    fn look_at<T>(&self, device: Device<'_>, look: impl FnOnce(&DeviceState) -> T) -> Option<T> {
        self.0.get(&device.id.parse().unwrap()).map(look)
    }
}

pub struct World {
    pub feed: Arc<Feed>,
    health: Arc<Health>,
    store: Store,
    commits: CommitWatermark,
    /// Events that wait for the store.
    queue: Vec<DeviceChange>,
    /// Events that gave way, of which the store does not know yet.
    dropped: Vec<DeviceChange>,
    pub registry: Registry,
    number: u64,
    epoch: u64,
    pub clients: [Client; CLIENTS],
}

fn status_of(connected: bool) -> Status {
    if connected { Status::Connected } else { Status::Disconnected }
}

fn start(epoch: u64) -> (Arc<Feed>, Arc<Health>) {
    let health = Arc::new(Health::new(ReadyOn::Unproven));
    let settings = FeedSettings { streams_max: 10, stream_lag_max: BUFFER_MAX };
    let mut feed = Feed::new(settings, Arc::clone(&health), Metrics::default());
    feed.epoch = epoch;
    (Arc::new(feed), health)
}

impl World {
    pub fn new() -> Self {
        let (feed, health) = start(1);
        let client = || Client {
            stream: Stream::None,
            id: None,
            watermark: None,
            owed: BTreeMap::new(),
            states: BTreeMap::new(),
        };
        Self {
            feed,
            health,
            store: Store::default(),
            commits: CommitWatermark::default(),
            queue: Vec::new(),
            dropped: Vec::new(),
            registry: Registry::default(),
            number: 0,
            epoch: 1,
            clients: [(); CLIENTS].map(|()| client()),
        }
    }

    pub fn step(&mut self, step: Step) {
        match step {
            Step::Change(device) => {
                let status = match self.registry.status(device) {
                    Some(Status::Connected) => Status::Disconnected,
                    Some(Status::Disconnected) | None => Status::Connected,
                };
                self.happen(device, status, ChangeKind::Logged);
            }
            Step::Late(device, connected) => self.come_late(device, status_of(connected)),
            Step::Find(device, connected) => {
                if self.registry.status(device).is_none() && !self.health.populated() {
                    self.happen(device, status_of(connected), ChangeKind::Unlogged);
                }
            }
            Step::Renew(device) => {
                if let Some(status) = self.registry.status(device) {
                    self.happen(device, status, ChangeKind::Unlogged);
                }
            }
            Step::Forget(device) => self.forget(device),
            Step::Flush { all } => self.flush(all),
            Step::Overflow => {
                if !self.queue.is_empty() {
                    self.dropped.push(self.queue.remove(0));
                }
            }
            Step::Trim => {
                if !self.store.events.is_empty() {
                    self.store.lost = self.store.lost.max(self.store.events.remove(0).0);
                }
            }
            Step::Populate => self.health.population_done(PopulationReport {
                state: PopulationState::Complete,
                evidence: "test",
                types_total: 0,
                types_proven: 0,
                types: Vec::new(),
            }),
            Step::Restart => self.restart(),
            Step::Read(client) => self.read(client),
            Step::KeepAlive(client) => {
                let client = &mut self.clients[client];
                if let Stream::Live(reader) = &client.stream {
                    client.id =
                        Some(self.feed.position_after(reader.position(), client.watermark).to_string());
                }
            }
            Step::Disconnect(client) => self.clients[client].stream = Stream::None,
        }
    }

    /// As `ingest` does it: first the history, then the feed.
    fn happen(&mut self, device: u8, status: Status, kind: ChangeKind) {
        self.number += 1;
        let change = DeviceChange { number: self.number, session: self.number, device, status, kind };
        if kind == ChangeKind::Logged {
            self.queue.push(change);
        }
        let previous = self.registry.status(device);
        match kind {
            ChangeKind::Logged | ChangeKind::Unlogged => {
                self.registry.0.entry(device).or_default().apply(change.event());
            }
            ChangeKind::Removal => {
                self.registry.0.remove(&device);
            }
        }
        let removal = (kind == ChangeKind::Removal).then_some(RemovalReason::Forgotten);
        self.feed.add(|| change.snapshot(), previous, kind == ChangeKind::Logged, removal);
        for client in &mut self.clients {
            // What is in no history need not be shown if it says nothing new.
            if client.id.is_some() && (kind != ChangeKind::Unlogged || previous != Some(status)) {
                client.owed.insert(self.number, change);
            }
        }
    }

    /// An event of a session before the newest: it is in the history, and no change.
    fn come_late(&mut self, device: u8, status: Status) {
        let Some(session) = self.registry.newest_session(device).and_then(|newest| newest.checked_sub(1))
        else {
            return;
        };
        self.number += 1;
        let change = DeviceChange { number: self.number, session, device, status, kind: ChangeKind::Logged };
        let is_change = self.registry.0.entry(device).or_default().apply(change.event());
        assert!(!is_change);
        self.queue.push(change);
    }

    fn forget(&mut self, device: u8) {
        let Some(status) = self.registry.status(device) else { return };
        self.queue.retain(|change| change.device != device);
        self.store.events.retain(|(_, change)| change.device != device);
        self.store.registry.0.remove(&device);
        for client in &mut self.clients {
            client.owed.retain(|_, change| change.device != device);
        }
        self.happen(device, status, ChangeKind::Removal);
    }

    /// As the writer does it.
    pub fn flush(&mut self, all: bool) {
        let published = self.feed.head();
        let taken = if all { self.queue.len() } else { self.queue.len().min(1) };
        let is_all = taken == self.queue.len();
        if !std::mem::take(&mut self.dropped).is_empty() {
            self.feed.note_lost();
            // It takes a place in the order.
            self.store.newest += 1;
            self.store.lost = self.store.newest;
        }
        for change in self.queue.drain(..taken) {
            self.store.newest += 1;
            self.store.events.push((self.store.newest, change));
            self.store.registry.0.entry(change.device).or_default().apply(change.event());
        }
        if is_all {
            self.store.registry.clone_from(&self.registry);
            self.note_watermark(published);
        }
    }

    fn note_watermark(&mut self, changes: u64) {
        let page = self.store.page(HistoryPosition { order: self.store.order, number: self.store.newest });
        if let Some(watermark) = self.commits.find(changes, &page) {
            self.feed.note_watermark(watermark, Instant::now());
        }
    }

    fn restart(&mut self) {
        let unwritten: Vec<DeviceChange> = self.queue.drain(..).chain(self.dropped.drain(..)).collect();
        self.epoch += 1;
        (self.feed, self.health) = start(self.epoch);
        self.store.ends.push(self.store.newest);
        self.store.order += 1;
        let real = std::mem::replace(&mut self.registry, self.store.registry.clone()).statuses();
        for client in &mut self.clients {
            client.stream = Stream::None;
            // It never was, as far as anybody knows; the broker repeats what came of it.
            client.owed.retain(|number, _| unwritten.iter().all(|change| change.number != *number));
            // What is in no history is shown by the process that published it, or by none.
            let unlogged = client.owed.extract_if(.., |_, change| change.kind != ChangeKind::Logged);
            for (_, change) in unlogged.collect::<Vec<_>>() {
                client.note(change);
            }
        }
        self.note_watermark(0);
        for (device, status) in real {
            match self.registry.status(device) {
                Some(stored)
                    if stored == status && unwritten.iter().all(|change| change.device != device) => {}
                Some(_) => self.happen(device, status, ChangeKind::Logged),
                None => self.happen(device, status, ChangeKind::Unlogged),
            }
        }
    }

    /// One step of the stream of a client, as `http-api` takes it.
    pub fn read(&mut self, number: usize) {
        let client = &mut self.clients[number];
        let stream = std::mem::replace(&mut client.stream, Stream::None);
        client.stream = match stream {
            Stream::None => {
                let mut reader = self.feed.follow(CancellationToken::new()).unwrap();
                match client.id.as_deref().map(|id| self.feed.resume(id)) {
                    Some(Ok(Resumption::Memory { after, history })) => {
                        reader.go_to(after);
                        client.watermark = history;
                        Stream::Live(reader)
                    }
                    Some(Ok(Resumption::History(resumption))) => {
                        reader.go_to(resumption.then_after());
                        let states = PastStates::new(resumption.seen(), EARLIER_READS);
                        Stream::Replay(reader, resumption, states)
                    }
                    None | Some(Err(_)) => client.begin_anew(reader, &self.feed, &self.registry),
                }
            }
            Stream::Live(mut reader) => match reader.take() {
                Ok(batch) => {
                    for change in batch.changes() {
                        client.show(change);
                        client.id = Some(self.feed.position_of(change).to_string());
                        client.watermark = change.watermark;
                    }
                    Stream::Live(reader)
                }
                Err(Behind) => Stream::None,
            },
            Stream::Replay(reader, mut resumption, mut states) => {
                match client.go_on(&mut resumption, &mut states, &self.feed, &self.store, &self.registry) {
                    Ok(true) => Stream::Replay(reader, resumption, states),
                    Ok(false) => match client.finish(&resumption, &mut states, &self.feed, &self.registry) {
                        Ok(()) => Stream::Live(reader),
                        Err(Behind) => client.begin_anew(reader, &self.feed, &self.registry),
                    },
                    Err(_reason) => client.begin_anew(reader, &self.feed, &self.registry),
                }
            }
        };
    }
}
