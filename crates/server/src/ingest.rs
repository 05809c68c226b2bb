//! The one place that writes the registry: takes what the source hands over, decodes it, applies it, counts it.
//!
//! Runs on a thread of its own: it computes and never waits for anything but the backlog.

mod broker;
mod clocks;
mod containment;
mod families;
mod links;
#[cfg(test)]
mod models;
mod other;
mod parents;
#[cfg(test)]
mod rig;
mod sample;
mod standing;
mod timing;
mod walks;

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::clock;
use crate::feed::{Feed, RemovalReason};
use crate::freshness::RoundNumber;
use crate::history::EventQueue;
use crate::metrics::{FlawLabel, KindLabel, Metrics, SourceLabel};
use crate::pending_ack::PendingAcks;
use crate::registry::{Applied, Arrival, DeviceRegistry, LockedDevice, Provenance, Record};
use crate::sync::backlog::{FetchedState, Item, LinkId, NextItem, PacketBatch, PassId, Pending, Tally};
use crate::sync::settings::Partition;
use broker::{BrokerFacts, Clusters};
use families::Families;
use formats::UnixNanos;
use formats::catalog::{Formats, IOT_PLATFORM, Routed};
use formats::held;
use formats::iot_platform::{self, ClientIdMatch, Flaw, Notice, PlatformMessage};
use links::LinkFormats;
use mqtt::packet::{self, Publish};
use presence::history::HistoryEvent;
use presence::{Device, PresenceEvent, UnixSeconds};
use sample::Sampler;
use store::{Changes, ForgottenDevices, StoredDevice};
use timing::SourceClocks;
use walks::Walks;

/// How much of a message a sample shows.
const SAMPLE_BYTES: usize = 200;
/// How many passes are counted at a time; the tally of one that was given up is forgotten with the oldest.
const TALLIES_MAX: usize = 64;

/// The writer of the registry.
pub struct Ingest {
    map: Arc<DeviceRegistry>,
    metrics: Metrics,
    events: Arc<EventQueue>,
    pending_acks: Arc<PendingAcks>,
    feed: Arc<Feed>,
    /// The device types that this instance takes; `None`: all.
    partition: Option<Partition>,
    formats: LinkFormats,
    /// By source.
    brokers: HashMap<Box<str>, BrokerFacts>,
    clusters: Clusters,
    families: Families,
    walks: Walks,
    timing: SourceClocks,
    tallies: HashMap<PassId, Tally>,
    sampler: Sampler,
    /// Messages about devices that would be forgotten again.
    expired: Cell<u64>,
}

impl Ingest {
    pub fn new(
        map: Arc<DeviceRegistry>,
        metrics: Metrics,
        events: Arc<EventQueue>,
        pending_acks: Arc<PendingAcks>,
        feed: Arc<Feed>,
        partition: Option<Partition>,
    ) -> Self {
        Self {
            map,
            metrics,
            events,
            pending_acks,
            feed,
            partition,
            formats: LinkFormats::new(Vec::new()),
            brokers: HashMap::new(),
            clusters: Clusters::default(),
            families: Families::default(),
            walks: Walks::default(),
            timing: SourceClocks::default(),
            tallies: HashMap::new(),
            sampler: Sampler::default(),
            expired: Cell::default(),
        }
    }

    /// Reads messages of these formats, by link, instead of the IoT platform's alone.
    #[must_use]
    pub fn with_formats(self, formats: Vec<Arc<Formats>>) -> Self {
        Self { formats: LinkFormats::new(formats), ..self }
    }

    /// Applies what is handed over until every reader is gone.
    pub fn run(mut self, pending: &Pending) {
        self.find_held();
        while let Some(item) = self.next_item(pending) {
            self.apply_item(item, pending);
        }
        self.finish_walks(pending);
        if !pending.is_abandoned() {
            self.settle_clocks();
        }
    }

    /// The next item. What is to be done between items is done meanwhile, a part at a time.
    fn next_item(&mut self, pending: &Pending) -> Option<Item> {
        loop {
            self.run_clocks(Instant::now());
            self.advance_families();
            self.advance_walks();
            self.answer_waiting(pending);
            let is_busy = self.families.is_changing() || self.walks.are_under_way();
            let next = if is_busy { Some(Instant::now()) } else { self.next_clock() };
            let Some(deadline) = next else { return pending.next() };
            match pending.next_before(deadline) {
                NextItem::Item(item) => return Some(item),
                NextItem::NoneYet => {}
                NextItem::Ended => return None,
            }
        }
    }

