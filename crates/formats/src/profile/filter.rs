//! Topic filters of MQTT, for `except` and for what is subscribed to.

use super::template::{Level, LevelPosition};

/// A topic filter: `+` stands for one level, `#` at the end for any number of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TopicFilter {
    pub levels: Vec<Level>,
    /// Whether `#` follows.
    pub is_open: bool,
}

impl TopicFilter {
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut levels = Vec::new();
        let mut is_open = false;
        for level in text.split('/') {
            if is_open {
                return Err(format!("`{text}` has a level behind `#`"));
            }
            match level {
                "#" => is_open = true,
                "+" => levels.push(Level::One(None)),
                _ if level.contains(['+', '#', '{', '}']) => {
                    return Err(format!("`{text}` is no topic filter: a wildcard is a whole level"));
                }
                _ => levels.push(Level::Literal(level.into())),
            }
        }
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err("a topic filter was expected".to_owned());
        }
        Ok(Self { levels, is_open })
    }

    pub fn matches(&self, topic: &str) -> bool {
        let mut levels = self.levels.iter();
        for (index, text) in topic.split('/').enumerate() {
            let position = if index == 0 { LevelPosition::First } else { LevelPosition::Inner };
            match levels.next() {
                Some(level) if level.takes(text, position) => {}
                Some(_) => return false,
                None => return self.is_open && (index > 0 || !text.starts_with('$')),
            }
        }
        levels.next().is_none()
    }
}

/// Whether a filter that may be subscribed to matches a topic.
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    TopicFilter::parse(filter).is_ok_and(|filter| filter.matches(topic))
}

/// Whether every topic that `inner` matches is matched by `outer`, too. Brokers may send a message once for each filter
/// that matches, so covered ones are left out.
pub(crate) fn covers(outer: &str, inner: &str) -> bool {
    let mut outer_levels = outer.split('/');
    let mut inner_levels = inner.split('/');
    let mut is_first = true;
    loop {
        match (outer_levels.next(), inner_levels.next()) {
            (Some("#"), level) => return !(is_first && level.is_some_and(|level| level.starts_with('$'))),
            (Some("+"), Some(level)) if level != "#" && !(is_first && level.starts_with('$')) => {}
            (Some(outer), Some(inner)) if outer == inner => {}
            (None, None) => return true,
            _ => return false,
        }
        is_first = false;
    }
}

/// Whether the topic begins and ends as one of the filters does, which is told sooner than whether that matches.
pub(crate) fn may_match(filters: &[&str], topic: &str) -> bool {
    let is_fixed = |byte: &&u8| !matches!(byte, b'+' | b'#');
    filters.iter().any(|filter| {
        let begins = topic.as_bytes().iter().zip(filter.as_bytes().iter().take_while(is_fixed));
        let ends = topic.as_bytes().iter().rev().zip(filter.as_bytes().iter().rev().take_while(is_fixed));
        begins.chain(ends).all(|(one, other)| one == other)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_may_match_by_its_beginning_and_end() {
        let filters = &["+/5/+/$state", "$SYS/brokers", "spBv1.0/#"];
        for (topic, expected) in [
            ("homie/5/a/$state", true),
            ("homie/4/a/$state", true),
            ("homie/5/a/$nodes", false),
            ("$SYS/brokers", true),
            ("$SYS/broker/log/N", false),
            ("spBv1.0/g/NBIRTH/n", true),
            ("tele/a/LWT", false),
        ] {
            assert_eq!(may_match(filters, topic), expected, "{topic}");
        }
    }
}
