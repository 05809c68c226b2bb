//! The keys that are in force: a request's id and secret in, what it may do out. The cost of a check does not depend on the
//! number of keys.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

use super::digest::Digest;
use super::key::ApiKey;
use super::scope::{Scope, Scopes};
use super::throttle::{Rate, Throttle};
use presence::UnixSeconds;

/// Why a key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRefusal {
    UnknownKey,
    WrongSecret,
    Expired,
}

impl KeyRefusal {
    /// The word for it in metrics. No client is told which of them it was.
    pub fn reason(self) -> &'static str {
        match self {
            KeyRefusal::UnknownKey => "unknown_key",
            KeyRefusal::WrongSecret => "wrong_secret",
            KeyRefusal::Expired => "expired_key",
        }
    }
}

/// What a request may do.
#[derive(Clone, Debug)]
pub enum Grant {
    /// As far as the key goes.
    Key(Arc<HeldKey>),
    /// No key, where none is demanded.
    Anonymous(Scopes),
}

impl Grant {
    pub fn allows(&self, scope: Scope) -> bool {
        match self {
            Grant::Key(held) => held.key.allows(scope),
            Grant::Anonymous(scopes) => scopes.allow(scope),
        }
    }
}

/// A key in force and how often it has asked.
#[derive(Debug)]
pub struct HeldKey {
    pub key: ApiKey,
    throttle: Arc<Throttle>,
}

impl HeldKey {
    /// Counts one request, or says how long to wait.
    pub fn take(&self, rate: Rate, now: Duration) -> Result<(), Duration> {
        self.throttle.take(rate, now)
    }
}

/// By id. Who asks for an invalid id adds nothing, so a quick hash is safe.
type KeysById = HashMap<String, Arc<HeldKey>, foldhash::fast::RandomState>;

/// All keys in force; they can be replaced while requests are checked.
#[derive(Debug, Default)]
pub struct Keyring {
    /// `None`: keys are not in use here.
    keys: RwLock<Option<KeysById>>,
    /// Whether there are any, for the requests of which there are most where there are none: they take no lock.
    in_use: AtomicBool,
}

impl Keyring {
    /// Puts these in force and no others. A key that stays has asked as often as it had.
    pub fn replace(&self, keys: Vec<ApiKey>) {
        let old = self.keys.read().clone().unwrap_or_default();
        let held = keys.into_iter().map(|key| {
            let throttle = old.get(&key.id).map_or_else(Arc::default, |held| Arc::clone(&held.throttle));
            (key.id.clone(), Arc::new(HeldKey { key, throttle }))
        });
        let new = held.collect();
        let mut keys = self.keys.write();
        // First, so that nobody is let in without a key meanwhile.
        self.in_use.store(true, Ordering::Release);
        *keys = Some(new);
    }

    /// The key of this id, if the secret is its own and it has not expired.
    pub fn check(&self, id: &str, secret: &[u8], now: UnixSeconds) -> Result<Arc<HeldKey>, KeyRefusal> {
        let held = self.keys.read().as_ref().and_then(|keys| keys.get(id)).cloned();
        // The same work for an id that is unknown, so that how long it takes says nothing.
        let kept = held.as_ref().map_or(Digest::NONE, |held| held.key.digest);
        let matches = Digest::of(secret) == kept;
        match held {
            None => Err(KeyRefusal::UnknownKey),
            Some(_) if !matches => Err(KeyRefusal::WrongSecret),
            Some(held) if held.key.is_expired(now) => Err(KeyRefusal::Expired),
            Some(held) => Ok(held),
        }
    }

    /// Whether there are keys, or were: who revokes the last one does not want to let everybody in.
    pub fn is_in_use(&self) -> bool {
        self.in_use.load(Ordering::Acquire)
    }

    /// Keys that are not expired.
    pub fn usable(&self, now: UnixSeconds) -> usize {
        let keys = self.keys.read();
        keys.iter().flat_map(HashMap::values).filter(|held| !held.key.is_expired(now)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::NewKey;
    use system::secret::Secret;

    fn key(expires_at: Option<UnixSeconds>) -> (ApiKey, Secret) {
        let scopes = Scopes::default().with(Scope::Read);
        let (organization, name) = ("org".to_owned(), "name".to_owned());
        NewKey { organization, name, scopes, created_at: UnixSeconds(0), expires_at }.generate()
    }

    #[test]
    fn only_the_secret_of_a_known_key_in_its_time_is_let_in() {
        let ring = Keyring::default();
        let ((one, one_secret), (other, other_secret)) = (key(None), key(Some(UnixSeconds(100))));
        let check = |key: &ApiKey, secret: &Secret, now| {
            ring.check(&key.id, secret.expose().as_bytes(), UnixSeconds(now)).map(|held| held.key.id.clone())
        };
        assert_eq!(check(&one, &one_secret, 0), Err(KeyRefusal::UnknownKey));
        assert!(!ring.is_in_use());
        ring.replace(vec![one.clone(), other.clone()]);
        assert_eq!(check(&one, &one_secret, 0), Ok(one.id.clone()));
        assert_eq!(check(&one, &other_secret, 0), Err(KeyRefusal::WrongSecret));
        assert_eq!(check(&one, &Secret::new(""), 0), Err(KeyRefusal::WrongSecret));
        assert_eq!(check(&other, &other_secret, 99), Ok(other.id.clone()));
        assert_eq!(check(&other, &other_secret, 100), Err(KeyRefusal::Expired));
        assert_eq!(
            check(&other, &one_secret, 100),
            Err(KeyRefusal::WrongSecret),
            "expiry is told to nobody else"
        );
        assert_eq!((ring.usable(UnixSeconds(99)), ring.usable(UnixSeconds(100))), (2, 1));
        ring.replace(vec![other]);
        assert_eq!(check(&one, &one_secret, 0), Err(KeyRefusal::UnknownKey), "a revoked key is none");
        ring.replace(Vec::new());
        assert!(ring.is_in_use());
    }

    #[test]
    fn a_key_that_stays_does_not_get_its_requests_back() {
        let ring = Keyring::default();
        let (key, secret) = key(None);
        ring.replace(vec![key.clone()]);
        let take = || {
            let held = ring.check(&key.id, secret.expose().as_bytes(), UnixSeconds(0)).unwrap();
            held.take(Rate::new(1, 1), Duration::ZERO)
        };
        assert!(take().is_ok() && take().is_err());
        ring.replace(vec![key.clone()]);
        assert!(take().is_err());
    }
}
