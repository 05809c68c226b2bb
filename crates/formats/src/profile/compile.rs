//! From a `[[profile]]` table to a profile that can decode: each value is read, and what values mean together is checked.

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;

use super::error::ProfileError;
use super::filter::TopicFilter;
use super::pointer::Pointers;
use super::table::{CauseName, Compare, Literal, PayloadForm, ProfileTable, TopicEvent, UnderTable};
use super::template::{Affixes, Level, Template};
use super::text::{Split, Text};
use super::values::{Meaning, Value, Values};
use super::{Parent, Profile, ProfileTimes, ReasonWord, Words};
use crate::{Cause, EventKind, catalog::IOT_PLATFORM};

/// Among the reasons of a cause: any that no list names, or none.
const OTHER_REASON: &str = "(other)";
/// A hundred years: a clock of the machine cannot be set for as long as a number can say.
const TIME_MAX: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Reads one profile; its errors know its name.
pub(super) struct Compiler<'t> {
    table: &'t ProfileTable,
    names: Vec<Box<str>>,
    pointers: Pointers,
}

type Result<T> = std::result::Result<T, ProfileError>;

impl<'t> Compiler<'t> {
    pub fn new(table: &'t ProfileTable) -> Self {
        Self { table, names: Vec::new(), pointers: Pointers::default() }
    }

    pub fn compile(mut self) -> Result<Profile> {
        self.check_name()?;
        let table = self.table;
        let topics = self.topics()?;
        let split = self.split(&topics)?;
        let id = self.capture("id", &topics, split.as_ref());
        let device_type = self.device_type(&topics, split.as_ref())?;
        let id_at = self.id_at()?;
        let type_at = self.pointer("type_at", table.type_at.as_ref())?;
        let in_all = |slot| is_filled(slot, &topics, split.as_ref());
        if id_at.is_none() && !id.is_some_and(in_all) {
            let problem = "`{id}` in every topic, or `id_at`, must say the device's id";
            return Err(self.error("topic", self.topic_span(), problem));
        }
        let has_type = device_type.as_ref().is_some_and(|text| text.captures().all(in_all));
        if type_at.is_none() && !has_type {
            let problem = "a `type`, `{type}` in every topic, or `type_at` must say the device's type";
            return Err(self.error("type", self.topic_span(), problem));
        }
        let has_events = topics.iter().all(|(_, event)| event.is_some());
        let at = self.at(has_events)?;
        let values = self.values(has_events)?;
        let under = self.under(&topics)?;
        let alive = self.alive(id, device_type.as_ref(), split.as_ref(), under.as_ref())?;
        Ok(Profile {
            name: table.name.get_ref().as_str().into(),
            id,
            id_at,
            device_type,
            type_at,
            at,
            values,
            also: self.also()?,
            time_at: self.pointer("time_at", table.time_at.as_ref())?,
            session_at: self.pointer("session_at", table.session_at.as_ref())?,
            unit: self.unit()?,
            reason_at: self.pointer("reason_at", table.reason_at.as_ref())?,
            words: self.words()?,
            except: self.except()?,
            timing: ProfileTimes {
                grace: self.duration("grace", table.grace.as_ref())?,
                stale_after: self.duration("stale_after", table.stale_after.as_ref())?,
            },
            is_retained: table.retained.unwrap_or(true),
            payload: table.payload,
            topics,
            split,
            under,
            alive,
            // Last: all of the above add to them.
            pointers: self.pointers,
        })
    }

    fn error(&self, key: &'static str, span: Range<usize>, problem: impl Into<String>) -> ProfileError {
        let profile = Some(self.table.name.get_ref().clone());
        ProfileError { profile, key: Some(key), problem: problem.into(), span: Some(span) }
    }

    fn topic_span(&self) -> Range<usize> {
        let first = self.table.topics.first().map(|entry| &entry.topic);
        self.table.topic.as_ref().or(first).unwrap_or(&self.table.name).span()
    }

