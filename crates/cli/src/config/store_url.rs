//! The URL of a store: memory, a file, or a server that several instances share, with one or more hosts, a login and a
//! database. The `url` crate knows one host only.

use std::net::Ipv6Addr;

use percent_encoding::percent_decode_str;

use super::value::{Expected, Parsed, is_host_name, or_expected};
use store::settings::{Address, Location, StoreServer, StoreTls};
use system::secret::Secret;

const EXPECTED: &str =
    "memory:, sqlite: with the path of a file, or a URL that begins with postgres:// or valkey://";
const POSTGRES: &str = "postgres://USER:PASSWORD@HOST:PORT/DATABASE, several HOST:PORT separated by commas, with ?sslmode=disable, prefer or require if need be";
const VALKEY: &str = "valkey://USER:PASSWORD@HOST:PORT, several HOST:PORT separated by commas, valkeys:// with TLS (or redis://, rediss://)";
const POSTGRES_PORT: u16 = 5432;
const VALKEY_PORT: u16 = 6379;
/// More hosts than anyone lists.
const ADDRESSES_MAX: usize = 64;

/// Where `text` says that the store is; the refusal holds nothing of the text.
pub(super) fn location(text: &str) -> Parsed<Location> {
    let (scheme, rest) = text.split_once(':').unwrap_or_default();
    let url = rest.strip_prefix("//");
    match (scheme, url) {
        ("memory", None) if rest.is_empty() => Ok(Location::Memory),
        ("sqlite", _) if !rest.is_empty() => Ok(Location::Sqlite(rest.into())),
        ("postgres" | "postgresql", Some(url)) => {
            or_expected(postgres(url).map(Location::Postgres), POSTGRES)
        }
        ("valkey" | "redis", Some(url)) => {
            or_expected(valkey(url, StoreTls::Off).map(Location::Valkey), VALKEY)
        }
        ("valkeys" | "rediss", Some(url)) => {
            or_expected(valkey(url, StoreTls::Required).map(Location::Valkey), VALKEY)
        }
        _ => Err(Expected(EXPECTED.into())),
    }
}

fn postgres(rest: &str) -> Option<StoreServer> {
    let (rest, query) = split(rest, '?');
    let mut server = server(rest, POSTGRES_PORT)?;
    // libpq prefers TLS without a check everywhere. Here a certificate is always checked, and what leaves this machine is
    // encrypted unless the URL says otherwise: else somebody on the way could read the password.
    server.tls = if server.is_on_this_machine() { StoreTls::Offered } else { StoreTls::Required };
    for pair in query.iter().flat_map(|query| query.split('&')) {
        server.tls = match pair.split_once('=')? {
            ("sslmode", "disable") => StoreTls::Off,
            ("sslmode", "prefer") => StoreTls::Offered,
            ("sslmode", "require" | "verify-ca" | "verify-full") => StoreTls::Required,
            _ => return None,
        };
    }
    Some(server)
}

fn valkey(rest: &str, tls: StoreTls) -> Option<StoreServer> {
    let server = StoreServer { tls, ..server(rest, VALKEY_PORT)? };
    let is_number = |text: &String| text.parse::<u16>().is_ok();
    server.database.as_ref().is_none_or(is_number).then_some(server)
}

/// `[user[:password]@]host[:port][,host[:port]]…[/database]`
fn server(text: &str, port: u16) -> Option<StoreServer> {
    // Signs that separate are encoded where they do not, so the last '@' ends the login.
    let (login, rest) = text.rsplit_once('@').unwrap_or(("", text));
    let (user, password) = split(login, ':');
    let (hosts, database) = split(rest, '/');
    let addresses: Vec<Address> = hosts.split(',').map(|host| address(host, port)).collect::<Option<_>>()?;
    if addresses.len() > ADDRESSES_MAX {
        return None;
    }
    Some(StoreServer {
        addresses,
        user: decoded(user)?,
        password: decoded(password.unwrap_or_default())?.map(Secret::new),
        database: decoded(database.unwrap_or_default())?,
        tls: StoreTls::Off,
    })
}

fn address(text: &str, default_port: u16) -> Option<Address> {
    let (host, port) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (host, port) = bracketed.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host.to_owned(), if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => {
            let (host, port) = split(text, ':');
            (decoded(host)??, port)
        }
    };
    if !(host.starts_with('/') || text.starts_with('[') || is_host_name(&host)) {
        return None;
    }
    let port = port.map_or(Some(default_port), |port| port.parse().ok())?;
    (port > 0).then_some(Address { host, port })
}

/// The text without its percent signs, `Some(None)` if it is empty, `None` if it makes no sense.
fn decoded(text: &str) -> Option<Option<String>> {
    let text = percent_decode_str(text).decode_utf8().ok()?;
    if text.chars().any(char::is_control) {
        return None;
    }
    Some((!text.is_empty()).then(|| text.into_owned()))
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(before, after)| (before, Some(after)))
}
