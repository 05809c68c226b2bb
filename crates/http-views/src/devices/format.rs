//! In which form a list is given: which one a client accepts, and how a device is written in it.

use axum::http::HeaderMap;

use super::view::DeviceView;
use crate::accept::Accept;
use presence::csv::Cells;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListFormat {
    Json,
    Csv,
    /// CSV in which what a spreadsheet would take for a formula, and might run, begins with an apostrophe.
    CsvForSpreadsheet,
    NdJson,
}

/// In the order in which they are given to a client that accepts several equally well.
const FORMATS: [(ListFormat, &str); 4] = [
    (ListFormat::Json, "application/json"),
    (ListFormat::Csv, "text/csv"),
    (ListFormat::NdJson, "application/x-ndjson"),
    (ListFormat::NdJson, "application/ndjson"),
];

const COLUMNS: &str = "type,id,client_id,status,since,address,close_code,reason,cause,cause_class,session_connect_time,\
                       session_protocol,session_secure,last_event,last_event_time,last_event_close_code,source,provenance,\
                       confirmed_at,stale,dated_ahead,expectation\r\n";

impl ListFormat {
    /// What a client accepts best; `None` if it accepts none of them.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let Some(accept) = Accept::of(headers) else { return Some(ListFormat::Json) };
        let given = FORMATS.iter().map(|(format, name)| (*format, accept.quality(name)));
        // Of equals the first: `max_by_key` would take the last.
        let best = given.rev().max_by_key(|(_, quality)| *quality)?;
        (best.1 > 0).then_some(best.0)
    }

    pub fn content_type(self) -> &'static str {
        match self {
            ListFormat::Json => "application/json",
            ListFormat::Csv | ListFormat::CsvForSpreadsheet => "text/csv; charset=utf-8; header=present",
            ListFormat::NdJson => "application/x-ndjson",
        }
    }

    /// What comes before the first device.
    pub fn head(self) -> &'static str {
        match self {
            ListFormat::Json | ListFormat::NdJson => "",
            ListFormat::Csv | ListFormat::CsvForSpreadsheet => COLUMNS,
        }
    }

    /// Adds a device as one line.
    pub fn write(self, device: &DeviceView<'_>, text: &mut Vec<u8>) {
        match self {
            ListFormat::Json | ListFormat::NdJson => {
                device.write(text);
                text.push(b'\n');
            }
            ListFormat::Csv | ListFormat::CsvForSpreadsheet => self.write_row(device, text),
        }
    }

    fn write_row(self, device: &DeviceView<'_>, text: &mut Vec<u8>) {
        let code = |code: Option<u16>| code.map(|code| code.to_string()).unwrap_or_default();
        fn owned(text: Option<&(impl AsRef<str> + ?Sized)>) -> String {
            text.map(|text| text.as_ref().to_owned()).unwrap_or_default()
        }
        let (session, last) = (device.session.as_ref(), device.last_event.as_ref());
        let cells = [
            device.device_type.to_string(),
            device.id.to_string(),
            device.client_id.to_string(),
            device.status.word().to_owned(),
            owned(device.since.as_ref()),
            owned(device.address.as_ref()),
            code(device.close_code),
            owned(device.reason.as_ref()),
            device.cause.unwrap_or_default().to_owned(),
            device.cause_class.unwrap_or_default().to_owned(),
            session.map(|session| owned(session.connect_time.as_ref())).unwrap_or_default(),
            session.map(|session| owned(session.protocol.as_ref())).unwrap_or_default(),
            session.and_then(|session| session.secure).map(|secure| secure.to_string()).unwrap_or_default(),
            last.map(|last| last.event.to_owned()).unwrap_or_default(),
            last.map(|last| owned(last.time.as_ref())).unwrap_or_default(),
            code(last.and_then(|last| last.close_code)),
            owned(device.source.as_ref()),
            device.provenance.map(|provenance| provenance.word().to_owned()).unwrap_or_default(),
            owned(device.confirmed_at.as_ref()),
            device.stale.to_string(),
            device.dated_ahead.to_string(),
            device.expectation.unwrap_or_default().to_owned(),
        ];
        let as_cells = match self {
            ListFormat::CsvForSpreadsheet => Cells::WithoutFormulas,
            ListFormat::Csv | ListFormat::Json | ListFormat::NdJson => Cells::Exact,
        };
        for (number, cell) in cells.iter().enumerate() {
            if number > 0 {
                text.push(b',');
            }
            text.extend(as_cells.cell(cell).as_bytes());
        }
        text.extend(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, header};

    use super::*;

    #[test]
    fn a_client_gets_the_format_that_it_prefers() {
        for (accept, format) in [
            ("*/*", Some(ListFormat::Json)),
            ("application/json", Some(ListFormat::Json)),
            ("text/csv", Some(ListFormat::Csv)),
            ("TEXT/CSV", Some(ListFormat::Csv)),
            ("text/*", Some(ListFormat::Csv)),
            ("application/x-ndjson", Some(ListFormat::NdJson)),
            ("application/ndjson", Some(ListFormat::NdJson)),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Some(ListFormat::Json)),
            ("text/csv;q=0.5, application/x-ndjson;q=0.7", Some(ListFormat::NdJson)),
            ("application/json;q=0, text/csv;q=0.1", Some(ListFormat::Csv)),
            ("application/json;q=0.2, */*;q=0.5", Some(ListFormat::Csv)),
            ("text/csv;q=0", None),
            ("image/png", None),
        ] {
            let headers = [(header::ACCEPT, HeaderValue::from_static(accept))].into_iter().collect();
            assert_eq!(ListFormat::of(&headers), format, "{accept}");
        }
        assert_eq!(ListFormat::of(&HeaderMap::new()), Some(ListFormat::Json));
    }
}
