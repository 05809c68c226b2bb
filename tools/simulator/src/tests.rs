//! Tests of the pure model: against captured messages, against an independent judge of what a set of messages tells, and
//! of the running fleet's rates. Nothing here needs a network.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rand::{SeedableRng, rngs::ChaCha8Rng};
use serde_json::Value;

use super::device::{DeviceKind, Profile, SimulatedDevice};
use super::history::{Quirks, device_history};
use super::message::{Action, Channel, CloseCode, Counters, Millis, StatusFields, StatusMessage, TimeForm};
use super::platform::{Platform, PlatformEvent, SimulatedState, Truth};
use super::running::Fleet;
use super::settings::{Endings, FleetSettings};

const CAPTURED: &str = include_str!("../../../tests/data/captured.jsonl");
const NOW: Millis = Millis(1_795_456_352_194);
const HISTORIES: u64 = 2_000;

fn parsed(payload: &str) -> Value {
    serde_json::from_str(payload).unwrap()
}

fn millis(value: &Value) -> Option<Millis> {
    let text = value.as_str()?;
    Some(Millis(text.parse::<Timestamp>().unwrap().as_millisecond()))
}

fn small_fleet(seed: u64) -> FleetSettings {
    FleetSettings {
        organization: "demo".to_owned(),
        devices: 1_000,
        types: 5,
        events_per_second: 50.0,
        endings: Endings { clean: 4.0, dropped: 2.0, timed_out: 2.0, takeover: 1.0, refused: 1.0 },
        seed,
    }
}

/// Reads a captured message of a device into the model's own terms.
fn modelled(topic: &str, payload: &Value) -> (SimulatedDevice, StatusFields) {
    let text = |key: &str| payload[key].as_str().unwrap();
    let number = |key: &str| u32::try_from(payload[key].as_u64().unwrap()).unwrap();
    let names: Vec<&str> = topic.split('/').collect();
    let http = text("Protocol") == "iotrest";
    let code = payload["CloseCode"].as_u64().map(|code| match (code, payload["Reason"].as_str().unwrap()) {
        (0, "") => CloseCode::FoundAfterRestart,
        (0, _) => CloseCode::Normal,
        (91, _) if http => CloseCode::HttpClosed,
        (91, _) => CloseCode::ClosedByClient,
        (93, _) => CloseCode::ServerShutdown,
        (94, _) => CloseCode::ByAdministrator,
        (100, _) => CloseCode::SystemError,
        (160, _) => CloseCode::TimedOut,
        (180, _) => CloseCode::NotAuthorized,
        (287, _) => CloseCode::MessageTooLarge,
        (288, _) => CloseCode::ClientIdReused,
        (other, reason) => panic!("the model has no close code {other} ({reason})"),
    });
    let action = match text("Action") {
        "Connect" => Action::Connect {
            durable: payload["Durable"] != false,
            new_session: payload["NewSession"] == true,
        },
        "FailedConnect" => Action::FailedConnect { code: code.unwrap() },
        _ => Action::Disconnect {
            code: code.unwrap(),
            counters: payload.get("ReadBytes").map(|_| Counters {
                read_bytes: number("ReadBytes"),
                read_messages: number("ReadMsg"),
                write_bytes: number("WriteBytes"),
                write_messages: number("WriteMsg"),
            }),
        },
    };
    let device = SimulatedDevice {
        organization: text("ClientID").split(':').nth(1).unwrap().to_owned(),
        device_type: names[2].to_owned(),
        device_id: names[4].to_owned(),
        kind: if text("ClientID").starts_with("g:") { DeviceKind::Gateway } else { DeviceKind::Device },
        profile: Profile {
            address: text("ClientAddr").to_owned(),
            port: u16::try_from(number("Port")).unwrap(),
            secure: payload["Secure"] == true,
            protocol: ["mqtt3", "mqtt4", "mqtt5"]
                .into_iter()
                .find(|protocol| *protocol == text("Protocol"))
                .unwrap_or("mqtt4"),
            user: payload["User"].as_str().map(str::to_owned),
            certificate: payload["CertName"].as_str().map(str::to_owned),
        },
    };
    let status = StatusFields {
        action,
        time: millis(&payload["Time"]).unwrap(),
        connect_time: millis(&payload["ConnectTime"]),
        channel: if http { Channel::Http } else { Channel::Mqtt },
        time_form: TimeForm::Zulu,
    };
    (device, status)
}

