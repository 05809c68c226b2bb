//! The `[[profile]]` table as it is written. What its values mean together is checked when the profile is compiled.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use toml::Spanned;

/// One `[[profile]]` table; `docs/profiles.md` explains the keys. Values keep their place in the text, so that an error can
/// name a line.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileTable {
    pub(super) name: Spanned<String>,
    pub(super) topic: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) topics: Vec<TopicTable>,
    #[serde(rename = "type")]
    pub(super) device_type: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) payload: PayloadForm,
    pub(super) at: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) connected: Vec<Spanned<Literal>>,
    #[serde(default)]
    pub(super) disconnected: Vec<Spanned<Literal>>,
    #[serde(default)]
    pub(super) asleep: Vec<Spanned<Literal>>,
    #[serde(default)]
    pub(super) removed: Vec<Spanned<Literal>>,
    #[serde(default)]
    pub(super) ignored: Vec<Spanned<Literal>>,
    #[serde(default)]
    pub(super) refused: Vec<Spanned<Literal>>,
    pub(super) compare: Option<Spanned<Compare>>,
    #[serde(default)]
    pub(super) also: Vec<AlsoTable>,
    pub(super) split: Option<SplitTable>,
    pub(super) id_at: Option<Spanned<String>>,
    pub(super) type_at: Option<Spanned<String>>,
    pub(super) time_at: Option<Spanned<String>>,
    pub(super) session_at: Option<Spanned<String>>,
    pub(super) unit: Option<Spanned<Unit>>,
    pub(super) reason_at: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) takeover: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) refusal: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) causes: BTreeMap<CauseName, Vec<Spanned<String>>>,
    pub(super) retained: Option<bool>,
    pub(super) under: Option<UnderTable>,
    #[serde(default)]
    pub(super) alive: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) except: Vec<Spanned<String>>,
    pub(super) grace: Option<Spanned<String>>,
    pub(super) stale_after: Option<Spanned<String>>,
}

/// One of several topics, and what a message on it says, if the topic alone says so.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TopicTable {
    pub topic: Spanned<String>,
    pub event: Option<TopicEvent>,
}

/// What a message on a topic says, whatever its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TopicEvent {
    Connect,
    Disconnect,
    Takeover,
    Refusal,
}

/// A further value that must be found.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AlsoTable {
    pub at: Spanned<String>,
    pub value: Spanned<Literal>,
}

/// A second template, over one capture.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SplitTable {
    pub from: Spanned<String>,
    #[serde(rename = "as")]
    pub template: Spanned<String>,
}

/// The parent: where its state is told, and how.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UnderTable {
    pub topic: Spanned<String>,
    #[serde(default)]
    pub payload: PayloadForm,
    pub at: Option<Spanned<String>>,
    pub connected: Vec<Spanned<Literal>>,
    #[serde(default)]
    pub disconnected: Vec<Spanned<Literal>>,
    pub compare: Option<Spanned<Compare>>,
}

/// How a payload is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PayloadForm {
    #[default]
    Text,
    Json,
    /// It is not: the topic alone decides.
    None,
}

/// When a text is equal to a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Compare {
    #[default]
    Exact,
    /// Without white space around it.
    Trimmed,
    /// The same, and ASCII letters are equal in both cases.
    Caseless,
}

/// What a time is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Unit {
    S,
    Ms,
    Us,
    Rfc3339,
}

/// A value of a list.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged, expecting = "a text, a number, true or false was expected")]
pub(super) enum Literal {
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Literal::Bool(value) => write!(f, "{value}"),
            Literal::Integer(value) => write!(f, "{value}"),
            Literal::Float(value) => write!(f, "{value}"),
            Literal::Text(text) => write!(f, "{text:?}"),
        }
    }
}

/// The causes that words can be listed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CauseName {
    Ended,
    Connection,
    Server,
    Timeout,
    Tls,
    Refused,
    Protocol,
}