    fn apply_item(&mut self, item: Item, pending: &Pending) {
        match item {
            Item::PacketBatch(batch, offered_at) => {
                let applied = self.apply_batch(&batch, pending, other::received(offered_at.elapsed()));
                pending.applied(&batch, offered_at);
                // What was left is not acknowledged, so the broker keeps it.
                let pending_ack = batch.pending_ack.filter(|_| applied == BatchResult::Yes);
                pending_ack.into_iter().for_each(|pending_ack| self.pending_acks.push(pending_ack));
            }
            Item::PeerUpdates { changes, done } => {
                if !changes.forgotten.is_empty() {
                    self.drop_forgotten(&changes);
                }
                for device in changes.devices {
                    if pending.is_abandoned() {
                        break;
                    }
                    self.apply_peer_update(device);
                }
                // The sender may have stopped.
                let _ = done.send(());
            }
            Item::FetchedDevices { devices, _permit } => {
                let number = devices.len();
                for FetchedState { name, kept, seen } in devices {
                    self.map.remember(name.device(), kept, seen);
                }
                self.map.make_room_for(number);
            }
            Item::Barrier { pass, done } => {
                let tally = self.tallies.remove(&pass).unwrap_or_default();
                self.answer_when_applied(tally, done, pending);
            }
        }
    }

    /// Applies the messages of a batch, until nobody waits for the rest any more.
    fn apply_batch(&mut self, batch: &PacketBatch, pending: &Pending, received: UnixNanos) -> BatchResult {
        let now = clock::now();
        let (round, subscribed_ms) = (batch.round, batch.subscribed_ms);
        let (link, may_have_waited) = (batch.link, batch.may_have_waited);
        let arrivals = Arrivals { link, at: now, round, may_have_waited, received, subscribed_ms };
        let mut tally = Tally::default();
        let mut rest = &batch.packets[..];
        let mut messages = 0;
        // The reader has found these packets to be whole; one that is not ends its batch.
        while let Ok(Some(frame)) = packet::frame(rest) {
            if pending.is_abandoned() {
                return BatchResult::No;
            }
            match packet::publish(&frame, batch.version) {
                Ok(publish) => self.apply_message(&publish, &arrivals, &mut tally),
                Err(_malformed) => self.metrics.undecodable("malformed_packet"),
            }
            messages += 1;
            rest = &rest[frame.len..];
        }
        self.metrics.messages_received.inc_by(messages);
        tally.expired = self.expired.take();
        if let Some(pass) = batch.pass {
            self.count(pass, tally);
        }
        BatchResult::Yes
    }

    fn apply_message(&mut self, publish: &Publish<'_>, arrivals: &Arrivals, tally: &mut Tally) {
        tally.retained += u64::from(publish.retained);
        if !self.formats.of_link(arrivals.link).are_platform_only() {
            let formats = Arc::clone(self.formats.of_link(arrivals.link));
            let route = || formats.route(publish.topic, publish.payload, publish.retained);
            match self.contained("none", (publish.topic, publish.payload), route) {
                Some(Routed::Platform) => {}
                Some(Routed::Other(source, decoded)) => {
                    return self.apply_other((source, decoded), publish, arrivals, tally);
                }
                Some(Routed::Nobody) => return self.nobodys(publish),
                None => return,
            }
        }
        if let Some(partition) = self.partition
            && iot_platform::type_in_topic(publish.topic)
                .is_some_and(|device_type| !partition.holds(device_type))
        {
            self.metrics.messages_of_others.inc();
            return;
        }
        let decode = || iot_platform::decode(publish.topic, publish.payload);
        let message = self.contained(IOT_PLATFORM, (publish.topic, publish.payload), decode);
        let Some(message) = message else { return };
        match message {
            PlatformMessage::Event { device, event, client_id, flaws } => {
                self.flaws(&flaws, &event, publish, arrivals.at);
                if client_id == ClientIdMatch::Foreign {
                    self.metrics.client_id_mismatches.inc();
                }
                let provenance = if publish.retained { Provenance::Retained } else { Provenance::Live };
                let locked = self.map.lock(device);
                let applied = self.apply_event(locked, event, arrivals.of(provenance), Recording::IfNews);
                tally.learned += u64::from(applied != Applied::Known);
                tally.new_devices += u64::from(matches!(applied, Applied::Changed { from: None, .. }));
                if provenance == Provenance::Live {
                    log_status(device, publish.payload);
                }
            }
            PlatformMessage::FailedLogin { device, event, flaws } => {
                self.flaws(&flaws, &event, publish, arrivals.at);
                self.notice(device, "failed_connect", publish.payload);
                // A client that makes up names must not fill the store: only a device that is known has a history. The store sees
                // to it itself where not all that are known are held.
                if self.map.is_limited() || self.map.read(device, |_| ()).is_some() {
                    self.events.push(device, event, arrivals.at);
                    self.feed.failed_logins.add(device);
                }
            }
            PlatformMessage::Notice { device, notice } => self.notice(device, kind(notice), publish.payload),
            PlatformMessage::Application => {
                self.metrics.messages_of_applications.inc();
            }
            PlatformMessage::Undecodable(why) => {
                self.undecodable(IOT_PLATFORM, why.reason(), (publish.topic, publish.payload));
            }
        }
    }

