//! The HTTP server: where, for whom, how much.

use std::path::PathBuf;

use super::environment::StateDirectories;
use super::refusal::Refusal;
use super::setting::Setting;
use super::values::Values;
use super::{build, store};
use crate::files;
use crate::http::settings::{AllowedHost, ForwardedHeader, HttpSettings, TlsSettings};
use crate::presence::query::Network;

/// More than one machine answers.
const REQUESTS_PER_SECOND_MAX: u32 = 10_000_000;
/// More descriptors than a process is ever given.
const CONNECTIONS_MAX: usize = 1_000_000;

/// Everything about the HTTP server, the keys file only if it is named.
pub(super) fn settings(values: &Values) -> Result<HttpSettings, Refusal> {
    let default = HttpSettings::default();
    let connections = |setting| {
        let expected = format!("a whole number from 1 to {CONNECTIONS_MAX}");
        values.parse(setting, &expected, |text| {
            text.parse().ok().filter(|connections| (1..=CONNECTIONS_MAX).contains(connections))
        })
    };
    let trusted_proxies = trusted_proxies(values)?;
    let proxy_protocol = values.flag(Setting::ProxyProtocol)?.unwrap_or(default.proxy_protocol);
    if proxy_protocol && trusted_proxies.is_empty() {
        // Nobody's header would be believed.
        return Err(Refusal::Missing(vec![Setting::TrustedProxy]));
    }
    Ok(HttpSettings {
        listen: values.listen()?.unwrap_or(default.listen),
        port: values.port()?.unwrap_or(default.port),
        keys_file_is_named: keys_file(values)?.is_some(),
        keys_file: keys_file(values)?,
        allow_anonymous: values.flag(Setting::AllowAnonymous)?.unwrap_or(default.allow_anonymous),
        tls: tls(values)?,
        cors_origins: cors_origins(values)?,
        allowed_hosts: allowed_hosts(values)?,
        trusted_proxies,
        forwarded_header: forwarded_header(values)?.unwrap_or(default.forwarded_header),
        proxy_protocol,
        streams: build::streams(values)?,
        requests_per_second: requests_per_second(values)?.unwrap_or(default.requests_per_second),
        connections_max: connections(Setting::ConnectionsMax)?.unwrap_or(default.connections_max),
        connections_per_address: connections(Setting::ConnectionsPerAddress)?
            .unwrap_or(default.connections_per_address),
    })
}

/// The keys file that is named, if one is.
pub(super) fn keys_file(values: &Values) -> Result<Option<PathBuf>, Refusal> {
    path(values, Setting::KeysFile)
}

/// Beside the store, one for each organization.
pub(super) fn default_keys_file(state: &StateDirectories, organization: &str) -> PathBuf {
    store::state_directory(state).join(format!("{organization}.keys"))
}

fn requests_per_second(values: &Values) -> Result<Option<u32>, Refusal> {
    let expected = format!("a whole number from 1 to {REQUESTS_PER_SECOND_MAX}");
    values.parse(Setting::RequestsPerSecond, &expected, |text| {
        text.parse().ok().filter(|rate| (1..=REQUESTS_PER_SECOND_MAX).contains(rate))
    })
}

fn path(values: &Values, setting: Setting) -> Result<Option<PathBuf>, Refusal> {
    values.parse(setting, "the path of a file", |text| (!text.is_empty()).then(|| text.into()))
}

/// A file that must be there.
pub(super) fn readable(values: &Values, setting: Setting) -> Result<Option<PathBuf>, Refusal> {
    let (Some(path), Some(given)) = (path(values, setting)?, values.find(setting)) else { return Ok(None) };
    files::check_readable(&path)
        .map_err(|source| Refusal::ReadFile { origin: given.origin.clone(), source })?;
    Ok(Some(path))
}

fn tls(values: &Values) -> Result<Option<TlsSettings>, Refusal> {
    let certificate = readable(values, Setting::TlsCert)?;
    let key = readable(values, Setting::TlsKey)?;
    let client_ca = readable(values, Setting::TlsClientCa)?;
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some(TlsSettings { certificate, key, client_ca })),
        (None, None) if client_ca.is_none() => Ok(None),
        (certificate, key) => {
            let both = [(Setting::TlsCert, certificate.is_none()), (Setting::TlsKey, key.is_none())];
            let missing = both.into_iter().filter_map(|(setting, missing)| missing.then_some(setting));
            Err(Refusal::Missing(missing.collect()))
        }
    }
}

fn cors_origins(values: &Values) -> Result<Vec<String>, Refusal> {
    let expected = "origins separated by commas, each http:// or https:// with a host and nothing behind it";
    let origins = values.parse(Setting::CorsOrigin, expected, |text| {
        text.split(',').map(|origin| cors_origin(origin.trim())).collect::<Option<Vec<_>>>()
    })?;
    Ok(origins.unwrap_or_default())
}

fn trusted_proxies(values: &Values) -> Result<Vec<Network>, Refusal> {
    let expected = "IP addresses or blocks of them separated by commas, as in 192.0.2.0/24";
    let networks = values.parse(Setting::TrustedProxy, expected, |text| {
        text.split(',').map(|network| network.trim().parse().ok()).collect::<Option<Vec<_>>>()
    })?;
    Ok(networks.unwrap_or_default())
}

fn forwarded_header(values: &Values) -> Result<Option<ForwardedHeader>, Refusal> {
    values.parse(Setting::ForwardedHeader, "X-Forwarded-For or Forwarded", ForwardedHeader::named)
}

fn allowed_hosts(values: &Values) -> Result<Vec<AllowedHost>, Refusal> {
    let expected = "host names or IP addresses separated by commas, each without a scheme and a port";
    let hosts = values.parse(Setting::AllowedHost, expected, |text| {
        text.split(',').map(|host| host.trim().parse().ok()).collect::<Option<Vec<_>>>()
    })?;
    Ok(hosts.unwrap_or_default())
}

/// As a browser writes it in its `Origin`: a path, a default port or a capital letter would never match. `*` is none: an
/// answer with a key in it is not for every page.
fn cors_origin(text: &str) -> Option<String> {
    let url = url::Url::parse(text).ok()?;
    let written = url.origin().ascii_serialization();
    (matches!(url.scheme(), "http" | "https") && written == text).then_some(written)
}
