//! Where the broker is: from `--broker`, or from what the platform's files and variables say.

use std::net::{Ipv4Addr, Ipv6Addr};

use url::Url;

use super::arguments::PlatformArgs;
use super::value::{PlatformTransport, is_host_name};
use mqtt::settings::{Endpoint, Transport};

/// What MQTT clients and brokers ask for and offer when nothing else is said.
const WEBSOCKET_PATH: &str = "/mqtt";
const EXPECTED: &str = "mqtt://, mqtts://, ws:// or wss:// with a host and, if need be, a port";

/// The endpoint of a URL; the error says what was expected, without any of the URL.
pub(super) fn endpoint(text: &str) -> Result<Endpoint, &'static str> {
    let url = Url::parse(text).map_err(|_| EXPECTED)?;
    let (transport, default_port) = match url.scheme() {
        "mqtt" => (Transport::Tcp, 1883),
        "mqtts" => (Transport::Tls, 8883),
        "ws" => (Transport::Ws, 80),
        "wss" => (Transport::Wss, 443),
        _ => return Err(EXPECTED),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err("no user info in the URL: the login belongs in --key and --token-file");
    }
    if url.query().is_some() {
        return Err("no query in the URL");
    }
    if url.fragment().is_some() {
        return Err("no fragment in the URL");
    }
    let port = url.port().unwrap_or(default_port);
    if port == 0 {
        return Err("a port from 1 to 65535 in the URL");
    }
    let path = match (transport, url.path()) {
        (_, "" | "/") => WEBSOCKET_PATH.to_owned(),
        (Transport::Ws | Transport::Wss, path) => path.to_owned(),
        (Transport::Tcp | Transport::Tls, _) => {
            return Err("no path in the URL: only ws:// and wss:// have one");
        }
    };
    Ok(Endpoint { transport, host: host(&url).ok_or(EXPECTED)?, port, path })
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
    let tls = matches!(platform.port, 443 | 8883);
    let transport = match (platform.transport, tls) {
        (PlatformTransport::Tcp, false) => Transport::Tcp,
        (PlatformTransport::Tcp, true) => Transport::Tls,
        (PlatformTransport::Websockets, false) => Transport::Ws,
        (PlatformTransport::Websockets, true) => Transport::Wss,
    };
    let host = format!("{organization}.messaging.{}", platform.domain);
    Endpoint { transport, host, port: platform.port, path: WEBSOCKET_PATH.to_owned() }
}
