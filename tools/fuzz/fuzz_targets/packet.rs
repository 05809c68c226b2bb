//! The MQTT codec takes any stream from a broker without a panic, wherever the stream is cut, and loses no byte of it.
//! What the packets mean is tested beside the codec. Input: one byte that chooses the version, then the stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mqtt::packet::{self, Frame, kind};
use mqtt::settings::MqttVersion;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, stream)) = input.split_first() else { return };
    let version = if choice & 1 == 0 { MqttVersion::V311 } else { MqttVersion::V5 };
    let mut rest = stream;
    while let Ok(Some(frame)) = packet::frame(rest) {
        assert!(frame.len > frame.body.len() && frame.len <= rest.len(), "a frame stands in its stream");
        assert_eq!(&rest[frame.len - frame.body.len()..frame.len], frame.body);
        // Every packet that arrives in two pieces is the same packet.
        for cut in [frame.len / 2, frame.len - 1] {
            assert_eq!(packet::frame(&rest[..cut]), Ok(None), "half a packet is none");
        }
        read(&frame, version);
        rest = &rest[frame.len..];
    }
});

fn read(frame: &Frame<'_>, version: MqttVersion) {
    match frame.kind() {
        kind::PUBLISH => {
            if let Ok(publish) = packet::publish(frame, version) {
                assert!(publish.topic.len() + publish.payload.len() + 2 <= frame.body.len());
                assert!(frame.body.ends_with(publish.payload), "the payload is the end of the packet");
                packet::has_topic_alias(frame);
            }
        }
        kind::CONNACK => drop(packet::connack(frame.body, version)),
        kind::SUBACK => drop(packet::suback(frame.body, version)),
        kind::DISCONNECT => drop(packet::disconnect(frame.body)),
        _ => {}
    }
}
