//! The connection state of ChirpStack's gateways in protobuf. The JSON of the same topic is a profile.

use crate::name::is_valid_name;
use crate::protobuf::{ProtobufFields, WireValue};
use crate::{Cause, Decoded, DeviceName, Event, EventKind, Session};

/// What to subscribe to: gateways without and with a region in front.
pub const FILTERS: &[&str] = &["gateway/+/state/conn", "+/gateway/+/state/conn"];

/// The type of every device of this format.
pub const DEVICE_TYPE: &str = "gateway";

/// Whether a payload is for this decoder rather than for the JSON profile of the same name: no protobuf message can begin
/// with a brace, and no gateway id is so long that its length reads like one.
pub fn is_protobuf(payload: &[u8]) -> bool {
    !payload.trim_ascii_start().starts_with(b"{")
}

/// Decodes one message.
pub fn decode<'a>(topic: &'a str, payload: &[u8]) -> Decoded<'a> {
    let Some(id) = gateway_id(topic) else { return Decoded::NoMatch };
    if !is_valid_name(id) {
        return Decoded::Undecodable("gateway_id");
    }
    let device = DeviceName { device_type: DEVICE_TYPE.into(), id: id.into() };
    if payload.is_empty() {
        return Decoded::Removed(device);
    }
    // OFFLINE is the default of the field, so encoders leave it out.
    let mut state = 0;
    for field in ProtobufFields::new(payload) {
        match field {
            Ok(field) => {
                if let (2, WireValue::Varint(value)) = (field.number, field.value) {
                    state = value;
                }
            }
            Err(_malformed) => return Decoded::Undecodable("protobuf"),
        }
    }
    let kind = match state {
        0 => EventKind::Disconnect,
        1 => EventKind::Connect,
        _ => return Decoded::Undecodable("unknown_value"),
    };
    Decoded::Event(Event {
        device,
        kind,
        session: Session::Arrival,
        time: None,
        // The will and an orderly stop say the same.
        cause: (kind == EventKind::Disconnect).then_some(Cause::Connection),
        reason: None,
        address: None,
        protocol: None,
        parent: None,
    })
}

fn gateway_id(topic: &str) -> Option<&str> {
    let rest = topic.strip_suffix("/state/conn")?;
    let (head, id) = rest.rsplit_once('/')?;
    let is_gateway =
        head == "gateway" || head.strip_suffix("/gateway").is_some_and(|region| !region.contains('/'));
    is_gateway.then_some(id)
}

#[cfg(test)]
mod tests;
