//! A secret that was made for an endpoint while the service runs, as the store keeps it, and which secrets count at a time (pure).
//!
//! The secrets in the endpoint's file count until one is made. If the file has others afterwards, those count, and what was made
//! does not.

use std::fmt;
use std::time::Duration;

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use crate::signature::SigningSecret;

/// How long the secrets before a new one count, unless the administrator says otherwise.
pub const OVERLAP_DEFAULT: Duration = Duration::from_secs(24 * 3_600);
/// The longest such time.
pub const OVERLAP_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Secrets that were made before the newest and may count with it, beside those in the file: each is a signature of every
/// message. One more is refused.
const EARLIER_MAX: usize = 3;

/// The secrets that were made for an endpoint.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretRotation {
    /// A hash of the secrets in the file when the first of them was made.
    file_hash: String,
    /// Until when those in the file count, in milliseconds since 1970.
    file_until_ms: i64,
    newest: SigningSecret,
    earlier: Vec<EarlierSecret>,
}

#[derive(Clone, PartialEq, Eq)]
struct EarlierSecret {
    secret: SigningSecret,
    until_ms: i64,
}

/// Why no secret is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotationRefusal {
    /// The endpoint's messages are not signed.
    NotSigned,
    /// The store does not outlive the process.
    NotKept,
    /// As many earlier secrets count as may.
    TooMany,
}

/// The same as the store has it.
#[derive(Serialize, Deserialize)]
struct StoredRotation {
    file: String,
    file_until_ms: i64,
    secret: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    earlier: Vec<StoredSecret>,
}

#[derive(Serialize, Deserialize)]
struct StoredSecret {
    secret: String,
    until_ms: i64,
}

impl SecretRotation {
    /// A secret counts from now on; those before it count for the overlap, or as long as they would have without it, if that is
    /// shorter.
    pub fn begin(
        before: Option<&Self>,
        of_file: &[SigningSecret],
        made: SigningSecret,
        overlap: Duration,
        now_ms: i64,
    ) -> Result<Self, RotationRefusal> {
        if of_file.is_empty() {
            return Err(RotationRefusal::NotSigned);
        }
        let overlap_ms = i64::try_from(overlap.min(OVERLAP_MAX).as_millis()).unwrap_or(0);
        let until_ms = now_ms.saturating_add(overlap_ms);
        let (mut earlier, mut file_until_ms) = (Vec::new(), until_ms);
        if let Some(before) = before {
            file_until_ms = file_until_ms.min(before.file_until_ms);
            earlier.push(EarlierSecret { secret: before.newest.clone(), until_ms });
            earlier.extend(before.earlier.iter().map(|EarlierSecret { secret, until_ms: own_ms }| {
                EarlierSecret { secret: secret.clone(), until_ms: until_ms.min(*own_ms) }
            }));
            earlier.retain(|earlier| earlier.until_ms > now_ms);
        }
        if earlier.len() > EARLIER_MAX {
            return Err(RotationRefusal::TooMany);
        }
        Ok(Self { file_hash: hash(of_file), file_until_ms, newest: made, earlier })
    }

    pub fn parse(text: &str) -> Option<Self> {
        let StoredRotation { file: file_hash, file_until_ms, secret, earlier } =
            serde_json::from_str(text).ok()?;
        let earlier = earlier.iter().map(|StoredSecret { secret, until_ms }| {
            Some(EarlierSecret { secret: SigningSecret::parse(secret)?, until_ms: *until_ms })
        });
        let (newest, earlier) = (SigningSecret::parse(&secret)?, earlier.collect::<Option<_>>()?);
        Some(Self { file_hash, file_until_ms, newest, earlier })
    }

    /// What [`Self::parse`] reads: the secrets themselves are in it.
    pub fn text(&self) -> String {
        let earlier = self.earlier.iter().map(|EarlierSecret { secret, until_ms }| StoredSecret {
            secret: secret.text(),
            until_ms: *until_ms,
        });
        let kept = StoredRotation {
            file: self.file_hash.clone(),
            file_until_ms: self.file_until_ms,
            secret: self.newest.text(),
            earlier: earlier.collect(),
        };
        serde_json::to_string(&kept).expect("texts and numbers are JSON")
    }

    /// Whether the file still has the secrets that it had.
    pub fn is_of(&self, of_file: &[SigningSecret]) -> bool {
        self.file_hash == hash(of_file)
    }

