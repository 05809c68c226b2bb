//! Which endpoints there are and what each of them receives. Built and checked by `config`.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

pub use hyper::HeaderMap;
use hyper::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE, USER_AGENT,
};
pub use hyper::header::{HeaderName, HeaderValue};
use presence::Moment;
use presence::contact::ExpectationFilter;
use presence::query::Filter;
use server::registry::Snapshot;
use system::secret::Secret;
use system::tls::ClientTls;
use url::{Host, Url};

pub use crate::address::is_public;
pub use crate::rotation::OVERLAP_MAX;
use crate::states::StateChange;

pub use crate::signature::{SECRET_BYTES_MAX, SECRET_BYTES_MIN, SECRETS_MAX, SigningSecret};

/// More endpoints than any site was seen to have; each holds a page of messages, 8 connections and a task.
pub const ENDPOINTS_MAX: usize = 100;

/// The most headers of an endpoint, and the longest value of one: more than proxies and gateways ask for, and less than servers refuse.
pub const HEADERS_MAX: usize = 16;
pub const HEADER_MAX_BYTES: u64 = 2 << 10;

/// CloudEvents of one request at most: as many as are read of the history at once.
pub const BATCH_MAX: usize = 500;

/// The longest time that a batch waits for further events: what an event says should not be old when it comes.
pub const LINGER_MAX: Duration = Duration::from_secs(1);

/// The longest name of an endpoint: it is a label of metrics.
pub const NAME_MAX_BYTES: usize = 64;

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSettings {
    /// The name in logs and metrics, and of its progress in the store.
    pub name: String,
    pub url: EndpointUrl,
    /// Every message is signed with each of them: one, or two while the secret is rotated; none for a service that checks none.
    pub secrets: Vec<SigningSecret>,
    /// Empty: all.
    pub events: Vec<EventType>,
    /// Which devices, as lists and streams select them.
    pub selector: Filter,
    pub mode: Mode,
    /// How long a disconnect must have lasted before it is sent; a connect before that cancels it.
    pub settle: Duration,
    pub format: Format,
    /// PagerDuty's name of the service that is notified.
    pub routing_key: Option<Secret>,
    /// The most CloudEvents in one request; with 1, requests are in the structured mode.
    pub batch_max: usize,
    /// How long a batch waits for further events.
    pub linger: Duration,
    /// Where the schemas of data are, up to the name of one; `None`: it is not known how the service is reached.
    pub schemas: Option<String>,
    /// Headers that every request has besides its own.
    pub headers: HeaderMap,
    /// Which certificates of the endpoint are trusted, and which one devstatus presents.
    pub tls: ClientTls,
    /// Whether it may be on this machine or in a private network, and without TLS.
    pub allow_private: bool,
}

/// The events that an endpoint can choose. Every endpoint receives `fleet.gap`, because nothing may be left out silently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// The device was not connected before, as far as is known.
    Connected,
    Disconnected,
    /// The device is connected all along, by another session than before.
    SessionChanged,
    /// A login of the device was refused.
    Refused,
    /// Nothing was known of the device before.
    FirstSeen,
}

/// Which of the changes of one device are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// All of them.
    #[default]
    Every,
    /// The newest: an attempt leaves out a change that a later one has overtaken by then.
    Latest,
}

/// The form of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `{type, timestamp, data}`, as Standard Webhooks has it.
    #[default]
    Standard,
    /// CloudEvents 1.0 in JSON.
    CloudEvents,
    /// `POST /api/v2/alerts` of Alertmanager.
    Alertmanager,
    Slack,
    /// Microsoft Teams, by a workflow.
    Teams,
    /// A text, as ntfy takes it.
    Ntfy,
    /// Events API v2 of PagerDuty.
    PagerDuty,
}

impl Format {
    pub const ALL: [Format; 7] = [
        Format::Standard,
        Format::CloudEvents,
        Format::Alertmanager,
        Format::Slack,
        Format::Teams,
        Format::Ntfy,
        Format::PagerDuty,
    ];

    /// Whether endpoints of that format receive alerts alone, and no changes of devices.
    pub fn is_for_alerts_alone(self) -> bool {
        match self {
            Format::Standard | Format::CloudEvents => false,
            Format::Alertmanager | Format::Slack | Format::Teams | Format::Ntfy | Format::PagerDuty => true,
        }
    }

    /// As it is in settings.
    pub fn word(self) -> &'static str {
        match self {
            Format::Standard => "standard",
            Format::CloudEvents => "cloudevents",
            Format::Alertmanager => "alertmanager",
            Format::Slack => "slack",
            Format::Teams => "teams",
            Format::Ntfy => "ntfy",
            Format::PagerDuty => "pagerduty",
        }
    }
}