    fn check_name(&self) -> Result<()> {
        let name = self.table.name.get_ref();
        let is_allowed = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
        if name.is_empty() || name.len() > NAME_MAX_BYTES || !name.chars().all(is_allowed) {
            let problem = format!(
                "`{name}` is no name: at most {NAME_MAX_BYTES} letters, digits, `-`, `_` and `.` were expected"
            );
            return Err(self.error("name", self.table.name.span(), problem));
        }
        if *name == IOT_PLATFORM {
            let problem =
                format!("`{IOT_PLATFORM}` is the name of the platform's own messages: take another one");
            return Err(self.error("name", self.table.name.span(), problem));
        }
        Ok(())
    }

    fn template(&mut self, key: &'static str, text: &Spanned<String>, affixes: Affixes) -> Result<Template> {
        Template::parse(text.get_ref(), affixes, &mut self.names)
            .map_err(|problem| self.error(key, text.span(), problem))
    }

    fn topics(&mut self) -> Result<Vec<Topic>> {
        let table = self.table;
        let topics: Vec<_> = match (&table.topic, table.topics.as_slice()) {
            (Some(topic), []) => {
                vec![(self.template("topic", topic, Affixes::Refused)?, None)]
            }
            (None, [_, ..]) => {
                let entries = table.topics.iter();
                entries
                    .map(|entry| Ok((self.template("topics", &entry.topic, Affixes::Refused)?, entry.event)))
                    .collect::<Result<_>>()?
            }
            (Some(_), [_, ..]) | (None, []) => {
                return Err(self.error(
                    "topic",
                    self.topic_span(),
                    "either `topic` or `topics` was expected",
                ));
            }
        };
        if table.payload == PayloadForm::None && topics.iter().any(|(_, event)| event.is_none()) {
            let problem = "without a payload every topic needs an `event`";
            return Err(self.error("payload", self.topic_span(), problem));
        }
        Ok(topics)
    }

    fn split(&mut self, topics: &[Topic]) -> Result<Option<Split>> {
        let Some(table) = &self.table.split else { return Ok(None) };
        let from = self.names.iter().position(|name| **name == *table.from.get_ref().as_str());
        let from =
            from.filter(|from| topics.iter().all(|(topic, _)| topic.captured().any(|slot| slot == *from)));
        let Some(from) = from else {
            let problem = format!("no capture `{}` is in every topic", table.from.get_ref());
            return Err(self.error("split", table.from.span(), problem));
        };
        Split::parse(from, table.template.get_ref(), &mut self.names)
            .map(Some)
            .map_err(|problem| self.error("split", table.template.span(), problem))
    }

    /// The slot of a capture, if any topic or the split fills it.
    fn capture(&self, name: &str, topics: &[Topic], split: Option<&Split>) -> Option<usize> {
        let slot = self.names.iter().position(|known| **known == *name)?;
        let in_topic = topics.iter().any(|(topic, _)| topic.captured().any(|captured| captured == slot));
        let in_split = split.is_some_and(|split| split.captured().any(|captured| captured == slot));
        (in_topic || in_split).then_some(slot)
    }

    fn device_type(&mut self, topics: &[Topic], split: Option<&Split>) -> Result<Option<Text>> {
        let Some(text) = &self.table.device_type else {
            return Ok(self.capture("type", topics, split).map(Text::of_capture));
        };
        let fail = |compiler: &Self, problem: String| compiler.error("type", text.span(), problem);
        let parsed = Text::parse(text.get_ref(), &mut self.names).map_err(|problem| fail(self, problem))?;
        if let Some(slot) = parsed.captures().find(|slot| !is_filled(*slot, topics, split)) {
            return Err(fail(self, format!("not every topic captures `{{{}}}`", self.names[slot])));
        }
        if parsed.is_empty() || parsed.fixed().is_some_and(|fixed| !crate::name::is_valid_name(fixed)) {
            return Err(fail(
                self,
                "a type of 1 to 256 bytes without control characters was expected".to_owned(),
            ));
        }
        Ok(Some(parsed))
    }

