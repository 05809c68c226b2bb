//! What a request says of its own origin: the host that it names, and the web page that sent it. Neither is proof of
//! anything; both are what keeps web pages out. A browser lets any page send requests to this machine, and a page can
//! point a name of its own at 127.0.0.1 (DNS rebinding), but it cannot choose the `Host` or the `Origin` that it sends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};

use super::sessions;
use server::http_settings::AllowedHost;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// The `Host` is missing, given twice, malformed, or contradicts the request target (RFC 9112, section 3.2).
#[derive(Debug, PartialEq, Eq)]
pub struct BadHost;

/// The host without its port; an IPv6 address still has its brackets. `None`: an HTTP/1.0 request need not name one.
pub fn named_host(parts: &Parts) -> Result<Option<&str>, BadHost> {
    let mut fields = parts.headers.get_all(header::HOST).iter();
    let field = match (fields.next(), fields.next()) {
        (_, Some(_)) => return Err(BadHost),
        (None, None) if parts.version >= Version::HTTP_11 => return Err(BadHost),
        (None, None) => None,
        (Some(field), None) => Some(host_and_port(field.to_str().map_err(|_| BadHost)?)?),
    };
    // A target in absolute form names the host, too. Which of two different ones a proxy has gone by is unknown.
    let target = parts.uri.authority().map(|authority| host_and_port(authority.as_str())).transpose()?;
    match (field, target) {
        (Some((host, port)), Some((target_host, target_port))) => {
            let same = host.eq_ignore_ascii_case(target_host) && port == target_port;
            if same { Ok(Some(host)) } else { Err(BadHost) }
        }
        (field, target) => Ok(field.or(target).map(|(host, _port)| host)),
    }
}

/// Splits `host[:port]`. A port that is empty, 80 or 443 counts as none.
pub fn host_and_port(text: &str) -> Result<(&str, &str), BadHost> {
    let end = if text.starts_with('[') {
        text.find(']').ok_or(BadHost)? + 1
    } else {
        text.find(':').unwrap_or(text.len())
    };
    let (host, rest) = text.split_at(end);
    let port = if rest.is_empty() { "" } else { rest.strip_prefix(':').ok_or(BadHost)? };
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=[:]".contains(&byte);
    if !host.bytes().all(is_host) || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BadHost);
    }
    Ok((host, if matches!(port, "80" | "443") { "" } else { port }))
}

