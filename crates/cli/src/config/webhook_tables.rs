//! The `[[webhook]]` tables of `devstatus.toml`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::file::{self, SETTINGS_MAX_BYTES};
use super::file_tables::Tables;
use super::refusal::{ConfigError, Origin};
use super::rule_tables::{self, ForWebhooks};
use super::table_keys::{TableKeys, items, time};
use super::toml::WEBHOOKS;
use formats::Cause;
use presence::Moment;
use presence::contact::{ContactPolicy, Expectation, ExpectationFilter};
use presence::query::Filter;
use presence::settle::SETTLE_MAX;
use system::secret::Secret;
use system::sentence;
use system::tls::{ClientCertificate, ClientTls, ConnectorSource};
use webhooks::settings::{
    BATCH_MAX, ENDPOINTS_MAX, EndpointSettings, EndpointUrl, EventType, Format, HEADER_MAX_BYTES,
    HEADERS_MAX, HeaderMap, HeaderName, HeaderValue, LINGER_MAX, Mode, NAME_MAX_BYTES, SECRET_BYTES_MAX,
    SECRET_BYTES_MIN, SECRETS_MAX, SigningSecret, is_public, may_be_set,
};

/// Where the API's document has the schemas of data, after the URL of the service and before the name of one.
const SCHEMAS: &str = "/openapi.json#/components/schemas/";

/// The endpoints, and where the first of them is described.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    pub endpoints: Vec<EndpointSettings>,
    pub origin: Option<Origin>,
}

/// The endpoints. Their secrets are read.
pub(super) fn read(tables: &Tables<'_>) -> Result<Endpoints, ConfigError> {
    let mut found = Endpoints::default();
    let of_alerts = rule_tables::for_webhooks(tables)?;
    let mut names = BTreeSet::new();
    for keys in tables.all(WEBHOOKS, ENDPOINTS_MAX)? {
        let endpoint = endpoint(&keys, &of_alerts)?;
        if !names.insert(endpoint.name.clone()) {
            return Err(keys.unfit("name", "a name that no other webhook has"));
        }
        found.origin.get_or_insert_with(|| keys.origin(keys.prefix, keys.start));
        found.endpoints.push(endpoint);
    }
    Ok(found)
}

fn endpoint(keys: &TableKeys<'_>, of_alerts: &ForWebhooks) -> Result<EndpointSettings, ConfigError> {
    let name = keys.name(NAME_MAX_BYTES)?.to_owned();
    let url_expected = "a URL: https://, a host, and no user";
    let url = keys.required("url", url_expected, |value| EndpointUrl::parse(value.as_str()?))?;
    let allow_private = keys.optional("allow_private", "true or false", DeValue::as_bool)?.unwrap_or(false);
    if !allow_private && !url.is_https() {
        return Err(keys.unfit("url", "https://, or allow_private = true beside it"));
    }
    if !allow_private && url.literal_address().is_some_and(|address| !is_public(address)) {
        return Err(keys.unfit("url", "a public address, or allow_private = true beside it"));
    }
    let secret_file = keys.path("secret_file")?;
    let secrets = secret_file.map(|path| secrets(keys, path)).transpose()?.unwrap_or_default();
    let known = EventType::ALL.map(EventType::word).join(", ");
    let event = |text: &str| EventType::ALL.into_iter().find(|known| known.word() == text);
    let events = keys.list("events", &format!("a list of {known}"), event)?;
    let mode = keys.word("mode", Mode::ALL, Mode::word)?;
    let settle = keys.time("settle", "a time from 0 to 1h, like \"5s\"", ..=SETTLE_MAX)?;
    let (format, batch_max, linger) = form(keys)?;
    // Services that people read check no signature.
    if secret_file.is_none() && !format.is_for_alerts_alone() {
        keys.required("secret_file", "the path of a file", DeValue::as_str)?;
    }
    let routing_key = routing_key(keys, format)?;
    let (headers, tls) = (headers(keys)?, client_tls(keys)?);
    let selector = match keys.selector("webhook.selector")? {
        Some(keys) => Filter { expectation: expectation(&keys, &of_alerts.contacts)?, ..selector_of(&keys)? },
        None => Filter::default(),
    };
    keys.refuse_others()?;
    let schemas = of_alerts.public_url.as_ref().map(|url| format!("{url}{SCHEMAS}"));
    let (events, mode, settle) =
        (events.unwrap_or_default(), mode.unwrap_or_default(), settle.unwrap_or_default());
    Ok(EndpointSettings {
        name,
        url,
        secrets,
        events,
        selector,
        mode,
        settle,
        format,
        routing_key,
        batch_max,
        linger,
        schemas,
        headers,
        tls,
        allow_private,
    })
}