#[test]
fn captured_messages_of_devices_are_written_byte_for_byte() {
    let mut compared = 0;
    for line in CAPTURED.lines() {
        let captured = parsed(line);
        let (topic, payload) = (captured["topic"].as_str().unwrap(), captured["payload"].as_str().unwrap());
        // Applications are not simulated; 10 is how an application, or a device in the server's mode 1, ends.
        if !topic.starts_with("iot-2/type/") || payload.contains("\"CloseCode\":10,") {
            continue;
        }
        let (device, status) = modelled(topic, &parsed(payload));
        let written = status.message(&device);
        assert_eq!(written.payload, payload);
        assert_eq!(written.topic, topic);
        if captured["retain"] == 1 {
            assert!(written.retain, "{payload}");
        }
        compared += 1;
    }
    assert!(compared > 50, "only {compared} messages compared");
}

#[test]
fn times_are_written_in_every_form() {
    let written: Vec<String> = TimeForm::ALL.iter().map(|form| form.write(NOW)).collect();
    let expected = [
        "2026-11-23T17:52:32.194Z",
        "2026-11-23T13:52:32.194-04:00",
        "2026-11-23T23:22:32.194+05:30",
        "2026-11-23T13:52:32.194-0400",
    ];
    assert_eq!(written, expected);
    assert_eq!(TimeForm::Zulu.write(Millis(1_000)), "1970-01-01T00:00:01.000Z");
}

/// What a set of messages tells, worked out from the documented rules alone and by other means than the model's.
fn judged<'a>(payloads: impl Iterator<Item = &'a str>) -> Truth {
    let mut sessions: BTreeMap<Millis, (bool, BTreeSet<u64>)> = BTreeMap::new();
    for payload in payloads.map(parsed) {
        let action = payload["Action"].as_str().unwrap();
        if payload["Protocol"] == "iotrest" || action == "FailedConnect" {
            continue;
        }
        let named = millis(&payload["ConnectTime"]);
        let key = named.unwrap_or_else(|| millis(&payload["Time"]).unwrap().plus(-1));
        let (begun, ends) = sessions.entry(key).or_default();
        match action {
            "Connect" => *begun = true,
            _ => _ = ends.insert(payload["CloseCode"].as_u64().unwrap()),
        }
    }
    let refused = sessions.values().any(|(_, ends)| ends.contains(&180));
    let is_known = |(begun, ends): &(bool, BTreeSet<u64>)| {
        *begun || ends.iter().any(|code| *code != 180 && *code != 288)
    };
    let is_taken_over = |ends: &BTreeSet<u64>| ends.iter().copied().eq([288]);
    let taken_over = sessions.iter().rfind(|(_, (_, ends))| is_taken_over(ends)).map(|(key, _)| *key);
    match sessions.iter().rfind(|(_, session)| is_known(session)) {
        None if refused => Truth::Disconnected,
        None => Truth::NeverConnected,
        Some((_, (_, ends))) if is_taken_over(ends) => {
            // The one that took over began shortly before, or is unknown.
            let since = taken_over.unwrap().plus(-1_000);
            let mut others = sessions.range(since..).filter(|(_, session)| is_known(session));
            let other = others.rfind(|(_, (_, ends))| !is_taken_over(ends));
            let ended = other.is_some_and(|(_, (_, ends))| !ends.is_empty());
            if ended { Truth::Disconnected } else { Truth::Connected }
        }
        Some((_, (_, ends))) if !ends.is_empty() => Truth::Disconnected,
        Some(_) => Truth::Connected,
    }
}

