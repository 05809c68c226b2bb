//! A running service: how it is reached and asked. The key is sent to it alone: no proxy and no redirect is followed.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ureq::http::Response;
use ureq::{Agent, Body, BodyReader, RequestBuilder};
use url::form_urlencoded::Serializer;

use super::problem::{self, ClientError};
use super::tls;
use crate::config::{DeviceFilter, ListSelection, NamedDevice, Redelivery, ServiceSettings, WatchSelection};
use presence::time_text::TimeText;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// A stream that is silent longer is lost: the service sends something every 15 seconds.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// No answer that comes in one piece is larger: a summary lists a thousand types at most.
const ANSWER_MAX_BYTES: u64 = 16 << 20;
/// From its first byte to its last: a service that sends a byte now and then would keep the client for ever.
const WHOLE_ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// How the service is asked.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    Get(String),
    Post(String),
    Delete(String),
}

/// Bytes of one read.
const PART_BYTES: usize = 16 << 10;

/// Everything that could mean something in a path, a dot included: `..` is a name like any other.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// One service, and how it is asked.
pub struct Service {
    agent: Agent,
    url: String,
    authorization: Option<String>,
}

impl Service {
    pub fn new(settings: ServiceSettings) -> Result<Self, ClientError> {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .user_agent(concat!("devstatus/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .timeout_per_read(Some(SILENCE_MAX));
        if settings.url.starts_with("https://") {
            config = config.tls_config(tls::config(&settings)?);
        }
        let authorization = settings.key.map(|key| format!("Bearer {}", key.expose()));
        Ok(Self { agent: config.build().new_agent(), url: settings.url, authorization })
    }

    /// A whole answer.
    pub fn text(&self, path: &str) -> Result<String, ClientError> {
        text_of(self.ask(path, "application/json", None)?)
    }

    /// Has the service do something; the answer.
    pub fn post(&self, path: &str) -> Result<String, ClientError> {
        let request = self.authorized(self.agent.post(format!("{}{path}", self.url)));
        let answer = self.answered(request.send_empty())?;
        match answer.status().as_u16() {
            200 => text_of(answer.into_body()),
            204 => Ok(String::new()),
            _ => Err(self.refusal(answer)),
        }
    }

    /// Has the service drop what is at a path.
    pub fn delete(&self, path: &str) -> Result<(), ClientError> {
        let request = self.authorized(self.agent.delete(format!("{}{path}", self.url)));
        let answer = self.answered(request.call())?;
        match answer.status().as_u16() {
            204 => Ok(()),
            _ => Err(self.refusal(answer)),
        }
    }

    /// Asks or tells; the answer, which an order may not have.
    pub fn request(&self, request: Request) -> Result<String, ClientError> {
        match request {
            Request::Get(path) => self.text(&path),
            Request::Post(path) => self.post(&path),
            Request::Delete(path) => self.delete(&path).map(|()| String::new()),
        }
    }

    /// What `/readyz` says, ready or not.
    pub fn readiness(&self) -> Result<String, ClientError> {
        let answer = self.send("/readyz", "application/json", None)?;
        match answer.status().as_u16() {
            200 | 503 => text_of(answer.into_body()),
            _ => Err(self.refusal(answer)),
        }
    }

    /// The devices, each a line of JSON.
    pub fn devices(&self, list: &ListSelection) -> Result<BodyReader<'static>, ClientError> {
        let path = format!("/api/v1/devices{}", list_query(list));
        Ok(self.ask(&path, "application/x-ndjson", None)?.into_reader())
    }

    /// The stream of changes, from after an event or from now.
    pub fn events(
        &self,
        watch: &WatchSelection,
        after: Option<&str>,
    ) -> Result<BodyReader<'static>, ClientError> {
        let path = format!("/api/v1/events{}", watch_query(watch));
        Ok(self.ask(&path, "text/event-stream", after)?.into_reader())
    }