    fn pointer(&mut self, key: &'static str, pointer: Option<&Spanned<String>>) -> Result<Option<usize>> {
        let Some(pointer) = pointer else { return Ok(None) };
        if self.table.payload != PayloadForm::Json {
            let problem = "a pointer needs `payload = \"json\"`";
            return Err(self.error(key, pointer.span(), problem));
        }
        self.pointers
            .add(pointer.get_ref())
            .map(Some)
            .map_err(|problem| self.error(key, pointer.span(), problem))
    }

    /// The pointer to the id. Of a text, all of which can be the id, there is only that to the whole.
    fn id_at(&mut self) -> Result<Option<usize>> {
        match &self.table.id_at {
            Some(whole) if self.table.payload == PayloadForm::Text && whole.get_ref().is_empty() => {
                self.pointers.add("").map(Some).map_err(|problem| self.error("id_at", whole.span(), problem))
            }
            id_at => self.pointer("id_at", id_at.as_ref()),
        }
    }

    /// The pointer to the value that decides. Without one it is the document itself, unless the topic says all.
    fn at(&mut self, has_events: bool) -> Result<Option<usize>> {
        match &self.table.at {
            None if self.table.payload == PayloadForm::Json && !has_events => {
                self.pointers.add("").map(Some).map_err(|problem| self.error("at", 0..0, problem))
            }
            at => self.pointer("at", at.as_ref()),
        }
    }

    fn values(&mut self, has_events: bool) -> Result<Values> {
        let table = self.table;
        let compare = self.compare(table.payload, table.compare.as_ref())?;
        let mut values = Values::new(compare);
        let lists = [
            ("connected", &table.connected, Meaning::Connected),
            ("disconnected", &table.disconnected, Meaning::Disconnected),
            ("asleep", &table.asleep, Meaning::Asleep),
            ("refused", &table.refused, Meaning::Refused),
            ("removed", &table.removed, Meaning::Removed),
            ("ignored", &table.ignored, Meaning::Ignored),
        ];
        for (key, list, meaning) in lists {
            if let Some(first) = list.first()
                && has_events
                && !matches!(meaning, Meaning::Removed | Meaning::Ignored)
            {
                let problem = "every topic has an `event`, so no value is compared with this list";
                return Err(self.error(key, first.span(), problem));
            }
            self.add_list(&mut values, key, table.payload, list, meaning)?;
        }
        if !has_events && table.connected.is_empty() {
            let problem = "a list of the values that say that a device is connected was expected";
            return Err(self.error("connected", table.name.span(), problem));
        }
        if table.payload != PayloadForm::None
            && table.retained.unwrap_or(true)
            && !values.holds(&Value::Empty)
        {
            values.add(Value::Empty, Meaning::Removed);
        }
        Ok(values)
    }

    fn compare(&self, payload: PayloadForm, compare: Option<&Spanned<Compare>>) -> Result<Compare> {
        match compare {
            Some(compare) if payload != PayloadForm::Text => Err(self.error(
                "compare",
                compare.span(),
                "only texts are compared: `payload = \"text\"` is needed",
            )),
            Some(compare) => Ok(*compare.get_ref()),
            None => Ok(Compare::default()),
        }
    }

    fn add_list(
        &self,
        values: &mut Values,
        key: &'static str,
        payload: PayloadForm,
        list: &[Spanned<Literal>],
        meaning: Meaning,
    ) -> Result<()> {
        for literal in list {
            let value = Value::of(literal.get_ref());
            let is_fit = match (&value, payload) {
                (_, PayloadForm::None) => false,
                (Value::Text(_) | Value::Empty | Value::Other, PayloadForm::Text)
                | (_, PayloadForm::Json) => true,
                (
                    Value::Missing | Value::Bool(_) | Value::Integer(_) | Value::Float(_),
                    PayloadForm::Text,
                ) => false,
            };
            if !is_fit {
                let problem = match payload {
                    PayloadForm::None => "no payload is read, so there is no value to compare with",
                    PayloadForm::Text => "texts in quotes were expected, since `payload` is \"text\"",
                    PayloadForm::Json => "a value was expected",
                };
                return Err(self.error(key, literal.span(), problem));
            }
            if values.holds(&value) {
                return Err(self.error(
                    key,
                    literal.span(),
                    format!("{} is listed twice", literal.get_ref()),
                ));
            }
            values.add(value, meaning);
        }
        Ok(())
    }

