//! Retained statuses as the platform writes them, one for each device, equal in every run. The shapes are those of
//! `tests/data/captured.jsonl`; what differs from device to device there differs here too. Nothing here sends anything.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

/// Unlike a real organisation's, the types are of equal size: device and topic follow from one number, also in the
/// script that asks for random devices.
pub const TYPES: u32 = 40;

/// How sessions end, with the platform's close code and words, and how many of 16 do.
const ENDINGS: [(u32, u64, &str); 5] = [
    (0, 7, "The connection has completed normally."),
    (91, 5, "The connection was closed by the client."),
    (160, 2, "The connection has timed out."),
    (92, 1, "The connection was closed by the server."),
    (288, 1, "The client ID was reused."),
];

/// 2026-11-01T00:00:00Z; sessions begin within the 2,000,000 seconds after it.
const FIRST_DAY: u64 = 1;
const SPAN_MS: u64 = 2_000_000_000;
const DAY_MS: u64 = 86_400_000;

/// One retained message.
pub struct Message {
    pub topic: String,
    pub payload: String,
}

/// The path to ask the service for a device's status.
pub fn path(device: u32) -> String {
    let (device_type, id) = names(device);
    format!("/{device_type}/{id}")
}

/// The status of one device. Every third device is offline.
pub fn message(device: u32) -> Message {
    let (device_type, id) = names(device);
    message_of(device, &device_type, &id)
}

