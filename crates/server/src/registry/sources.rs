//! Devices and sessions by source. Those of the IoT platform are what the others leave of the whole, so its messages, of which
//! there are the most, cost nothing here.

use std::sync::{Arc, OnceLock};

use super::counts::Counts;
use super::end_code::{ArrivingMessage, EndCode};
use super::index_entry::IndexKey;
use super::sessions::{SessionCounts, SessionTotals};
use super::{DeviceRegistry, Record, Totals};
use formats::catalog::IOT_PLATFORM;
use formats::held;
use presence::Status;
use presence::payload::Payload;

/// Sources that are counted apart; a process reads a few, a store may remember more. The devices of further ones are counted
/// together as `other`.
pub const SOURCES_MAX: usize = 100;

const OTHER: &str = "other";

/// All sources, in the order in which they were first named. A source stays, also without devices.
pub(super) struct Sources {
    slots: Box<[OnceLock<SourceRecord>]>,
    other: OnceLock<SourceRecord>,
}

pub(super) struct SourceRecord {
    name: Arc<str>,
    counts: Counts,
    pub sessions: SessionCounts,
}

/// What lists and counters look at of a device.
pub(super) struct Facets<'a> {
    pub index_key: IndexKey,
    /// `None`: the IoT platform.
    source: Option<&'a SourceRecord>,
}

impl Record<'_> {
    /// What lists and counters look at; `None` before the first event.
    pub(super) fn facets<'a>(&self, sources: &'a Sources) -> Option<Facets<'a>> {
        self.facets_after(None, sources)
    }

    /// The same after an event has come whose session and time no held event had.
    pub(super) fn facets_after<'a>(
        &self,
        message: Option<&ArrivingMessage>,
        sources: &'a Sources,
    ) -> Option<Facets<'a>> {
        let resolved = self.state.resolve()?;
        let payload = &resolved.event.payload;
        let message = message.filter(|message| message.is_of(resolved.event));
        let (end_code, address) = match (resolved.status, message) {
            (Status::Connected, Some(message)) => (EndCode::NONE, message.address),
            (Status::Connected, None) => (EndCode::NONE, held::ipv4(payload)),
            (Status::Disconnected, Some(message)) => (message.end_code, message.address),
            (Status::Disconnected, None) => EndCode::and_address_of(resolved.event),
        };
        let index_key = IndexKey { status: resolved.status, end_code, time: resolved.event.time, address };
        Some(Facets { index_key, source: sources.of(payload) })
    }
}

impl Default for Sources {
    fn default() -> Self {
        Self { slots: (0..SOURCES_MAX).map(|_| OnceLock::new()).collect(), other: OnceLock::new() }
    }
}

impl SourceRecord {
    fn new(name: &str) -> Self {
        Self { name: name.into(), counts: Counts::default(), sessions: SessionCounts::default() }
    }

    /// Counts a device that changes its status or its source, comes in, or goes.
    pub fn move_one(from: Option<&Facets<'_>>, to: Option<&Facets<'_>>) {
        let counted = |facets: Option<&Facets<'_>>, count: fn(&Counts, Status)| {
            if let Some(facets) = facets
                && let Some(source) = facets.source
            {
                count(&source.counts, facets.index_key.status);
            }
        };
        counted(to, |counts, status| counts.move_one(None, status));
        counted(from, Counts::drop_one);
    }

    fn counted(&self) -> SessionTotals {
        self.sessions.counted(self.counts.totals())
    }
}

impl Sources {
    /// The source of a message; `None`: the IoT platform. There are so few that none is looked up.
    pub fn of(&self, payload: &Payload) -> Option<&SourceRecord> {
        payload.source().map(|name| self.find_or_add(name))
    }

    fn find_or_add(&self, name: &str) -> &SourceRecord {
        // Whoever comes first takes an empty slot.
        let mut slots = self.slots.iter().map(|slot| slot.get_or_init(|| SourceRecord::new(name)));
        let found = slots.find(|source| *source.name == *name);
        found.unwrap_or_else(|| self.other.get_or_init(|| SourceRecord::new(OTHER)))
    }

    fn iter(&self) -> impl Iterator<Item = &SourceRecord> {
        self.slots.iter().map_while(OnceLock::get).chain(self.other.get())
    }
}

