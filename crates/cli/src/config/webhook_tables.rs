//! The `[[webhook]]` tables of `devstatus.toml`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::file::{self, SETTINGS_MAX_BYTES};
use super::file_tables::Tables;
use super::refusal::ConfigError;
use super::rule_tables;
use super::table_keys::{TableKeys, items};
use super::toml::WEBHOOKS;
use super::value::{self, or_expected};
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
    HEADERS_MAX, HeaderMap, HeaderName, HeaderValue, LINGER_MAX, Mode, SECRET_BYTES_MAX, SECRET_BYTES_MIN,
    SECRETS_MAX, SigningSecret, is_public, may_be_set,
};

/// Where the API's document has the schemas of data, after the URL of the service and before the name of one.
const SCHEMAS: &str = "/openapi.json#/components/schemas/";

/// The endpoints. Their secrets are read.
pub(super) fn read(tables: &Tables<'_>) -> Result<Vec<EndpointSettings>, ConfigError> {
    let contacts = rule_tables::contacts(tables)?;
    let schemas = rule_tables::public_url(tables)?.map(|url| format!("{url}{SCHEMAS}"));
    tables.named(WEBHOOKS, ENDPOINTS_MAX, |keys, name| endpoint(keys, name, &contacts, schemas.clone()))
}

fn endpoint(
    keys: &TableKeys<'_>,
    name: String,
    contacts: &Arc<[ContactPolicy]>,
    schemas: Option<String>,
) -> Result<EndpointSettings, ConfigError> {
    let url =
        keys.required("url", value::read_by(EndpointUrl::parse, "a URL: https://, a host, and no user"))?;
    let allow_private = keys.optional("allow_private", "true or false", DeValue::as_bool)?.unwrap_or(false);
    if !allow_private && !url.is_https() {
        return Err(keys.unfit("url", "https://, or allow_private = true beside it"));
    }
    if !allow_private && url.literal_address().is_some_and(|address| !is_public(address)) {
        return Err(keys.unfit("url", "a public address, or allow_private = true beside it"));
    }
    let secrets = secrets(keys)?;
    let known = EventType::ALL.map(EventType::word).join(", ");
    let event = |text: &str| EventType::ALL.into_iter().find(|known| known.word() == text);
    let events = keys.list("events", &format!("a list of {known}"), event)?;
    let mode = keys.text("mode", value::word(Mode::ALL.map(|mode| (mode.word(), mode))))?.unwrap_or_default();
    let settle = settle(keys)?;
    let (format, batch_max, linger) = form(keys)?;
    // Services that people read check no signature.
    if secrets.is_empty() && !format.is_for_alerts_alone() {
        return Err(keys.missing("secret_file", "the path of a file"));
    }
    Ok(EndpointSettings {
        name,
        url,
        secrets,
        events,
        mode,
        settle,
        format,
        batch_max,
        linger,
        routing_key: routing_key(keys, format)?,
        headers: headers(keys)?,
        tls: client_tls(keys)?,
        selector: keys.selector(|keys| {
            Ok(Filter { expectation: expectation(keys, contacts)?, ..selector_of(keys)? })
        })?,
        schemas,
        allow_private,
    })
}

/// How long a disconnect must have lasted before it is told.
pub(super) fn settle(keys: &TableKeys<'_>) -> Result<Duration, ConfigError> {
    let times = value::period_in(..=SETTLE_MAX, "a time from 0 to 1h, like \"5s\"");
    Ok(keys.text("settle", times)?.unwrap_or_default())
}

