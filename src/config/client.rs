//! Those that ask a running service: which one, with which key, for what.

use jiff::Timestamp;
use url::Url;

use super::refusal::Refusal;
use super::setting::{Setting, Verb};
use super::values::{Given, Values};
use super::{build, http};
use crate::client::settings::{ClientCertificate, ClientSettings, Question, Selection, ServiceSettings};
use crate::presence::query::Network;
use crate::secret::Secret;

const URL: &str = "http://127.0.0.1:5000";
/// A line of a file that is no key is longer, or a whole header would be.
const KEY_MAX_BYTES: usize = 1_024;
const KEY_EXPECTED: &str = "an API key, the id.secret that keys create shows as bearer";
const LIMIT_MAX: u64 = 1_000_000_000;

pub(super) fn settings(values: &Values, operands: &[String]) -> Result<ClientSettings, Refusal> {
    let operand = |at: usize| operands.get(at).cloned().unwrap_or_default();
    let question = match values.verb {
        Verb::Get => Question::Device { device_type: operand(0), id: operand(1) },
        Verb::Forget => Question::Forget { device_type: operand(0), id: operand(1) },
        Verb::List => Question::Devices(selection(values)?),
        Verb::Watch => Question::Changes(selection(values)?),
        Verb::Summary
        | Verb::Serve
        | Verb::Demo
        | Verb::Simulate
        | Verb::Export
        | Verb::Import
        | Verb::KeysCreate
        | Verb::KeysList
        | Verb::KeysRevoke
        | Verb::Completions => Question::Summary,
    };
    if operands.iter().any(String::is_empty) {
        return Err(Refusal::Arguments { what: "an operand is empty".to_owned() });
    }
    let service = ServiceSettings { key: key(values)?, ..service(values)? };
    Ok(ClientSettings { service, question, json: values.flag(Setting::Json)?.unwrap_or(false) })
}

/// The service to ask, without a key.
pub(super) fn service(values: &Values) -> Result<ServiceSettings, Refusal> {
    Ok(ServiceSettings {
        url: url(values)?,
        key: None,
        ca_file: build::certificates(values, Setting::CaFile)?,
        certificate: certificate(values)?,
    })
}

/// Where the paths of the service begin, without a slash at the end.
fn url(values: &Values) -> Result<String, Refusal> {
    let expected = "http:// or https:// with a host, without login, query and fragment";
    let url = values.parse(Setting::Url, expected, |text| {
        let url = Url::parse(text).ok()?;
        let is_plain = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        let is_http = matches!(url.scheme(), "http" | "https");
        (is_plain && is_http).then(|| url.as_str().trim_end_matches('/').to_owned())
    })?;
    Ok(url.unwrap_or_else(|| URL.to_owned()))
}

fn certificate(values: &Values) -> Result<Option<ClientCertificate>, Refusal> {
    let certificate = http::readable(values, Setting::TlsClientCert)?;
    let key = http::readable(values, Setting::TlsClientKey)?;
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some(ClientCertificate { certificate, key })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(Refusal::Missing(vec![Setting::TlsClientKey])),
        (None, Some(_)) => Err(Refusal::Missing(vec![Setting::TlsClientCert])),
    }
}

fn key(values: &Values) -> Result<Option<Secret>, Refusal> {
    match (values.find(Setting::ApiKey), values.find(Setting::ApiKeyFile)) {
        (Some(text), Some(file)) if text.origin.same_layer(&file.origin) => Err(Refusal::Contradiction {
            one: text.origin.clone(),
            other: file.origin.clone(),
            why: "give the key or the file it is in, not both",
        }),
        (Some(text), Some(file)) if text.origin.stronger_than(&file.origin) => {
            key_of(text, &text.text).map(Some)
        }
        (_, Some(file)) => {
            let line = build::secret_in_file(file)?
                .ok_or_else(|| file.expected(format!("a file that holds {KEY_EXPECTED}")))?;
            key_of(file, &line).map(Some)
        }
        (Some(text), None) => key_of(text, &text.text).map(Some),
        (None, None) => Ok(None),
    }
}

/// A key that a header can carry.
fn key_of(given: &Given, key: &Secret) -> Result<Secret, Refusal> {
    let text = key.expose();
    let is_key =
        (1..=KEY_MAX_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_key { Ok(key.clone()) } else { Err(given.expected(KEY_EXPECTED)) }
}

fn selection(values: &Values) -> Result<Selection, Refusal> {
    let types = values.parse(Setting::Type, "device types separated by commas", |text| {
        let types: Vec<_> = text.split(',').map(|name| name.trim().to_owned()).collect();
        types.iter().all(|name| !name.is_empty()).then_some(types)
    })?;
    let status = values.parse(Setting::Status, "connected or disconnected", |text| {
        matches!(text, "connected" | "disconnected").then(|| text.to_owned())
    })?;
    let address =
        values.parse(Setting::Address, "an IP address or a block of them, as in 192.0.2.0/24", |text| {
            text.parse::<Network>().is_ok().then(|| text.to_owned())
        })?;
    let time = |setting| {
        values.parse(setting, "a time as in 2026-11-24T12:00:00Z", |text| {
            text.parse::<Timestamp>().is_ok().then(|| text.to_owned())
        })
    };
    let sort = values.parse(Setting::Sort, "id, -id, since or -since", |text| {
        matches!(text, "id" | "-id" | "since" | "-since").then(|| text.to_owned())
    })?;
    let limit = values.parse(Setting::Limit, &format!("a whole number from 1 to {LIMIT_MAX}"), |text| {
        text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit))
    })?;
    Ok(Selection {
        types: types.unwrap_or_default(),
        id_prefix: values.parse(Setting::IdPrefix, "text", |text| Some(text.to_owned()))?,
        status,
        close_code: values
            .parse(Setting::CloseCode, "a whole number from 0 to 65535", |text| text.parse().ok())?,
        address,
        since: time(Setting::Since)?,
        until: time(Setting::Until)?,
        sort,
        snapshot: values.flag(Setting::Snapshot)?.unwrap_or(false),
        limit,
    })
}
