//! What clocks do, with the time as an argument.

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::feed::Feed;
use crate::feed::settings::FeedSettings;
use crate::freshness::RoundNumber;
use crate::health::{BrokerHealth, Health, ReadyOn};
use crate::history::EventQueue;
use crate::metrics::Metrics;
use crate::pending_ack::PendingAcks;
use crate::registry::DeviceRegistry;
use crate::sync::backlog::{PacketBatch, Pending, backlog};
use formats::UnixNanos;
use formats::catalog::Formats;
use mqtt::packet::{self, Publish};
use mqtt::settings::MqttVersion;
use presence::Status;

const PROFILE: &str = r#"
[[profile]]
name = "lamps"
topic = "lamp/{id}/state"
type = "lamp"
connected = ["on"]
disconnected = ["off"]
alive = ["lamp/{id}/data"]
grace = "30s"
stale_after = "1h"
"#;

struct Rig {
    ingest: Ingest,
    health: Arc<Health>,
    map: Arc<DeviceRegistry>,
    pending: Pending,
    received: i64,
}

impl Rig {
    fn new(profile: &str) -> Self {
        let metrics = Metrics::default();
        let health = Arc::new(Health::new(ReadyOn::Unproven));
        let settings = FeedSettings { streams_max: 1, stream_lag_max: 100 };
        let feed = Arc::new(Feed::new(settings, Arc::clone(&health), metrics.clone()));
        let events = Arc::new(EventQueue::new(metrics.clone()));
        let map = Arc::new(DeviceRegistry::tracking_changes());
        let profiles = formats::profile::parse(profile).unwrap();
        let names: Vec<String> = profiles.iter().map(|profile| profile.name().to_owned()).collect();
        let formats = Arc::new(Formats::new(&names, &profiles).unwrap());
        let acks = Arc::new(PendingAcks::default());
        let ingest = Ingest::new(Arc::clone(&map), metrics.clone(), events, acks, feed, None);
        let (_backlog, pending) = backlog(1 << 20, metrics);
        health.set_broker(BrokerHealth::Subscribed);
        Self {
            ingest: ingest.with_formats(formats),
            health,
            map,
            pending,
            received: 1_767_225_600_000_000_000,
        }
    }

    fn send(&mut self, topic: &str, payload: &str, retained: bool) {
        let mut packets = Vec::new();
        let publish =
            Publish { topic: topic.as_bytes(), payload: payload.as_bytes(), retained, packet_id: None };
        packet::put_publish(&mut packets, MqttVersion::V311, &publish);
        let batch = PacketBatch {
            subscribed_ms: self.received / 1_000_000,
            packets: Bytes::from(packets),
            version: MqttVersion::V311,
            round: RoundNumber::NONE,
            may_have_waited: false,
            pass: None,
            pending_ack: None,
        };
        self.received += 10_000_000_000;
        self.ingest.apply_batch(&batch, &self.pending, UnixNanos(self.received));
    }

    fn after(&mut self, seconds: u64) {
        self.ingest.run_clocks(Instant::now() + Duration::from_secs(seconds));
    }

    /// Its status, and whether it is out of date.
    fn shown(&self, id: &str) -> Option<(Status, bool)> {
        self.map.read(Device { device_type: "lamp", id }, |record| {
            (record.resolve().status, record.freshness_round() == RoundNumber::SILENT)
        })
    }

    fn reconnect(&self) {
        self.health.link_lost(Duration::ZERO);
        self.health.set_broker(BrokerHealth::Subscribed);
    }
}

const ON: Option<(Status, bool)> = Some((Status::Connected, false));
const OFF: Option<(Status, bool)> = Some((Status::Disconnected, false));

#[test]
fn a_disconnect_counts_after_the_grace_unless_the_device_is_back() {
    let mut rig = Rig::new(PROFILE);
    rig.send("lamp/a/state", "off", true);
    assert_eq!(rig.shown("a"), OFF, "of a device that is not known to be connected it counts at once");
    rig.send("lamp/a/state", "on", false);
    for back in ["on", "alive"] {
        rig.send("lamp/a/state", "off", false);
        rig.send("lamp/a/state", "off", false);
        rig.after(29);
        assert_eq!(rig.shown("a"), ON, "{back}");
        match back {
            "on" => rig.send("lamp/a/state", "on", false),
            _ => rig.send("lamp/a/data", "7", false),
        }
        rig.after(60);
        assert_eq!(rig.shown("a"), ON, "{back}");
    }
    rig.send("lamp/a/state", "off", false);
    rig.after(31);
    assert_eq!(rig.shown("a"), OFF);
    rig.send("lamp/a/state", "on", false);
    assert_eq!(rig.shown("a"), ON, "a later connect is newer than a disconnect that was held back");
    rig.send("lamp/a/state", "", false);
    assert_ne!(rig.shown("a"), ON, "a removal is not held back");
    assert_eq!(rig.ingest.timing.held_back_bytes, 0);
}

#[test]
fn no_clock_runs_out_for_time_in_which_there_was_no_link() {
    let mut rig = Rig::new(PROFILE);
    rig.send("lamp/a/state", "on", false);
    rig.send("lamp/b/state", "on", false);
    rig.send("lamp/a/state", "off", false);
    rig.health.link_lost(Duration::ZERO);
    rig.after(7_200);
    assert_eq!((rig.shown("a"), rig.shown("b")), (ON, ON));
    assert!(rig.ingest.next_clock().is_some(), "it is asked again");
    rig.reconnect();
    // Both begin again with the new link.
    rig.after(29);
    assert_eq!(rig.shown("a"), ON);
    rig.after(31);
    assert_eq!((rig.shown("a"), rig.shown("b")), (OFF, ON));
    rig.after(3_601);
    assert_eq!(rig.shown("b"), Some((Status::Connected, true)), "out of date, and not disconnected");
    rig.send("lamp/b/state", "on", true);
    assert_eq!(rig.shown("b"), Some((Status::Connected, true)), "the broker repeats it");
    rig.send("lamp/b/data", "1", false);
    assert_eq!(rig.shown("b"), ON);
    rig.after(3_601);
    assert_eq!(rig.shown("b"), Some((Status::Connected, true)), "its clock runs again");
}

#[test]
fn messages_move_the_end_of_a_silence() {
    let mut rig = Rig::new(PROFILE);
    rig.send("lamp/a/state", "on", false);
    let first = rig.ingest.next_clock().unwrap();
    rig.send("lamp/a/data", "1", false);
    assert_eq!(rig.ingest.next_clock(), Some(first), "a message costs no place in the order");
    rig.ingest.run_clocks(first);
    assert_eq!(rig.shown("a"), ON);
    assert!(rig.ingest.next_clock() > Some(first));
}

#[test]
fn before_a_stop_only_what_no_broker_repeats_is_settled() {
    for (retained, expected) in [("", ON), ("retained = false\n", OFF)] {
        let mut rig = Rig::new(&format!("{PROFILE}{retained}"));
        rig.send("lamp/a/state", "on", false);
        rig.send("lamp/a/state", "off", false);
        rig.ingest.settle_clocks();
        assert_eq!(rig.shown("a"), expected, "{retained}");
    }
}

#[test]
fn disconnects_beyond_the_bound_count_at_once() {
    let mut rig = Rig::new(PROFILE);
    rig.send("lamp/a/state", "on", false);
    rig.ingest.timing.held_back_bytes = HELD_BACK_MAX_BYTES;
    rig.send("lamp/a/state", "off", false);
    assert_eq!(rig.shown("a"), OFF);
}
