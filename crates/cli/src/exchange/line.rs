//! One device as one line of JSON, and back: `{"type":…,"id":…,"status":…,"since":…,"received_at":…,"events":[…]}`.
//!
//! The events are the state: applied to nothing, they give the same one. `status` and `since` follow from them; they are
//! written for people who read the line, and not read back.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use presence::payload::Payload;
use presence::{Device, DeviceName, DeviceState, EventKind, Moment, PresenceEvent, UnixSeconds};
use store::StoredDevice;

/// More events than any state holds.
const EVENTS_MAX: usize = 64;
/// The text of one message; sixteen times what the platform's buffer holds.
const MESSAGE_MAX_BYTES: usize = 64 * 1024;

#[derive(Serialize, Deserialize)]
struct ExchangeLine {
    #[serde(rename = "type")]
    device_type: String,
    id: String,
    #[serde(skip_deserializing)]
    status: Option<&'static str>,
    #[serde(skip_deserializing)]
    since: Option<Timestamp>,
    /// When the latest message arrived that taught something about it.
    #[serde(alias = "heard_at")]
    received_at: Timestamp,
    #[serde(alias = "statements")]
    events: Vec<ExportedEvent>,
}

/// One event; an unknown moment is `null`.
#[derive(Serialize, Deserialize)]
struct ExportedEvent {
    #[serde(alias = "claim")]
    kind: ExchangeWord,
    session: Option<Timestamp>,
    time: Option<Timestamp>,
    close_code: u16,
    /// The source, unless it is the IoT platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    /// The message, byte for byte; of another source than the IoT platform the status document.
    message: String,
}

/// The claims that a state can hold.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ExchangeWord {
    Request,
    Connect,
    Takeover,
    Refusal,
    Disconnect,
}

/// A moment as it is in a line, with all its digits; `None` if it is unknown.
pub fn timestamp(moment: Moment) -> Option<Timestamp> {
    Timestamp::from_nanosecond(i128::from(moment.nanos()?)).ok()
}

/// A time of our own clock.
pub fn at(time: UnixSeconds) -> Timestamp {
    Timestamp::from_second(i64::from(time.0)).unwrap_or_default()
}

/// The line without its line feed; `None` if a message is no text.
pub fn write(device: &StoredDevice) -> Option<String> {
    let resolved = device.state.resolve();
    let line = ExchangeLine {
        device_type: device.name.device_type.to_string(),
        id: device.name.id.to_string(),
        status: resolved.map(|resolved| resolved.status.word()),
        since: resolved.and_then(|resolved| timestamp(resolved.event.time)),
        received_at: at(device.received_at),
        events: device.state.clone().into_events().map(exported).collect::<Option<_>>()?,
    };
    serde_json::to_string(&line).ok()
}

/// Reads a line back, or says what is wrong with it.
pub fn read(line: &[u8]) -> Result<StoredDevice, String> {
    let ExchangeLine { device_type, id, received_at, events, .. } =
        serde_json::from_slice(line).map_err(|error| error.to_string())?;
    if !(Device { device_type: &device_type, id: &id }).is_possible() {
        return Err("no device can have such a type and id".to_owned());
    }
    if events.is_empty() || events.len() > EVENTS_MAX {
        return Err(format!("1 to {EVENTS_MAX} events are expected"));
    }
    let mut state = DeviceState::default();
    for exported in events {
        if exported.message.len() > MESSAGE_MAX_BYTES {
            return Err(format!("a message may have at most {MESSAGE_MAX_BYTES} bytes"));
        }
        state.apply(event(&exported));
    }
    let received_at = UnixSeconds(u32::try_from(received_at.as_second()).unwrap_or(0));
    let name = DeviceName { device_type: device_type.into(), id: id.into() };
    Ok(StoredDevice { name, state, received_at })
}