/// Whether an endpoint may have a header of that name; the others say what a request is, or are signed.
pub fn may_be_set(name: &HeaderName) -> bool {
    let of_requests = [
        CONNECTION,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_TYPE,
        EXPECT,
        HOST,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
        USER_AGENT,
    ];
    let has_prefix = |prefix: &str| name.as_str().starts_with(prefix);
    !of_requests.contains(name) && !["webhook-", "ce-", "proxy-", "keep-alive"].into_iter().any(has_prefix)
}

impl Mode {
    pub const ALL: [Mode; 2] = [Mode::Every, Mode::Latest];

    /// As it is in settings.
    pub fn word(self) -> &'static str {
        match self {
            Mode::Every => "every",
            Mode::Latest => "latest",
        }
    }
}

impl EventType {
    pub const ALL: [EventType; 5] = [
        EventType::Connected,
        EventType::Disconnected,
        EventType::SessionChanged,
        EventType::Refused,
        EventType::FirstSeen,
    ];

    /// As it is in settings and messages.
    pub fn word(self) -> &'static str {
        match self {
            EventType::Connected => "device.connected",
            EventType::Disconnected => "device.disconnected",
            EventType::SessionChanged => "device.session_changed",
            EventType::Refused => "device.refused",
            EventType::FirstSeen => "device.first_seen",
        }
    }
}

impl EndpointSettings {
    /// Whether the endpoint receives that change.
    pub(crate) fn admits(&self, change: &StateChange) -> bool {
        !self.format.is_for_alerts_alone() && self.wants(change.event_type()) && self.selects(&change.device)
    }

    /// Whether the endpoint has chosen that event.
    pub(crate) fn wants(&self, event_type: EventType) -> bool {
        self.events.is_empty() || self.events.contains(&event_type)
    }

    /// Whether the endpoint selects the device in this state, whatever the event.
    pub(crate) fn selects(&self, device: &Snapshot) -> bool {
        let Some(expectation) = &self.selector.expectation else {
            return self.selector.admits(&device.traits(&self.selector));
        };
        // As the device was when the change came: a change that is read again later is selected alike.
        let now = Moment::from_nanos(i128::from(device.received_at.0) * 1_000_000_000);
        let expectation = Some(ExpectationFilter { now, ..expectation.clone() });
        let selector = Filter { expectation, ..self.selector.clone() };
        selector.admits(&device.traits(&selector))
    }
}

/// Where an endpoint is: `http` or `https`, a host, no user and no fragment. Its path and query may hold a token, so neither is
/// shown.
#[derive(Clone, PartialEq, Eq)]
pub struct EndpointUrl {
    url: Url,
}

impl EndpointUrl {
    /// `None` if it is no such URL.
    pub fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let is_fit = matches!(url.scheme(), "http" | "https")
            && url.host().is_some()
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none()
            && url.port() != Some(0);
        is_fit.then_some(Self { url })
    }

    pub fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// The address, if the host is one and no name.
    pub fn literal_address(&self) -> Option<IpAddr> {
        match self.url.host()? {
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(address.into()),
            Host::Domain(_) => None,
        }
    }

    /// The host as TLS and resolvers take it, without brackets.
    pub(crate) fn host(&self) -> String {
        match self.literal_address() {
            Some(address) => address.to_string(),
            None => self.url.host_str().unwrap_or_default().to_owned(),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or(443)
    }

    /// Host and port for the `Host` header; the port only where it is not the scheme's.
    pub(crate) fn authority(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// Scheme, host and port: what may be shown.
    pub(crate) fn address(&self) -> String {
        format!("{}://{}", self.url.scheme(), self.authority())
    }

    /// Path and query.
    pub(crate) fn target(&self) -> String {
        let query = self.url.query().map(|query| format!("?{query}")).unwrap_or_default();
        format!("{}{query}", self.url.path())
    }

    pub(crate) fn as_str(&self) -> &str {
        self.url.as_str()
    }
}

impl fmt::Debug for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/…", self.address())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_and_shows_no_token() {
        let url = EndpointUrl::parse("https://hooks.example:8443/a/token?key=b").unwrap();
        assert_eq!((url.host(), url.port(), url.is_https()), ("hooks.example".to_owned(), 8443, true));
        assert_eq!(
            (url.authority(), url.target()),
            ("hooks.example:8443".to_owned(), "/a/token?key=b".to_owned())
        );
        assert_eq!(format!("{url:?}"), "https://hooks.example:8443/…");
        let url = EndpointUrl::parse("http://[::1]").unwrap();
        assert_eq!((url.host(), url.port(), url.authority()), ("::1".to_owned(), 80, "[::1]".to_owned()));
        assert_eq!((url.target(), url.literal_address()), ("/".to_owned(), "::1".parse().ok()));
        // Other ways to write an address are the address.
        let written = EndpointUrl::parse("http://0x7f.1/").unwrap();
        assert_eq!(written.literal_address(), "127.0.0.1".parse().ok());
        for text in
            ["", "hooks.example", "ftp://h/", "https://u@h/", "https://u:p@h/", "https://h/#f", "https://"]
        {
            assert!(EndpointUrl::parse(text).is_none(), "{text}");
        }
    }
}