/// The same under names of the caller's.
pub fn message_of(device: u32, device_type: &str, id: &str) -> Message {
    let mut random = Random(u64::from(device));
    let connected_ms = random.below(SPAN_MS);
    let mut payload = String::with_capacity(400);
    let offline = random.below(3) == 0;
    let lasted_ms = if offline { random.below(SPAN_MS / 10) } else { 0 };
    let (action, time) =
        if offline { ("Disconnect", connected_ms + lasted_ms) } else { ("Connect", connected_ms) };
    let (address, port) = (random.below(1 << 24), [8883, 8883, 1883, 443][random.below(4) as usize]);
    let [_, high, middle, low] = (address as u32).to_be_bytes();
    let protocol = ["mqtt4", "mqtt4", "mqtt5", "mqtt4-ws"][random.below(4) as usize];
    let mut put = |text: std::fmt::Arguments<'_>| payload.write_fmt(text).expect("a String takes all text");
    put(format_args!(r#"{{"Action":"{action}","Time":"{}","#, iso(time)));
    put(format_args!(r#""ClientAddr":"10.{high}.{middle}.{low}","ClientID":"d:org1:{device_type}:{id}","#));
    put(format_args!(r#""Port":{port},"Secure":{},"Protocol":"{protocol}","#, port != 1883));
    put(format_args!(r#""ConnectTime":"{}","#, iso(connected_ms)));
    if offline {
        let (code, reason) = ending(random.below(16));
        put(format_args!(r#""CloseCode":{code},"Reason":"{reason}","#));
        let (read, written) = (random.below(1 << 20), random.below(1 << 18));
        put(format_args!(r#""ReadBytes":{read},"ReadMsg":{},"#, read / 120));
        put(format_args!(r#""WriteBytes":{written},"WriteMsg":{}}}"#, written / 90));
    } else {
        let durable = random.below(2) == 0;
        put(format_args!(r#""Durable":{durable},"CloseCode":0,"Reason":""}}"#));
    }
    Message { topic: format!("iot-2/type/{device_type}/id/{id}/mon"), payload }
}

/// How senders write the platform's fields.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Shape {
    /// As the platform does.
    Exact,
    /// In another order, which all senders have.
    Reordered,
    /// In another order, with the spaces that most JSON libraries put.
    Spaced,
    /// In another order, a field on each line.
    Indented,
    /// In an order that differs from device to device.
    Shuffled,
}

/// The message as it would be written so.
pub fn written_as(shape: Shape, message: Message) -> Message {
    let separators = match shape {
        Shape::Exact => return message,
        Shape::Reordered | Shape::Shuffled => ["{", ":", ",", "}"],
        Shape::Spaced => ["{", ": ", ", ", "}"],
        Shape::Indented => ["{\n  ", ": ", ",\n  ", "\n}"],
    };
    let [open, colon, comma, close] = separators;
    let fields: BTreeMap<String, Value> = serde_json::from_str(&message.payload).expect("it is an object");
    let mut fields: Vec<String> =
        fields.iter().map(|(name, value)| format!("\"{name}\"{colon}{value}")).collect();
    if matches!(shape, Shape::Shuffled) {
        let mut random =
            Random(message.topic.bytes().fold(0, |sum, byte| sum * 31 % (1 << 40) + u64::from(byte)));
        for last in (1..fields.len()).rev() {
            fields.swap(last, random.below(last as u64 + 1) as usize);
        }
    }
    Message { payload: format!("{open}{}{close}", fields.join(comma)), ..message }
}

/// What happens to a device after that: each even step begins a session, each odd one ends it.
pub fn change(device: u32, step: u32) -> Message {
    let (device_type, id) = names(device);
    // A step is a second of the month after the one of the retained statuses.
    let time = |step: u32| iso(u64::from(step) * 1000).replacen("-11-", "-12-", 1);
    let began = time(step - step % 2);
    let client = format!(r#""ClientAddr":"10.1.2.3","ClientID":"d:org1:{device_type}:{id}","#);
    let session = format!(r#""Port":8883,"Secure":true,"Protocol":"mqtt4","ConnectTime":"{began}","#);
    let payload = if step.is_multiple_of(2) {
        format!(
            r#"{{"Action":"Connect","Time":"{began}",{client}{session}"Durable":false,"CloseCode":0,"Reason":""}}"#
        )
    } else {
        format!(
            r#"{{"Action":"Disconnect","Time":"{}",{client}{session}"CloseCode":91,"Reason":"The connection was closed by the client.","ReadBytes":75,"ReadMsg":1,"WriteBytes":8,"WriteMsg":0}}"#,
            time(step)
        )
    };
    Message { topic: format!("iot-2/type/{device_type}/id/{id}/mon"), payload }
}

/// Type and id of a device.
pub fn names(device: u32) -> (String, String) {
    (device_type(device % TYPES), format!("d{device:08}"))
}

/// The name of a type by its number.
pub fn device_type(number: u32) -> String {
    format!("sensor-{number:02}")
}

fn ending(mut ticket: u64) -> (u32, &'static str) {
    for (code, share, reason) in ENDINGS {
        if ticket < share {
            return (code, reason);
        }
        ticket -= share;
    }
    unreachable!("the shares add up to 16")
}

/// Milliseconds since the first of the month as ISO 8601; the month is long enough for all of them.
fn iso(ms: u64) -> String {
    let (day, rest) = (FIRST_DAY + ms / DAY_MS, ms % DAY_MS);
    let (hour, minute, second) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60);
    format!("2026-11-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", rest % 1000)
}

/// A small generator of well-mixed numbers (splitmix64), so that every run sees the same fleet.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

#[cfg(test)]
mod tests {
    use formats::iot_platform::{ClientIdMatch, PlatformMessage, decode};
    use presence::EventKind;

    use super::{Shape, change, message, written_as};

    #[test]
    fn every_message_is_one_that_the_service_understands_and_both_kinds_occur() {
        let mut connects = 0;
        for device in 0..3000 {
            let message = if device % 3 == 0 { change(device, device) } else { message(device) };
            let shapes = [Shape::Exact, Shape::Reordered, Shape::Spaced, Shape::Indented, Shape::Shuffled];
            let message = written_as(shapes[device as usize % 5], message);
            match decode(message.topic.as_bytes(), message.payload.as_bytes()) {
                PlatformMessage::Event { event, client_id: ClientIdMatch::Matching, .. } => {
                    assert!(serde_json::from_str::<serde_json::Value>(&message.payload).is_ok());
                    connects += u32::from(matches!(event.kind, EventKind::Connect));
                }
                other => panic!("{}: {other:?}", message.payload),
            }
        }
        assert!((1600..2100).contains(&connects), "{connects} of 3000 connected");
    }
}