fn payloads(messages: &[StatusMessage]) -> impl Iterator<Item = &str> {
    messages.iter().map(|message| message.payload.as_str())
}

#[test]
fn the_truth_of_a_history_follows_from_the_set_of_its_messages() {
    for quirks in [Quirks::none(), Quirks { loss: 0.0, ..Quirks::all() }, Quirks::all()] {
        let mut seen = BTreeSet::new();
        for seed in 0..HISTORIES {
            let history = device_history(&mut ChaCha8Rng::seed_from_u64(seed), &quirks);
            assert_eq!(judged(payloads(&history.messages)), history.truth, "seed {seed}: {history:#?}");
            seen.insert(history.truth);
        }
        assert_eq!(seen.len(), 3, "every truth occurs");
    }
}

#[test]
fn every_oddity_occurs_in_histories() {
    let mut codes = BTreeSet::new();
    let mut marks: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 0..2_000 {
        let history = device_history(&mut ChaCha8Rng::seed_from_u64(seed), &Quirks::all());
        let all = history.messages.iter().chain(&history.lost);
        for payload in all.map(|message| parsed(&message.payload)) {
            codes.insert((payload["Action"].as_str().unwrap().to_owned(), payload["CloseCode"].as_u64()));
            let disconnect = payload["Action"] == "Disconnect";
            let times = (millis(&payload["Time"]), millis(&payload["ConnectTime"]));
            for (mark, found) in [
                ("legacy", payload["Protocol"] == "mqtt-tcp" && payload.get("ConnectTime").is_none()),
                ("http", payload["Protocol"] == "iotrest"),
                ("gateway", payload["ClientID"].as_str().unwrap().starts_with("g:")),
                ("no counters", disconnect && payload.get("ReadMsg").is_none()),
                ("user", payload.get("User").is_some()),
                ("certificate", payload.get("CertName").is_some()),
                ("offset", payload["Time"].as_str().unwrap().ends_with("-0400")),
                ("clock stepped back", disconnect && times.0 < times.1),
                ("lost", !history.lost.is_empty()),
            ] {
                *marks.entry(mark).or_default() += usize::from(found);
            }
        }
    }
    for (mark, found) in marks {
        assert!(found > 20, "{mark}: only {found}");
    }
    let disconnects: Vec<u64> =
        codes.iter().filter(|(action, _)| action == "Disconnect").filter_map(|(_, code)| *code).collect();
    assert_eq!(disconnects, [0, 91, 92, 93, 94, 100, 160, 180, 287, 288]);
}

#[test]
fn the_retained_message_is_the_last_one_that_may_be_retained() {
    for seed in 0..2_000 {
        let quirks = Quirks { loss: 0.0, ..Quirks::all() };
        let history = device_history(&mut ChaCha8Rng::seed_from_u64(seed), &quirks);
        let kept = history.messages.iter().rfind(|message| message.retain);
        assert_eq!(history.retained.as_ref(), kept, "seed {seed}");
        for message in &history.messages {
            let payload = parsed(&message.payload);
            let leaves_no_trace = payload["Action"] == "FailedConnect" || payload["Protocol"] == "iotrest";
            assert_eq!(message.retain, !leaves_no_trace, "{}", message.payload);
        }
    }
}

