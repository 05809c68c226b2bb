//! An event of a device's history, and a refused login, as the API shows them.

use std::borrow::Cow;

use serde::Serialize;

use crate::describe::ToSchema;
use formats::held::{self, close_code};
use formats::status;
use presence::history::HistoryRow;
use presence::time_text::TimeText;
use presence::{EventKind, Moment};

/// One thing that happened to a device.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HistoryEvent)]
pub struct EventView {
    /// Rises from event to event of a device.
    sequence: u64,
    /// `connect`, `disconnect`, `takeover`, `refusal` or `failed_login`. The platform reports a refused login by up to three
    /// messages, each of which is an event.
    #[schema(example = "disconnect")]
    event: &'static str,
    /// When it happened, by the platform's clock, RFC 3339.
    #[schema(value_type = Option<String>, format = DateTime)]
    time: Option<TimeText>,
    /// When the session began that it is about: the name of the session.
    #[schema(value_type = Option<String>, format = DateTime)]
    connect_time: Option<TimeText>,
    /// How long the session lasted that it ended, in seconds.
    duration_s: Option<f64>,
    /// Of everything but a connect: why, as the platform numbers it.
    #[schema(example = 91)]
    close_code: Option<u16>,
    /// The same in the platform's words.
    reason: Option<String>,
    /// What the close code means.
    cause: Option<String>,
    /// The kind of cause, as of a device.
    #[schema(example = "connection")]
    cause_class: Option<&'static str>,
    /// The address that the client connected from, as the platform saw it.
    #[schema(example = "192.0.2.2")]
    address: Option<String>,
    /// What the platform read from the client in the session that ended.
    read_bytes: Option<u64>,
    read_messages: Option<u64>,
    /// What the platform wrote to it.
    write_bytes: Option<u64>,
    write_messages: Option<u64>,
    /// When it was heard of here, RFC 3339.
    #[schema(value_type = String, format = DateTime)]
    received_at: TimeText,
}

/// A login of a device that was refused.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Refusal)]
pub struct RefusalView {
    /// `refusal` or `failed_login`, as in the history of the device.
    #[schema(example = "failed_login")]
    event: &'static str,
    /// When it happened, by the platform's clock, RFC 3339.
    #[schema(value_type = Option<String>, format = DateTime)]
    time: Option<TimeText>,
    /// Why, as the platform numbers it.
    #[schema(example = 180)]
    close_code: Option<u16>,
    /// The same in the platform's words.
    reason: Option<String>,
    /// What the close code means.
    cause: Option<String>,
    /// The kind of cause, as of a device.
    #[schema(example = "refused")]
    cause_class: Option<&'static str>,
    /// The address that the client connected from, as the platform saw it.
    #[schema(example = "192.0.2.2")]
    address: Option<String>,
    /// When it was heard of here, RFC 3339.
    #[schema(value_type = String, format = DateTime)]
    received_at: TimeText,
}

impl EventView {
    pub fn of(row: HistoryRow) -> Self {
        let HistoryRow { sequence, event, received_at, is_first_seen: _ } = row;
        let message = event.payload.document();
        let (details, traffic) = (held::details(&message), held::traffic(&message));
        let owned = |text: Cow<'_, str>| text.into_owned();
        let is_connect = event.kind == EventKind::Connect;
        let source = event.payload.source();
        let document = source.and_then(|_| status::read(&message));
        let code = (!is_connect && source.is_none()).then_some(event.close_code);
        let cause = match &document {
            Some(document) => document.cause().map(formats::Cause::word),
            None => code.and_then(close_code::meaning),
        };
        let connect_time = match source {
            Some(_) => document.as_ref().and_then(status::StatusDocument::connect_moment),
            None => Some(event.session),
        };
        let ended = matches!(event.kind, EventKind::Disconnect | EventKind::Takeover);
        let began = connect_time.unwrap_or(Moment::UNKNOWN);
        let lasted = event.time.nanos().zip(began.nanos()).map(|(end, begin)| end - begin);
        Self {
            sequence,
            event: event.kind.word(),
            time: event.time.rfc3339(),
            connect_time: began.rfc3339(),
            duration_s: lasted.filter(|nanos| ended && *nanos >= 0).map(|nanos| nanos as f64 / 1e9),
            close_code: code,
            reason: details.reason.filter(|_| !is_connect).map(owned),
            cause: cause.map(str::to_owned),
            cause_class: match source {
                Some(_) => (!is_connect).then(|| cause.unwrap_or(formats::Cause::UNKNOWN)),
                None => code.map(close_code::cause_class),
            },
            address: details.address.map(owned),
            read_bytes: traffic.read_bytes(),
            read_messages: traffic.read_messages(),
            write_bytes: traffic.write_bytes(),
            write_messages: traffic.write_messages(),
            received_at: received_at.rfc3339(),
        }
    }
}

impl RefusalView {
    pub fn of(row: &HistoryRow) -> Self {
        let shown = EventView::of(row.clone());
        let EventView { event, time, close_code, reason, cause, cause_class, address, received_at, .. } =
            shown;
        Self { event, time, close_code, reason, cause, cause_class, address, received_at }
    }
}
