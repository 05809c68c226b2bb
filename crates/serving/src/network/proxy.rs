//! Proxies in front of the service: which are trusted, and whose requests they pass on. A trusted proxy says so in a header of
//! each request, or once at the beginning of a connection (PROXY protocol, versions 1 and 2). Everybody else may say what
//! they like: it is passed over.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::http::{HeaderMap, HeaderValue};
use tokio::io::{AsyncRead, AsyncReadExt};

use presence::query::Network;
use server::http_settings::{ForwardedHeader, HttpSettings};

/// What a header of version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, with its end.
const LINE_MAX_BYTES: usize = 107;
/// Addresses and further fields of version 2; those that proxies send take some hundreds.
const FIELDS_MAX_BYTES: usize = 4096;

/// The proxies that are believed.
#[derive(Clone, Debug)]
pub struct TrustedProxies {
    networks: Vec<Network>,
    header: ForwardedHeader,
}

impl TrustedProxies {
    pub fn new(settings: &HttpSettings) -> Self {
        Self { networks: settings.trusted_proxies.clone(), header: settings.forwarded_header }
    }

    pub fn trust(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }

    /// Where a request came from: the last hop that is no trusted proxy. What comes before that hop anybody can have written.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer;
        let values = headers.get_all(self.header.name()).iter().rev();
        let mut hops =
            values.filter_map(|value| HeaderValue::to_str(value).ok()).flat_map(|value| value.rsplit(','));
        while self.trust(client) {
            let hop = hops.next().and_then(|hop| match self.header {
                ForwardedHeader::XForwardedFor => node(hop.trim()),
                ForwardedHeader::Forwarded => forwarded_for(hop),
            });
            match hop {
                Some(address) => client = address,
                None => break,
            }
        }
        client
    }
}

/// The parameter `for` of an element of `Forwarded` (RFC 7239).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut parameters = element.split(';').filter_map(|parameter| parameter.split_once('='));
    let (_, value) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    node(value.trim().trim_matches('"'))
}

/// An address, perhaps with brackets and a port.
fn node(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))?;
    Some(IpAddr::to_canonical(&address))
}

/// Reads what a proxy sends before the client's own bytes, and not a byte more. `None`: the proxy speaks for itself, as in its
/// health checks.
pub async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let mut start = [0; SIGNATURE.len()];
    stream.read_exact(&mut start).await?;
    if &start == SIGNATURE {
        return read_version_2(stream).await;
    }
    let mut line = start.to_vec();
    if !line.starts_with(b"PROXY ") {
        return Err(malformed());
    }
    while !line.ends_with(b"\r\n") {
        if line.len() == LINE_MAX_BYTES {
            return Err(malformed());
        }
        line.push(stream.read_u8().await?);
    }
    let line = std::str::from_utf8(&line[..line.len() - 2]).map_err(|_| malformed())?;
    version_1(line).ok_or_else(malformed)
}

fn malformed() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

/// The source in a line of version 1; the outer `None`: it is malformed.
fn version_1(line: &str) -> Option<Option<IpAddr>> {
    let mut words = line.split(' ').skip(1);
    match words.next()? {
        "UNKNOWN" => Some(None),
        "TCP4" => words.next()?.parse().ok().map(|source: Ipv4Addr| Some(source.into())),
        "TCP6" => words.next()?.parse().ok().map(|source: Ipv6Addr| Some(source.into())),
        _ => None,
    }
}

