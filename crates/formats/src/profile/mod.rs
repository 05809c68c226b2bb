//! Profiles: message formats that are described in a table instead of code. `docs/profiles.md` explains the language.
//!
//! [`parse`] reads `[[profile]]` tables, [`Profile::new`] checks one, and [`Profiles::new`] joins those that are used on one
//! broker, so that a message is matched against all of them at once.

mod clash;
mod compile;
mod decode;
mod error;
mod example;
mod filter;
mod matcher;
mod pointer;
mod table;
mod template;
mod text;
mod topic_levels;
mod values;

use std::time::Duration;

use serde::Deserialize;

use crate::{Cause, Decoded, EventKind};
use compile::{Compiler, Topic};
pub use error::ProfileError;
use filter::TopicFilter;
pub(crate) use filter::{covers, matches, may_match};
use matcher::{Matcher, Target};
use pointer::Pointers;
pub use table::ProfileTable;
use table::{PayloadForm, Unit};
use template::Template;
use text::{Split, Text};
use topic_levels::TopicLevels;
use values::{Value, Values};

/// A longer payload is no status message; the bound is the one of the IoT platform's decoder.
pub const PAYLOAD_MAX_BYTES: usize = 64 * 1024;

/// One message as it came from the broker.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    /// Whether the broker sent it because it had retained it: its RETAIN flag is set.
    pub is_retained: bool,
}

/// A profile that was checked.
#[derive(Clone, Debug)]
pub struct Profile {
    name: Box<str>,
    topics: Vec<Topic>,
    alive: Vec<Template>,
    except: Vec<TopicFilter>,
    under: Option<Parent>,
    split: Option<Split>,
    /// The slot of the capture that is the id, and the pointer to it where the topic has none; the same of the type.
    id: Option<usize>,
    id_at: Option<usize>,
    device_type: Option<Text>,
    type_at: Option<usize>,
    payload: PayloadForm,
    pointers: Pointers,
    at: Option<usize>,
    values: Values,
    also: Vec<(usize, Value)>,
    time_at: Option<usize>,
    session_at: Option<usize>,
    unit: Option<Unit>,
    reason_at: Option<usize>,
    words: Words,
    is_retained: bool,
    timing: ProfileTimes,
}

/// The times of a profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProfileTimes {
    /// How long a disconnect is held back, in case the device is back by then.
    pub grace: Option<Duration>,
    /// After how long without any message the state of a device is out of date.
    pub stale_after: Option<Duration>,
}

/// The device through which others are reached.
#[derive(Clone, Debug)]
struct Parent {
    template: Template,
    id: Text,
    values: Values,
    /// Empty for a text; else the one pointer to the value.
    pointers: Pointers,
}

/// Words that say why a session ended.
#[derive(Clone, Debug, Default)]
struct Words {
    list: Vec<ReasonWord>,
    /// The cause of a disconnect for which none of them is given.
    other: Option<Cause>,
}

#[derive(Clone, Debug)]
struct ReasonWord {
    text: Box<str>,
    /// What the word makes of a disconnect, if anything else.
    kind: Option<EventKind>,
    cause: Cause,
}

impl Words {
    fn find(&self, text: &str) -> Option<&ReasonWord> {
        self.list.iter().find(|word| *word.text == *text)
    }
}

impl Profile {
    /// Checks a table.
    pub fn new(table: &ProfileTable) -> Result<Self, ProfileError> {
        Compiler::new(table).compile()
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The type of every device, if it is the same for all.
    pub fn fixed_type(&self) -> Option<&str> {
        self.device_type.as_ref().and_then(Text::fixed)
    }

    /// Whether the broker retains the states, so that a subscription begins with all of them.
    pub fn is_retained(&self) -> bool {
        self.is_retained
    }

    pub fn timing(&self) -> ProfileTimes {
        self.timing
    }

    /// Whether its devices are reached through others.
    pub fn has_parents(&self) -> bool {
        self.under.is_some()
    }

    /// What to subscribe to. No filter is covered by another one.
    pub fn filters(&self) -> Vec<String> {
        uncovered(self.templates().map(Template::filter))
    }

    /// What to subscribe to for the states of devices and their parents, without signs of life.
    pub(crate) fn status_filters(&self) -> Vec<String> {
        let parent = self.under.iter().map(|under| &under.template);
        let topics = self.topics.iter().map(|(topic, _)| topic);
        uncovered(parent.chain(topics).map(Template::filter))
    }

    /// All templates, in the order in which one of them takes a message that several match.
    fn templates(&self) -> impl Iterator<Item = &Template> {
        let parent = self.under.iter().map(|under| &under.template);
        parent.chain(self.topics.iter().map(|(topic, _)| topic)).chain(&self.alive)
    }

    fn excepts(&self, topic: &str) -> bool {
        self.except.iter().any(|filter| filter.matches(topic))
    }
}

/// Leaves out the filters that others cover.
pub(crate) fn uncovered(filters: impl Iterator<Item = String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for filter in filters {
        if !kept.iter().any(|other| filter::covers(other, &filter)) {
            kept.retain(|other| !filter::covers(&filter, other));
            kept.push(filter);
        }
    }
    kept
}

/// The profiles that are used on one broker.
#[derive(Clone, Debug, Default)]
pub struct Profiles {
    profiles: Vec<Profile>,
    matcher: Matcher,
}

impl Profiles {
    /// Gives each profile another name.
    pub(crate) fn rename(&mut self, name: impl Fn(&str) -> Box<str>) {
        self.profiles.iter_mut().for_each(|profile| profile.name = name(&profile.name));
    }

