//! One status message as a value, and how the platform writes it. Which message is sent when is in `platform`.

use std::fmt::Write;

use jiff::{Timestamp, tz::Offset};
use serde::Serialize;

use super::device::SimulatedDevice;

/// Milliseconds since the Unix epoch, as the platform's clock shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub i64);

impl Millis {
    /// The moment `ms` milliseconds later, or earlier if negative.
    #[must_use]
    pub fn plus(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// What the platform publishes: a topic, a payload, and whether its broker keeps the message for later subscribers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusMessage {
    pub topic: String,
    pub payload: String,
    pub retain: bool,
}

/// The content of a status message, less what its [`SimulatedDevice`] says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StatusFields {
    pub action: Action,
    pub time: Millis,
    /// When the session began; only a legacy Connect has none.
    pub connect_time: Option<Millis>,
    pub channel: Channel,
    pub time_form: TimeForm,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// `new_session` appears only on the first connect of a session that outlives its connection.
    Connect {
        durable: bool,
        new_session: bool,
    },
    /// A broker that was killed sends, once it is back, Disconnects without counters.
    Disconnect {
        code: CloseCode,
        counters: Option<Counters>,
    },
    FailedConnect {
        code: CloseCode,
    },
}

/// How the client talked to the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    Mqtt,
    /// MQTT as older platforms reported it: `mqtt-tcp`, fewer fields, no `ConnectTime` on the Connect.
    LegacyMqtt,
    /// One HTTP POST: a Connect and a Disconnect that are never retained.
    Http,
}

/// How a time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeForm {
    /// `2026-11-23T17:52:32.194Z`
    Zulu,
    /// `2026-11-23T13:52:32.194-04:00`, or `-0400` without the colon.
    Offset { minutes: i16, colon: bool },
}

impl TimeForm {
    /// The form that the platform uses today and the others that have been seen.
    pub const ALL: [TimeForm; 4] = [
        TimeForm::Zulu,
        TimeForm::Offset { minutes: -240, colon: true },
        TimeForm::Offset { minutes: 330, colon: true },
        TimeForm::Offset { minutes: -240, colon: false },
    ];

    /// Writes a time with three fraction digits.
    pub fn write(self, time: Millis) -> String {
        let end = if time.0 < 0 { Timestamp::MIN } else { Timestamp::MAX };
        let timestamp = Timestamp::from_millisecond(time.0).unwrap_or(end);
        match self {
            TimeForm::Zulu => timestamp.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
            TimeForm::Offset { minutes, colon } => {
                let offset = Offset::from_seconds(i32::from(minutes) * 60).unwrap_or(Offset::UTC);
                let mut text = offset.to_datetime(timestamp).strftime("%Y-%m-%dT%H:%M:%S.%3f").to_string();
                let (sign, minutes) = (if minutes < 0 { '-' } else { '+' }, minutes.unsigned_abs());
                let separator = if colon { ":" } else { "" };
                write!(text, "{sign}{:02}{separator}{:02}", minutes / 60, minutes % 60)
                    .expect("writing to a String cannot fail");
                text
            }
        }
    }
}

/// Why a session ended or a connect failed, as far as the simulated platform goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseCode {
    Normal,
    /// A session that the broker finds unfinished when it starts after having been killed.
    FoundAfterRestart,
    ClosedByClient,
    HttpClosed,
    ClosedByServer,
    ServerShutdown,
    ByAdministrator,
    SystemError,
    TimedOut,
    NotAuthorized,
    MessageTooLarge,
    ClientIdReused,
}

impl CloseCode {
    /// The number in `CloseCode`.
    pub fn number(self) -> u16 {
        match self {
            CloseCode::Normal | CloseCode::FoundAfterRestart => 0,
            CloseCode::ClosedByClient | CloseCode::HttpClosed => 91,
            CloseCode::ClosedByServer => 92,
            CloseCode::ServerShutdown => 93,
            CloseCode::ByAdministrator => 94,
            CloseCode::SystemError => 100,
            CloseCode::TimedOut => 160,
            CloseCode::NotAuthorized => 180,
            CloseCode::MessageTooLarge => 287,
            CloseCode::ClientIdReused => 288,
        }
    }

