//! Request paths as the router matches them. A client may write any character as `%XX` (RFC 3986, section 6.2.2.2), and
//! many write the `:` of `/api/v1/devices:lookup` as `%3A`.

use axum::http::Uri;
use axum::http::uri::PathAndQuery;

/// The URI with its path in its plain form, if that is another one. Characters with a meaning of their own stay encoded, so the
/// path is divided as before.
pub fn normalized(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    if !path.contains('%') {
        return None;
    }
    let mut plain = String::with_capacity(uri.path_and_query().map_or(path.len(), |all| all.as_str().len()));
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        plain.push_str(before);
        match after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) => {
                plain.push(char::from(byte));
                rest = &after[2..];
            }
            _ => {
                plain.push('%');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    if plain == path {
        return None;
    }
    if let Some(query) = uri.query() {
        plain.extend(["?", query]);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(plain).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_decoded_exactly_once() {
        for (given, plain) in [
            ("/api/v1/devices%3Alookup", Some("/api/v1/devices:lookup")),
            ("/api/v1/devices%3alookup?a=%3A", Some("/api/v1/devices:lookup?a=%3A")),
            ("/%61pi/%7Ev1", Some("/api/~v1")),
            ("/a%2Fb/c%3Ad", Some("/a%2Fb/c:d")),
            ("/pump/1", None),
            ("/pump/a%20b?x=%41", None),
            ("/pump/%253A", None),
            ("/pump/%3", None),
            ("/pump/%+1", None),
            ("/pump/%", None),
            ("/pump/%C3%A4", None),
        ] {
            let found = normalized(&given.parse().unwrap());
            assert_eq!(found.map(|uri| uri.to_string()).as_deref(), plain, "{given}");
        }
        let absolute: Uri = "http://localhost/a%3Ab".parse().unwrap();
        assert_eq!(normalized(&absolute).unwrap().to_string(), "http://localhost/a:b");
    }
}