    fn notice(&self, device: Device<'_>, kind: &'static str, payload: &[u8]) {
        self.metrics.notices.get_or_create(&KindLabel { kind }).inc();
        self.pass_over(IOT_PLATFORM, kind);
        log_status(device, payload);
    }

    fn apply_event(
        &self,
        locked: LockedDevice<'_>,
        event: PresenceEvent,
        arrival: Arrival,
        recording: Recording,
    ) -> Applied {
        if self.is_expired(&locked, &event, arrival) {
            self.pass_over(held::source(&event.payload), "expired");
            self.expired.update(|expired| expired + 1);
            return Applied::Known;
        }
        let applied = locked.apply_then(event, arrival, |record, applied, event| {
            // First the history, then the feed: what has been published is on its way into the history.
            // Whether a replayed message is news cannot be told of a device of which not all is held.
            let (is_whole, is_populated) = (record.reception.is_whole(), self.feed.is_populated());
            let is_certain = is_whole || arrival.provenance == Provenance::Live;
            let in_history = recording == Recording::IfNews
                && is_certain
                && is_event(arrival.provenance, applied, is_populated)
                && self.events.add(HistoryEvent {
                    is_first_seen: is_populated && is_whole && is_new(applied),
                    ..HistoryEvent::of(record.device(), event.clone(), arrival.at)
                });
            self.publish(record, applied, in_history);
        });
        match applied {
            Applied::Known => self.metrics.events_known.inc(),
            Applied::Refined | Applied::Changed { .. } => self.metrics.events_applied.inc(),
        };
        applied
    }

    /// Whether the broker repeats the end of a session that is so old that its device would be forgotten again, for as long as the
    /// broker retains the message.
    fn is_expired(&self, locked: &LockedDevice<'_>, event: &PresenceEvent, arrival: Arrival) -> bool {
        arrival.provenance == Provenance::Retained
            && self.map.would_forget(event)
            && locked.read(|_record| ()).is_none()
    }

    /// Drops devices that an instance forgot, and what was received about them before. What they are now follows.
    fn drop_forgotten(&self, changes: &Changes) {
        let mut cursor = self.map.forget_cursor.lock();
        self.events.drop_forgotten(&ForgottenDevices::new(&changes.forgotten));
        for forgotten in &changes.forgotten {
            self.map.forget_device(forgotten.name.device(), |record| {
                if !self.map.is_limited() {
                    self.feed.publish_removal(record, RemovalReason::Forgotten);
                }
            });
        }
        *cursor = Some(changes.cursor.clone());
    }

