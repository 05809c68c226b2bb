//! A device as the API shows it, the same in every resource: one field for each thing that is known, `null` where it is
//! not.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;

use crate::context::Context;
use crate::describe::ToSchema;
use formats::held::{self, UnpackedDetails, close_code};
use formats::status::{self, Raw};
use presence::contact::{self, ContactPolicy};
use presence::time_text::TimeText;
use presence::{Device, EventKind, Moment, Status};
use server::clock;
use server::freshness::FreshnessBySource;
use server::registry::{Provenance, Snapshot};

/// What is known of one device.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = Device)]
pub struct DeviceView<'a> {
    #[serde(rename = "type")]
    #[schema(example = "elevator")]
    pub device_type: Cow<'a, str>,
    #[schema(example = "elevator-0049")]
    pub id: Cow<'a, str>,
    /// The source that the deciding message came from; null if there is none.
    #[schema(example = "iot-platform")]
    pub source: Option<Cow<'a, str>>,
    /// The MQTT client id of the device; of sources that do not know it, its id.
    #[schema(example = "d:demo:elevator:elevator-0049")]
    pub client_id: Cow<'a, str>,
    pub status: StatusView,
    /// Whether it is as its contact policy expects: `met`, `overdue`, `unseen` (no message was ever about it) or `none` (nothing is
    /// expected). Only where the settings have contact policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "met")]
    pub expectation: Option<&'static str>,
    /// The time of the message that decided the status, RFC 3339.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<TimeText>,
    /// The address the device connected from, as the platform saw it.
    #[schema(example = "192.0.2.2")]
    pub address: Option<Cow<'a, str>>,
    /// Why a disconnected device is not connected, as the platform numbers it.
    #[schema(example = 91)]
    pub close_code: Option<u16>,
    /// The same in the platform's words.
    pub reason: Option<Cow<'a, str>>,
    /// What the close code means.
    pub cause: Option<&'static str>,
    /// The kind of cause: `ended`, `connection`, `server`, `timeout`, `tls`, `refused`, `takeover`, `protocol` or `unknown`.
    #[schema(example = "connection")]
    pub cause_class: Option<&'static str>,
    /// The session that the deciding message is about; an HTTP request has none.
    pub session: Option<SessionView<'a>>,
    /// What happened last, whether it decided the status or not.
    pub last_event: Option<LastEventView>,
    /// What the status rests on.
    pub provenance: Option<ProvenanceView>,
    /// When the latest message about the device arrived here, RFC 3339.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub confirmed_at: Option<TimeText>,
    /// The deciding message or its session is dated more than a day ahead of our clock, so one of the two clocks is wrong. The
    /// status counts all the same, and such a session decides until the time that it names.
    pub dated_ahead: bool,
    /// The link to the broker was lost, and the device has not been heard of since: the status may be out of date.
    pub stale: bool,
    /// The deciding message as it was sent. Only where one device of a source other than the IoT platform is asked for, whose
    /// messages are at `/{type}/{id}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageView<'a>>,
}

/// A message: text, or base64 if it is no UTF-8.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Message)]
pub struct MessageView<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base64: Option<Cow<'a, str>>,
    /// It was longer: the first 4,096 bytes are kept.
    pub truncated: bool,
}

impl<'a> MessageView<'a> {
    /// The message in a status document.
    pub fn of(document: &'a [u8]) -> Option<Self> {
        let (raw, truncated) = status::read(document)?.into_raw()?;
        let (text, base64) = match raw {
            Raw::Text(text) => (Some(text), None),
            Raw::Base64(text) => (None, Some(text)),
        };
        Some(Self { text, base64, truncated })
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Status)]
#[serde(rename_all = "snake_case")]
pub enum StatusView {
    Connected,
    Disconnected,
    /// No message was ever about it, and every retained status has been read.
    NeverConnected,
    /// No message was about it so far, and not every retained status has been read.
    #[default]
    Unknown,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Session)]
pub struct SessionView<'a> {
    /// When it began, RFC 3339: the name of the session.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub connect_time: Option<TimeText>,
    /// As the platform names it.
    #[schema(example = "mqtt4")]
    pub protocol: Option<Cow<'a, str>>,
    /// Whether it uses TLS.
    pub secure: Option<bool>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LastEvent)]
pub struct LastEventView {
    /// `connect`, `disconnect`, `takeover`, `refusal` or `request`.
    #[schema(example = "disconnect")]
    pub event: &'static str,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub time: Option<TimeText>,
    /// Of an event that ends a session or refuses one.
    pub close_code: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Provenance)]
#[serde(rename_all = "snake_case")]
pub enum ProvenanceView {
    /// A message that came as it happened.
    Live,
    /// A message that the broker had retained.
    Retained,
    /// What the store held at the start; nothing has been heard of the device since.
    Restored,
    /// What another instance has heard.
    Peer,
    /// A takeover: who is connected now has not been seen itself.
    Inferred,
}

impl StatusView {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            StatusView::Connected => "connected",
            StatusView::Disconnected => "disconnected",
            StatusView::NeverConnected => "never_connected",
            StatusView::Unknown => "unknown",
        }
    }
}

impl ProvenanceView {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            ProvenanceView::Live => "live",
            ProvenanceView::Retained => "retained",
            ProvenanceView::Restored => "restored",
            ProvenanceView::Peer => "peer",
            ProvenanceView::Inferred => "inferred",
        }
    }
}

