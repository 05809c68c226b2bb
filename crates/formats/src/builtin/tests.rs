//! Each built-in profile with a table of messages as its devices write them.

use std::collections::HashSet;

use super::{ALL, find};
use crate::profile::{Message, Profiles};
use crate::{Cause, Decoded, DeviceName, EventKind, Session};

/// What a message decodes to, in a line: `connect type id`, with a cause, a session in milliseconds, and a parent.
fn line(decoded: &Decoded<'_>) -> String {
    let name = |device: &DeviceName<'_>| format!("{} {}", device.device_type, device.id);
    match decoded {
        Decoded::Event(event) => {
            let kind = match event.kind {
                EventKind::Connect => "connect",
                EventKind::Disconnect => "disconnect",
                EventKind::Takeover => "takeover",
                EventKind::Refusal => "refusal",
            };
            let mut line = format!("{kind} {}", name(&event.device));
            if let Some(cause) = event.cause {
                line += &format!(" cause={}", cause_name(cause));
            }
            if let Session::Started(started) = event.session {
                line += &format!(" session={}", started.0 / 1_000_000);
            }
            if let Some(time) = event.time {
                line += &format!(" time={}", time.0 / 1_000_000);
            }
            if let Some(reason) = &event.reason {
                line += &format!(" reason={reason}");
            }
            if let Some(parent) = &event.parent {
                line += &format!(" under={}", name(parent));
            }
            line
        }
        Decoded::Removed(device) => format!("removed {}", name(device)),
        Decoded::Alive { device, parent: None, .. } => format!("alive {}", name(device)),
        Decoded::Alive { device, parent: Some(parent), .. } => {
            format!("alive {} under={}", name(device), name(parent))
        }
        Decoded::Parent { device, .. } => format!("parent of {}", name(device)),
        Decoded::Broker(_) => "broker".to_owned(),
        Decoded::Ignored(why) => format!("ignored {why}"),
        Decoded::NoMatch => "no match".to_owned(),
        Decoded::Undecodable(why) => format!("undecodable {why}"),
    }
}

fn cause_name(cause: Cause) -> String {
    format!("{cause:?}").to_lowercase()
}

/// Checks rows of topic, payload and what it decodes to.
fn check(name: &str, rows: &[(&str, &str, &str)]) {
    let profiles = Profiles::new(vec![find(name).unwrap().profile().unwrap()]).unwrap();
    for (topic, payload, expected) in rows {
        let message = Message { topic, payload: payload.as_bytes(), is_retained: false };
        assert_eq!(line(&profiles.decode(message)), *expected, "{topic} = {payload}");
    }
}

#[test]
fn all_can_be_read_and_are_listed_as_they_are() {
    let mut names = HashSet::new();
    for builtin in ALL {
        let profile = builtin.profile().unwrap();
        assert_eq!(profile.name(), builtin.name);
        assert!(names.insert(builtin.name));
        assert_eq!(profile.is_retained(), builtin.is_retained, "{}", builtin.name);
        assert_eq!(
            profile.fixed_type(),
            Some(builtin.device_type).filter(|text| !text.contains('{')),
            "{}",
            builtin.name
        );
        assert!(!profile.filters().is_empty());
    }
}

#[test]
fn only_the_two_generations_of_zigbee2mqtt_exclude_each_other() {
    for one in ALL {
        for other in ALL {
            let both = Profiles::new(vec![one.profile().unwrap(), other.profile().unwrap()]);
            let excluded = one.name == other.name
                || (one.name.starts_with("zigbee2mqtt") && other.name.starts_with("zigbee2mqtt"));
            assert_eq!(both.is_err(), excluded, "{} and {}", one.name, other.name);
            if one.name != other.name
                && let Err(error) = both
            {
                let text = error.to_string();
                assert!(
                    text.contains(&format!("`{}`", one.name)) && text.contains(&format!("`{}`", other.name)),
                    "{text}"
                );
            }
        }
    }
}

