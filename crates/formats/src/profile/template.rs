//! Topic templates: which topics one matches, and what it captures of them. A template with a literal in every level is an
//! ordinary topic; see `docs/profiles.md` for the others.

use super::topic_levels::TopicLevels;

/// A profile's captures: one slot for each name, whichever of its templates captures it.
pub(super) type Captures<'a> = [Option<&'a str>; CAPTURES_MAX];

/// No known convention has more than three.
pub(super) const CAPTURES_MAX: usize = 8;

/// A topic of MQTT may have 65,535 levels; no convention has more than nine.
pub(super) const LEVELS_MAX: usize = 32;

/// One level of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Literal(Box<str>),
    /// `+` or `{name}`: any one level.
    One(Option<usize>),
    /// `{name...}`: one or more levels.
    Many(usize),
    /// `{name}dtu`: a level with a fixed beginning or end.
    Affixed {
        prefix: Box<str>,
        capture: usize,
        suffix: Box<str>,
    },
}

impl Level {
    /// Whether this level of a template takes a level of a topic. `$` at the beginning of a topic is for the broker's own
    /// topics, and a wildcard does not match them.
    pub fn takes(&self, level: &str, position: LevelPosition) -> bool {
        let is_open = position == LevelPosition::Inner || !level.starts_with('$');
        match self {
            Level::Literal(literal) => **literal == *level,
            Level::One(_) | Level::Many(_) => is_open,
            Level::Affixed { prefix, suffix, .. } => {
                (is_open || !prefix.is_empty()) && affixed(level, prefix, suffix).is_some()
            }
        }
    }
}

/// What is between a prefix and a suffix; at least one character.
fn affixed<'a>(level: &'a str, prefix: &str, suffix: &str) -> Option<&'a str> {
    level.strip_prefix(prefix)?.strip_suffix(suffix).filter(|middle| !middle.is_empty())
}

/// Where in its topic a level is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LevelPosition {
    First,
    Inner,
}

/// A topic with captures in place of some levels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    pub text: Box<str>,
    pub levels: Vec<Level>,
}

/// Whether a level may have text beside its capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Affixes {
    Allowed,
    Refused,
}

impl Template {
    /// Reads a template. Names of captures that are new are added to `names`.
    pub fn parse(text: &str, affixes: Affixes, names: &mut Vec<Box<str>>) -> Result<Self, String> {
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err("a topic without control characters was expected".to_owned());
        }
        let levels: Vec<_> =
            text.split('/').map(|level| parse_level(level, affixes, names)).collect::<Result<_, _>>()?;
        if levels.len() > LEVELS_MAX {
            return Err(format!("at most {LEVELS_MAX} levels are possible"));
        }
        if levels.iter().filter(|level| matches!(level, Level::Many(_))).count() > 1 {
            return Err("only one capture of a topic can take several levels".to_owned());
        }
        let template = Self { text: text.into(), levels };
        let captures: Vec<_> = template.captured().collect();
        if let Some(twice) =
            captures.iter().find(|one| captures.iter().filter(|other| other == one).count() > 1)
        {
            return Err(format!("`{{{}}}` is captured twice", names[*twice]));
        }
        Ok(template)
    }

    /// The slots that a matching topic fills.
    pub fn captured(&self) -> impl Iterator<Item = usize> {
        self.levels.iter().filter_map(|level| match level {
            Level::Literal(_) => None,
            Level::One(capture) => *capture,
            Level::Many(capture) | Level::Affixed { capture, .. } => Some(*capture),
        })
    }

    /// What the template captures of a topic that it matches.
    pub fn captures<'a>(&self, topic: &TopicLevels<'a>) -> Captures<'a> {
        let mut captures = Captures::default();
        // A capture of several levels has as many as the others leave.
        let more = topic.count().saturating_sub(self.levels.len());
        let mut at = 0;
        for level in &self.levels {
            match level {
                Level::Literal(_) | Level::One(None) => {}
                Level::One(Some(capture)) => captures[*capture] = Some(topic.level(at)),
                Level::Many(capture) => {
                    captures[*capture] = Some(topic.joined(at..at + more + 1));
                    at += more;
                }
                Level::Affixed { prefix, capture, suffix } => {
                    captures[*capture] = affixed(topic.level(at), prefix, suffix);
                }
            }
            at += 1;
        }
        captures
    }

    /// The topic filter that matches at least the topics of this template.
    pub fn filter(&self) -> String {
        let mut filter = String::new();
        for (index, level) in self.levels.iter().enumerate() {
            if index > 0 {
                filter.push('/');
            }
            match level {
                Level::Literal(literal) => filter.push_str(literal),
                Level::One(_) | Level::Affixed { .. } => filter.push('+'),
                Level::Many(_) => {
                    filter.push('#');
                    break;
                }
            }
        }
        filter
    }
}

fn parse_level(level: &str, affixes: Affixes, names: &mut Vec<Box<str>>) -> Result<Level, String> {
    if level == "+" {
        return Ok(Level::One(None));
    }
    if level.contains(['+', '#']) {
        return Err(format!(
            "`{level}` is no level: write `+` for any one level and `{{id...}}` for several"
        ));
    }
    let Some((prefix, rest)) = level.split_once('{') else {
        if level.contains('}') {
            return Err(format!("`{level}` has a brace that nothing opens"));
        }
        return Ok(Level::Literal(level.into()));
    };
    let Some((name, suffix)) = rest.split_once('}') else {
        return Err(format!("`{level}` has a brace that nothing closes"));
    };
    if prefix.contains('}') || suffix.contains(['{', '}']) {
        return Err(format!("`{level}` has more than one capture in a level"));
    }
    let several = name.strip_suffix("...");
    let capture = slot(several.unwrap_or(name), names)?;
    match (prefix.is_empty() && suffix.is_empty(), several) {
        (true, Some(_)) => Ok(Level::Many(capture)),
        (true, None) => Ok(Level::One(Some(capture))),
        (false, None) if affixes == Affixes::Allowed => {
            Ok(Level::Affixed { prefix: prefix.into(), capture, suffix: suffix.into() })
        }
        (false, _) => Err(format!("`{level}` has text beside its capture: a capture is a whole level here")),
    }
}

/// The slot of a capture's name.
pub(super) fn slot(name: &str, names: &mut Vec<Box<str>>) -> Result<usize, String> {
    let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
    if name.is_empty() || !name.chars().all(is_name) {
        return Err(format!("`{{{name}}}` is no capture: a name has letters, digits and `_`"));
    }
    if let Some(slot) = names.iter().position(|known| **known == *name) {
        return Ok(slot);
    }
    if names.len() == CAPTURES_MAX {
        return Err(format!("at most {CAPTURES_MAX} names of captures are possible"));
    }
    names.push(name.into());
    Ok(names.len() - 1)
}
