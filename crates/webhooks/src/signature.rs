//! Signatures of Standard Webhooks 1.0: HMAC-SHA256 over `id.timestamp.body`.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

/// How many secrets a file may hold: the one in use and, while it is rotated, the one before it.
pub const SECRETS_MAX: usize = 2;

/// What Standard Webhooks asks of a secret.
pub const SECRET_BYTES_MIN: usize = 24;
pub const SECRET_BYTES_MAX: usize = 64;

/// The length of one that is made: that of the hash.
const MADE_BYTES: usize = 32;

/// Before the base64 of every secret.
const PREFIX: &str = "whsec_";

/// A secret that is shared with an endpoint.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret(Vec<u8>);

impl SigningSecret {
    /// Reads `whsec_` and base64; `None` if it is not that, or too short or too long.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.strip_prefix(PREFIX)?).ok()?;
        (SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&bytes.len()).then_some(Self(bytes))
    }

    /// A new one.
    pub fn make() -> Self {
        Self(rand::random::<[u8; MADE_BYTES]>().to_vec())
    }

    /// What [`Self::parse`] reads: for the one answer that shows a new secret, and for the store.
    pub fn text(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }

    fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.0));
        context.update(format!("{id}.{timestamp}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The value of `webhook-signature`: one for each secret.
pub fn signatures<'a>(
    secrets: impl IntoIterator<Item = &'a SigningSecret>,
    id: &str,
    timestamp: i64,
    body: &[u8],
) -> String {
    let each: Vec<_> = secrets.into_iter().map(|secret| secret.sign(id, timestamp, body)).collect();
    each.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_standard() {
        // The example of the Standard Webhooks specification's reference libraries.
        let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        assert_eq!(signatures([&secret], id, 1_614_265_330, body), expected);
        let two = signatures([&secret, &secret], id, 1_614_265_330, body);
        assert_eq!(two, format!("{expected} {expected}"));
        assert_eq!(format!("{secret:?}"), "[redacted]");
    }

    #[test]
    fn a_secret_has_a_prefix_and_a_length() {
        let of = |bytes: usize| format!("{PREFIX}{}", STANDARD.encode(vec![7; bytes]));
        for (text, is_fit) in [(of(23), false), (of(24), true), (of(64), true), (of(65), false)] {
            assert_eq!(SigningSecret::parse(&text).is_some(), is_fit, "{text}");
        }
        let made = SigningSecret::make();
        assert_eq!(SigningSecret::parse(&made.text()), Some(made));
        for text in
            ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS*"]
        {
            assert!(SigningSecret::parse(text).is_none(), "{text}");
        }
    }
}
