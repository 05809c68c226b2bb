//! What the formats with a decoder of their own do, as text for people.

/// The rules of a format that is no profile.
pub(super) fn of(name: &str) -> Option<&'static str> {
    Some(match name {
        super::IOT_PLATFORM => IOT_PLATFORM,
        "mosquitto-log" => include_str!("../../../../docs/sources/mosquitto-log.md"),
        "nanomq" => include_str!("../../../../docs/sources/nanomq.md"),
        "rmqtt" => include_str!("../../../../docs/sources/rmqtt.md"),
        "aws-iot" => include_str!("../../../../docs/sources/aws-iot.md"),
        "sparkplug" => include_str!("../../../../docs/sources/sparkplug.md"),
        _ => return None,
    })
}

const IOT_PLATFORM: &str = "# IoT platform

Topics iot-2/type/{type}/id/{id}/mon: one JSON object with Action, Time, ConnectTime, CloseCode and more, retained.
Sessions are ordered by ConnectTime; the merge rule is in ARCHITECTURE.md.
";