/// The form of messages, and how many one request has.
fn form(keys: &TableKeys<'_>) -> Result<(Format, usize, Duration), ConfigError> {
    let format = keys.word("format", Format::ALL, Format::word)?;
    let batch_expected = format!("a whole number from 1 to {BATCH_MAX}, with format = \"cloudevents\"");
    let batch_max = keys.optional("batch_max", &batch_expected, |value| {
        let number = value.as_integer()?.as_str().parse().ok()?;
        ((1..=BATCH_MAX).contains(&number) && format == Some(Format::CloudEvents)).then_some(number)
    })?;
    let expected = "a time from 0 to 1s, like \"500ms\", with batch_max above 1";
    let has_batches = batch_max.is_some_and(|most| most > 1);
    let linger = keys.optional("linger", expected, |value| {
        let millis = value.as_str()?.strip_suffix("ms").map(|digits| digits.parse::<u16>());
        let linger = match millis {
            Some(millis) => Duration::from_millis(millis.ok()?.into()),
            None => time(value)?,
        };
        (linger <= LINGER_MAX && (has_batches || linger.is_zero())).then_some(linger)
    })?;
    Ok((format.unwrap_or_default(), batch_max.unwrap_or(1), linger.unwrap_or_default()))
}

/// Which devices by what their contact policies expect. No change is about a device that was never seen.
fn expectation(
    keys: &TableKeys<'_>,
    contacts: &Arc<[ContactPolicy]>,
) -> Result<Option<ExpectationFilter>, ConfigError> {
    let known = [Expectation::Met, Expectation::Overdue, Expectation::None];
    let expected = format!("one or a list of {}", known.map(Expectation::word).join(", "));
    let expectation = |word: &str| known.into_iter().find(|known| known.word() == word);
    let wanted = keys.list("expectation", &expected, expectation)?;
    let filter = |wanted| ExpectationFilter { wanted, policies: Arc::clone(contacts), now: Moment::UNKNOWN };
    Ok(wanted.map(filter))
}

/// The routing key of PagerDuty, in a file.
fn routing_key(keys: &TableKeys<'_>, format: Format) -> Result<Option<Secret>, ConfigError> {
    let expected = "the path of a file, with format = \"pagerduty\"";
    let is_wanted = format == Format::PagerDuty;
    let path = keys.optional("routing_key_file", expected, |value| value.as_str().filter(|_| is_wanted))?;
    let Some(path) = path else {
        if is_wanted {
            keys.required("routing_key_file", "the path of a file", DeValue::as_str)?;
        }
        return Ok(None);
    };
    let text = file::read_named(Path::new(path), SETTINGS_MAX_BYTES, &keys.origin_of("routing_key_file"))?;
    Ok(Some(Secret::new(text.trim().to_owned())))
}

/// The headers of every request. A value is a text, or in a file.
fn headers(keys: &TableKeys<'_>) -> Result<HeaderMap, ConfigError> {
    let expected = "a table, like { X-Site = \"7\", Authorization = { file = \"token\" } }";
    let table = keys.optional("headers", expected, DeValue::as_table)?;
    let mut headers = HeaderMap::new();
    for (name, value) in table.into_iter().flat_map(DeTable::iter) {
        let name = HeaderName::from_bytes(name.get_ref().as_bytes()).ok().filter(may_be_set);
        let expected = "names of headers, and none that the request has itself: content-type, host, user-agent, webhook-…";
        let name = name.ok_or_else(|| keys.unfit("headers", expected))?;
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            other => {
                let path = match other {
                    DeValue::Table(table) if table.len() == 1 => {
                        table.get("file").and_then(|path| path.get_ref().as_str())
                    }
                    _ => None,
                };
                let path = path.ok_or_else(|| {
                    keys.unfit("headers", format!("{name}: a text, or {{ file = \"path\" }}"))
                })?;
                let origin = keys.origin_of("headers");
                file::read_named(Path::new(path), HEADER_MAX_BYTES, &origin)?.trim().to_owned()
            }
        };
        let value = HeaderValue::from_str(&text).ok().filter(|value| value.len() as u64 <= HEADER_MAX_BYTES);
        let expected = || format!("{name}: a line of at most {HEADER_MAX_BYTES} bytes");
        let mut value = value.ok_or_else(|| keys.unfit("headers", expected()))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    if headers.len() > HEADERS_MAX {
        return Err(keys.unfit("headers", format!("at most {HEADERS_MAX} headers")));
    }
    Ok(headers)
}