/// Whether the host is this machine as it calls itself, or one that the operator has named.
pub fn is_allowed(host: &str, allowed: &[AllowedHost]) -> bool {
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let address = match bracketed {
        Some(host) => host.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    };
    if let Some(address) = address.map(|address| address.to_canonical()) {
        return address.is_loopback() || allowed.contains(&AllowedHost::Address(address));
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    is_localhost(name)
        || allowed.iter().any(|allowed| match allowed {
            AllowedHost::Name(allowed) => allowed.eq_ignore_ascii_case(name),
            AllowedHost::Address(_) => false,
        })
}

/// `localhost`, or a name under it: both are reserved for loopback (RFC 6761), so nobody can register one.
fn is_localhost(name: &str) -> bool {
    const LOCALHOST: &str = "localhost";
    let Some(rest) = name.len().checked_sub(LOCALHOST.len()) else { return false };
    let (labels, last) = name.as_bytes().split_at(rest);
    last.eq_ignore_ascii_case(LOCALHOST.as_bytes()) && (labels.is_empty() || labels.ends_with(b"."))
}

/// Whether a script of a page asks, not the browser for a person who opens the address.
pub fn is_sent_by_script(headers: &HeaderMap) -> bool {
    headers.get(SEC_FETCH_MODE).is_some_and(|mode| mode != "navigate")
}

/// Whether a web page of another origin sent a request that may change something. Programs that are no browsers send neither
/// `Sec-Fetch-Site` nor `Origin`. The pages of `--cors-origin` are trusted.
pub fn is_cross_origin_change(method: &Method, headers: &HeaderMap, trusted: &[String]) -> bool {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return false;
    }
    let site = headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
    // A browser sends the cookie of a login by itself, so only a page of this service may change anything with it.
    if sessions::token(headers).is_some() && !headers.contains_key(header::AUTHORIZATION) {
        return site != Some(b"same-origin");
    }
    let origin = headers.get(header::ORIGIN).map(HeaderValue::as_bytes);
    if origin.is_some_and(|origin| trusted.iter().any(|trusted| trusted.as_bytes() == origin)) {
        return false;
    }
    match site {
        Some(b"same-origin" | b"none") => return false,
        Some(_) => return true,
        // An older browser, a page over plain HTTP, or no browser.
        None => {}
    }
    let Some(origin) = origin else { return false };
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes).unwrap_or_default();
    let named = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
    named.is_none_or(|named| !named.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn named(version: Version, target: &str, hosts: &[&str]) -> Result<Option<String>, BadHost> {
        let mut request = Request::builder().version(version).uri(target);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        named_host(&request.body(()).unwrap().into_parts().0).map(|host| host.map(str::to_owned))
    }

    #[test]
    fn a_request_names_one_host_and_http_1_0_may_omit_it() {
        let in_11 = |target: &str, hosts: &[&str]| named(Version::HTTP_11, target, hosts);
        let host = |name: &str| Ok(Some(name.to_owned()));
        assert_eq!(in_11("/", &["a.example"]), host("a.example"));
        assert_eq!(in_11("/", &["a.example:8080"]), host("a.example"));
        assert_eq!(in_11("/", &["[::1]:5000"]), host("[::1]"));
        assert_eq!(in_11("/", &[""]), host(""));
        assert_eq!(in_11("/", &[]), Err(BadHost));
        assert_eq!(in_11("/", &["a", "a"]), Err(BadHost));
        assert_eq!(named(Version::HTTP_10, "/", &[]), Ok(None));
        assert_eq!(named(Version::HTTP_10, "/", &["a", "b"]), Err(BadHost));
        assert_eq!(in_11("http://a.example/x", &["A.EXAMPLE:80"]), host("A.EXAMPLE"));
        assert_eq!(in_11("http://a.example/x", &["b.example"]), Err(BadHost));
        assert_eq!(in_11("http://a.example:1/x", &["a.example:2"]), Err(BadHost));
        assert_eq!(named(Version::HTTP_10, "http://a.example/", &[]), host("a.example"));
        for malformed in ["a b", "user@localhost", "a:b", "a:1:2", "[::1", "[::1]x", "a/b", "localhost,evil "]
        {
            assert_eq!(in_11("/", &[malformed]), Err(BadHost), "{malformed}");
        }
    }

    #[test]
    fn loopback_names_and_addresses_are_allowed_and_those_of_the_setting() {
        let allowed = ["wall.example", "192.0.2.7", "2001:db8::1"].map(|text| text.parse().unwrap());
        for host in [
            "localhost",
            "LocalHost",
            "localhost.",
            "wall.localhost",
            "a.b.LOCALHOST.",
            "127.0.0.1",
            "127.9.8.7",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "wall.example",
            "WALL.EXAMPLE.",
            "192.0.2.7",
            "[2001:DB8::1]",
        ] {
            assert!(is_allowed(host, &allowed), "{host}");
        }
        for host in [
            "",
            ".",
            "attacker.example",
            "localhost.attacker.example",
            "notlocalhost",
            "127.0.0.1.attacker.example",
            "localhost..",
            "0.0.0.0",
            "10.0.0.1",
            "127.1",
            "0x7f.0.0.1",
            "2130706433",
            "[::]",
            "[fe80::1]",
            "::1",
            "a.wall.example",
            "192.0.2.8",
        ] {
            assert!(!is_allowed(host, &allowed), "{host}");
        }
        assert!(!is_allowed("wall.example", &[]));
    }

    #[test]
    fn a_page_of_another_origin_changes_nothing_unless_the_operator_trusts_it() {
        let trusted = ["https://wall.example".to_owned()];
        let is_refused = |method: Method, headers: &[(&str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
            }
            is_cross_origin_change(&method, &map, &trusted)
        };
        let (host, post) = (("host", "localhost:5000"), Method::POST);
        for allowed in [
            &[host][..],
            &[host, ("origin", "http://localhost:5000")],
            &[host, ("origin", "https://wall.example"), ("sec-fetch-site", "cross-site")],
            &[host, ("origin", "null"), ("sec-fetch-site", "same-origin")],
            &[host, ("sec-fetch-site", "none")],
        ] {
            assert!(!is_refused(post.clone(), allowed), "{allowed:?}");
        }
        for refused in [
            &[host, ("origin", "http://localhost:5001")][..],
            &[host, ("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")],
            &[host, ("origin", "null")],
            &[host, ("sec-fetch-site", "same-site")],
            &[host, ("origin", "file://localhost:5000")],
        ] {
            assert!(is_refused(post.clone(), refused), "{refused:?}");
            assert!(is_refused(Method::DELETE, refused), "{refused:?}");
            assert!(!is_refused(Method::GET, refused), "what only reads is left to CORS: {refused:?}");
        }
    }
}