    fn also(&mut self) -> Result<Vec<(usize, Value)>> {
        let table = self.table;
        let mut also = Vec::new();
        for entry in &table.also {
            if let Some(slot) = self.pointer("also", Some(&entry.at))? {
                also.push((slot, Value::of(entry.value.get_ref())));
            }
        }
        Ok(also)
    }

    fn unit(&self) -> Result<Option<super::table::Unit>> {
        let table = self.table;
        match (&table.unit, table.time_at.as_ref().or(table.session_at.as_ref())) {
            (None, Some(pointer)) => Err(self.error(
                "unit",
                pointer.span(),
                "`s`, `ms`, `us` or `rfc3339` was expected beside a time",
            )),
            (Some(unit), None) => {
                Err(self.error("unit", unit.span(), "`time_at` or `session_at` was expected beside a unit"))
            }
            (unit, _) => Ok(unit.as_ref().map(|unit| *unit.get_ref())),
        }
    }

    fn words(&self) -> Result<Words> {
        let table = self.table;
        let takeover = table.takeover.iter();
        let takeover = takeover.map(|word| ("takeover", word, Some(EventKind::Takeover), Cause::Takeover));
        let refusal = table.refusal.iter();
        let refusal = refusal.map(|word| ("refusal", word, Some(EventKind::Refusal), Cause::Refused));
        let causes = table.causes.iter().flat_map(|(name, list)| {
            let cause = cause_of(*name);
            list.iter().map(move |word| ("causes", word, None, cause))
        });
        let mut words = Words::default();
        for (key, word, kind, cause) in takeover.chain(refusal).chain(causes) {
            let text = word.get_ref().as_str();
            if kind.is_some() && table.reason_at.is_none() {
                let problem = "`reason_at` was expected, where such words are found";
                return Err(self.error(key, word.span(), problem));
            }
            let is_other = kind.is_none() && text == OTHER_REASON;
            if words.find(text).is_some() || (is_other && words.other.is_some()) {
                return Err(self.error(key, word.span(), format!("`{text}` is listed twice")));
            }
            if is_other {
                words.other = Some(cause);
                continue;
            }
            words.list.push(ReasonWord { text: text.into(), kind, cause });
        }
        Ok(words)
    }

    fn under(&mut self, topics: &[Topic]) -> Result<Option<Parent>> {
        let Some(table) = &self.table.under else { return Ok(None) };
        let template = self.template("under", &table.topic, Affixes::Allowed)?;
        let id = Text::of_parent(&template);
        let fail = |compiler: &Self, problem: String| compiler.error("under", table.topic.span(), problem);
        if id.is_empty() {
            return Err(fail(
                self,
                "a topic of at least two levels was expected: the parent's id is all but the last".into(),
            ));
        }
        let is_captured =
            |slot| topics.iter().all(|(topic, _)| topic.captured().any(|captured| captured == slot));
        if let Some(slot) = id.captures().find(|slot| !is_captured(*slot)) {
            return Err(fail(
                self,
                format!("not every topic of the devices captures `{{{}}}`", self.names[slot]),
            ));
        }
        if template
            .levels
            .iter()
            .any(|level| matches!(level, Level::One(Some(slot)) | Level::Many(slot) if !is_captured(*slot)))
        {
            return Err(fail(self, "a capture that no topic of the devices has: write `+`".into()));
        }
        let values = self.parent_values(table)?;
        let mut pointers = Pointers::default();
        match (&table.at, table.payload) {
            (at, PayloadForm::Json) => {
                let (pointer, span) = at.as_ref().map_or(("", 0..0), |at| (at.get_ref().as_str(), at.span()));
                pointers.add(pointer).map_err(|problem| self.error("under", span, problem))?;
            }
            (Some(at), PayloadForm::Text | PayloadForm::None) => {
                return Err(self.error("under", at.span(), "a pointer needs `payload = \"json\"`"));
            }
            (None, PayloadForm::Text) => {}
            (None, PayloadForm::None) => {
                return Err(fail(self, "a payload of `text` or `json` was expected".into()));
            }
        }
        Ok(Some(Parent { template, id, values, pointers }))
    }