    fn ask(&self, path: &str, accept: &str, last_event_id: Option<&str>) -> Result<Body, ClientError> {
        let answer = self.send(path, accept, last_event_id)?;
        match answer.status().as_u16() {
            200 => Ok(answer.into_body()),
            _ => Err(self.refusal(answer)),
        }
    }

    fn send(
        &self,
        path: &str,
        accept: &str,
        last_event_id: Option<&str>,
    ) -> Result<Response<Body>, ClientError> {
        let request = self.agent.get(format!("{}{path}", self.url)).header("accept", accept);
        let mut request = self.authorized(request);
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        self.answered(request.call())
    }

    fn authorized<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        match &self.authorization {
            Some(authorization) => request.header("authorization", authorization),
            None => request,
        }
    }

    fn answered(&self, called: Result<Response<Body>, ureq::Error>) -> Result<Response<Body>, ClientError> {
        called.map_err(|error| ClientError::unreachable(&self.url, error))
    }

    fn refusal(&self, answer: Response<Body>) -> ClientError {
        let status = answer.status().as_u16();
        // The body of a refusal explains it, and may be missing.
        let body = text_of(answer.into_body()).unwrap_or_default();
        ClientError::Refused { url: self.url.clone(), status, why: problem::why(status, &body) }
    }
}

fn text_of(body: Body) -> Result<String, ClientError> {
    whole(body.into_reader(), ANSWER_MAX_BYTES, WHOLE_ANSWER_TIMEOUT)
}

/// All that a reader gives, within limits; each single read has a limit of its own.
fn whole(mut reader: impl Read, max_bytes: u64, timeout: Duration) -> Result<String, ClientError> {
    let deadline = Instant::now() + timeout;
    let (mut bytes, mut part) = (Vec::new(), vec![0; PART_BYTES]);
    loop {
        let len = reader.read(&mut part).map_err(ClientError::Broken)?;
        bytes.extend_from_slice(&part[..len]);
        if len == 0 {
            break;
        }
        if bytes.len() as u64 > max_bytes {
            return Err(ClientError::NotUnderstood);
        }
        if Instant::now() >= deadline {
            return Err(ClientError::Broken(io::ErrorKind::TimedOut.into()));
        }
    }
    String::from_utf8(bytes).map_err(|_| ClientError::NotUnderstood)
}

/// Where a device is found.
pub fn device_path(named: &NamedDevice) -> String {
    format!("/api/v1/devices/{}/{}", segment(&named.device_type), segment(&named.device_id))
}

/// A name as a segment of a path.
pub fn segment(name: &str) -> String {
    utf8_percent_encode(name, SEGMENT).to_string()
}

/// Where an endpoint of webhooks is found.
pub fn webhook_path(name: &str) -> String {
    format!("/api/v1/webhooks/{}", utf8_percent_encode(name, SEGMENT))
}

/// Where an endpoint is sent messages once more.
pub fn redelivery_path(what: &Redelivery) -> String {
    let path = webhook_path(&what.endpoint) + "/redeliver";
    path + &query([("id", what.webhook_id.as_slice()), ("since", what.since.as_slice())])
}

/// Where the series of the time until now is found.
pub fn series_path(last: Duration, source: Option<&str>) -> String {
    let now = system::clock::since_1970().as_secs();
    let time = |seconds: u64| TimeText::of_seconds(u32::try_from(seconds).unwrap_or(u32::MAX));
    let (from, to) = (time(now.saturating_sub(last.as_secs())), time(now));
    let mut query = Serializer::new(String::new());
    query.append_pair("from", &from).append_pair("to", &to);
    if let Some(source) = source {
        query.append_pair("source", source);
    }
    format!("/api/v1/series?{}", query.finish())
}

