//! Finds a topic that two profiles would both take, if there is one.

use std::collections::{HashSet, VecDeque};

use super::Profile;
use super::filter::TopicFilter;
use super::matcher::Role;
use super::template::{Level, LevelPosition, Template};

/// Stands for a text that no template and no filter names. No topic that a user writes holds it.
const OTHER: &str = "\u{1}";

/// Why two profiles cannot be used together.
pub(super) fn problem(one: &Profile, other: &Profile) -> Option<String> {
    if one.name == other.name {
        return Some("another profile has this name".to_owned());
    }
    for (one_role, one_template) in one.roles() {
        for (other_role, other_template) in other.roles() {
            let excepts = |role: Role, profile| match role {
                Role::Parent => [].as_slice(),
                Role::Status(_) | Role::Alive(_) => Profile::except_filters(profile),
            };
            let except: Vec<_> = excepts(one_role, one).iter().chain(excepts(other_role, other)).collect();
            if let Some(topic) = shared_topic(one_template, other_template, &except) {
                return Some(format!(
                    "`{}` and `{}` of profile `{}` both match `{}`: use one of the two, or write `except`",
                    other_template.text, one_template.text, one.name, topic
                ));
            }
        }
    }
    None
}

impl Profile {
    fn except_filters(&self) -> &[TopicFilter] {
        &self.except
    }
}

/// A topic that both templates match and none of the filters.
///
/// Walks all topics at once, the shorter first, over the few texts that the templates and filters can tell apart.
fn shared_topic(one: &Template, other: &Template, except: &[&TopicFilter]) -> Option<String> {
    let texts = distinct_texts(one, other, except);
    let start = OverlapState { one: 0, other: 0, depth: 0, except: vec![true; except.len()] };
    let mut open = VecDeque::from([(start, Vec::<String>::new())]);
    let mut seen = HashSet::new();
    while let Some((state, topic)) = open.pop_front() {
        if state.is_excepted(except) || !seen.insert(state.clone()) {
            continue;
        }
        if state.one == one.levels.len() && state.other == other.levels.len() && !state.is_at_end_of(except) {
            return Some(topic.join("/").replace(OTHER, "any"));
        }
        for text in &texts {
            for next in state.next(one, other, except, text) {
                let mut topic = topic.clone();
                topic.push(text.clone());
                open.push_back((next, topic));
            }
        }
    }
    None
}

/// How far a topic that is made level by level has come in both templates and in each filter.
#[derive(Clone, PartialEq, Eq, Hash)]
struct OverlapState {
    one: usize,
    other: usize,
    /// No more than the longest filter has: behind its end all levels are alike.
    depth: usize,
    /// Which filters have matched so far.
    except: Vec<bool>,
}

impl OverlapState {
    /// Whether a filter matches whatever follows.
    fn is_excepted(&self, except: &[&TopicFilter]) -> bool {
        let open = |(filter, matched): (&&TopicFilter, &bool)| {
            *matched && filter.is_open && self.depth > 0 && filter.levels.len() <= self.depth
        };
        except.iter().zip(&self.except).any(open)
    }

    fn is_at_end_of(&self, except: &[&TopicFilter]) -> bool {
        except.iter().zip(&self.except).any(|(filter, matched)| *matched && filter.levels.len() == self.depth)
    }

    fn next(
        &self,
        one: &Template,
        other: &Template,
        except: &[&TopicFilter],
        text: &str,
    ) -> Vec<OverlapState> {
        let position = if self.depth == 0 { LevelPosition::First } else { LevelPosition::Inner };
        let matched = except.iter().zip(&self.except).map(|(filter, matched)| {
            let level = filter.levels.get(self.depth);
            // Only `#` at the very beginning has no level for the first text.
            let takes = level.map_or(filter.is_open && Level::Many(0).takes(text, position), |level| {
                level.takes(text, position)
            });
            *matched && takes
        });
        let matched: Vec<_> = matched.collect();
        let longest = except.iter().map(|filter| filter.levels.len()).max().unwrap_or(0);
        let depth = (self.depth + 1).min(longest + 1);
        let mut states = Vec::new();
        for one in steps(one, self.one, text, position) {
            for other in steps(other, self.other, text, position) {
                states.push(OverlapState { one, other, depth, except: matched.clone() });
            }
        }
        states
    }
}

/// Where a template can be after one more level.
fn steps(template: &Template, at: usize, text: &str, position: LevelPosition) -> impl Iterator<Item = usize> {
    let level = template.levels.get(at).filter(|level| level.takes(text, position));
    let stays = matches!(level, Some(Level::Many(_))).then_some(at);
    level.map(|_| at + 1).into_iter().chain(stays)
}

/// One text for each kind of level that the templates and filters tell apart.
fn distinct_texts(one: &Template, other: &Template, except: &[&TopicFilter]) -> Vec<String> {
    let levels =
        one.levels.iter().chain(&other.levels).chain(except.iter().flat_map(|filter| &filter.levels));
    let mut texts = Vec::new();
    let mut prefixes = vec![""];
    let mut suffixes = vec![""];
    for level in levels {
        match level {
            Level::Literal(literal) => texts.push(literal.to_string()),
            Level::One(_) | Level::Many(_) => {}
            Level::Affixed { prefix, suffix, .. } => {
                prefixes.push(prefix);
                suffixes.push(suffix);
            }
        }
    }
    for prefix in &prefixes {
        texts.extend(suffixes.iter().map(|suffix| format!("{prefix}{OTHER}{suffix}")));
    }
    texts.sort();
    texts.dedup();
    texts
}
