//! Messages that the decoder of this process takes into the registry in a second of processor time, from other sources against
//! the platform's: each device connects, then disconnects. Beside it those that it only decodes and packs. No broker, no store.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use formats::catalog::{Formats, Routed};
use formats::example::{self, Report};
use formats::order::Key;
use formats::{Decoded, UnixNanos, catalog, iot_platform, status};
use mqtt::packet::{self, Publish};
use mqtt::settings::MqttVersion;
use rustix::time::ClockId;
use server::feed::Feed;
use server::feed::settings::FeedSettings;
use server::freshness::RoundNumber;
use server::health::{Health, ReadyOn};
use server::history::EventQueue;
use server::ingest::Ingest;
use server::metrics::Metrics;
use server::pending_ack::PendingAcks;
use server::registry::DeviceRegistry;
use server::sync::backlog::{Acceptance, PacketBatch, backlog};
use testkit::status::Device;

use crate::process::{own_processor_time, pause};
use crate::rounds::{Figures, print_ratio};
use crate::{Outcome, Size};

/// How long a device stays connected where more than a second is between its messages. Where the order of arrival decides, the
/// merge rule holds both of two messages that come within a second.
const APART: Duration = Duration::from_millis(1_100);

/// Messages of one batch, as many as a read of the socket brings.
const BATCH_MESSAGES: usize = 2_000;

/// A profile that reads the state in the platform's own messages: JSON of the same length, without a parent. The order of arrival
/// decides, as for other profiles.
const STATE_PROFILE: &str = r#"
[[profile]]
name = "as-profile"
topic = "iot-2/type/{type}/id/{id}/mon"
type = "{type}"
payload = "json"
at = "/Action"
connected = ["Connect"]
disconnected = ["Disconnect"]
"#;

/// What is added to it to read the times, too.
const TIMES: &str = r#"
time_at = "/Time"
session_at = "/ConnectTime"
unit = "rfc3339"
reason_at = "/Reason"
"#;

/// Who reads messages, and of which format they are; `None`: the platform's.
struct Reading {
    sources: Vec<String>,
    profiles: String,
    spoken: Option<&'static str>,
    /// How long each device stays connected.
    connected_for: Duration,
    /// Messages that were taken in.
    applied: Figures,
    /// Messages that were only decoded and packed.
    decoded: Figures,
}

impl Reading {
    fn new(name: &'static str, sources: &[String], spoken: Option<&'static str>) -> Self {
        Self {
            sources: sources.to_vec(),
            profiles: String::new(),
            spoken,
            connected_for: Duration::ZERO,
            applied: Figures::new(name, "messages/s"),
            decoded: Figures::new(name, "messages/s only decoded and packed"),
        }
    }

    fn apart(self) -> Self {
        Self { connected_for: APART, ..self }
    }

    fn reading(self, profiles: String) -> Self {
        Self { profiles, ..self }
    }
}

pub fn run(size: &Size) -> Outcome<()> {
    let alone = vec!["tasmota".to_owned()];
    let all = compatible_profiles(&alone)?;
    println!("{} profiles together: {}", all.len(), all.join(", "));
    let own = ["as-profile".to_owned()];
    let bridged = ["zigbee2mqtt".to_owned()];
    let mut readings = [
        Reading::new("platform", &[catalog::IOT_PLATFORM.to_owned()], None),
        Reading::new("tasmota", &alone, Some("tasmota")),
        Reading::new("tasmota among all profiles", &all, Some("tasmota")),
        Reading::new("zigbee2mqtt", &bridged, Some("zigbee2mqtt")),
        Reading::new("zigbee2mqtt, apart", &bridged, Some("zigbee2mqtt")).apart(),
        Reading::new("platform's state by a profile", &own, None).reading(STATE_PROFILE.to_owned()),
        Reading::new("the same, apart", &own, None).reading(STATE_PROFILE.to_owned()).apart(),
        Reading::new("platform by a profile", &own, None).reading(format!("{STATE_PROFILE}{TIMES}")),
    ];
    for round in 1..=size.rounds {
        println!("round {round}");
        for reading in &mut readings {
            let rate = applied_per_second(reading, size.devices)?;
            reading.applied.push(rate);
        }
        for reading in &mut readings {
            let rate = decoded_per_second(reading, size.devices)?;
            reading.decoded.push(rate);
        }
    }
    let [platform, rest @ ..] = readings;
    let names = [
        "a text profile",
        "a text profile among all profiles",
        "a JSON profile whose devices have a parent",
        "the same, a second between two messages of a device",
        "the platform's messages by a JSON profile",
        "the same, a second between two messages of a device",
        "the same with times and reason",
    ];
    for (name, reading) in names.iter().zip(&rest).rev() {
        print_ratio(name, &reading.applied, &platform.applied);
        print_ratio(&format!("{name}, only decoded and packed:"), &reading.decoded, &platform.decoded);
    }
    Ok(())
}