fn exported(event: PresenceEvent) -> Option<ExportedEvent> {
    let kind = match event.kind {
        EventKind::Request => ExchangeWord::Request,
        EventKind::Connect => ExchangeWord::Connect,
        EventKind::Takeover => ExchangeWord::Takeover,
        EventKind::Refusal => ExchangeWord::Refusal,
        EventKind::Disconnect => ExchangeWord::Disconnect,
        // No state holds one.
        EventKind::FailedLogin => return None,
    };
    let message = String::from_utf8(event.payload.unpack()).ok()?;
    let (session, time) = (timestamp(event.session), timestamp(event.time));
    let source = event.payload.source().map(str::to_owned);
    Some(ExportedEvent { kind, session, time, close_code: event.close_code, source, message })
}

fn event(exported: &ExportedEvent) -> PresenceEvent {
    let kind = match exported.kind {
        ExchangeWord::Request => EventKind::Request,
        ExchangeWord::Connect => EventKind::Connect,
        ExchangeWord::Takeover => EventKind::Takeover,
        ExchangeWord::Refusal => EventKind::Refusal,
        ExchangeWord::Disconnect => EventKind::Disconnect,
    };
    let moment = |time: Option<Timestamp>| {
        time.map_or(Moment::UNKNOWN, |time| Moment::from_nanos(time.as_nanosecond()))
    };
    let message = exported.message.as_bytes();
    let payload = match &exported.source {
        Some(source) => Payload::pack_of(source, message),
        None => Payload::pack(message),
    };
    let (session, time) = (moment(exported.session), moment(exported.time));
    PresenceEvent { kind, session, time, close_code: exported.close_code, payload }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use presence::strategy;

    /// A message that can stand in a line.
    fn text() -> impl Strategy<Value = Vec<u8>> {
        any::<String>().prop_map(String::into_bytes)
    }

    proptest! {
        #[test]
        fn every_device_state_survives_a_round_trip(
            events in prop::collection::vec(strategy::event(text()), 1..8),
            id in "[^\\p{Cc}]{1,8}",
            received_at: u32,
        ) {
            let mut state = DeviceState::default();
            for event in events {
                state.apply(event);
            }
            let name = DeviceName { device_type: "t".into(), id: id.into() };
            let device = StoredDevice { name, state, received_at: UnixSeconds(received_at) };
            let line = write(&device).unwrap();
            prop_assert!(!line.contains('\n'));
            prop_assert_eq!(read(line.as_bytes()), Ok(device));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = read(&bytes);
        }
    }

    #[test]
    fn a_line_of_an_earlier_version_is_read() {
        let line = r#"{"type":"t","id":"1","heard_at":"2026-11-23T17:00:00Z","statements":[{"claim":"connect","session":null,"time":null,"close_code":0,"message":"{}"}]}"#;
        let new =
            line.replace("heard_at", "received_at").replace("statements", "events").replace("claim", "kind");
        assert!(read(line.as_bytes()).is_ok());
        assert_eq!(read(line.as_bytes()), read(new.as_bytes()));
    }

    #[test]
    fn an_invalid_line_is_refused_with_its_reason() {
        let line = r#"{"type":"t","id":"1","received_at":"2026-11-23T17:00:00Z","events":[{"kind":"connect","session":null,"time":null,"close_code":0,"message":"{}"}]}"#;
        assert!(read(line.as_bytes()).is_ok());
        for (was, is, why) in [
            (r#""id":"1""#, r#""id":"a\u0007b""#, "type and id"),
            (r#""id":"1""#, r#""id":"""#, "type and id"),
            (r#""id":"1","#, "", "id"),
            ("connect", "failed_login", "failed_login"),
            ("2026-11-23T17", "yesterday", "year"),
        ] {
            let refused = read(line.replace(was, is).as_bytes());
            assert!(refused.as_ref().is_err_and(|exported| exported.contains(why)), "{is}: {refused:?}");
        }
        let none = format!("{}[]}}", &line[..line.find('[').unwrap()]);
        assert!(read(none.as_bytes()).is_err_and(|why| why.contains("events")));
    }
}
