//! Where the broker is: from `--broker`, or from what the platform's files and variables say.

use std::net::{Ipv4Addr, Ipv6Addr};

use url::Url;

use super::arguments::PlatformArgs;
use super::value::{Expected, Parsed, is_host_name, or_expected};
use mqtt::settings::{Endpoint, Transport};

/// What MQTT clients and brokers ask for and offer when nothing else is said.
const WEBSOCKET_PATH: &str = "/mqtt";
const EXPECTED: &str = "mqtt://, mqtts://, ws:// or wss:// with a host and, if need be, a port";

/// The endpoint of a URL; the refusal holds nothing of the URL.
pub(super) fn endpoint(text: &str) -> Parsed<Endpoint> {
    let url = or_expected(Url::parse(text).ok(), EXPECTED)?;
    let (transport, default_port) = match url.scheme() {
        "mqtt" => (Transport::Tcp, 1883),
        "mqtts" => (Transport::Tls, 8883),
        "ws" => (Transport::Ws, 80),
        "wss" => (Transport::Wss, 443),
        _ => return Err(Expected(EXPECTED.into())),
    };
    let port = url.port().unwrap_or(default_port);
    let is_websocket = matches!(transport, Transport::Ws | Transport::Wss);
    let path = Some(url.path()).filter(|path| !matches!(*path, "" | "/"));
    let faults = [
        (
            !url.username().is_empty() || url.password().is_some(),
            "no user info in the URL: the login belongs in --key and --token-file",
        ),
        (url.query().is_some(), "no query in the URL"),
        (url.fragment().is_some(), "no fragment in the URL"),
        (port == 0, "a port from 1 to 65535 in the URL"),
        (path.is_some() && !is_websocket, "no path in the URL: only ws:// and wss:// have one"),
    ];
    if let Some((_, expected)) = faults.into_iter().find(|(is_there, _)| *is_there) {
        return Err(Expected(expected.into()));
    }
    let path = path.unwrap_or(WEBSOCKET_PATH).to_owned();
    Ok(Endpoint { transport, host: or_expected(host(&url), EXPECTED)?, port, path })
}

/// The host as a resolver takes it: an IPv6 address without its brackets.
fn host(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().ok().map(|address| address.to_string());
    }
    (host.parse::<Ipv4Addr>().is_ok() || is_host_name(host)).then(|| host.to_owned())
}

/// The platform's endpoint for an organization.
pub(super) fn platform(platform: &PlatformArgs, organization: &str) -> Endpoint {
    let transport = match (platform.has_websockets, platform.port) {
        (false, 443 | 8883) => Transport::Tls,
        (false, _) => Transport::Tcp,
        (true, 443 | 8883) => Transport::Wss,
        (true, _) => Transport::Ws,
    };
    let host = format!("{organization}.messaging.{}", platform.domain);
    Endpoint { transport, host, port: platform.port, path: WEBSOCKET_PATH.to_owned() }
}