/// As many of the built-in profiles as can be used together, with these.
fn compatible_profiles(first: &[String]) -> Outcome<Vec<String>> {
    let mut names = first.to_vec();
    for info in catalog::infos().filter(|info| info.name != catalog::IOT_PLATFORM) {
        let more = [names.clone(), vec![info.name.to_owned()]].concat();
        if Formats::new(&more, &[]).is_ok() {
            names = more;
        }
    }
    Ok(names)
}

fn applied_per_second(reading: &Reading, devices: u32) -> Outcome<f64> {
    let profiles = formats::profile::parse(&reading.profiles)?;
    let metrics = Metrics::default();
    let health = Arc::new(Health::new(ReadyOn::Unproven));
    let feed = Arc::new(Feed::new(FeedSettings::default(), health, metrics.clone()));
    let events = Arc::new(EventQueue::new(metrics.clone()));
    let registry = Arc::new(DeviceRegistry::default());
    let acks = Arc::new(PendingAcks::default());
    let ingest = Ingest::new(Arc::clone(&registry), metrics.clone(), events, acks, feed, None)
        .with_formats(vec![Arc::new(Formats::new(&reading.sources, &profiles)?)]);
    let (sender, pending) = backlog(usize::MAX, metrics);
    for (is_connected, wait) in [(true, reading.connected_for), (false, Duration::ZERO)] {
        for batch in batches(reading.spoken, devices, is_connected)? {
            if sender.offer(batch) == Acceptance::No {
                return Err("the backlog is full".into());
            }
        }
        pause(wait);
    }
    drop(sender);
    let started = own_processor_time(ClockId::ThreadCPUTime);
    ingest.run(&pending);
    let elapsed = own_processor_time(ClockId::ThreadCPUTime).saturating_sub(started).as_secs_f64();
    let known = registry.totals();
    if (known.connected, known.disconnected) != (0, u64::from(devices)) {
        return Err(format!("{known:?} instead of {devices} disconnected devices").into());
    }
    Ok(2.0 * f64::from(devices) / elapsed)
}

/// What is done with a message before anything is known of its device.
fn decoded_per_second(reading: &Reading, devices: u32) -> Outcome<f64> {
    let profiles = formats::profile::parse(&reading.profiles)?;
    let formats = Formats::new(&reading.sources, &profiles)?;
    let mut elapsed = 0.0;
    for is_connected in [true, false] {
        for batch in batches(reading.spoken, devices, is_connected)? {
            let started = own_processor_time(ClockId::ThreadCPUTime);
            let mut rest = &batch.packets[..];
            while let Some(frame) = packet::frame(rest)? {
                decode(&formats, &packet::publish(&frame, batch.version)?)?;
                rest = &rest[frame.len..];
            }
            elapsed += own_processor_time(ClockId::ThreadCPUTime).saturating_sub(started).as_secs_f64();
        }
    }
    Ok(2.0 * f64::from(devices) / elapsed)
}

fn decode(formats: &Formats, publish: &Publish<'_>) -> Outcome<()> {
    match formats.route(publish.topic, publish.payload, publish.retained) {
        // It packs, too.
        Routed::Platform => drop(black_box(iot_platform::decode(publish.topic, publish.payload))),
        Routed::Other(source, Decoded::Event(event)) => {
            let time = event.time.unwrap_or(UnixNanos(0));
            let key = Key { session: time, kind: event.kind, time };
            black_box(status::pack(source, &event, &key.into(), publish.payload));
        }
        Routed::Other(_, _) | Routed::Nobody => return Err("a message is no event".into()),
    }
    Ok(())
}

fn batches(spoken: Option<&str>, devices: u32, is_connected: bool) -> Outcome<Vec<PacketBatch>> {
    let start = 1_767_225_600_000_000_000;
    let (mut batches, mut packets, mut messages) = (Vec::new(), Vec::new(), 0);
    for number in 0..devices {
        let id = format!("{number:07}");
        let (topic, payload) = match spoken {
            None => {
                let device = Device::new("pump", &id);
                let payload = if is_connected { device.connect(1) } else { device.disconnect(1, 2) };
                (device.topic(), payload.into_bytes())
            }
            Some(source) => {
                let time = UnixNanos(start);
                let report = Report { id: &id, is_connected, session: time, session_number: 1, time };
                let example = example::of(source, &report).ok_or("the source has no example")?;
                (example.topic, example.payload)
            }
        };
        let publish =
            Publish { topic: topic.as_bytes(), payload: &payload, retained: false, packet_id: None };
        packet::put_publish(&mut packets, MqttVersion::V311, &publish);
        messages += 1;
        if messages == BATCH_MESSAGES {
            batches.push(batch(std::mem::take(&mut packets)));
            messages = 0;
        }
    }
    batches.push(batch(packets));
    Ok(batches)
}

fn batch(packets: Vec<u8>) -> PacketBatch {
    PacketBatch {
        link: server::sync::backlog::LinkId::default(),
        packets: Bytes::from(packets),
        version: MqttVersion::V311,
        round: RoundNumber::NONE,
        subscribed_ms: 0,
        may_have_waited: false,
        pass: None,
        pending_ack: None,
    }
}
