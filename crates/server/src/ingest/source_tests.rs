//! What messages of sources do to the registry.

use super::rig::Rig;
use crate::registry::Record;
use formats::status;
use presence::{Device, DeviceName, Status};
use store::StoredDevice;

const ON: Option<(Status, bool)> = Some((Status::Connected, false));
const STALE: Option<(Status, bool)> = Some((Status::Connected, true));
const OFF: Option<(Status, bool)> = Some((Status::Disconnected, false));

/// A second's beginning, in milliseconds.
const SECOND: i64 = 1_767_225_600_000;

#[test]
fn a_live_message_in_the_second_of_the_subscription_is_newer_than_the_replay() {
    let mut rig = Rig::of_source("tasmota");
    let before = (SECOND - 60_000, SECOND - 50_000);
    rig.send_at("tele/a/LWT", "Online", false, before);
    // While there was no link it was gone; it came back after the broker had read for the replay.
    rig.send_at("tele/a/LWT", "Online", false, (SECOND + 500, SECOND + 700));
    rig.send_at("tele/a/LWT", "Offline", true, (SECOND + 500, SECOND + 900));
    assert_eq!(rig.shown("tasmota", "a"), ON);
    // One that was received before the subscription, in the same second, is older.
    rig.send_at("tele/a/LWT", "Online", false, (SECOND + 500, SECOND + 2_100));
    rig.send_at("tele/a/LWT", "Offline", true, (SECOND + 2_500, SECOND + 2_900));
    assert_eq!(rig.shown("tasmota", "a"), OFF);
}