impl From<Status> for StatusView {
    fn from(status: Status) -> Self {
        match status {
            Status::Connected => StatusView::Connected,
            Status::Disconnected => StatusView::Disconnected,
        }
    }
}

impl From<Provenance> for ProvenanceView {
    fn from(provenance: Provenance) -> Self {
        match provenance {
            Provenance::Live => ProvenanceView::Live,
            Provenance::Retained => ProvenanceView::Retained,
            Provenance::Restored => ProvenanceView::Restored,
            Provenance::Peer => ProvenanceView::Peer,
        }
    }
}

/// Shows devices as things stand at one moment. To be made before what it shows is read: the other way round, an old status
/// could be shown as one that was read again in between.
pub struct Viewer<'a> {
    context: &'a Context,
    populated: bool,
    freshness: FreshnessBySource,
    /// `None`: there are no contact policies.
    contacts: Option<Arc<[ContactPolicy]>>,
    now_nanos: i64,
}

impl<'a> Viewer<'a> {
    pub fn of(context: &'a Context) -> Self {
        let (populated, freshness) = (context.health.populated(), context.health.freshness());
        let now_nanos = clock::now_millis().saturating_mul(1_000_000);
        Self { context, populated, freshness, contacts: context.alerts.contacts(), now_nanos }
    }

    fn expectation(&self, snapshot: &Snapshot) -> Option<&'static str> {
        let patience =
            contact::patience(self.contacts.as_deref()?, snapshot.device(), Some(snapshot.source()));
        let now = Moment::from_nanos(i128::from(self.now_nanos));
        Some(patience.expectation(snapshot.status, snapshot.event.time, now).word())
    }

    fn expectation_of_unseen(&self, device: Device<'_>) -> Option<&'static str> {
        let contacts = self.contacts.as_deref().filter(|_| self.populated)?;
        Some(contact::patience(contacts, device, None).expectation_of_unseen().word())
    }

    /// Which of the answers may be out of date.
    pub fn freshness(&self) -> &FreshnessBySource {
        &self.freshness
    }

    /// The device of a snapshot, whose deciding message says this.
    pub fn view<'d>(&self, snapshot: &'d Snapshot, unpacked: &'d UnpackedDetails) -> DeviceView<'d> {
        let Snapshot { device_type, id, status, event, latest, .. } = snapshot;
        let details = unpacked.read();
        let is_off = *status == Status::Disconnected;
        let source = event.payload.source();
        // Of other sources the key of a session is no time that anybody sent, and there are no close codes.
        let document = source.and_then(|_| status::read(unpacked.document()?));
        let code = event.close_code;
        let code = (is_off && source.is_none()).then_some(code);
        let cause = match &document {
            Some(document) => document.cause().filter(|_| is_off).map(formats::Cause::word),
            None => code.and_then(close_code::meaning),
        };
        let connect_time = match source {
            Some(_) => document.as_ref().and_then(status::StatusDocument::connect_moment),
            None => Some(event.session),
        };
        let since = event.time.rfc3339();
        // Often several times of a device are one, and writing one takes longer than comparing.
        let written = |time: Moment| if time == event.time { since } else { time.rfc3339() };
        DeviceView {
            source: Some(Cow::Borrowed(held::source(&event.payload))),
            message: None,
            client_id: details
                .client_id
                .unwrap_or_else(|| Cow::Owned(self.context.client_id(Device { device_type, id }))),
            device_type: Cow::Borrowed(device_type),
            id: Cow::Borrowed(id),
            status: (*status).into(),
            expectation: self.expectation(snapshot),
            since,
            address: details.address,
            close_code: code,
            reason: details.reason.filter(|_| is_off),
            cause,
            cause_class: match source {
                Some(_) => is_off.then(|| cause.unwrap_or(formats::Cause::UNKNOWN)),
                None => code.map(close_code::cause_class),
            },
            session: (event.kind != EventKind::Request).then(|| SessionView {
                connect_time: connect_time.and_then(written),
                protocol: details.protocol,
                secure: details.secure,
            }),
            last_event: Some(LastEventView {
                event: latest.kind.word(),
                time: written(latest.time),
                close_code: latest.close_code.filter(|_| source.is_none()),
            }),
            provenance: Some(if snapshot.inferred {
                ProvenanceView::Inferred
            } else {
                snapshot.provenance.into()
            }),
            confirmed_at: Some(snapshot.received_at.rfc3339()),
            dated_ahead: event.is_dated_ahead(self.now_nanos),
            stale: self.freshness.is_stale(held::source(&event.payload), snapshot.received_in),
        }
    }

    /// A device that no message was about.
    pub fn unknown<'d>(&self, device: Device<'d>) -> DeviceView<'d> {
        DeviceView {
            device_type: Cow::Borrowed(device.device_type),
            id: Cow::Borrowed(device.id),
            client_id: Cow::Owned(self.context.client_id(device)),
            status: if self.populated { StatusView::NeverConnected } else { StatusView::Unknown },
            expectation: self.expectation_of_unseen(device),
            stale: self.freshness.is_any_stale() || self.context.may_be_unreported(device),
            ..DeviceView::default()
        }
    }
}