impl DeviceRegistry {
    /// Makes sources known that may have no devices yet.
    pub fn name_sources<'a>(&self, names: impl Iterator<Item = &'a str>) {
        names.for_each(|name| {
            self.sources.find_or_add(name);
        });
    }

    /// Devices by source, by name. The cost depends on the number of sources alone.
    pub fn totals_by_source(&self) -> Vec<(Arc<str>, Totals)> {
        let sources =
            self.counted_by_source(SessionTotals { now: self.totals(), ..SessionTotals::default() });
        sources.into_iter().map(|(name, counted)| (name, counted.now)).collect()
    }

    /// What has been counted of each source, of all that has been counted.
    pub(super) fn counted_by_source(&self, all: SessionTotals) -> Vec<(Arc<str>, SessionTotals)> {
        let of_sources = self.sources.iter().map(|source| (Arc::clone(&source.name), source.counted()));
        let mut sources: Vec<_> = of_sources.collect();
        // They are read while they are counted, so their sum may be ahead of the whole.
        let rest = sources.iter().fold(all, |rest, (_, counted)| rest.less(counted));
        match sources.iter_mut().find(|(name, _)| **name == *IOT_PLATFORM) {
            Some((_, platform)) => *platform = rest,
            None if rest.now.total() > 0 => sources.push((IOT_PLATFORM.into(), rest)),
            None => {}
        }
        sources.sort_by(|(one, _), (other, _)| one.cmp(other));
        sources
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::freshness::RoundNumber;
    use crate::registry::{Applied, Arrival, Provenance};
    use presence::{Device, DeviceState, EventKind, Moment, PresenceEvent, UnixSeconds};

    fn event(source: Option<&str>, kind: EventKind, at: i128) -> PresenceEvent {
        let moment = Moment::from_nanos(at);
        let text = at.to_string();
        let payload = match source {
            Some(source) => Payload::pack_of(source, text.as_bytes()),
            None => Payload::pack(text.as_bytes()),
        };
        PresenceEvent { kind, session: moment, time: moment, close_code: 0, payload }
    }

    fn device(id: &str) -> Device<'_> {
        Device { device_type: "t", id }
    }

    fn receive(registry: &DeviceRegistry, id: &str, event: PresenceEvent, provenance: Provenance) -> Applied {
        registry.apply(
            device(id),
            event,
            Arrival { provenance, at: UnixSeconds(1), round: RoundNumber::NONE },
        )
    }

    fn of(registry: &DeviceRegistry) -> Vec<(String, u64, u64)> {
        let totals = registry.totals_by_source();
        totals
            .iter()
            .map(|(name, totals)| (name.to_string(), totals.connected, totals.disconnected))
            .collect()
    }

    fn row(name: &str, connected: u64, disconnected: u64) -> (String, u64, u64) {
        (name.to_owned(), connected, disconnected)
    }

    #[test]
    fn a_device_is_counted_for_the_source_of_its_deciding_message_until_it_goes() {
        use EventKind::{Connect, Disconnect};
        let registry = DeviceRegistry::tracking_changes();
        assert!(of(&registry).is_empty());
        registry.name_sources(["north", "iot-platform"].into_iter());
        assert_eq!(of(&registry), [row("iot-platform", 0, 0), row("north", 0, 0)]);
        receive(&registry, "1", event(None, Connect, 1), Provenance::Live);
        receive(&registry, "2", event(Some("north"), Connect, 1), Provenance::Live);
        receive(&registry, "3", event(Some("south"), Disconnect, 1), Provenance::Retained);
        receive(&registry, "3", event(Some("south"), Disconnect, 1), Provenance::Retained);
        assert_eq!(of(&registry), [row("iot-platform", 1, 0), row("north", 1, 0), row("south", 0, 1)]);
        // What another instance wrote, what the store has, what follows from a parent.
        let state = |event| {
            let mut state = DeviceState::default();
            state.apply(event);
            state
        };
        registry.learn(device("2"), state(event(Some("north"), Disconnect, 2)), UnixSeconds(2), |_, _| ());
        registry.restore(device("4"), state(event(Some("south"), Connect, 2)), UnixSeconds(2));
        registry.derive_then(device("4"), event(Some("south"), Disconnect, 3), |_, _| ());
        assert_eq!(of(&registry), [row("iot-platform", 1, 0), row("north", 0, 1), row("south", 0, 2)]);
        // A device passes to another source in the same status.
        receive(&registry, "3", event(Some("north"), Disconnect, 5), Provenance::Live);
        receive(&registry, "1", event(Some("north"), Connect, 5), Provenance::Live);
        assert_eq!(of(&registry), [row("iot-platform", 0, 0), row("north", 1, 2), row("south", 0, 1)]);
        registry.forget_device(device("3"), |_| ());
        registry.forget_removed(device("1"), |_| false, |_| ());
        registry.forget(10, |_| ());
        assert_eq!(of(&registry), [row("iot-platform", 0, 0), row("north", 0, 0), row("south", 0, 0)]);
    }

    #[test]
    fn sessions_are_counted_by_source_and_the_platforms_are_the_rest() {
        let registry = DeviceRegistry::default();
        for (id, source) in [("1", None), ("2", Some("north")), ("3", Some("north"))] {
            receive(&registry, id, event(source, EventKind::Connect, 1), Provenance::Live);
        }
        receive(&registry, "3", event(Some("north"), EventKind::Disconnect, 1), Provenance::Live);
        let counted = registry.counted();
        let by_source: Vec<_> = counted
            .sources
            .iter()
            .map(|(name, c)| (&**name, c.now.total(), c.connects, c.disconnects))
            .collect();
        assert_eq!(by_source, [("iot-platform", 1, 1, 0), ("north", 2, 2, 1)]);
    }

    #[test]
    fn sources_beyond_the_bound_are_counted_together() {
        let registry = DeviceRegistry::default();
        for number in 0..SOURCES_MAX + 3 {
            let source = format!("source-{number:03}");
            receive(&registry, &source, event(Some(&source), EventKind::Connect, 1), Provenance::Live);
        }
        let totals = of(&registry);
        assert_eq!((totals.len(), &totals[0]), (SOURCES_MAX + 1, &row("other", 3, 0)));
    }
}
