//! Logins of browsers: a key is entered once, and a cookie stands for it from then on. The cookie is a random token; this
//! process keeps its digest, so neither its memory nor a core dump gives a login away.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use ring::error::Unspecified;
use ring::rand::{SecureRandom, SystemRandom};
use server::access::{ApiKey, Digest, HeldKey};

/// A browser takes a cookie of this prefix only with `Secure`, for the whole host, and from no other host.
pub const COOKIE: &str = "__Host-devstatus";
/// A working day and half of the next: who leaves the page open logs in once a day.
pub const LIFETIME: Duration = Duration::from_secs(12 * 3_600);
/// One takes some two hundred bytes. Beyond this number the session that ends first is dropped.
const SESSIONS_MAX: usize = 1_000;
const TOKEN_BYTES: usize = 32;

/// A browser that is logged in.
#[derive(Clone, Debug)]
pub struct LoginSession {
    pub key: Arc<HeldKey>,
    /// By the clock that the guard counts with.
    pub ends: Duration,
}

/// All browsers that are logged in, by the digest of their token.
#[derive(Debug, Default)]
pub struct Sessions(Mutex<HashMap<[u8; Digest::BYTES], LoginSession>>);

impl Sessions {
    /// Logs a browser in; the token is nowhere else.
    pub fn open(&self, key: Arc<HeldKey>, now: Duration) -> Result<String, Unspecified> {
        let mut random = [0; TOKEN_BYTES];
        SystemRandom::new().fill(&mut random)?;
        let token = BASE64_URL_SAFE_NO_PAD.encode(random);
        let mut sessions = self.0.lock();
        sessions.retain(|_, session| session.ends > now);
        if sessions.len() >= SESSIONS_MAX {
            let first = sessions.iter().min_by_key(|(_, session)| session.ends).map(|(digest, _)| *digest);
            first.map(|digest| sessions.remove(&digest));
        }
        sessions.insert(digest_of(&token), LoginSession { key, ends: now + LIFETIME });
        Ok(token)
    }

    pub fn find(&self, token: &str, now: Duration) -> Option<LoginSession> {
        self.0.lock().get(&digest_of(token)).filter(|session| session.ends > now).cloned()
    }

    pub fn close(&self, token: &str) {
        self.0.lock().remove(&digest_of(token));
    }

    /// Ends the sessions of all other keys, and of keys that have changed.
    pub fn keep_those_of(&self, keys: &[ApiKey]) {
        self.0.lock().retain(|_, session| keys.contains(&session.key.key));
    }
}

fn digest_of(token: &str) -> [u8; Digest::BYTES] {
    Digest::of(token.as_bytes()).bytes()
}

/// The token that a request carries.
pub fn token(headers: &HeaderMap) -> Option<&str> {
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut cookies = values.flat_map(|value| value.split(';'));
    cookies.find_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// What makes a browser keep the token.
pub fn cookie(token: &str) -> HeaderValue {
    cookie_for(token, LIFETIME.as_secs())
}

/// What makes it forget the token.
pub fn no_cookie() -> HeaderValue {
    cookie_for("", 0)
}

fn cookie_for(token: &str, seconds: u64) -> HeaderValue {
    let text = format!("{COOKIE}={token}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Strict");
    HeaderValue::from_str(&text).expect("base64 and digits are a header")
}

#[cfg(test)]
mod tests {
    use presence::UnixSeconds;
    use server::access::{Keyring, NewKey, Scopes};

    use super::*;

    fn key() -> (ApiKey, Arc<HeldKey>) {
        let (organization, name) = ("org".to_owned(), "name".to_owned());
        let scopes = Scopes::read_only();
        let new = NewKey { organization, name, scopes, created_at: UnixSeconds(0), expires_at: None };
        let (key, secret) = new.generate();
        let ring = Keyring::default();
        ring.replace(vec![key.clone()]);
        let held = ring.check(&key.id, secret.expose().as_bytes(), UnixSeconds(0)).unwrap();
        (key, held)
    }

    #[test]
    fn a_session_lasts_until_it_ends_is_closed_or_its_key_changes() {
        let (sessions, (key, held), now) = (Sessions::default(), key(), Duration::from_secs(5));
        let open = || sessions.open(Arc::clone(&held), now).unwrap();
        let (first, second) = (open(), open());
        assert_ne!(first, second);
        assert_eq!(sessions.find(&first, now).unwrap().key.key, key);
        assert!(sessions.find(&first, now + LIFETIME).is_none() && sessions.find("", now).is_none());
        sessions.close(&first);
        assert!(sessions.find(&first, now).is_none() && sessions.find(&second, now).is_some());
        sessions.keep_those_of(std::slice::from_ref(&key));
        assert!(sessions.find(&second, now).is_some());
        sessions.keep_those_of(&[ApiKey { scopes: Scopes::default(), ..key }]);
        assert!(sessions.find(&second, now).is_none());
    }

    #[test]
    fn the_session_that_ends_first_makes_room() {
        let (sessions, (_, held)) = (Sessions::default(), key());
        let at = |second: usize| Duration::from_secs(second as u64);
        let tokens: Vec<_> =
            (0..=SESSIONS_MAX).map(|second| sessions.open(Arc::clone(&held), at(second)).unwrap()).collect();
        let found = tokens.iter().filter(|token| sessions.find(token, at(SESSIONS_MAX)).is_some());
        assert_eq!(found.count(), SESSIONS_MAX);
        assert!(sessions.find(&tokens[0], at(SESSIONS_MAX)).is_none());
    }

    #[test]
    fn the_token_is_found_among_other_cookies() {
        let token_of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, HeaderValue::from_str(value).unwrap());
            token(&headers).map(str::to_owned)
        };
        assert_eq!(token_of("a=1; __Host-devstatus=x_-9; b=2").as_deref(), Some("x_-9"));
        for other in ["", "a=1", "__Host-devstatus", "__Host-devstatusx=1", "x__Host-devstatus=1"] {
            assert_eq!(token_of(other), None, "{other}");
        }
    }
}