/// The authorities that vouch for the endpoint, and the certificate that the service shows it.
pub(super) fn client_tls(keys: &TableKeys<'_>) -> Result<ClientTls, ConfigError> {
    let path = |key: &'static str| {
        keys.optional(key, "the path of a PEM file", |value| Some(PathBuf::from(value.as_str()?)))
    };
    let (ca_file, certificate, key) = (path("ca_file")?, path("tls_client_cert")?, path("tls_client_key")?);
    let certificate = match (certificate, key) {
        (Some(certificate), Some(key)) => Some(ClientCertificate { certificate, key }),
        (None, None) => None,
        (Some(_), None) => return Err(keys.unfit("tls_client_cert", "tls_client_key beside it")),
        (None, Some(_)) => return Err(keys.unfit("tls_client_key", "tls_client_cert beside it")),
    };
    if let Some(Err(error)) = certificate.as_ref().map(ClientCertificate::check) {
        return Err(keys.unfit("tls_client_cert", format!("a certificate and its key: {}", sentence(&error))));
    }
    let tls = ClientTls { ca_file, certificate, alpn: Vec::new() };
    if tls.ca_file.is_some()
        && let Err(error) = ConnectorSource::new(tls.clone())
    {
        return Err(keys.unfit("ca_file", format!("the path of a PEM file with certificates: {error}")));
    }
    Ok(tls)
}

/// The events are chosen by name, and when one happened is no property of a device: a selector has no status and no times.
pub(super) fn selector_of(keys: &TableKeys<'_>) -> Result<Filter, ConfigError> {
    let named = keys.named_devices()?;
    let causes = Cause::words().collect::<Vec<_>>().join(", ");
    let cause = |word: &str| Cause::words().find(|known| *known == word);
    let networks = "an IP address or a block of addresses, or a list of these";
    let selector = Filter {
        close_codes: keys
            .optional("close_code", "a whole number from 0 to 65535, or a list of these", |value| {
                let code = |value: &DeValue<'_>| value.as_integer()?.as_str().parse().ok();
                items(value).iter().map(|item| code(item)).collect::<Option<Vec<u16>>>()
            })?
            .unwrap_or_default(),
        causes: keys.list("cause", &format!("one or a list of {causes}"), cause)?.unwrap_or_default(),
        addresses: keys.list("address", networks, |text| text.parse().ok())?.unwrap_or_default(),
        ..named
    };
    keys.refuse_others()?;
    Ok(selector)
}

/// The one or two secrets in a file, each on a line.
fn secrets(keys: &TableKeys<'_>, path: &Path) -> Result<Vec<SigningSecret>, ConfigError> {
    let origin = keys.origin_of("secret_file");
    let text = file::read_named(path, SETTINGS_MAX_BYTES, &origin)?;
    let expected = || {
        format!(
            "whsec_ and the base64 of {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes; a second line for the secret before it"
        )
    };
    let mut secrets = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let secret = SigningSecret::parse(line.trim()).filter(|_| secrets.len() < SECRETS_MAX);
        secrets.push(secret.ok_or_else(|| ConfigError::Line {
            origin: origin.clone(),
            line: index + 1,
            expected: expected(),
        })?);
    }
    if secrets.is_empty() {
        return Err(ConfigError::Line { origin, line: 1, expected: expected() });
    }
    Ok(secrets)
}