async fn read_version_2(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let (version_and_command, family) = (stream.read_u8().await?, stream.read_u8().await?);
    let mut fields = vec![0; usize::from(stream.read_u16().await?)];
    if fields.len() > FIELDS_MAX_BYTES {
        return Err(malformed());
    }
    stream.read_exact(&mut fields).await?;
    match (version_and_command, family >> 4) {
        // The proxy's own connection, or a client of which it does not know the address.
        (0x20, _) | (0x21, 0 | 3) => Ok(None),
        (0x21, 1) => {
            let source: [u8; 4] =
                *fields.first_chunk().filter(|_| fields.len() >= 12).ok_or_else(malformed)?;
            Ok(Some(source.into()))
        }
        (0x21, 2) => {
            let source: [u8; 16] =
                *fields.first_chunk().filter(|_| fields.len() >= 36).ok_or_else(malformed)?;
            Ok(Some(source.into()))
        }
        _ => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn client(header: ForwardedHeader, peer: &str, fields: &[(&'static str, &str)]) -> String {
        let networks = ["10.0.0.0/8", "2001:db8:f::/48"].map(|text| text.parse().unwrap()).into();
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        TrustedProxies { networks, header }.client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn the_client_is_the_last_hop_that_is_no_trusted_proxy() {
        let of = |peer: &str, values: &[&str]| {
            let fields: Vec<_> = values.iter().map(|value| ("x-forwarded-for", *value)).collect();
            client(ForwardedHeader::XForwardedFor, peer, &fields)
        };
        assert_eq!(of("10.0.0.1", &["192.0.2.1"]), "192.0.2.1");
        assert_eq!(
            of("10.0.0.1", &["6.6.6.6, 192.0.2.1,10.0.0.2"]),
            "192.0.2.1",
            "what the client wrote itself"
        );
        assert_eq!(of("10.0.0.1", &["6.6.6.6", "192.0.2.1", "10.0.0.2"]), "192.0.2.1");
        assert_eq!(of("2001:db8:f::1", &["[2001:db8::7]:4711"]), "2001:db8::7");
        assert_eq!(of("10.0.0.1", &["::ffff:192.0.2.1"]), "192.0.2.1");
        assert_eq!(of("10.0.0.1", &["192.0.2.1:80"]), "192.0.2.1");
        assert_eq!(of("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(of("10.0.0.1", &["192.0.2.1, unknown"]), "10.0.0.1");
        assert_eq!(of("10.0.0.1", &["10.0.0.9, 10.0.0.2"]), "10.0.0.9", "a client among the proxies");
        assert_eq!(of("198.51.100.1", &["192.0.2.1"]), "198.51.100.1", "whoever is not trusted");
    }

    #[test]
    fn the_header_that_proxies_do_not_write_is_passed_over() {
        let both = [("forwarded", "for=192.0.2.1"), ("x-forwarded-for", "192.0.2.2")];
        assert_eq!(client(ForwardedHeader::Forwarded, "10.0.0.1", &both), "192.0.2.1");
        assert_eq!(client(ForwardedHeader::XForwardedFor, "10.0.0.1", &both), "192.0.2.2");
        let of = |value: &str| client(ForwardedHeader::Forwarded, "10.0.0.1", &[("forwarded", value)]);
        assert_eq!(of("for=6.6.6.6, proto=http; For=\"[2001:db8::7]:80\" ;by=10.0.0.1"), "2001:db8::7");
        assert_eq!(of("for=\"6.6.6.6, for=192.0.2.1"), "192.0.2.1", "a quote that the client left open");
        for none in ["for=_hidden", "for=unknown", "proto=https", ""] {
            assert_eq!(of(none), "10.0.0.1", "{none}");
        }
    }

    async fn read(bytes: &[u8]) -> Result<(Option<String>, usize), io::ErrorKind> {
        let mut rest = bytes;
        let source = read_header(&mut rest).await.map_err(|error| error.kind())?;
        Ok((source.map(|source| source.to_string()), rest.len()))
    }

    fn version_2(command: u8, family: u8, fields: &[u8]) -> Vec<u8> {
        let length = u16::try_from(fields.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, fields, b"GET"].concat()
    }

    #[tokio::test]
    async fn both_versions_of_the_proxy_protocol_name_the_client_and_take_no_byte_of_its_own() {
        let from = |source: &str| Ok((Some(source.to_owned()), 3));
        assert_eq!(read(b"PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\nGET").await, from("192.0.2.1"));
        assert_eq!(read(b"PROXY TCP6 2001:db8::7 ::1 56324 443\r\nGET").await, from("2001:db8::7"));
        assert_eq!(read(b"PROXY UNKNOWN\r\nGET").await, Ok((None, 3)));
        let ipv4 = [192, 0, 2, 1, 10, 0, 0, 1, 1, 2, 3, 4];
        assert_eq!(read(&version_2(0x21, 0x11, &ipv4)).await, from("192.0.2.1"));
        assert_eq!(read(&version_2(0x21, 0x11, &[&ipv4[..], b"more"].concat())).await, from("192.0.2.1"));
        let ipv6: Ipv6Addr = "2001:db8::7".parse().unwrap();
        assert_eq!(
            read(&version_2(0x21, 0x21, &[&ipv6.octets()[..], &[0; 20]].concat())).await,
            from("2001:db8::7")
        );
        assert_eq!(read(&version_2(0x20, 0x00, &[])).await, Ok((None, 3)));
    }

    #[tokio::test]
    async fn an_invalid_proxy_header_is_refused_within_its_bound() {
        let endless = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
        for bytes in [
            b"GET / HTTP/1.1\r\n\r\n".as_slice(),
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
            b"PROXY TCP4\r\n\r\n\r\n",
            endless.as_slice(),
            version_2(0x21, 0x11, &[1; 11]).as_slice(),
            version_2(0x21, 0x21, &[1; 35]).as_slice(),
            version_2(0x11, 0x11, &[1; 12]).as_slice(),
            version_2(0x22, 0x11, &[1; 12]).as_slice(),
            version_2(0x21, 0x11, &[0; FIELDS_MAX_BYTES + 1]).as_slice(),
        ] {
            assert_eq!(read(bytes).await, Err(io::ErrorKind::InvalidData), "{}", bytes.escape_ascii());
        }
        assert_eq!(read(b"PROXY TCP4 192.0").await, Err(io::ErrorKind::UnexpectedEof));
    }
}
