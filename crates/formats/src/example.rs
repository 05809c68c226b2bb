//! Messages of every built-in format, as a simulated device or its broker publishes them.

use crate::catalog::IOT_PLATFORM;
use crate::{UnixNanos, builtin};

/// What a device reports of itself.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    pub id: &'a str,
    pub is_connected: bool,
    /// When its session began, and its number in a row of sessions.
    pub session: UnixNanos,
    pub session_number: u64,
    pub time: UnixNanos,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    pub topic: String,
    pub payload: Vec<u8>,
    pub is_retained: bool,
}

/// The message of a built-in format for a report; `None` for the IoT platform, which the simulator speaks by itself, and for names
/// that are no format's.
pub fn of(format: &str, report: &Report<'_>) -> Option<Example> {
    if format == IOT_PLATFORM {
        return None;
    }
    if let Some(builtin) = builtin::find(format) {
        return builtin.profile().ok()?.example(report);
    }
    let message = |topic: String, payload: Vec<u8>| Some(Example { topic, payload, is_retained: false });
    let Report { id, is_connected, session_number, .. } = *report;
    let (seconds, millis) = (report.time.0 / 1_000_000_000, report.time.0 / 1_000_000);
    // Names of simulated devices need no escapes.
    let word = |connected: &'static str, other: &'static str| if is_connected { connected } else { other };
    match format {
        "mosquitto-log" => {
            let line = if is_connected {
                format!("{seconds}: New client connected from 192.0.2.7:50000 as {id} (p4, c1, k60).")
            } else {
                format!("{seconds}: Client {id} closed its connection.")
            };
            message("$SYS/broker/log/N".into(), line.into_bytes())
        }
        "nanomq" => {
            let status = word("online", "offline");
            let code = word(r#""return_code":"0""#, r#""reason_code":"8d""#);
            let payload = format!(r#"{{"status":"{status}","ts":{millis},{code},"client_id":"{id}"}}"#);
            message(format!("$SYS/brokers/client_status/{id}"), payload.into_bytes())
        }
        "rmqtt" => {
            let event = word("connected", "disconnected");
            let reason = word("", r#","reason":"KeepaliveTimeout""#);
            let payload = format!(
                r#"{{"clientid":"{id}","{event}_at":{millis},"ipaddress":"192.0.2.7:50000","node":1{reason}}}"#
            );
            message(format!("$SYS/brokers/1/clients/{id}/{event}"), payload.into_bytes())
        }
        "aws-iot" => {
            let event = word("connected", "disconnected");
            let reason = word("", r#","disconnectReason":"CONNECTION_LOST""#);
            let payload = format!(
                r#"{{"clientId":"{id}","timestamp":{millis},"eventType":"{event}","sessionIdentifier":"{id}-{session_number}","versionNumber":{session_number}{reason}}}"#
            );
            message(format!("$aws/events/presence/{event}/{id}"), payload.into_bytes())
        }
        "sparkplug" => {
            let verb = word("NBIRTH", "NDEATH");
            message(format!("spBv1.0/demo/{verb}/{id}"), sparkplug(report))
        }
        _ => None,
    }
}

/// A birth or death with its time and `bdSeq`.
fn sparkplug(report: &Report<'_>) -> Vec<u8> {
    let varint = |mut value: u64| {
        let mut bytes = Vec::new();
        while value > 0x7f {
            bytes.push(value as u8 & 0x7f | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    };
    let mut metric = vec![0x0a, 5];
    metric.extend(b"bdSeq");
    metric.extend([0x20, 4, 0x58]);
    metric.extend(varint(report.session_number % 256));
    let mut payload = vec![0x08];
    payload.extend(varint(u64::try_from(report.session.0 / 1_000_000).unwrap_or_default()));
    payload.push(0x12);
    payload.extend(varint(metric.len() as u64));
    payload.extend(metric);
    payload.extend([0x18, 0]);
    payload
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{self, Formats, Routed};
    use crate::{Decoded, EventKind};

    #[test]
    fn every_built_in_format_has_messages_that_it_reads() {
        let start = 1_767_225_600_000_000_000;
        for info in catalog::infos().filter(|info| info.name != IOT_PLATFORM) {
            let formats = Formats::new(&[info.name.to_owned()], &[]).unwrap();
            for (is_connected, kind) in [(true, EventKind::Connect), (false, EventKind::Disconnect)] {
                let (session, time) = (UnixNanos(start), UnixNanos(start + 5_000_000_000));
                let report = Report { id: "pump-7", is_connected, session, session_number: 3, time };
                let example = of(info.name, &report).unwrap_or_else(|| panic!("{}", info.name));
                let routed = formats.route(example.topic.as_bytes(), &example.payload, example.is_retained);
                let Routed::Other(_, Decoded::Event(event)) = routed else {
                    panic!("{}: {example:?} is {routed:?}", info.name)
                };
                assert_eq!((event.kind, &*event.device.id), (kind, "pump-7"), "{}", info.name);
                assert_eq!(example.is_retained, info.is_retained, "{}", info.name);
            }
        }
    }
}