    fn parent_values(&self, table: &UnderTable) -> Result<Values> {
        let mut values = Values::new(self.compare(table.payload, table.compare.as_ref())?);
        self.add_list(&mut values, "under", table.payload, &table.connected, Meaning::Connected)?;
        self.add_list(&mut values, "under", table.payload, &table.disconnected, Meaning::Disconnected)?;
        if !values.holds(&Value::Empty) {
            values.add(Value::Empty, Meaning::Removed);
        }
        // The devices count while the parent's message says so, and not otherwise.
        if table.disconnected.is_empty() {
            for value in [Value::Other, Value::Missing] {
                if !values.holds(&value) {
                    values.add(value, Meaning::Disconnected);
                }
            }
        }
        Ok(values)
    }

    fn alive(
        &mut self,
        id: Option<usize>,
        device_type: Option<&Text>,
        split: Option<&Split>,
        under: Option<&Parent>,
    ) -> Result<Vec<Template>> {
        let table = self.table;
        let mut alive = Vec::new();
        for topic in &table.alive {
            let template = self.template("alive", topic, Affixes::Refused)?;
            let is_split = split.filter(|split| template.captured().any(|captured| captured == split.from));
            let needed = id.into_iter().chain(device_type.into_iter().flat_map(Text::captures));
            let needed = needed.chain(under.into_iter().flat_map(|under| under.id.captures()));
            let is_filled = |slot: &usize| {
                template.captured().any(|captured| captured == *slot)
                    || is_split.is_some_and(|split| split.captured().any(|captured| captured == *slot))
            };
            if id.is_none() || device_type.is_none() || !needed.collect::<Vec<_>>().iter().all(is_filled) {
                let problem = "the same captures as in `topic` were expected, so that the device is known";
                return Err(self.error("alive", topic.span(), problem));
            }
            alive.push(template);
        }
        Ok(alive)
    }

    fn except(&self) -> Result<Vec<TopicFilter>> {
        let filters = self.table.except.iter();
        filters
            .map(|text| {
                TopicFilter::parse(text.get_ref())
                    .map_err(|problem| self.error("except", text.span(), problem))
            })
            .collect()
    }

    fn duration(&self, key: &'static str, text: Option<&Spanned<String>>) -> Result<Option<Duration>> {
        let Some(text) = text else { return Ok(None) };
        let duration = text.get_ref().parse::<jiff::SignedDuration>().ok();
        let duration = duration.and_then(|duration| Duration::try_from(duration).ok());
        match duration.filter(|duration| !duration.is_zero() && *duration <= TIME_MAX) {
            Some(duration) => Ok(Some(duration)),
            None => Err(self.error(
                key,
                text.span(),
                "a time such as `30s`, `5m` or `36h` was expected, a hundred years at most",
            )),
        }
    }
}

/// A topic of devices, and what it says if it says all.
pub(super) type Topic = (Template, Option<TopicEvent>);

/// Whether every topic, or the split, fills a slot.
fn is_filled(slot: usize, topics: &[Topic], split: Option<&Split>) -> bool {
    split.is_some_and(|split| split.captured().any(|captured| captured == slot))
        || topics.iter().all(|(topic, _)| topic.captured().any(|captured| captured == slot))
}

/// It becomes a label of metrics.
const NAME_MAX_BYTES: usize = 64;

fn cause_of(name: CauseName) -> Cause {
    match name {
        CauseName::Ended => Cause::Ended,
        CauseName::Connection => Cause::Connection,
        CauseName::Server => Cause::Server,
        CauseName::Timeout => Cause::Timeout,
        CauseName::Tls => Cause::Tls,
        CauseName::Refused => Cause::Refused,
        CauseName::Protocol => Cause::Protocol,
    }
}