    /// The text in `Reason`, word for word as the platform's broker and proxy send it.
    pub fn reason(self) -> &'static str {
        match self {
            CloseCode::Normal => "The connection has completed normally.",
            CloseCode::FoundAfterRestart => "",
            CloseCode::ClosedByClient => "Connection closed by client",
            CloseCode::HttpClosed => "The connection was closed by the client or network (0).",
            CloseCode::ClosedByServer => "The connection was closed by the server.",
            CloseCode::ServerShutdown => "The connection was closed because the server was shutdown.",
            CloseCode::ByAdministrator => "The connection was closed by an administrator.",
            CloseCode::SystemError => "System error",
            CloseCode::TimedOut => "The connection timed out",
            CloseCode::NotAuthorized => "The operation is not authorized.",
            CloseCode::MessageTooLarge => "The message size is too large for this endpoint.",
            CloseCode::ClientIdReused => "The client ID was reused.",
        }
    }
}

/// What a session moved, from the broker's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    pub read_bytes: u32,
    pub read_messages: u32,
    pub write_bytes: u32,
    pub write_messages: u32,
}

impl StatusFields {
    /// Whether the platform's broker keeps this message: failed connects and HTTP clients leave no trace.
    pub fn is_retained(&self) -> bool {
        match self.channel {
            Channel::Http => false,
            Channel::Mqtt | Channel::LegacyMqtt => match self.action {
                Action::Connect { .. } | Action::Disconnect { .. } => true,
                Action::FailedConnect { .. } => false,
            },
        }
    }

    /// The message as the platform publishes it for this device.
    pub fn message(&self, device: &SimulatedDevice) -> StatusMessage {
        StatusMessage { topic: device.topic(), payload: self.payload(device), retain: self.is_retained() }
    }

    fn payload(&self, device: &SimulatedDevice) -> String {
        let profile = &device.profile;
        let now = self.channel == Channel::Mqtt;
        let mut fields = Fields {
            action: "Connect",
            time: self.time_form.write(self.time),
            client_addr: &profile.address,
            client_id: device.client_id(),
            port: profile.port,
            secure: (self.channel != Channel::LegacyMqtt).then_some(profile.secure),
            protocol: match self.channel {
                Channel::Mqtt => profile.protocol,
                Channel::LegacyMqtt => "mqtt-tcp",
                Channel::Http => "iotrest",
            },
            user: profile.user.as_deref(),
            cert_name: profile.certificate.as_deref(),
            connect_time: self.connect_time.map(|time| self.time_form.write(time)),
            ..Fields::default()
        };
        let code = match self.action {
            Action::Connect { durable, new_session } => {
                if now {
                    fields.durable = Some(durable);
                    fields.new_session = new_session.then_some(true);
                    fields.close_code = Some(0);
                    fields.reason = Some("");
                }
                None
            }
            Action::Disconnect { code, counters } => {
                fields.action = "Disconnect";
                fields.read_bytes = counters.map(|c| c.read_bytes);
                fields.read_msg = counters.map(|c| c.read_messages);
                fields.write_bytes = counters.map(|c| c.write_bytes);
                fields.write_msg = counters.map(|c| c.write_messages);
                Some(code)
            }
            Action::FailedConnect { code } => {
                fields.action = "FailedConnect";
                Some(code)
            }
        };
        if let Some(code) = code {
            fields.close_code = Some(code.number());
            fields.reason = Some(code.reason());
        }
        serde_json::to_string(&fields).expect("a struct of texts and numbers always becomes JSON")
    }
}

/// The payload in the platform's own order of fields.
#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Fields<'a> {
    action: &'static str,
    time: String,
    client_addr: &'a str,
    #[serde(rename = "ClientID")]
    client_id: String,
    port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    secure: Option<bool>,
    protocol: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cert_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connect_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    durable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_session: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    close_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_bytes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_msg: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    write_bytes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    write_msg: Option<u32>,
}
