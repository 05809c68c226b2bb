//! Silences that were made while the service runs, as the store keeps them and the API shows them.

use alerts::{Silence, WallMillis, WallSpan};
use presence::query::Filter;
use serde::{Deserialize, Serialize};

/// Silences that may be kept: each is compared with every alert. One more is refused.
pub const SILENCES_MAX: usize = 1_000;

/// How long one that is over is still shown.
const SHOWN_AFTER_MS: i64 = 24 * 3_600_000;

/// One silence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSilence {
    pub id: String,
    #[serde(default)]
    pub types: Vec<String>,
    #[serde(default)]
    pub ids: Vec<String>,
    #[serde(default)]
    pub id_prefixes: Vec<String>,
    #[serde(default)]
    pub sources: Vec<String>,
    /// Of these rules; empty: of all.
    #[serde(default)]
    pub rules: Vec<String>,
    pub from_ms: i64,
    pub until_ms: i64,
    #[serde(default)]
    pub author: String,
    #[serde(default)]
    pub comment: String,
}

impl StoredSilence {
    /// An id that no other has.
    pub fn random_id() -> String {
        format!("{:016x}", rand::random::<u64>())
    }

    /// As the engine takes it.
    pub fn silence(&self) -> Silence {
        Silence {
            selector: Filter {
                types: self.types.clone(),
                ids: self.ids.clone(),
                id_prefixes: self.id_prefixes.clone(),
                sources: self.sources.clone(),
                ..Filter::default()
            },
            rules: self.rules.iter().map(|rule| rule.as_str().into()).collect(),
            span: WallSpan { from: WallMillis(self.from_ms), until: WallMillis(self.until_ms) },
            author: self.author.clone(),
            comment: self.comment.clone(),
        }
    }

    /// Whether it is over for so long that nobody asks for it any more.
    pub fn is_forgotten(&self, now_ms: i64) -> bool {
        self.until_ms.saturating_add(SHOWN_AFTER_MS) <= now_ms
    }
}