    /// Merges a device as another instance wrote it. Makes no history event: the instance that received the message has
    /// written that.
    fn apply_peer_update(&mut self, device: StoredDevice) {
        let publish = |record: &Record<'_>, applied| {
            // Whether the other instance received the first message about the device live, and so wrote an event, is not known here.
            let in_history = !matches!(applied, Applied::Changed { from: None, .. });
            self.publish(record, applied, in_history);
        };
        match self.map.learn(device.name.device(), device.state, device.received_at, publish) {
            Applied::Known => self.metrics.store.peer_updates_known.inc(),
            Applied::Refined | Applied::Changed { .. } => {
                self.note_peers_device(device.name.device());
                self.metrics.store.peer_updates.inc()
            }
        };
    }

    fn publish(&self, record: &Record<'_>, applied: Applied, in_history: bool) {
        // The status before is not known of a device that was not held, so such a registry has no streams.
        if self.map.is_limited() {
            return;
        }
        match applied {
            Applied::Known => {}
            Applied::Refined => self.feed.publish(record, Some(record.resolve().status), in_history),
            Applied::Changed { from, to: _ } => self.feed.publish(record, from, in_history),
        }
    }

    /// Counts a message that nothing could be made of, and logs a sample of each source and reason.
    fn undecodable(&mut self, source: &str, reason: &'static str, (topic, payload): (&[u8], &[u8])) {
        self.metrics.undecodable(reason);
        let label = SourceLabel { source: source.to_owned(), reason };
        self.metrics.source_messages_undecodable.get_or_create(&label).inc();
        let Some(unlogged_before) = self.sampler.pick(source, reason) else { return };
        tracing::warn!(
            source,
            reason,
            topic = sample(topic),
            payload = sample(payload),
            payload_bytes = payload.len(),
            unlogged_before,
            "a message cannot be used and is ignored"
        );
    }

    /// Counts what is wrong with a message that counts nevertheless, and logs a sample of each kind.
    fn flaws(&mut self, flaws: &[Flaw], event: &PresenceEvent, publish: &Publish<'_>, now: UnixSeconds) {
        let now_nanos = i64::from(now.0) * 1_000_000_000;
        let ahead = event.is_dated_ahead(now_nanos).then_some(Flaw::DatedAhead);
        for flaw in flaws.iter().copied().chain(ahead) {
            let flaw = flaw.word();
            self.metrics.message_flaws.get_or_create(&FlawLabel { flaw }).inc();
            let Some(unlogged_before) = self.sampler.pick(IOT_PLATFORM, flaw) else { continue };
            tracing::warn!(
                flaw,
                topic = sample(publish.topic),
                payload = sample(publish.payload),
                payload_bytes = publish.payload.len(),
                unlogged_before,
                "a status counts, but something about it is wrong"
            );
        }
    }

    fn count(&mut self, pass: PassId, batch: Tally) {
        let tally = self.tallies.entry(pass).or_default();
        tally.retained += batch.retained;
        tally.learned += batch.learned;
        tally.new_devices += batch.new_devices;
        tally.expired += batch.expired;
        if self.tallies.len() > TALLIES_MAX {
            let oldest = self.tallies.keys().min().copied();
            oldest.and_then(|pass| self.tallies.remove(&pass));
        }
    }
}

/// Whether all messages of a batch were applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BatchResult {
    Yes,
    No,
}

/// Whether an event goes into the history.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Recording {
    /// If it is news.
    IfNews,
    /// The device is in the same state as before.
    Never,
}

/// How the messages of a batch came.
struct Arrivals {
    link: LinkId,
    at: UnixSeconds,
    round: RoundNumber,
    /// See [`PacketBatch::may_have_waited`].
    may_have_waited: bool,
    /// When their packets were read.
    received: UnixNanos,
    subscribed_ms: i64,
}

impl Arrivals {
    fn of(&self, provenance: Provenance) -> Arrival {
        // Of what has waited, the broker keeps the oldest: the device may have changed since. Its retained message tells.
        let is_old = self.may_have_waited && provenance == Provenance::Live;
        Arrival { provenance, at: self.at, round: if is_old { RoundNumber::NONE } else { self.round } }
    }
}

/// Whether an event is news for the history: it came as it happened, or it tells what happened while nobody listened, to a
/// known device or, once all had been found, to a new one. What the broker repeats to a new subscription is none.
fn is_event(provenance: Provenance, applied: Applied, is_populated: bool) -> bool {
    match (provenance, applied) {
        (Provenance::Live, _) => true,
        (Provenance::Retained, Applied::Changed { from: None, .. }) => is_populated,
        (
            Provenance::Retained | Provenance::Restored | Provenance::Peer,
            Applied::Known | Applied::Changed { from: None, .. },
        ) => false,
        (
            Provenance::Retained | Provenance::Restored | Provenance::Peer,
            Applied::Refined | Applied::Changed { from: Some(_), .. },
        ) => true,
    }
}

/// Whether nothing was known of the device before.
fn is_new(applied: Applied) -> bool {
    match applied {
        Applied::Changed { from, to: _ } => from.is_none(),
        Applied::Known | Applied::Refined => false,
    }
}

/// The beginning of a topic or a message, as printable text.
fn sample(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(SAMPLE_BYTES)].escape_ascii().to_string()
}

fn kind(notice: Notice) -> &'static str {
    match notice {
        Notice::Other => "other",
        Notice::Cleared => "cleared",
    }
}

/// The status line of the service this one replaces: time, device, action, address, reason.
fn log_status(device: Device<'_>, payload: &[u8]) {
    if !tracing::enabled!(target: "devstatus::status", tracing::Level::DEBUG) {
        return;
    }
    let Some(line) = held::summary(payload) else { return };
    let name = format!("{}:{}", device.device_type, device.id);
    let (time, action, address) = (line.time.as_ref(), line.action.as_ref(), line.address.as_ref());
    let reason = if line.reason.is_empty() { String::new() } else { format!(" ({})", line.reason) };
    tracing::debug!(target: "devstatus::status", "{time:<30} {name:<30} {action:<12} {address}{reason}");
}

#[cfg(test)]
mod source_tests;
#[cfg(test)]
mod tests;
