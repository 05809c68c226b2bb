//! Which format reads a message, and which formats go together.

use super::*;
use crate::EventKind;

fn formats(names: &[&str]) -> Result<Formats, FormatError> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    Formats::new(&names, &[])
}

/// Which format reads a topic, and what it makes of it.
fn routed(formats: &Formats, topic: &str, payload: &str) -> String {
    match formats.route(topic.as_bytes(), payload.as_bytes(), false) {
        Routed::Platform => "platform".to_owned(),
        Routed::Nobody => "nobody".to_owned(),
        Routed::Other(name, Decoded::Event(event)) => {
            let kind = if event.kind == EventKind::Connect { "up" } else { "down" };
            format!("{name} {kind} {}/{}", event.device.device_type, event.device.id)
        }
        Routed::Other(name, _) => name.to_owned(),
    }
}

#[test]
fn every_format_can_be_used_alone_and_says_what_it_does() {
    for info in infos() {
        let formats = formats(&[info.name]).unwrap();
        assert_eq!(formats.names(), [info.name]);
        assert!(!formats.filters().is_empty());
        assert_eq!(formats.retained_filters().is_empty(), !info.is_retained, "{}", info.name);
        assert_eq!(formats.lack_retained(), !info.is_retained, "{}", info.name);
        assert!(description(info.name).is_some(), "{}", info.name);
    }
}

#[test]
fn a_message_belongs_to_one_format() {
    let formats = formats(&["tasmota", "mosquitto-log", "iot-platform", "esphome", "sparkplug"]).unwrap();
    for (topic, payload, expected) in [
        ("tele/plug/LWT", "Online", "tasmota up tasmota/plug"),
        ("node/status", "offline", "esphome down esphome/node"),
        ("iot-2/type/a/id/b/mon", "{}", "platform"),
        ("spBv1.0/g/NDEATH/n", "", "sparkplug down g/n"),
        ("other", "x", "nobody"),
    ] {
        assert_eq!(routed(&formats, topic, payload), expected, "{topic}");
    }
    assert!(!formats.are_platform_only() && formats.has("esphome") && !formats.has("emqx"));
}

#[test]
fn the_platform_alone_is_not_routed() {
    let only = formats(&["iot-platform"]).unwrap();
    assert!(only.are_platform_only());
    assert_eq!(only, Formats::default());
    assert_eq!(routed(&only, "tele/plug/LWT", "Online"), "platform");
}

#[test]
fn chirpstack_reads_both_encodings() {
    let formats = formats(&["chirpstack"]).unwrap();
    let topic = "eu868/gateway/0016c001f153a14c/state/conn";
    let json = r#"{"gatewayId":"0016c001f153a14c","state":"ONLINE"}"#;
    assert_eq!(routed(&formats, topic, json), "chirpstack up gateway/0016c001f153a14c");
    let protobuf = "\n\u{10}0016c001f153a14c\u{10}\u{1}";
    assert_eq!(routed(&formats, topic, protobuf), "chirpstack up gateway/0016c001f153a14c");
}

#[test]
fn what_cannot_be_used_together_is_refused_by_name() {
    for (names, words) in [
        (&["tasmotta"][..], &["tasmotta"][..]),
        (&["tasmota", "tasmota"], &["tasmota", "twice"]),
        (&["sparkplug", "sparkplug-host"], &["sparkplug", "sparkplug-host", "spBv1.0/STATE/+"]),
        (&["zigbee2mqtt", "zigbee2mqtt1"], &["zigbee2mqtt", "zigbee2mqtt1"]),
    ] {
        let refused = formats(names).unwrap_err().to_string();
        assert!(words.iter().all(|word| refused.contains(word)), "{refused}");
    }
}

#[test]
fn a_device_may_be_unreported_only_if_a_format_that_retains_nothing_can_have_its_type() {
    let may_be = |names: &[&str], types: &[&str]| -> Vec<bool> {
        let formats = formats(names).unwrap();
        types.iter().map(|device_type| formats.may_be_unreported(device_type)).collect()
    };
    assert_eq!(may_be(&["iot-platform"], &["pump"]), [false]);
    assert_eq!(may_be(&["tasmota", "zigbee2mqtt"], &["tasmota", "bridge"]), [false, false]);
    assert_eq!(may_be(&["tasmota", "mosquitto-log"], &["tasmota", "mqtt"]), [false, true]);
    assert_eq!(may_be(&["homie5", "emqx"], &["homie", "mqtt"]), [false, true]);
    assert_eq!(may_be(&["tasmota", "sparkplug"], &["tasmota", "plant"]), [true, true]);
    assert_eq!(may_be(&["tasmota", "ring"], &["tasmota", "camera"]), [true, true]);
}
