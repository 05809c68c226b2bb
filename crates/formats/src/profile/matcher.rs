//! Finds the template that a topic belongs to, over all profiles at once: a trie of levels. What it costs depends on the
//! topic's levels, and by a comparison or two on how many profiles there are.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Profile;
use super::template::{Level, LevelPosition, Template};
use super::topic_levels::TopicLevels;

/// What a template is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// The state of the parent.
    Parent,
    /// The state of a device: which of the profile's topics.
    Status(usize),
    /// A sign of life: which of the profile's topics.
    Alive(usize),
}

/// A template of a profile. The least of those that match takes the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    pub profile: usize,
    pub role: Role,
}

/// All templates.
#[derive(Clone, Debug, Default)]
pub(super) struct Matcher {
    root: LevelNode,
}

#[derive(Clone, Debug, Default)]
struct LevelNode {
    /// Few for most nodes, so that a comparison or two take less than a hash.
    literals: BTreeMap<Box<str>, LevelNode>,
    any: Option<Box<LevelNode>>,
    affixed: Vec<(Level, LevelNode)>,
    /// What follows a capture of several levels, from the last level to the first.
    tail: Option<Box<LevelNode>>,
    targets: Vec<Target>,
}

impl Matcher {
    pub fn new(profiles: &[Profile]) -> Self {
        let mut matcher = Self::default();
        for (profile, content) in profiles.iter().enumerate() {
            for (role, template) in content.roles() {
                matcher.root.insert(template).push(Target { profile, role });
            }
        }
        matcher
    }

    /// The least target whose template matches and that the caller takes.
    pub fn find(&self, topic: &TopicLevels<'_>, takes: impl Fn(Target) -> bool) -> Option<Target> {
        let mut best: Option<Target> = None;
        let mut visit = |targets: &[Target]| {
            for target in targets {
                if best.is_none_or(|best| *target < best) && takes(*target) {
                    best = Some(*target);
                }
            }
        };
        self.root.walk(topic, 0..topic.count(), &mut visit);
        best
    }
}

impl LevelNode {
    fn insert(&mut self, template: &Template) -> &mut Vec<Target> {
        let many = template.levels.iter().position(|level| matches!(level, Level::Many(_)));
        let (head, tail) = template.levels.split_at(many.unwrap_or(template.levels.len()));
        let mut node = head.iter().fold(self, |node, level| node.child(level));
        if let Some((_many, tail)) = tail.split_first() {
            node = node.tail.get_or_insert_default();
            node = tail.iter().rev().fold(node, |node, level| node.child(level));
        }
        &mut node.targets
    }

    fn child(&mut self, level: &Level) -> &mut LevelNode {
        match level {
            Level::Literal(literal) => self.literals.entry(literal.clone()).or_default(),
            Level::One(_) | Level::Many(_) => self.any.get_or_insert_default(),
            Level::Affixed { .. } => {
                let known = self.affixed.iter().position(|(known, _)| known == level);
                let index = known.unwrap_or_else(|| {
                    self.affixed.push((level.clone(), LevelNode::default()));
                    self.affixed.len() - 1
                });
                &mut self.affixed[index].1
            }
        }
    }

    /// Visits the targets of all templates that match these levels, the last ones of a topic. The depth is that of the longest template.
    fn walk(&self, topic: &TopicLevels<'_>, mut levels: Range<usize>, visit: &mut impl FnMut(&[Target])) {
        let position = if levels.start == 0 { LevelPosition::First } else { LevelPosition::Inner };
        let Some(first) = levels.clone().next() else { return visit(&self.targets) };
        let level = topic.level(first);
        if let Some(tail) = &self.tail
            && Level::Many(0).takes(level, position)
        {
            tail.walk_back(topic, levels.clone(), visit);
        }
        levels.start += 1;
        self.each_child(level, position, |node| node.walk(topic, levels.clone(), visit));
    }

    /// The same from the end, as long as a level is left for the capture of several.
    fn walk_back(
        &self,
        topic: &TopicLevels<'_>,
        mut levels: Range<usize>,
        visit: &mut impl FnMut(&[Target]),
    ) {
        visit(&self.targets);
        let Some(last) = levels.next_back().filter(|_last| !levels.is_empty()) else { return };
        self.each_child(topic.level(last), LevelPosition::Inner, |node| {
            node.walk_back(topic, levels.clone(), visit);
        });
    }

    fn each_child(&self, level: &str, position: LevelPosition, mut visit: impl FnMut(&LevelNode)) {
        if let Some(node) = self.literals.get(level) {
            visit(node);
        }
        if let Some(node) = &self.any
            && Level::One(None).takes(level, position)
        {
            visit(node);
        }
        for (affixed, node) in &self.affixed {
            if affixed.takes(level, position) {
                visit(node);
            }
        }
    }
}

impl Profile {
    pub(super) fn roles(&self) -> impl Iterator<Item = (Role, &Template)> {
        let parent = self.under.iter().map(|under| (Role::Parent, &under.template));
        let topics = self.topics.iter().enumerate();
        let topics = topics.map(|(index, (template, _))| (Role::Status(index), template));
        let alive = self.alive.iter().enumerate().map(|(index, template)| (Role::Alive(index), template));
        parent.chain(topics).chain(alive)
    }

    /// Whether a matching topic is none of the exceptions.
    pub(super) fn takes(&self, role: Role, topic: &str) -> bool {
        match role {
            Role::Parent => true,
            Role::Status(_) | Role::Alive(_) => !self.excepts(topic),
        }
    }
}