#[test]
fn tasmota() {
    check(
        "tasmota",
        &[
            ("tele/desk-lamp/LWT", "Online", "connect tasmota desk-lamp"),
            ("tele/desk-lamp/LWT", "Offline", "disconnect tasmota desk-lamp cause=connection"),
            ("tele/desk-lamp/LWT", "online", "undecodable unknown_value"),
            ("tele/desk-lamp/LWT", "", "removed tasmota desk-lamp"),
            (
                "tele/desk-lamp/STATE",
                r#"{"Time":"2026-01-01T00:00:00","POWER":"ON"}"#,
                "alive tasmota desk-lamp",
            ),
            ("tele/a/b/LWT", "Online", "no match"),
            ("stat/desk-lamp/RESULT", "{}", "no match"),
        ],
    );
}

#[test]
fn esphome_and_shelly() {
    check(
        "esphome",
        &[
            ("porch/status", "online", "connect esphome porch"),
            ("porch/status", "offline", "disconnect esphome porch cause=connection"),
            ("porch/sensor/temperature/state", "21.5", "alive esphome porch"),
            ("homeassistant/status", "online", "no match"),
            ("$SYS/status", "online", "no match"),
        ],
    );
    check(
        "shelly1",
        &[
            ("shellies/shelly1-A4CF12/online", "true", "connect shelly shelly1-A4CF12"),
            ("shellies/shelly1-A4CF12/online", "false", "disconnect shelly shelly1-A4CF12 cause=connection"),
        ],
    );
    check(
        "shelly2",
        &[
            ("shellyplus1-a8032ab12345/online", "true", "connect shelly shellyplus1-a8032ab12345"),
            (
                "shellyplus1-a8032ab12345/online",
                "false",
                "disconnect shelly shellyplus1-a8032ab12345 cause=connection",
            ),
            ("shellyplus1-a8032ab12345/online", "1", "undecodable unknown_value"),
        ],
    );
}

