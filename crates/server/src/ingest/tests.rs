//! What the decoder leaves when nobody waits for it any more, and which events are news for the history.

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::feed::settings::FeedSettings;
use crate::health::{Health, ReadyOn};
use crate::sync::backlog::backlog;
use mqtt::settings::MqttVersion;
use presence::Status;

const RECEIVED: UnixNanos = UnixNanos(0);

fn ingest(map: &Arc<DeviceRegistry>, pending_acks: &Arc<PendingAcks>) -> Ingest {
    let metrics = Metrics::default();
    let health = Arc::new(Health::new(ReadyOn::Unproven));
    let settings = FeedSettings { streams_max: 1, stream_lag_max: 100 };
    let feed = Arc::new(Feed::new(settings, health, metrics.clone()));
    let (events, acks) = (Arc::new(EventQueue::new(metrics.clone())), Arc::clone(pending_acks));
    Ingest::new(Arc::clone(map), metrics, events, acks, feed, None)
}

fn batch(messages: usize) -> PacketBatch {
    let mut packets = Vec::new();
    for number in 0..messages {
        let topic = format!("iot-2/type/pump/id/{number}/mon");
        let publish = Publish {
            topic: topic.as_bytes(),
            payload: br#"{"Action":"Connect","Time":"2026-11-23T17:52:32Z"}"#,
            retained: false,
            packet_id: None,
        };
        packet::put_publish(&mut packets, MqttVersion::V311, &publish);
    }
    PacketBatch {
        link: Default::default(),
        subscribed_ms: 0,
        packets: Bytes::from(packets),
        version: MqttVersion::V311,
        round: RoundNumber::NONE,
        may_have_waited: false,
        pass: None,
        pending_ack: None,
    }
}

#[test]
fn a_stop_does_not_wait_for_the_rest_of_a_batch() {
    let (map, pending_acks) =
        (Arc::new(DeviceRegistry::tracking_changes()), Arc::new(PendingAcks::default()));
    let mut ingest = ingest(&map, &pending_acks);
    let (_backlog, pending) = backlog(1 << 20, Metrics::default());
    assert_eq!(ingest.apply_batch(&batch(3), &pending, RECEIVED), BatchResult::Yes);
    assert_eq!((map.held(), map.dirty_waiting()), (3, 3));
    pending.abandon().abandon();
    assert_eq!(ingest.apply_batch(&batch(9), &pending, RECEIVED), BatchResult::No);
    // What was applied before is still to be written.
    assert_eq!((map.held(), map.dirty_waiting()), (3, 3));
}

/// What applying an event can result in, and whether its device is new.
const OUTCOMES: [Applied; 4] = [
    Applied::Known,
    Applied::Refined,
    Applied::Changed { from: None, to: Status::Connected },
    Applied::Changed { from: Some(Status::Disconnected), to: Status::Connected },
];

fn news(provenance: Provenance, is_populated: bool) -> [bool; 4] {
    OUTCOMES.map(|applied| is_event(provenance, applied, is_populated))
}

#[test]
fn what_happens_live_is_news_whatever_is_known() {
    assert_eq!([false, true].map(|is_populated| news(Provenance::Live, is_populated)), [[true; 4]; 2]);
}

#[test]
fn what_the_broker_repeats_is_news_only_if_it_says_something_new() {
    assert_eq!(news(Provenance::Retained, true), [false, true, true, true]);
    assert_eq!(
        news(Provenance::Retained, false),
        [false, true, false, true],
        "before the population counts, a new device is one that has been found and has not just come"
    );
}

#[test]
fn what_another_has_written_brings_no_new_device() {
    for provenance in [Provenance::Restored, Provenance::Peer] {
        for is_populated in [false, true] {
            assert_eq!(news(provenance, is_populated), [false, true, false, true], "{provenance:?}");
        }
    }
}