    /// The secrets that count, the newest first.
    pub fn secrets<'a>(
        &'a self,
        of_file: &'a [SigningSecret],
        now_ms: i64,
    ) -> impl Iterator<Item = &'a SigningSecret> {
        let earlier = self.earlier.iter().filter(move |earlier| earlier.until_ms > now_ms);
        let of_file = of_file.iter().filter(move |_| self.file_until_ms > now_ms);
        std::iter::once(&self.newest).chain(earlier.map(|earlier| &earlier.secret)).chain(of_file)
    }

    /// Until when one before the newest counts.
    pub fn overlap_until_ms(&self) -> i64 {
        self.earlier.iter().map(|earlier| earlier.until_ms).fold(self.file_until_ms, i64::max)
    }
}

impl fmt::Debug for SecretRotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretRotation")
            .field("overlap_until_ms", &self.overlap_until_ms())
            .finish_non_exhaustive()
    }
}

fn hash(of_file: &[SigningSecret]) -> String {
    let mut context = Context::new(&SHA256);
    for secret in of_file {
        context.update(secret.text().as_bytes());
        context.update(b"\n");
    }
    context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const HOUR_MS: i64 = 3_600_000;

    fn begin(
        before: Option<&SecretRotation>,
        of_file: &[SigningSecret],
        overlap: Duration,
        now_ms: i64,
    ) -> (SecretRotation, SigningSecret) {
        let made = SigningSecret::make();
        (SecretRotation::begin(before, of_file, made.clone(), overlap, now_ms).unwrap(), made)
    }

    fn counting(rotation: &SecretRotation, of_file: &[SigningSecret], now_ms: i64) -> Vec<SigningSecret> {
        rotation.secrets(of_file, now_ms).cloned().collect()
    }

    #[test]
    fn a_new_secret_counts_at_once_and_the_one_before_it_for_the_overlap() {
        let of_file = [SigningSecret::make()];
        let (rotation, made) = begin(None, &of_file, HOUR, 1_000);
        assert_eq!(counting(&rotation, &of_file, 1_000), [made.clone(), of_file[0].clone()]);
        assert_eq!(counting(&rotation, &of_file, 1_000 + HOUR_MS), std::slice::from_ref(&made));
        assert_eq!(rotation.overlap_until_ms(), 1_000 + HOUR_MS);
        let (at_once, made) = begin(None, &of_file, Duration::ZERO, 1_000);
        assert_eq!(counting(&at_once, &of_file, 1_000), [made]);
        // The store has what was made, and of the file a hash.
        let kept = rotation.text();
        assert_eq!(SecretRotation::parse(&kept), Some(rotation.clone()));
        assert!(!kept.contains(&of_file[0].text()));
        assert!(rotation.is_of(&of_file) && !rotation.is_of(&[SigningSecret::make()]));
        assert!(!format!("{rotation:?}").contains("whsec"));
        assert_eq!(SecretRotation::parse("{}"), None);
    }

    #[test]
    fn an_answer_that_was_lost_ends_no_secret_that_a_receiver_has() {
        let of_file = [SigningSecret::make()];
        let (first, lost) = begin(None, &of_file, HOUR, 0);
        let (second, made) = begin(Some(&first), &of_file, HOUR, HOUR_MS / 2);
        assert_eq!(
            counting(&second, &of_file, HOUR_MS / 2),
            [made.clone(), lost.clone(), of_file[0].clone()]
        );
        assert_eq!(counting(&second, &of_file, HOUR_MS), [made.clone(), lost]);
        assert_eq!(counting(&second, &of_file, 3 * HOUR_MS / 2), [made]);
        let (third, made) = begin(Some(&second), &of_file, Duration::ZERO, HOUR_MS / 2);
        assert_eq!(counting(&third, &of_file, HOUR_MS / 2), [made]);
    }

    #[test]
    fn so_many_secrets_count_and_no_more() {
        let of_file = [SigningSecret::make()];
        let mut rotation = begin(None, &of_file, OVERLAP_MAX, 0).0;
        for _ in 0..EARLIER_MAX {
            rotation = begin(Some(&rotation), &of_file, HOUR, 0).0;
        }
        let further =
            |overlap| SecretRotation::begin(Some(&rotation), &of_file, SigningSecret::make(), overlap, 0);
        assert_eq!(further(HOUR).unwrap_err(), RotationRefusal::TooMany);
        assert!(further(Duration::ZERO).is_ok());
        let unsigned = SecretRotation::begin(None, &[], SigningSecret::make(), HOUR, 0);
        assert_eq!(unsigned.unwrap_err(), RotationRefusal::NotSigned);
    }
}
