//! One API key: its public id, what is kept of its secret, what it is good for and until when.
//!
//! The id has the platform's form, `a-{organization}-{random}`, so that the platform's own clients take it for one of its API
//! keys and the secret for its token.

use rand::RngExt;
use rand::distr::Alphanumeric;

use super::digest::Digest;
use super::scope::{Scope, Scopes};
use presence::UnixSeconds;
use system::secret::Secret;

/// Letters and digits of the id's random part, as many as the platform has: 59 bits, so that ids do not meet.
const ID_CHARS: usize = 10;
/// Letters and digits of a secret: 190 bits.
const SECRET_CHARS: usize = 32;
/// Longer names would break the columns of `keys list`.
const NAME_MAX_CHARS: usize = 64;

/// A key as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    pub id: String,
    /// Whom it was made for, in the operator's words.
    pub name: String,
    pub scopes: Scopes,
    pub digest: Digest,
    pub created_at: UnixSeconds,
    /// From then on it is refused; `None`: never.
    pub expires_at: Option<UnixSeconds>,
}

impl ApiKey {
    pub fn is_expired(&self, now: UnixSeconds) -> bool {
        self.expires_at.is_some_and(|expiry| now >= expiry)
    }

    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.allow(scope)
    }
}

/// What a new key is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    pub organization: String,
    pub name: String,
    pub scopes: Scopes,
    pub created_at: UnixSeconds,
    pub expires_at: Option<UnixSeconds>,
}

impl NewKey {
    /// The key with a new id, and its secret, which is nowhere else.
    pub fn generate(self) -> (ApiKey, Secret) {
        let NewKey { organization, name, scopes, created_at, expires_at } = self;
        let secret = random(SECRET_CHARS);
        let key = ApiKey {
            id: format!("a-{organization}-{}", random(ID_CHARS)),
            name,
            scopes,
            digest: Digest::of(secret.as_bytes()),
            created_at,
            expires_at,
        };
        (key, Secret::new(secret))
    }
}

/// What [`is_name`] takes.
pub const NAME_EXPECTED: &str = "1 to 64 characters on one line";

/// Whether a person can tell keys apart by `name`, in one line.
pub fn is_name(name: &str) -> bool {
    (1..=NAME_MAX_CHARS).contains(&name.chars().count()) && !name.chars().any(char::is_control)
}

/// Letters and digits from the generator that the operating system seeds.
fn random(chars: usize) -> String {
    let mut random = rand::rng();
    (0..chars).map(|_| char::from(random.sample(Alphanumeric))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn new_key() -> NewKey {
        NewKey {
            organization: "my-org.eu".to_owned(),
            name: "wall display".to_owned(),
            scopes: Scopes::default().with(Scope::Read),
            created_at: UnixSeconds(100),
            expires_at: Some(UnixSeconds(200)),
        }
    }

    #[test]
    fn no_two_keys_share_an_id_or_a_secret() {
        let keys: Vec<_> = (0..1_000).map(|_| new_key().generate()).collect();
        let ids: HashSet<_> = keys.iter().map(|(key, _)| key.id.as_str()).collect();
        let secrets: HashSet<_> = keys.iter().map(|(_, secret)| secret.expose()).collect();
        assert_eq!((ids.len(), secrets.len()), (1_000, 1_000));
    }

    #[test]
    fn the_platforms_clients_find_the_organization_in_the_id() {
        let (key, secret) = NewKey { organization: "abc123".to_owned(), ..new_key() }.generate();
        assert_eq!(key.id.split('-').nth(1), Some("abc123"));
        // Nothing that Basic, a header or a shell would have to quote.
        assert!(secret.expose().chars().all(|c| c.is_ascii_alphanumeric()));
        assert_eq!(secret.expose().len(), 32);
        assert_eq!(key.digest, Digest::of(secret.expose().as_bytes()));
    }

    #[test]
    fn a_key_expires_with_its_second() {
        let (key, _) = new_key().generate();
        assert!(!key.is_expired(UnixSeconds(199)));
        assert!(key.is_expired(UnixSeconds(200)));
        assert!(!ApiKey { expires_at: None, ..key }.is_expired(UnixSeconds(u32::MAX)));
    }

    #[test]
    fn a_name_is_one_line() {
        assert!(is_name("wall display") && is_name(&"ü".repeat(64)));
        assert!(!is_name("") && !is_name("a\nb") && !is_name(&"a".repeat(65)));
    }
}
