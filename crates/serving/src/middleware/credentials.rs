//! The key in a request, as Basic user and password or as a Bearer token. Whether it is valid is not known here.

use std::borrow::Cow;

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::sessions;
use crate::network::plain_request::PlainRequest;

/// An id and the secret with it, as they were sent. Read on every request, so a token is not copied.
pub struct Credentials<'a> {
    pub id: Cow<'a, str>,
    pub secret: Cow<'a, [u8]>,
}

/// There is an `Authorization`, and no key can be read from it.
#[derive(Debug, PartialEq, Eq)]
pub struct MalformedCredentials;

/// What of a request says who asks.
pub trait ClientIdentity {
    /// The key in it; `None`: none.
    fn credentials(&self) -> Result<Option<Credentials<'_>>, MalformedCredentials>;

    /// The token of a login.
    fn session_token(&self) -> Option<&str>;
}

impl ClientIdentity for HeaderMap {
    fn credentials(&self) -> Result<Option<Credentials<'_>>, MalformedCredentials> {
        Credentials::of(self)
    }

    fn session_token(&self) -> Option<&str> {
        sessions::token(self)
    }
}

/// A plain request has no cookie.
impl ClientIdentity for PlainRequest<'_> {
    fn credentials(&self) -> Result<Option<Credentials<'_>>, MalformedCredentials> {
        let read = |value| Credentials::read(value).ok_or(MalformedCredentials);
        self.authorization.map(read).transpose()
    }

    fn session_token(&self) -> Option<&str> {
        None
    }
}

impl<'a> Credentials<'a> {
    /// `None`: the request has no key.
    pub fn of(headers: &'a HeaderMap) -> Result<Option<Self>, MalformedCredentials> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(MalformedCredentials);
        }
        Self::read(value.as_bytes()).map(Some).ok_or(MalformedCredentials)
    }

    /// The key in the value of an `Authorization`.
    pub fn read(value: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let is_printed = text.bytes().all(|byte| byte == b'\t' || byte == b' ' || byte.is_ascii_graphic());
        let (scheme, rest) = text.split_once(' ').filter(|_| is_printed)?;
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("basic") {
            let decoded = STANDARD.decode(rest).ok()?;
            let colon = decoded.iter().position(|byte| *byte == b':')?;
            let id = std::str::from_utf8(&decoded[..colon]).ok()?;
            Some(Self { id: Cow::Owned(id.to_owned()), secret: Cow::Owned(decoded[colon + 1..].to_vec()) })
        } else if scheme.eq_ignore_ascii_case("bearer") {
            // An organization may hold a dot, a secret has none.
            let (id, secret) = rest.rsplit_once('.')?;
            Some(Self { id: Cow::Borrowed(id), secret: Cow::Borrowed(secret.as_bytes()) })
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn read(values: &[&str]) -> Result<Option<(String, String)>, MalformedCredentials> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        let read = Credentials::of(&headers)?;
        Ok(read.map(|read| (read.id.into_owned(), String::from_utf8(read.secret.into_owned()).unwrap())))
    }

    #[test]
    fn both_schemes_carry_the_same_key() {
        let key = |id: &str, secret: &str| Ok(Some((id.to_owned(), secret.to_owned())));
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert_eq!(read(&[&basic("a-org-x:s3")]), key("a-org-x", "s3"));
        assert_eq!(read(&[&basic("a-org-x:s3:t")]), key("a-org-x", "s3:t"));
        assert_eq!(read(&["Bearer a-my.org-x.s3"]), key("a-my.org-x", "s3"));
        assert_eq!(read(&["bEARER  a-org-x.s3"]), key("a-org-x", "s3"));
        assert_eq!(read(&[]), Ok(None));
    }

    #[test]
    fn a_malformed_key_differs_from_a_missing_one() {
        for value in
            ["", "Basic", "Basic !", "Basic YQ==", "Basic /zo=", "Bearer x", "Digest a=b", "a-org-x.s3"]
        {
            assert_eq!(read(&[value]), Err(MalformedCredentials), "{value}");
        }
        assert_eq!(read(&["Bearer a.b", "Bearer a.b"]), Err(MalformedCredentials));
    }
}
