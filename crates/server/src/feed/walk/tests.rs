//! A walker against a list of everything that was published while it walked.

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::feed::RemovalReason;
use crate::feed::settings::FeedSettings;
use crate::health::{Health, ReadyOn};
use crate::metrics::Metrics;
use crate::registry::{Arrival, Provenance};
use presence::payload::Payload;
use presence::{EventKind, Moment, PresenceEvent, Status, UnixSeconds};

/// Some ten in each part: most are there before the walk, the others come while it goes on.
const DEVICES: usize = 2_500;
const DEVICES_BEFORE: usize = 2_000;

/// What changes at once, between any two things that the walker does.
const CHANGES_AT_ONCE: usize = 8;

/// A fleet, and all of its changes that were published, by device, each by its sequence.
struct Fleet {
    registry: DeviceRegistry,
    feed: Arc<Feed>,
    published: HashMap<String, Vec<u64>>,
}

impl Fleet {
    fn new() -> Self {
        let settings = FeedSettings { streams_max: 1, stream_lag_max: 1_000_000 };
        let feed = Feed::new(settings, Arc::new(Health::new(ReadyOn::Unproven)), Metrics::default());
        Self { registry: DeviceRegistry::default(), feed: Arc::new(feed), published: HashMap::new() }
    }

    /// A connect whose time is the sequence of its change.
    fn connect(&mut self, id: &str) {
        let sequence = self.feed.head() + 1;
        let at = Moment::from_nanos(sequence.into());
        let payload = Payload::pack(b"{}");
        let event = PresenceEvent { kind: EventKind::Connect, session: at, time: at, close_code: 0, payload };
        let arrival = Arrival {
            provenance: Provenance::Live,
            at: UnixSeconds(1),
            round: crate::freshness::RoundNumber::NONE,
        };
        self.registry.apply_then(Device { device_type: "t", id }, event, arrival, |record, _| {
            self.feed.publish(record, Some(Status::Connected), true);
        });
        self.published.entry(id.to_owned()).or_default().push(sequence);
    }

    fn forget(&mut self, id: &str) {
        let (feed, mut removed_at) = (&self.feed, None);
        self.registry.forget_device(Device { device_type: "t", id }, |record| {
            feed.publish_removal(record, RemovalReason::Forgotten);
            removed_at = Some(feed.head());
        });
        self.published.entry(id.to_owned()).or_default().extend(removed_at);
    }

    fn change(&mut self, random: &mut impl FnMut(usize) -> usize) {
        for _ in 0..CHANGES_AT_ONCE {
            let id = random(DEVICES).to_string();
            if random(4) == 0 { self.forget(&id) } else { self.connect(&id) }
        }
    }
}

/// What the walker was shown of a device: as it was when it was read, and the changes that were news.
#[derive(Default)]
struct Shown {
    read_at: Vec<u64>,
    news: Vec<u64>,
}

fn time_of(snapshot: &Snapshot) -> u64 {
    snapshot.event.time.nanos().and_then(|nanos| u64::try_from(nanos).ok()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_walk_shows_each_device_once_and_each_later_change_once(seed: u64) {
        let mut state = seed;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % below
        };
        let mut fleet = Fleet::new();
        (0..DEVICES_BEFORE).for_each(|id| fleet.connect(&id.to_string()));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut reader = fleet.feed.follow_internally();
        let (mut walk, mut shown) = (FleetWalk::default(), HashMap::<String, Shown>::new());
        loop {
            fleet.change(&mut random);
            if !runtime.block_on(walk.advance(&fleet.registry, &fleet.feed, |_| true)) {
                break;
            }
            fleet.change(&mut random);
            for snapshot in walk.read_step(&fleet.registry, &fleet.feed) {
                shown.entry(snapshot.device().id.to_owned()).or_default().read_at.push(time_of(&snapshot));
            }
            fleet.change(&mut random);
            while reader.position() < walk.read_up_to() {
                let batch = reader.take().unwrap();
                for change in batch.changes().iter().filter(|change| walk.is_news(&fleet.registry, change)) {
                    shown.entry(change.snapshot.device().id.to_owned()).or_default().news.push(change.sequence);
                }
            }
        }
        // After the last step every change is news.
        while reader.position() < fleet.feed.head() {
            for change in reader.take().unwrap().changes() {
                prop_assert!(walk.is_news(&fleet.registry, change));
                shown.entry(change.snapshot.device().id.to_owned()).or_default().news.push(change.sequence);
            }
        }
        for (id, published) in &fleet.published {
            let Shown { read_at, news } = shown.remove(id).unwrap_or_default();
            prop_assert!(read_at.len() <= 1, "{} was shown {} times", id, read_at.len());
            let after = read_at.first().copied().unwrap_or(0);
            let expected: Vec<u64> = published.iter().copied().filter(|sequence| *sequence > after).collect();
            if read_at.is_empty() {
                // It was gone when its part was read, or came later: what was before that is not told.
                prop_assert!(expected.ends_with(&news), "{}: {:?} of {:?}", id, news, expected);
                let is_known = fleet.registry.read(Device { device_type: "t", id }, |_| ()).is_some();
                prop_assert!(!is_known || !news.is_empty(), "{} was not shown", id);
            } else {
                prop_assert_eq!(news, expected, "{}", id);
            }
        }
        prop_assert!(shown.is_empty());
    }
}