#[test]
fn clients_of_a_node_that_has_gone_are_stale_until_a_message() {
    let mut rig = Rig::of_source("emqx");
    let client = |rig: &mut Rig, node: &str, id: &str, at: i64| {
        let topic = format!("$SYS/brokers/{node}/clients/{id}/connected");
        rig.send(&topic, &format!(r#"{{"clientid":"{id}","connected_at":{at}}}"#), false);
    };
    client(&mut rig, "n1", "a", SECOND);
    client(&mut rig, "n2", "b", SECOND);
    client(&mut rig, "n2", "c", SECOND);
    client(&mut rig, "n1", "c", SECOND + 60_000);
    rig.send("$SYS/brokers", "n1,n2", true);
    assert_eq!(rig.shown("mqtt", "b"), ON);
    rig.send("$SYS/brokers", "n1", false);
    let shown = ["a", "b", "c"].map(|id| rig.shown("mqtt", id));
    assert_eq!(shown, [ON, STALE, ON], "the last one has gone over to another node");
    client(&mut rig, "n1", "b", SECOND + 90_000);
    rig.send("$SYS/brokers", "n1", false);
    assert_eq!(rig.shown("mqtt", "b"), ON);
}

/// What an instance of a profile's or a source's has learned of a device, as another one reads it in the store.
fn stored(rig: &Rig, device: Device<'_>) -> StoredDevice {
    let read = |record: Record<'_>| (record.state.clone(), record.reception.received_at);
    let (state, received_at) = rig.map.read_opened(device, read).unwrap();
    StoredDevice { name: DeviceName::of(device), state, received_at }
}

#[test]
fn a_client_that_another_instance_has_seen_at_a_node_that_has_gone_is_stale() {
    let (mut rig, mut peer) = (Rig::of_source("emqx"), Rig::of_source("emqx"));
    let connected = |id: &str| {
        let topic = format!("$SYS/brokers/n2/clients/{id}/connected");
        (topic, format!(r#"{{"clientid":"{id}","connected_at":{SECOND}}}"#))
    };
    let ((topic_a, a), (topic_b, b)) = (connected("a"), connected("b"));
    rig.send(&topic_a, &a, false);
    rig.send("$SYS/brokers", "n1", true);
    peer.send(&topic_b, &b, false);
    rig.ingest.apply_peer_update(stored(&peer, Device { device_type: "mqtt", id: "b" }));
    assert_eq!(["a", "b"].map(|id| rig.shown("mqtt", id)), [STALE, STALE]);
    rig.send(&topic_b, &b, false);
    assert_eq!(rig.shown("mqtt", "b"), ON);
}

#[test]
fn a_device_that_only_another_instance_has_met_becomes_stale_too() {
    let profile = r#"
[[profile]]
name = "lamps"
topic = "lamp/{id}"
type = "lamp"
connected = ["on"]
disconnected = ["off"]
stale_after = "1h"
"#;
    let (mut rig, mut peer) = (Rig::of_profile(profile), Rig::of_profile(profile));
    peer.send("lamp/a", "on", false);
    rig.ingest.apply_peer_update(stored(&peer, Device { device_type: "lamp", id: "a" }));
    assert_eq!(rig.shown("lamp", "a"), ON);
    rig.after(3_601);
    assert_eq!(rig.shown("lamp", "a"), STALE);
}

#[test]
fn the_end_of_a_session_after_a_takeover_counts_although_only_an_hour_old_beginning_is_known() {
    let mut rig = Rig::of_source("aws-iot");
    let mut send = |verb: &str, session: u64, version: u64, time: i64, received: i64, reason: &str| {
        let (topic, at) = (format!("$aws/events/presence/{verb}/a"), SECOND + time);
        let payload = format!(
            r#"{{"clientId":"a","timestamp":{at},"eventType":"{verb}","sessionIdentifier":"s{session}","versionNumber":{version}{reason}}}"#
        );
        rig.send_at(&topic, &payload, false, (SECOND, SECOND + received));
        rig.shown("mqtt", "a")
    };
    let taken_over = r#","clientInitiatedDisconnect":false,"disconnectReason":"DUPLICATE_CLIENTID""#;
    let ended = r#","clientInitiatedDisconnect":true,"disconnectReason":"CLIENT_INITIATED_DISCONNECT""#;
    assert_eq!(send("connected", 1, 1, 92_519, 31_590, ""), ON);
    // An hour later the versions start again; the clock is two minutes wrong.
    assert_eq!(send("disconnected", 2, 0, 3_988_695, 3_931_230, taken_over), ON);
    assert_eq!(send("disconnected", 3, 2, 3_821_970, 3_931_800, ended), OFF);
    assert_eq!(send("disconnected", 2, 0, 3_988_695, 4_009_455, taken_over), OFF, "it comes again");
}

#[test]
fn a_node_that_has_gone_is_one_of_its_own_cluster() {
    let mut rig = Rig::of_brokers(&[("north", "emqx"), ("south", "emqx")]);
    for (link, id) in [(0, "a"), (1, "b")] {
        let topic = format!("$SYS/brokers/n1/clients/{id}/connected");
        rig.send_on(link, &topic, &format!(r#"{{"clientid":"{id}","connected_at":{SECOND}}}"#));
        rig.send_on(link, "$SYS/brokers", "n1,n2");
    }
    let shown = |rig: &Rig| ["a", "b"].map(|id| rig.shown("mqtt", id));
    assert_eq!(shown(&rig), [ON, ON]);
    rig.send_on(1, "$SYS/brokers", "n2");
    assert_eq!(shown(&rig), [ON, STALE], "both clusters have a node of that name");
    rig.send_on(0, "$SYS/brokers", "n3");
    assert_eq!(shown(&rig), [STALE, STALE]);
}

#[test]
fn events_that_emqx_republishes_are_known_from_the_start_whichever_is_read_first() {
    let (_, rest) = include_str!("../../../../docs/sources/emqx.md").split_once("```toml\n").unwrap();
    let (profile, _) = rest.split_once("```").unwrap();
    let begun = ("connected", r#"{"clientid":"a/b","connected_at":1767225600123,"timestamp":1767225600124}"#);
    let ended = |reason: &str, session: i64| {
        format!(
            r#"{{"clientid":"a/b","reason":"{reason}","connected_at":{session},"disconnected_at":1767225700000,"timestamp":1767225700001}}"#
        )
    };
    for (reason, session, expected) in [
        ("normal", 1_767_225_600_123, OFF),
        ("normal", 1_767_222_000_500, ON),
        ("takenover", 1_767_225_600_123, ON),
    ] {
        let ended = ended(reason, session);
        let messages = [begun, ("disconnected", ended.as_str())];
        for order in [[0, 1], [1, 0]] {
            let mut rig = Rig::of_profile(profile);
            for (verb, payload) in order.map(|at| messages[at]) {
                rig.send(&format!("presence/a/b/{verb}"), payload, true);
            }
            assert_eq!(rig.shown("mqtt", "a/b"), expected, "{reason} {order:?}");
        }
    }
}

#[test]
fn a_lost_root_hides_its_tree_and_one_that_ended_does_not() {
    let mut rig = Rig::of_source("homie5");
    rig.send("homie/5/lamp/$state", "ready", true);
    rig.send("homie/5/lamp/$description", r#"{"root":"bridge"}"#, true);
    rig.send("homie/5/plug/$description", r#"{"root":"bridge","parent":"lamp"}"#, true);
    rig.send("homie/5/plug/$state", "ready", true);
    rig.send("homie/5/bridge/$state", "ready", true);
    let shown = |rig: &Rig| ["lamp", "plug"].map(|id| rig.shown("homie", id));
    for (state, expected) in
        [("disconnected", [ON, ON]), ("lost", [OFF, OFF]), ("ready", [ON, ON]), ("sleeping", [ON, ON])]
    {
        rig.send("homie/5/bridge/$state", state, false);
        assert_eq!(shown(&rig), expected, "the root is {state}");
    }
    rig.send("homie/5/bridge/$state", "lost", false);
    rig.send("homie/5/plug/$description", "{}", false);
    assert_eq!(shown(&rig), [OFF, ON], "it is in no tree any more");
}

#[test]
fn an_uptime_that_is_less_than_before_ends_what_was_received_before_the_subscription() {
    let mut rig = Rig::of_source("mosquitto-log");
    let connected =
        |id: &str| format!("1767225600: New client connected from 192.0.2.1:4 as {id} (p2, c1, k60).");
    let first = SECOND - 10_000;
    rig.send_at("$SYS/broker/uptime", "15 seconds", true, (first, first + 1));
    rig.send_at("$SYS/broker/log/N", &connected("a"), false, (first, first + 1_000));
    rig.send_at("$SYS/broker/uptime", "20 seconds", false, (first, first + 5_000));
    assert_eq!(rig.shown("mqtt", "a"), ON);
    let second = SECOND;
    rig.send_at("$SYS/broker/log/N", &connected("b"), false, (second, second + 100));
    rig.send_at("$SYS/broker/uptime", "3 seconds", false, (second, second + 3_000));
    assert_eq!(["a", "b"].map(|id| rig.shown("mqtt", id)), [OFF, ON]);
}

#[test]
fn an_uptime_that_the_broker_repeats_is_old_and_dates_no_start() {
    let mut rig = Rig::of_source("mosquitto-log");
    let connected = "1767225600: New client connected from 192.0.2.1:4 as a (p2, c1, k60).";
    // With `sys_interval 300` what is retained is up to five minutes old.
    rig.send_at("$SYS/broker/uptime", "900 seconds", true, (SECOND, SECOND + 200_000));
    rig.send_at("$SYS/broker/log/N", connected, false, (SECOND, SECOND + 210_000));
    rig.send_at("$SYS/broker/uptime", "1200 seconds", false, (SECOND, SECOND + 300_000));
    let again = SECOND + 550_000;
    rig.send_at("$SYS/broker/uptime", "1200 seconds", true, (again, again + 1));
    rig.send_at("$SYS/broker/uptime", "1500 seconds", false, (again, SECOND + 600_000));
    assert_eq!(rig.shown("mqtt", "a"), ON, "nothing was restarted");
    // Our clock is set forward, on the same subscription.
    rig.send_at("$SYS/broker/uptime", "1800 seconds", false, (again, SECOND + 4_000_000));
    assert_eq!(rig.shown("mqtt", "a"), ON, "nothing was restarted");
}

#[test]
fn what_was_received_from_the_restarted_broker_goes_on_although_the_link_was_lost_again() {
    let mut rig = Rig::of_source("mosquitto-log");
    let connected =
        |id: &str| format!("1767225600: New client connected from 192.0.2.1:4 as {id} (p2, c1, k60).");
    rig.send_at("$SYS/broker/uptime", "10 seconds", false, (SECOND, SECOND + 10_000));
    rig.send_at("$SYS/broker/log/N", &connected("a"), false, (SECOND, SECOND + 11_000));
    // It starts again when nobody looks, runs for longer than before, and the link is lost before it tells its uptime anew.
    let started = SECOND + 100_000;
    rig.send_at("$SYS/broker/uptime", "60 seconds", true, (started + 65_000, started + 65_001));
    rig.send_at("$SYS/broker/log/N", &connected("b"), false, (started + 65_000, started + 66_000));
    rig.send_at("$SYS/broker/uptime", "70 seconds", true, (started + 75_000, started + 75_001));
    rig.send_at("$SYS/broker/uptime", "80 seconds", false, (started + 75_000, started + 80_000));
    assert_eq!(["a", "b"].map(|id| rig.shown("mqtt", id)), [OFF, ON]);
}

#[test]
fn a_device_that_its_source_removes_waits_to_be_forgotten_unless_it_is_a_parent() {
    let mut rig = Rig::of_source("zigbee2mqtt");
    let online = r#"{"state":"online"}"#;
    rig.send("zigbee2mqtt/bridge/state", online, true);
    rig.send("zigbee2mqtt/plug/availability", online, true);
    rig.send("zigbee2mqtt/plug/availability", "", false);
    rig.send("zigbee2mqtt/unknown/availability", "", false);
    rig.send("zigbee2mqtt/bridge/state", "", false);
    assert_eq!(rig.shown("zigbee", "plug"), OFF);
    let removed: Vec<String> = rig.map.take_removed(9).into_iter().map(|name| name.id.into()).collect();
    assert_eq!(removed, ["plug"]);
}

#[test]
fn a_disconnected_device_of_which_no_cause_is_known_shows_that_it_was_removed() {
    let profile = r#"
[[profile]]
name = "boiler"
topic = "plant/{id}/link"
type = "boiler"
connected = ["up"]
disconnected = ["down"]
"#;
    let mut rig = Rig::of_profile(profile);
    let boiler = Device { device_type: "boiler", id: "b-7" };
    let is_removed = |rig: &Rig| {
        let document = rig.map.read(boiler, |record| record.resolve().event.payload.document().to_vec());
        status::read(&document.unwrap()).unwrap().is_removed()
    };
    for before in ["down", "up"] {
        rig.send("plant/b-7/link", before, true);
        rig.send("plant/b-7/link", "", false);
        assert!(is_removed(&rig), "{before}");
        assert_eq!(rig.shown("boiler", "b-7"), OFF);
    }
    rig.send("plant/b-7/link", "up", false);
    assert!(!is_removed(&rig), "it is back");
}

#[test]
fn what_the_broker_retains_of_a_device_that_has_expired_makes_no_new_one() {
    let mut rig = Rig::of_source("iot-platform");
    let ended = |time: &str| format!(r#"{{"Action":"Disconnect","Time":"{time}","CloseCode":91}}"#);
    let (topic, old) = ("iot-2/type/pump/id/a/mon", ended("2026-01-01T00:00:00Z"));
    // 2026-01-02.
    let expire = |rig: &Rig| rig.map.forget(1_767_312_000_000_000_000, |_record| ());
    rig.send(topic, &old, true);
    assert_eq!(rig.shown("pump", "a"), OFF);
    expire(&rig);
    rig.send(topic, &old, true);
    assert_eq!(rig.shown("pump", "a"), None);
    rig.send(topic, &old, false);
    assert_eq!(rig.shown("pump", "a"), OFF, "it is not repeated, so it is news");
    expire(&rig);
    rig.send(topic, &ended("2026-01-03T00:00:00Z"), true);
    assert_eq!(rig.shown("pump", "a"), OFF, "it was back meanwhile");
    rig.send(topic, &old, true);
    assert!(rig.map.read(Device { device_type: "pump", id: "a" }, |_| ()).is_some());
}
