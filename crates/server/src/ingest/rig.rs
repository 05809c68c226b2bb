//! A decoder for tests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Ingest;
use crate::feed::Feed;
use crate::feed::settings::FeedSettings;
use crate::freshness::RoundNumber;
use crate::health::{BrokerHealth, Health, ReadyOn};
use crate::history::EventQueue;
use crate::metrics::Metrics;
use crate::pending_ack::PendingAcks;
use crate::registry::DeviceRegistry;
use crate::sync::backlog::{Item, LinkId, PacketBatch, Pending, backlog};
use formats::UnixNanos;
use formats::catalog::Formats;
use mqtt::packet::{self, Publish};
use mqtt::settings::MqttVersion;
use presence::{Device, Status};

/// A decoder, the link that it knows of, and what it has applied.
pub(super) struct Rig {
    pub ingest: Ingest,
    pub health: Arc<Health>,
    pub map: Arc<DeviceRegistry>,
    pending: Pending,
    link: LinkId,
    received: i64,
}

impl Rig {
    pub fn of_profile(profile: &str) -> Self {
        let profiles = formats::profile::parse(profile).unwrap();
        let names: Vec<String> = profiles.iter().map(|profile| profile.name().to_owned()).collect();
        Self::of(Formats::new(&names, &profiles).unwrap())
    }

    pub fn of_source(name: &str) -> Self {
        Self::of(Formats::new(&[name.to_owned()], &[]).unwrap())
    }

    /// Several brokers, each with one source of that name and format.
    pub fn of_brokers(sources: &[(&str, &str)]) -> Self {
        let formats =
            |(name, format): &(&str, &str)| Formats::new(&[format.to_string()], &[]).unwrap().of_source(name);
        Self::of_links(sources.iter().map(formats).collect())
    }

    fn of(formats: Formats) -> Self {
        Self::of_links(vec![formats])
    }

    fn of_links(formats: Vec<Formats>) -> Self {
        let metrics = Metrics::default();
        let health = Arc::new(Health::new(ReadyOn::Unproven));
        let settings = FeedSettings { streams_max: 1, stream_lag_max: 100 };
        let feed = Arc::new(Feed::new(settings, Arc::clone(&health), metrics.clone()));
        let events = Arc::new(EventQueue::new(metrics.clone()));
        let map = Arc::new(DeviceRegistry::tracking_changes());
        let acks = Arc::new(PendingAcks::default());
        let ingest = Ingest::new(Arc::clone(&map), metrics.clone(), events, acks, feed, None);
        let (_backlog, pending) = backlog(1 << 20, metrics);
        health.set_broker(BrokerHealth::Subscribed);
        Self {
            ingest: ingest.with_formats(formats.into_iter().map(Arc::new).collect()),
            health,
            map,
            pending,
            link: LinkId::default(),
            received: 1_767_225_600_000_000_000,
        }
    }

    /// The same on one of several links.
    pub fn send_on(&mut self, link: u8, topic: &str, payload: &str) {
        self.link = LinkId(link.into());
        self.send(topic, payload, false);
    }

    /// Ten seconds after the message before.
    pub fn send(&mut self, topic: &str, payload: &str, retained: bool) {
        let subscribed_ms = self.received / 1_000_000;
        self.received += 10_000_000_000;
        self.send_at(topic, payload, retained, (subscribed_ms, self.received / 1_000_000));
    }

    /// When the subscription was asked for, and when the message was received, in milliseconds.
    pub fn send_at(&mut self, topic: &str, payload: &str, retained: bool, at_ms: (i64, i64)) {
        self.hand_over(topic, payload.as_bytes(), retained, at_ms);
        self.settle();
    }

    /// The same, and leaves what is done between two batches to be done.
    pub fn hand_over(&mut self, topic: &str, payload: &[u8], retained: bool, at_ms: (i64, i64)) {
        let mut packets = Vec::new();
        let publish = Publish { topic: topic.as_bytes(), payload, retained, packet_id: None };
        packet::put_publish(&mut packets, MqttVersion::V311, &publish);
        let batch = PacketBatch {
            link: self.link,
            subscribed_ms: at_ms.0,
            packets: Bytes::from(packets),
            version: MqttVersion::V311,
            round: RoundNumber::NONE,
            may_have_waited: false,
            pass: None,
            pending_ack: None,
        };
        self.ingest.apply_batch(&batch, &self.pending, UnixNanos(at_ms.1 * 1_000_000));
    }

    pub fn apply(&mut self, item: Item) {
        self.ingest.apply_item(item, &self.pending);
    }

    pub fn answer_waiting(&mut self) {
        self.ingest.answer_waiting(&self.pending);
    }

    /// Does a part of what is done between two batches.
    pub fn do_a_part(&mut self) {
        self.ingest.advance_families();
        self.ingest.advance_walks();
    }

    /// Does everything that is done between two batches.
    pub fn settle(&mut self) {
        while self.ingest.families.is_changing() || self.ingest.walks.are_under_way() {
            self.do_a_part();
        }
    }

    pub fn after(&mut self, seconds: u64) {
        self.ingest.run_clocks(Instant::now() + Duration::from_secs(seconds));
    }

    /// Its status, and whether it is out of date.
    pub fn shown(&self, device_type: &str, id: &str) -> Option<(Status, bool)> {
        self.map.read(Device { device_type, id }, |record| {
            (record.resolve().status, record.freshness_round() == RoundNumber::SILENT)
        })
    }

    pub fn reconnect(&self) {
        self.health.link_lost(Duration::ZERO);
        self.health.set_broker(BrokerHealth::Subscribed);
    }
}
