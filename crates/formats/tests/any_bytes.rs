//! No bytes make a decoder panic, whatever the topic; and whatever they decode to names a device that can be.

use formats::{Decoded, aws_iot, chirpstack, mosquitto_log, nanomq, rmqtt, sparkplug};
use proptest::prelude::*;

/// Topics of every format, with some text in place of the ids.
const TOPICS: &[&str] = &[
    "$SYS/broker/log/N",
    "$SYS/broker/clients/connected",
    "$SYS/broker/uptime",
    "spBv1.0/ID/NBIRTH/ID",
    "spBv1.0/ID/NDEATH/ID",
    "spBv1.0/ID/DBIRTH/ID/ID",
    "spBv1.0/STATE/ID",
    "STATE/ID",
    "$aws/events/presence/connected/ID",
    "$aws/events/presence/disconnected/ID",
    "$SYS/brokers/client_status/ID",
    "$SYS/brokers/1/clients/ID/connected",
    "$SYS/brokers/1/clients/ID/disconnected",
    "ID/gateway/ID/state/conn",
    "ID",
];

/// Messages that decode, to be cut, joined and bent.
const MESSAGES: &[&[u8]] = &[
    b"1767225600: New client connected from 192.0.2.10:50122 as ID (p4, c1, k30, u'heating').",
    b"1767225600: Client ID [192.0.2.10:50122] disconnected: exceeded timeout.",
    b"1767225600: Client ID already connected, closing old connection.",
    b"Socket error on client ID, disconnecting.",
    b"\x08\xfb\xd0\xea\xb6\xb7\x33\x12\x0b\x0a\x05bdSeq\x20\x04\x58\x07\x18\x00",
    b"{\"online\":true,\"timestamp\":1767225600123}",
    b"{\"timestamp\":1767225600123,\"sessionIdentifier\":\"ID\",\"versionNumber\":41,\"disconnectReason\":\"AUTH_ERROR\"}",
    b"{\"status\":\"online\", \"username\":\"ops\", \"ts\":1767225600123,\"return_code\":\"0\",\"client_id\":\"ID\"",
    b"{\"disconnected_at\":1796026101171,\"ipaddress\":\"10.0.0.9:50122\",\"reason\":\"Disconnect(V3),RemoteClose\"}",
    b"\x10\x01\x1a\x1000800000a00016b6",
];

fn messages() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::sample::select(MESSAGES)
            .prop_flat_map(|message| (Just(message), 0..=message.len(), 0..=message.len()))
            .prop_map(|(message, from, to)| message[from.min(to)..to.max(from)].to_vec()),
        prop::sample::select(MESSAGES).prop_map(<[u8]>::to_vec),
        prop::collection::vec(any::<u8>(), 0..40),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn decoders_take_any_bytes(
        topic in prop::sample::select(TOPICS),
        id in prop_oneof!["[a-z/ \u{7f}]{0,4}", any::<String>()],
        message in messages(),
    ) {
        let topic = topic.replace("ID", &id);
        for decoded in [
            mosquitto_log::decode(&topic, &message),
            sparkplug::decode(&topic, &message),
            aws_iot::decode(&topic, &message),
            nanomq::decode(&topic, &message),
            rmqtt::decode(&topic, &message),
            chirpstack::decode(&topic, &message),
        ] {
            let device = match &decoded {
                Decoded::Event(event) => &event.device,
                Decoded::Alive { device, .. } | Decoded::Removed(device) | Decoded::Parent { device, .. } => {
                    device
                },
                _ => continue,
            };
            for part in [&device.device_type, &device.id] {
                prop_assert!(!part.is_empty() && !part.chars().any(char::is_control), "{decoded:?}");
            }
        }
        let _ = mosquitto_log::identity(&message);
        let _ = sparkplug::identity(&message);
        let _ = aws_iot::identity(&message);
        let _ = chirpstack::is_protobuf(&message);
    }
}
