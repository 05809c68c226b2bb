//! A trial on a store whose history and series are known.

use std::sync::Arc;
use std::time::Duration;

use alerts::{CountThreshold, GroupBy, Kind, Rule, RuleSet};
use presence::history::HistoryEvent;
use presence::payload::Payload;
use presence::query::Filter;
use presence::{Device, EventKind, Moment};
use server::series::{Interval, Step};
use store::settings::{Location, StoreSettings};
use store::{Batch, IfExists, SeriesRow};

use super::*;

/// A whole number of hours, two days after which the trial is made.
const HOUR: i64 = 3_600_000;
const NOW: i64 = 490_000 * HOUR;

struct History {
    _directory: tempfile::TempDir,
    settings: StoreSettings,
    store: Arc<dyn Store>,
}

impl History {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = StoreSettings {
            location: Location::Sqlite(directory.path().join("one.db")),
            schema: String::new(),
            ca_file: None,
            flush_interval: Duration::ZERO,
            forget_after: None,
            history: Duration::MAX,
            history_per_device: 1_000,
            map_limit: None,
        };
        let store = store::open(&settings).await.unwrap().store;
        Self { _directory: directory, settings, store }
    }

    /// The hours before now in which the fleet was observed, each for so many seconds.
    async fn observe(&self, hours: std::ops::Range<i64>, observed_seconds: u32) {
        for hour in hours {
            let start = UnixSeconds(u32::try_from((NOW - hour * HOUR) / 1_000).unwrap());
            let figures = Interval { observed_seconds, ..Interval::default() }.pack();
            let row = SeriesRow { step_seconds: Step::Hour.seconds(), start, figures };
            self.store.write_series(row, IfExists::Keep, 10_000).await.unwrap();
        }
    }

    /// Events of devices, by the minutes before now, stored in their order.
    async fn happen(&self, devices: &[(&str, &[(EventKind, i64)])]) {
        let mut batch = Batch::default();
        for (id, events) in devices {
            let mut session = Moment::UNKNOWN;
            for (kind, minutes) in *events {
                let millis = NOW - minutes * 60_000;
                let time = Moment::from_nanos(i128::from(millis) * 1_000_000);
                if *kind == EventKind::Connect {
                    session = time;
                }
                let received_at = UnixSeconds(u32::try_from(millis / 1_000).unwrap());
                let payload = Payload::pack(b"{}");
                let event = PresenceEvent { kind: *kind, session, time, close_code: 91, payload };
                let device = Device { device_type: "pump", id };
                batch.events.push(HistoryEvent::of(device, event, received_at));
            }
        }
        batch.events.sort_by_key(|event| event.received_at.0);
        self.store.upsert(Arc::new(batch)).await.unwrap();
    }

    async fn try_rules(&self, rules: Vec<Rule>) -> String {
        let rules = RuleSet { startup_grace: Duration::from_secs(300), rules, ..RuleSet::default() };
        let settings = RulesTestSettings {
            rules,
            store: self.settings.clone(),
            since: Duration::from_secs(48 * 3_600),
            json: false,
            log: crate::config::LogSettings {
                format: crate::config::LogFormat::Text,
                level: crate::config::LogLevel::Info,
            },
        };
        replay(settings, NOW).await.unwrap().text()
    }
}

fn rule(name: &str, kind: Kind, hold_seconds: u64) -> Rule {
    Rule {
        name: name.into(),
        kind,
        hold: Duration::from_secs(hold_seconds),
        keep_firing_for: Duration::ZERO,
        selector: Filter::default(),
        excluded_causes: Vec::new(),
        group_by: GroupBy::Rule,
        group_wait: Duration::from_secs(30),
        group_interval: Duration::from_secs(300),
        repeat_interval: None,
        webhooks: Vec::new(),
    }
}

#[tokio::test]
async fn a_trial_says_how_often_and_for_which_devices_rules_would_have_fired() {
    use EventKind::{Connect, Disconnect};
    let history = History::new().await;
    // Of the last two days, the hours from the 20th to the 11th before now were not observed, nor was a part of the fifth.
    history.observe(1..5, 3_600).await;
    history.observe(5..6, 3_590).await;
    history.observe(6..11, 3_600).await;
    history.observe(21..49, 3_600).await;
    // The first was twice away for long and once for a short time, the second only while nobody looked, and the third has been
    // down since before the time that is tried.
    let first = [
        (Connect, 2_900),
        (Disconnect, 2_400),
        (Connect, 2_300),
        (Disconnect, 2_200),
        (Connect, 2_195),
        (Disconnect, 2_000),
        (Connect, 1_900),
    ];
    let second = [(Connect, 2_890), (Disconnect, 1_190), (Connect, 700)];
    let third = [(Connect, 3_000), (Disconnect, 2_950)];
    history.happen(&[("p-1", &first), ("p-2", &second), ("p-3", &third)]).await;
    let text = history.try_rules(vec![rule("offline", Kind::OfflineFor, 600)]).await;
    let mut lines = text.lines().skip(1);
    assert!(text.contains("8 events of 3 devices, observed 77.0 % of the time"), "{text}");
    assert_eq!(
        lines.next(),
        Some("offline (offline_for): 5 notifications, 2 alerts of 1 device, 1 about what began before"),
        "{text}"
    );
    assert_eq!((lines.next(), lines.next()), (Some("       2  pump/p-1"), None), "{text}");
    let threshold = CountThreshold { window: Duration::from_secs(6 * 3_600), start: 2, stop: 0 };
    let text = history.try_rules(vec![rule("flapping", Kind::Flapping(threshold), 0)]).await;
    assert!(text.contains("flapping (flapping): 2 notifications, 1 alert of 1 device"), "{text}");
}

#[tokio::test]
async fn without_observed_time_nothing_fires_and_the_answer_says_so() {
    let history = History::new().await;
    history.happen(&[("p-1", &[(EventKind::Connect, 2_000), (EventKind::Disconnect, 1_900)])]).await;
    let text = history.try_rules(vec![rule("offline", Kind::OfflineFor, 600)]).await;
    assert!(text.contains("observed 0.0 % of the time\nnothing of that time was observed"), "{text}");
    assert!(text.contains("offline (offline_for): 0 notifications, 0 alerts of 0 devices\n"), "{text}");
}