/// The form of messages, and how many one request has.
fn form(keys: &TableKeys<'_>) -> Result<(Format, usize, Duration), ConfigError> {
    let format = keys.text("format", value::word(Format::ALL.map(|format| (format.word(), format))))?;
    let batch_expected = format!("a whole number from 1 to {BATCH_MAX}, with format = \"cloudevents\"");
    let batch_max = keys.optional("batch_max", &batch_expected, |value| {
        let number = value.as_integer()?.as_str().parse().ok()?;
        ((1..=BATCH_MAX).contains(&number) && format == Some(Format::CloudEvents)).then_some(number)
    })?;
    let has_batches = batch_max.is_some_and(|most| most > 1);
    let linger = keys.text("linger", |text| {
        let linger = match text.strip_suffix("ms") {
            Some(millis) => millis.parse::<u16>().ok().map(|millis| Duration::from_millis(millis.into())),
            None => system::period::parse(text),
        };
        let fits = linger.filter(|linger| *linger <= LINGER_MAX && (has_batches || linger.is_zero()));
        or_expected(fits, "a time from 0 to 1s, like \"500ms\", with batch_max above 1")
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
    let (policies, now) = (Arc::clone(contacts), Moment::UNKNOWN);
    Ok((!wanted.is_empty()).then_some(ExpectationFilter { wanted, policies, now }))
}

/// The routing key of PagerDuty, in a file.
fn routing_key(keys: &TableKeys<'_>, format: Format) -> Result<Option<Secret>, ConfigError> {
    const KEY: &str = "routing_key_file";
    match (format == Format::PagerDuty, keys.file(KEY, SETTINGS_MAX_BYTES)?) {
        (true, None) => Err(keys.missing(KEY, "the path of a file")),
        (false, Some(_)) => Err(keys.unfit(KEY, "the path of a file, with format = \"pagerduty\"")),
        (_, text) => Ok(text.map(|text| Secret::new(text.trim()))),
    }
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
        let file = value.get_ref().as_table().filter(|table| table.len() == 1);
        let file = file.and_then(|table| table.get("file")?.get_ref().as_str());
        let text = match (value.get_ref().as_str(), file) {
            (Some(text), _) => text.to_owned(),
            (None, Some(path)) => {
                let origin = keys.origin_of("headers");
                file::read_named(Path::new(path), HEADER_MAX_BYTES, &origin)?.trim().to_owned()
            }
            (None, None) => {
                return Err(keys.unfit("headers", format!("{name}: a text, or {{ file = \"path\" }}")));
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
    let [ca_file, certificate, key] =
        ["ca_file", "tls_client_cert", "tls_client_key"].map(|key| keys.text(key, value::path));
    let files = keys.together(("tls_client_cert", certificate?), ("tls_client_key", key?))?;
    let certificate = files.map(|(certificate, key)| ClientCertificate { certificate, key });
    if let Some(Err(error)) = certificate.as_ref().map(ClientCertificate::check) {
        return Err(keys.unfit("tls_client_cert", format!("a certificate and its key: {}", sentence(&error))));
    }
    let tls = ClientTls { ca_file: ca_file?, certificate, alpn: Vec::new() };
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
        causes: keys.list("cause", &format!("one or a list of {causes}"), cause)?,
        addresses: keys.list("address", networks, |text| text.parse().ok())?,
        ..named
    };
    Ok(selector)
}

/// The one or two secrets in a file, each on a line; none if none is named.
fn secrets(keys: &TableKeys<'_>) -> Result<Vec<SigningSecret>, ConfigError> {
    const KEY: &str = "secret_file";
    let Some(text) = keys.file(KEY, SETTINGS_MAX_BYTES)? else { return Ok(Vec::new()) };
    let expected = format!(
        "whsec_ and the base64 of {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes; a second line for the secret before it"
    );
    let unfit = |line| ConfigError::Line { origin: keys.origin_of(KEY), line, expected: expected.clone() };
    let mut secrets = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let secret = SigningSecret::parse(line.trim()).filter(|_| secrets.len() < SECRETS_MAX);
        secrets.push(secret.ok_or_else(|| unfit(index + 1))?);
    }
    if secrets.is_empty() { Err(unfit(1)) } else { Ok(secrets) }
}
