//! One device as one row of CSV (RFC 4180, but with line feeds alone, as a pipe expects them).

use std::fmt::Write;

use super::line::{at, timestamp};
use formats::catalog::IOT_PLATFORM;
use formats::iot_platform;
use presence::Status;
use presence::csv::Cells;
use store::StoredDevice;

/// The first row, with its line feed.
pub const HEAD: &str = "type,id,status,since,session,close_code,reason,address,received_at,message,source\n";

/// The row without its line feed; `None` if the message is no text. Of an unknown time the cell is empty, and so are code
/// and reason of a device that is connected.
pub fn write(device: &StoredDevice, cells: Cells) -> Option<String> {
    let resolved = device.state.resolve()?;
    let event = resolved.event;
    let message = String::from_utf8(event.payload.unpack()).ok()?;
    let summary = iot_platform::summary(message.as_bytes());
    let is_off = resolved.status == Status::Disconnected;
    let time = |moment| timestamp(moment).map(|time| time.to_string()).unwrap_or_default();
    let mut row = String::with_capacity(message.len() + 200);
    row.push_str(&cells.cell(&device.name.device_type));
    for text in [&device.name.id, resolved.status.word(), &time(event.time), &time(event.session)] {
        row.push(',');
        row.push_str(&cells.cell(text));
    }
    row.push(',');
    if is_off && event.payload.source().is_none() {
        write!(row, "{}", event.close_code).ok()?;
    }
    row.push(',');
    let reason = summary.as_ref().map(|summary| summary.reason.as_ref()).filter(|_| is_off);
    row.push_str(&cells.cell(reason.unwrap_or_default()));
    row.push(',');
    row.push_str(&cells.cell(summary.as_ref().map(|summary| summary.address.as_ref()).unwrap_or_default()));
    let source = event.payload.source().unwrap_or(IOT_PLATFORM);
    for text in [&at(device.received_at).to_string(), &message, source] {
        row.push(',');
        row.push_str(&cells.cell(text));
    }
    Some(row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use presence::payload::Payload;
    use presence::{DeviceName, DeviceState, EventKind, Moment, PresenceEvent, UnixSeconds};

    #[test]
    fn a_row_has_a_cell_for_each_column_whatever_its_content() {
        let message = r#"{"Action":"Disconnect","ClientAddr":"192.0.2.1","Reason":"a \"b\", c"}"#;
        let mut state = DeviceState::default();
        state.apply(PresenceEvent {
            kind: EventKind::Disconnect,
            session: Moment::UNKNOWN,
            time: Moment::from_nanos(1_500_000_000),
            close_code: 91,
            payload: Payload::pack(message.as_bytes()),
        });
        let name = DeviceName { device_type: "t,u".into(), id: "1".into() };
        let row = write(&StoredDevice { name, state, received_at: UnixSeconds(2) }, Cells::Exact).unwrap();
        let quoted = format!("\"{}\"", message.replace('"', "\"\""));
        assert_eq!(
            row,
            format!(
                r#""t,u",1,disconnected,1970-01-01T00:00:01.5Z,,91,"a ""b"", c",192.0.2.1,1970-01-01T00:00:02Z,{quoted},iot-platform"#
            )
        );
        assert_eq!(HEAD.trim_end().split(',').count(), 11);
    }
}