/// What narrows a list or a stream, in the words of the API.
fn selection_query<const N: usize>(filter: &DeviceFilter, further: [(&str, &[String]); N]) -> String {
    let close_codes: Vec<_> = filter.close_codes.iter().map(u16::to_string).collect();
    let filter = [
        ("type", filter.types.as_slice()),
        ("source", &filter.sources),
        ("cause", &filter.causes),
        ("id_prefix", &filter.id_prefixes),
        ("status", filter.status.as_slice()),
        ("close_code", &close_codes),
        ("address", &filter.addresses),
        ("expectation", &filter.expectations),
    ];
    query(filter.into_iter().chain(further))
}

fn list_query(list: &ListSelection) -> String {
    let ListSelection { filter, since, until, sort } = list;
    let further = [("since", since.as_slice()), ("until", until.as_slice()), ("sort", sort.as_slice())];
    selection_query(filter, further)
}

fn watch_query(watch: &WatchSelection) -> String {
    let settle = watch.settle.map(|settle| format!("{}s", settle.as_secs()));
    let snapshot = watch.snapshot.then(|| true.to_string());
    selection_query(&watch.filter, [("settle", settle.as_slice()), ("snapshot", snapshot.as_slice())])
}

/// The values as a query, its question mark included.
fn query<'a>(values: impl IntoIterator<Item = (&'a str, &'a [String])>) -> String {
    let mut query = Serializer::for_suffix(String::from("?"), 1);
    for (name, values) in values {
        query.extend_pairs(values.iter().map(|value| (name, value)));
    }
    let query = query.finish();
    if query == "?" { String::new() } else { query }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_one_segment() {
        let path = |device_type: &str, id: &str| {
            device_path(&NamedDevice { device_type: device_type.to_owned(), device_id: id.to_owned() })
        };
        assert_eq!(path("pump", "p-1"), "/api/v1/devices/pump/p-1");
        assert_eq!(path("..", "a/b?ü"), "/api/v1/devices/%2E%2E/a%2Fb%3F%C3%BC");
    }

    #[test]
    fn a_selection_is_asked_in_the_words_of_the_api() {
        assert_eq!(list_query(&ListSelection::default()), "");
        assert_eq!(watch_query(&WatchSelection::default()), "");
        let filter = DeviceFilter {
            types: vec!["pump".to_owned(), "fan".to_owned()],
            sources: vec!["south/esphome".to_owned()],
            id_prefixes: vec!["a+b".to_owned()],
            status: Some("disconnected".to_owned()),
            close_codes: vec![91, 160],
            causes: vec!["timeout".to_owned()],
            expectations: vec!["overdue".to_owned()],
            addresses: vec!["192.0.2.0/24".to_owned()],
            limit: Some(3),
        };
        let of_filter = "?type=pump&type=fan&source=south%2Fesphome&cause=timeout&id_prefix=a%2Bb&status=disconnected&close_code=91\
                         &close_code=160&address=192.0.2.0%2F24&expectation=overdue";
        let list = ListSelection {
            filter: filter.clone(),
            since: Some("2026-11-24T12:00:00+01:00".to_owned()),
            until: Some("2026-11-24T12:00:00Z".to_owned()),
            sort: Some("-since".to_owned()),
        };
        let expected = "&since=2026-11-24T12%3A00%3A00%2B01%3A00&until=2026-11-24T12%3A00%3A00Z&sort=-since";
        assert_eq!(list_query(&list), format!("{of_filter}{expected}"));
        let watch = WatchSelection { filter, settle: Some(Duration::from_secs(90)), snapshot: true };
        assert_eq!(watch_query(&watch), format!("{of_filter}&settle=90s&snapshot=true"));
    }

    #[test]
    fn an_answer_without_an_end_is_given_up() {
        let endless = || std::io::repeat(b' ');
        assert!(matches!(
            whole(endless(), 1 << 20, Duration::from_secs(3600)),
            Err(ClientError::NotUnderstood)
        ));
        // No time is left after the first part, however little it brings.
        assert!(matches!(whole(endless(), u64::MAX, Duration::ZERO), Err(ClientError::Broken(_))));
        assert_eq!(whole("text".as_bytes(), 4, Duration::from_secs(3600)).unwrap(), "text");
    }
}