/// The rows of the platform's truth table: what is sent, in which order, and what is true then.
#[test]
fn each_event_sends_the_messages_of_the_truth_table() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut platform = Platform { manner: Quirks::none().manner, rng: &mut rng };
    let mut device = SimulatedState::default();
    let mut at = NOW;
    let mut check = |event, platform: &mut Platform<'_>, sent: &[&str], truth| {
        at = at.plus(1_000);
        assert!(device.allows(event), "{event:?}");
        let actions: Vec<String> = device
            .apply(event, at, platform)
            .iter()
            .map(|status| match status.action {
                Action::Connect { .. } => "Connect".to_owned(),
                Action::Disconnect { code, .. } => format!("Disconnect {}", code.number()),
                Action::FailedConnect { code } => format!("FailedConnect {}", code.number()),
            })
            .collect();
        assert_eq!(actions, sent, "{event:?}");
        assert_eq!(device.truth(), truth, "{event:?}");
    };
    let p = &mut platform;
    check(PlatformEvent::RefusedWhileOffline, p, &["FailedConnect 180"], Truth::NeverConnected);
    check(PlatformEvent::HttpPost, p, &["Connect", "Disconnect 91"], Truth::NeverConnected);
    check(PlatformEvent::Connect, p, &["Connect"], Truth::Connected);
    check(PlatformEvent::Takeover, p, &["Disconnect 288", "Connect"], Truth::Connected);
    p.manner.late_takeover = 1.0;
    check(PlatformEvent::Takeover, p, &["Connect", "Disconnect 288"], Truth::Connected);
    let refusal = ["FailedConnect 180", "Disconnect 180", "FailedConnect 180"];
    check(PlatformEvent::RefusedWhileConnected, p, &refusal, Truth::Connected);
    check(PlatformEvent::HttpPost, p, &["Connect", "Disconnect 91"], Truth::Connected);
    check(PlatformEvent::FoundAfterRestart, p, &["Disconnect 0"], Truth::Disconnected);
    check(PlatformEvent::DropBeforeConnack, p, &["Disconnect 91", "Connect"], Truth::Disconnected);
    check(PlatformEvent::Connect, p, &["Connect"], Truth::Connected);
    check(PlatformEvent::End(CloseCode::NotAuthorized), p, &["Disconnect 180"], Truth::Disconnected);
    assert!(
        device.apply(PlatformEvent::Takeover, NOW, p).is_empty(),
        "an offline device cannot be taken over"
    );
}

#[test]
fn a_fleet_begins_with_every_answer_in_the_set_shares() {
    let fleet = Fleet::new(small_fleet(7), NOW);
    let mut truths: BTreeMap<Truth, u32> = BTreeMap::new();
    let mut types: BTreeMap<String, u32> = BTreeMap::new();
    for index in 0..fleet.len() {
        *truths.entry(fleet.truth(index)).or_default() += 1;
        *types.entry(fleet.device(index).device_type).or_default() += 1;
    }
    assert_eq!(truths[&Truth::Connected], 700);
    assert_eq!(truths[&Truth::Disconnected], 250);
    assert_eq!(truths[&Truth::NeverConnected], 50);
    assert_eq!(types.len(), 5);
    assert!(types["thermostat"] > types["pump"] && types["elevator"] > types["gateway"], "{types:?}");
    assert_eq!(fleet.retained_messages().count(), 950);
    assert!(fleet.retained_messages().all(|message| message.retain));
    for devices in 0..20 {
        let fleet = Fleet::new(FleetSettings { devices, types: 7, ..small_fleet(1) }, NOW);
        let shown = fleet.showcase();
        assert_eq!(shown.never_connected.is_some(), devices >= 3, "{devices} devices");
        assert_eq!(shown.disconnected.is_some(), devices >= 2, "{devices} devices");
        let topics: BTreeSet<String> = (0..devices).map(|device| fleet.device(device).topic()).collect();
        assert_eq!(topics.len(), devices as usize, "no two devices share a topic");
    }
}