#[test]
fn zigbee2mqtt() {
    let topic = "zigbee2mqtt/kitchen/plug 2/availability";
    check(
        "zigbee2mqtt",
        &[
            (topic, r#"{"state":"online"}"#, "connect zigbee kitchen/plug 2 under=bridge zigbee2mqtt/bridge"),
            (
                topic,
                r#"{"state":"offline"}"#,
                "disconnect zigbee kitchen/plug 2 cause=timeout under=bridge zigbee2mqtt/bridge",
            ),
            (
                topic,
                r#"{"state":"online","state":"offline"}"#,
                "disconnect zigbee kitchen/plug 2 cause=timeout under=bridge zigbee2mqtt/bridge",
            ),
            (topic, "", "removed zigbee kitchen/plug 2"),
            (topic, "online", "undecodable json"),
            (topic, r#"{"State":"online"}"#, "undecodable unknown_value"),
            ("zigbee2mqtt/bridge/state", r#"{"state":"online"}"#, "connect bridge zigbee2mqtt/bridge"),
            ("zigbee2mqtt/bridge/state", r#"{"state":"offline"}"#, "disconnect bridge zigbee2mqtt/bridge"),
            ("zigbee2mqtt/availability", r#"{"state":"online"}"#, "no match"),
        ],
    );
    check(
        "zigbee2mqtt1",
        &[
            (topic, "online", "connect zigbee kitchen/plug 2 under=bridge zigbee2mqtt/bridge"),
            (
                topic,
                "offline",
                "disconnect zigbee kitchen/plug 2 cause=timeout under=bridge zigbee2mqtt/bridge",
            ),
            ("zigbee2mqtt/bridge/state", "offline", "disconnect bridge zigbee2mqtt/bridge"),
        ],
    );
}

#[test]
fn homie() {
    check(
        "homie4",
        &[
            ("homie/pump/$state", "init", "connect homie pump"),
            ("homie/pump/$state", "ready", "connect homie pump"),
            ("homie/pump/$state", "alert", "connect homie pump"),
            ("homie/pump/$state", "sleeping", "disconnect homie pump cause=asleep"),
            ("homie/pump/$state", "lost", "disconnect homie pump cause=connection reason=lost"),
            ("homie/pump/$state", "disconnected", "disconnect homie pump cause=ended reason=disconnected"),
            ("homie/pump/$name", "Pump", "no match"),
        ],
    );
    check(
        "homie5",
        &[
            ("homie/5/pump/$state", "ready", "connect homie pump"),
            ("plant/5/pump/$state", "sleeping", "disconnect homie pump cause=asleep"),
            ("homie/5/pump/$state", "lost", "disconnect homie pump cause=connection reason=lost"),
            ("homie/5/pump/$state", "", "removed homie pump"),
            ("homie/5/pump/$state", "alert", "undecodable unknown_value"),
        ],
    );
    check(
        "valetudo",
        &[
            ("valetudo/robot/$state", "alert", "connect vacuum robot"),
            ("valetudo/robot/$state", "lost", "disconnect vacuum robot cause=connection reason=lost"),
        ],
    );
}

#[test]
fn chirpstack() {
    let topic = "eu868/gateway/00800000a00016b6/state/conn";
    check(
        "chirpstack",
        &[
            (
                topic,
                r#"{"gatewayId":"00800000a00016b6","state":"ONLINE"}"#,
                "connect gateway 00800000a00016b6",
            ),
            (
                topic,
                r#"{"gatewayId":"00800000a00016b6","state":"OFFLINE"}"#,
                "disconnect gateway 00800000a00016b6 cause=connection",
            ),
            (
                topic,
                r#"{"gatewayId":"00800000a00016b6"}"#,
                "disconnect gateway 00800000a00016b6 cause=connection",
            ),
            (topic, r#"{"state":"BUSY"}"#, "undecodable unknown_value"),
            (topic, "", "removed gateway 00800000a00016b6"),
            (
                "gateway/00800000a00016b6/state/conn",
                r#"{"state":"ONLINE"}"#,
                "connect gateway 00800000a00016b6",
            ),
        ],
    );
}

#[test]
fn aedes() {
    check(
        "aedes",
        &[
            ("$SYS/b7c2/new/clients", "boiler-3", "connect mqtt boiler-3"),
            ("$SYS/b7c2/disconnect/clients", "boiler-3", "disconnect mqtt boiler-3"),
            ("$SYS/b7c2/new/clients", "hall/lamp 2", "connect mqtt hall/lamp 2"),
            ("$SYS/b7c2/new/clients", "", "undecodable device_id"),
            ("$SYS/b7c2/new/clients", "a\u{7}", "undecodable device_id"),
            ("$SYS/b7c2/heartbeat", "1767225600123", "no match"),
            ("$SYS/b7c2/new/subscribes", r#"{"clientId":"boiler-3"}"#, "no match"),
        ],
    );
}

#[test]
fn brokers() {
    check(
        "mosquitto-plugin",
        &[
            ("$SYS/broker/connection/client/boiler-3/state", "1", "connect mqtt boiler-3"),
            ("$SYS/broker/connection/client/boiler-3/state", "0", "disconnect mqtt boiler-3"),
        ],
    );
    check(
        "emqx",
        &[
            (
                "$SYS/brokers/emqx@10.0.0.4/clients/pump-17/connected",
                r#"{"clientid":"pump-17","ipaddress":"10.1.9.2","connected_at":1767225600123,"ts":1767225600124}"#,
                "connect mqtt pump-17 session=1767225600123 time=1767225600124",
            ),
            (
                "$SYS/brokers/emqx@10.0.0.5/clients/pump-17/disconnected",
                r#"{"clientid":"pump-17","reason":"takenover","connected_at":1767222000500,"ts":1767225600131}"#,
                "takeover mqtt pump-17 cause=takeover session=1767222000500 time=1767225600131 reason=takenover",
            ),
            (
                "$SYS/brokers/emqx@10.0.0.4/clients/a/b/disconnected",
                r#"{"clientid":"a/b","reason":"keepalive_timeout","connected_at":1767225000000,"ts":1767225690011}"#,
                "disconnect mqtt a/b cause=timeout session=1767225000000 time=1767225690011 reason=keepalive_timeout",
            ),
            (
                "$SYS/brokers/n/clients/a/disconnected",
                r#"{"reason":"normal","ts":1767225690011}"#,
                "undecodable session",
            ),
            ("$SYS/brokers/n/clients/a/connected", "", "undecodable json"),
            ("$SYS/brokers/n/clients/connected", "{}", "no match"),
        ],
    );
    check(
        "kura",
        &[
            ("$EDC/plant/gate-1/MQTT/BIRTH", "\u{1f}", "connect plant gate-1"),
            ("$EDC/plant/gate-1/MQTT/APPS", "", "connect plant gate-1"),
            ("$EDC/plant/gate-1/MQTT/DC", "x", "disconnect plant gate-1"),
            ("$EDC/plant/gate-1/MQTT/LWT", "", "disconnect plant gate-1"),
        ],
    );
    check(
        "sparkplug-host",
        &[
            (
                "spBv1.0/STATE/scada1",
                r#"{"online":true,"timestamp":1767225600123}"#,
                "connect host scada1 session=1767225600123",
            ),
            (
                "spBv1.0/STATE/scada1",
                r#"{"online":false,"timestamp":1767225600123}"#,
                "disconnect host scada1 cause=connection session=1767225600123",
            ),
            ("spBv1.0/STATE/scada1", r#"{"online":"true","timestamp":1}"#, "undecodable unknown_value"),
        ],
    );
    check(
        "hono",
        &[
            ("event/sensor/t-1", r#"{"cause":"connected","remote-id":"1"}"#, "connect sensor t-1"),
            ("event/sensor/t-1", r#"{"cause":"disconnected"}"#, "disconnect sensor t-1"),
        ],
    );
}

#[test]
fn homes() {
    check(
        "openmqttgateway",
        &[
            ("home/OMG_attic/LWT", "online", "connect gateway OMG_attic"),
            ("home/OMG_attic/LWT", "offline", "disconnect gateway OMG_attic cause=connection"),
        ],
    );
    check(
        "ring",
        &[
            ("ring/6f1/camera/33a/status", "online", "connect camera 33a"),
            ("ring/6f1/camera/33a/status", "offline", "disconnect camera 33a"),
            ("ring/6f1/camera/33a/status", "", "undecodable unknown_value"),
        ],
    );
    check(
        "frigate",
        &[
            ("frigate/available", "online", "connect frigate frigate"),
            ("frigate/available", "offline", "disconnect frigate frigate cause=connection reason=offline"),
            ("frigate/available", "stopped", "disconnect frigate frigate cause=ended reason=stopped"),
        ],
    );
    check(
        "wled",
        &[
            ("wled/a1b2c3/status", "online", "connect wled a1b2c3"),
            ("wled/a1b2c3/status", "offline", "disconnect wled a1b2c3 cause=connection"),
        ],
    );
}

#[test]
fn hubs() {
    check(
        "opendtu",
        &[
            ("solar/114180/status/reachable", "1", "connect inverter 114180 under=bridge solar/dtu"),
            (
                "solar/114180/status/reachable",
                "0",
                "disconnect inverter 114180 cause=timeout under=bridge solar/dtu",
            ),
            ("solar/dtu/status", "offline", "disconnect bridge solar/dtu"),
        ],
    );
    check(
        "zwave",
        &[
            (
                "zwave/attic/lamp/status",
                r#"{"time":1767225600123,"value":true}"#,
                "connect zwave attic/lamp time=1767225600123 under=bridge zwave/_CLIENTS",
            ),
            (
                "zwave/lamp/status",
                r#"{"value":false}"#,
                "disconnect zwave lamp cause=timeout under=bridge zwave/_CLIENTS",
            ),
            (
                "zwave/_CLIENTS/ZWAVE_GATEWAY-attic/status",
                r#"{"value":false}"#,
                "disconnect bridge zwave/_CLIENTS",
            ),
            (
                "zwave/_CLIENTS/ZWAVE_GATEWAY-attic/status",
                r#"{"value":true,"time":1}"#,
                "connect bridge zwave/_CLIENTS",
            ),
            ("zwave/driver/status", "true", "no match"),
        ],
    );
    check(
        "smarthome",
        &[
            ("hm/connected", "2", "connect bridge hm"),
            ("hm/connected", "1", "disconnect bridge hm cause=connection"),
            ("hm/connected", "0", "disconnect bridge hm cause=connection"),
        ],
    );
    check(
        "owntracks",
        &[
            ("owntracks/ann/phone", r#"{"_type":"location","lat":1.0}"#, "connect ann phone"),
            (
                "owntracks/ann/phone",
                r#"{"_type":"lwt","tst":1767225600}"#,
                "disconnect ann phone cause=connection reason=lwt",
            ),
            ("owntracks/ann/phone", "{}", "undecodable unknown_value"),
        ],
    );
}
