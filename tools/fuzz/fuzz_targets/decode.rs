//! The decoder takes any topic and any payload without a panic, and what it makes of them agrees with the bytes. What
//! the messages mean is tested in the decoder's own table. Input: topic, line feed, payload.
#![no_main]

use formats::iot_platform::{
    Flaw, PAYLOAD_MAX_BYTES, PlatformMessage, STORED_MAX_BYTES, Undecodable, decode, summary,
};
use libfuzzer_sys::fuzz_target;
use presence::{Device, PresenceEvent};

fuzz_target!(|input: &[u8]| {
    let end = input.iter().position(|&byte| byte == b'\n').unwrap_or(input.len());
    let (topic, rest) = input.split_at(end);
    let payload = rest.strip_prefix(b"\n").unwrap_or(rest);
    let decoded = decode(topic, payload);
    assert_eq!(decoded, decode(topic, payload), "the same bytes, decoded twice");
    match decoded {
        PlatformMessage::Event { device, event, client_id: _, flaws }
        | PlatformMessage::FailedLogin { device, event, flaws } => {
            assert_topic_names(device, topic);
            assert!(payload.len() <= PAYLOAD_MAX_BYTES, "a payload over the limit was decoded");
            let kept = event.payload.unpack();
            assert!(kept.len() <= STORED_MAX_BYTES, "more was kept than the limit");
            if flaws.contains(&Flaw::Repaired) || flaws.contains(&Flaw::Shortened) {
                assert_decodes_alike(&event, topic, &kept);
            } else {
                assert_eq!(kept, payload, "the payload comes back whole");
            }
            assert!(summary(payload).is_some(), "what can be decoded can be logged");
        }
        PlatformMessage::Notice { device, notice: _ } => assert_topic_names(device, topic),
        PlatformMessage::Application => {
            assert!(std::str::from_utf8(topic).is_ok(), "a foreign topic was taken")
        }
        PlatformMessage::Undecodable(why) => {
            assert!(Undecodable::ALL.contains(&why), "a reason without a counter")
        }
    }
});

/// What is kept in place of a message is sound, and says the same.
fn assert_decodes_alike(event: &PresenceEvent, topic: &[u8], kept: &[u8]) {
    match decode(topic, kept) {
        PlatformMessage::Event { event: again, flaws, .. }
        | PlatformMessage::FailedLogin { event: again, flaws, .. } => {
            assert_eq!(again, *event, "the message that is kept says something else");
            assert!(!flaws.contains(&Flaw::Repaired) && !flaws.contains(&Flaw::Shortened));
        }
        other => panic!("the message that is kept is no status: {other:?}"),
    }
}

fn assert_topic_names(device: Device<'_>, topic: &[u8]) {
    let Device { device_type, id } = device;
    assert_eq!(format!("iot-2/type/{device_type}/id/{id}/mon").as_bytes(), topic);
    assert!(!device_type.is_empty() && !id.is_empty(), "a device without a name");
}