    /// Joins profiles. No topic may belong to two of them.
    pub fn new(profiles: Vec<Profile>) -> Result<Self, ProfileError> {
        for (index, profile) in profiles.iter().enumerate() {
            for other in &profiles[..index] {
                if let Some(problem) = clash::problem(other, profile) {
                    return Err(ProfileError {
                        profile: Some(profile.name.to_string()),
                        key: Some("topic"),
                        problem,
                        span: None,
                    });
                }
            }
        }
        let matcher = Matcher::new(&profiles);
        Ok(Self { profiles, matcher })
    }

    pub fn iter(&self) -> impl Iterator<Item = &Profile> {
        self.profiles.iter()
    }

    /// What to subscribe to for all profiles. No filter is covered by another one.
    pub fn filters(&self) -> Vec<String> {
        uncovered(self.profiles.iter().flat_map(Profile::filters))
    }

    /// The profile that a topic belongs to.
    pub fn find(&self, topic: &str) -> Option<&Profile> {
        self.target(&TopicLevels::of(topic)).map(|target| &self.profiles[target.profile])
    }

    /// Decodes one message.
    pub fn decode<'a>(&'a self, message: Message<'a>) -> Decoded<'a> {
        self.decode_named(message).map_or(Decoded::NoMatch, |(_, decoded)| decoded)
    }

    /// Decodes one message, and says whose it is; `None`: no profile's.
    pub fn decode_named<'a>(&'a self, message: Message<'a>) -> Option<(&'a str, Decoded<'a>)> {
        let topic = TopicLevels::of(message.topic);
        let target = self.target(&topic)?;
        let profile = &self.profiles[target.profile];
        Some((&profile.name, profile.decode(target.role, &topic, message)))
    }

    fn target(&self, topic: &TopicLevels<'_>) -> Option<Target> {
        let takes = |target: Target| self.profiles[target.profile].takes(target.role, topic.topic());
        self.matcher.find(topic, takes)
    }
}

/// Reads the `[[profile]]` tables of a file that has nothing else.
pub fn parse(text: &str) -> Result<Vec<Profile>, ProfileError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(default)]
        profile: Vec<ProfileTable>,
    }
    let file: File = toml::from_str(text).map_err(|error| syntax(text, &error))?;
    compiled(&file.profile)
}

/// Reads the `[[profile]]` tables of a file that has other keys, too.
pub fn parse_among_others(text: &str) -> Result<Vec<Profile>, ProfileError> {
    #[derive(Deserialize)]
    struct File {
        #[serde(default)]
        profile: Vec<ProfileTable>,
    }
    let file: File = toml::from_str(text).map_err(|error| syntax(text, &error))?;
    compiled(&file.profile)
}

fn syntax(text: &str, error: &toml::de::Error) -> ProfileError {
    let (start, message) = (error.span().map(|span| span.start), error.message());
    // An unknown key is named by the message itself.
    let key = start.and_then(|start| error::key_before(text, start));
    let key = key.filter(|key| !message.contains(&format!("`{key}`")));
    ProfileError {
        profile: start.and_then(|start| error::name_before(text, start)),
        key: None,
        problem: key.map_or_else(|| message.to_owned(), |key| format!("{key}: {message}")),
        span: error.span(),
    }
}

/// No two may have one name.
fn compiled(tables: &[ProfileTable]) -> Result<Vec<Profile>, ProfileError> {
    let profiles: Vec<Profile> = tables.iter().map(Profile::new).collect::<Result<_, _>>()?;
    for (index, profile) in profiles.iter().enumerate() {
        if profiles[..index].iter().any(|other| other.name == profile.name) {
            return Err(ProfileError {
                profile: Some(profile.name.to_string()),
                key: Some("name"),
                problem: "another profile has this name".to_owned(),
                span: Some(tables[index].name.span()),
            });
        }
    }
    Ok(profiles)
}

#[cfg(test)]
mod tests;