#[test]
fn a_running_fleet_keeps_its_rate_its_shares_and_its_word() {
    const SECONDS: i64 = 600;
    let settings = small_fleet(11);
    let mut fleet = Fleet::new(settings.clone(), NOW);
    let shown = fleet.showcase();
    let mut by_topic: BTreeMap<String, Vec<StatusMessage>> = BTreeMap::new();
    for message in fleet.retained_messages() {
        by_topic.entry(message.topic.clone()).or_default().push(message);
    }
    let (mut retained, mut codes) = (0_u32, BTreeMap::<u64, u32>::new());
    for second in 1..=SECONDS {
        for message in fleet.step(NOW.plus(second * 1_000)) {
            let payload = parsed(&message.payload);
            if message.retain && payload["Action"] == "Disconnect" {
                *codes.entry(payload["CloseCode"].as_u64().unwrap()).or_default() += 1;
            }
            retained += u32::from(message.retain);
            by_topic.entry(message.topic.clone()).or_default().push(message);
        }
    }
    let rate = f64::from(retained) / SECONDS as f64;
    assert!((rate - settings.events_per_second).abs() < 2.5, "{rate} events a second");
    let clean_to_timed_out = f64::from(codes[&0]) / f64::from(codes[&160]);
    assert!((clean_to_timed_out - 2.0).abs() < 0.2, "{codes:?}");
    let clean_to_takeover = f64::from(codes[&0]) / f64::from(codes[&288]);
    assert!((3.0..5.0).contains(&clean_to_takeover), "{codes:?}");
    let connected = (0..fleet.len()).filter(|index| fleet.truth(*index) == Truth::Connected).count();
    assert!((630..770).contains(&connected), "{connected} of 1000 are connected");
    assert_eq!(fleet.showcase(), shown);
    assert_eq!(fleet.truth(shown.connected.unwrap()), Truth::Connected);
    assert_eq!(fleet.truth(shown.disconnected.unwrap()), Truth::Disconnected);
    assert_eq!(fleet.truth(shown.never_connected.unwrap()), Truth::NeverConnected);
    for index in 0..fleet.len() {
        let messages = by_topic.get(&fleet.device(index).topic()).map_or(&[][..], Vec::as_slice);
        assert_eq!(judged(payloads(messages)), fleet.truth(index), "device {index}: {messages:#?}");
    }
    // The retained messages of the fleet are those that a broker holds that was sent everything.
    let kept: BTreeSet<(String, String)> = by_topic
        .into_values()
        .filter_map(|messages| messages.into_iter().rfind(|message| message.retain))
        .map(|message| (message.topic, message.payload))
        .collect();
    let held = fleet.retained_messages().map(|message| (message.topic, message.payload)).collect();
    assert_eq!(kept, held);
}

#[test]
fn the_same_seed_gives_the_same_fleet_and_history() {
    let run = |seed| {
        let mut fleet = Fleet::new(small_fleet(seed), NOW);
        let mut messages: Vec<StatusMessage> = fleet.retained_messages().collect();
        messages.extend(fleet.step(NOW.plus(20_000)));
        messages.extend(fleet.restart_broker(NOW.plus(30_000)));
        messages
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
    let history = |seed| device_history(&mut ChaCha8Rng::seed_from_u64(seed), &Quirks::all());
    assert_eq!(history(5), history(5));
}

#[test]
fn a_long_gap_does_not_flood_and_no_rate_means_no_events() {
    let mut fleet = Fleet::new(FleetSettings { events_per_second: 10_000.0, ..small_fleet(1) }, NOW);
    let an_hour_later = NOW.plus(3_600_000);
    let burst = fleet.step(an_hour_later).len();
    assert!(burst < 4 * super::running::STEP_EVENTS_MAX, "{burst}");
    assert!(fleet.step(an_hour_later.plus(1_000)).len() > 5_000, "it goes on at its rate");
    let mut still = Fleet::new(FleetSettings { events_per_second: 0.0, ..small_fleet(1) }, NOW);
    assert!(still.step(an_hour_later).is_empty());
    let mut nobody = Fleet::new(FleetSettings { devices: 0, ..small_fleet(1) }, NOW);
    assert!(nobody.step(NOW.plus(10_000)).is_empty());
}

#[test]
fn a_broker_restart_ends_every_session_at_its_beginning() {
    let mut fleet = Fleet::new(small_fleet(2), NOW);
    let sent = fleet.restart_broker(NOW);
    assert_eq!(sent.len(), 700);
    assert!((0..fleet.len()).all(|index| fleet.truth(index) != Truth::Connected));
    for payload in sent.iter().map(|message| parsed(&message.payload)) {
        assert_eq!((payload["CloseCode"].as_u64(), payload.get("ReadBytes")), (Some(0), None));
    }
    assert!(fleet.step(NOW.plus(60_000)).len() > 1_000, "the devices come back");
}
