//! Reads the values at some JSON pointers (RFC 6901) in one pass, without building the document. Of a member that stands
//! twice the last one counts.

use std::borrow::Cow;
use std::fmt;

use crate::json_members::{self, Value};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The value at a pointer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Found<'a> {
    /// Nothing, or null.
    #[default]
    Missing,
    Bool(bool),
    Integer(i64),
    /// Any number that is no `i64`.
    Float(f64),
    Text(Cow<'a, str>),
    /// An object or an array.
    Compound,
}

/// The pointers that a profile reads, as a tree over their tokens.
#[derive(Clone, Debug, Default)]
pub(super) struct Pointers {
    pub root: PointerNode,
    slots: usize,
}

#[derive(Clone, Debug, Default)]
pub(super) struct PointerNode {
    /// Where the value is put, if a pointer ends here.
    pub slot: Option<usize>,
    pub children: Vec<(Box<str>, PointerNode)>,
    /// A bit for the length of each child's name, the highest for all that are longer: most members are told apart by it.
    lengths: u64,
}

/// The bit for the length of a name.
fn length_bit(name: &str) -> u64 {
    1 << name.len().min(63)
}

/// Longer pointers are refused, so the descent is no deeper. serde_json itself refuses a depth of 128, and skips without
/// recursion.
const TOKENS_MAX: usize = 32;

impl Pointers {
    /// Adds a pointer and says in which slot its value will be. Equal pointers share one.
    pub fn add(&mut self, pointer: &str) -> Result<usize, String> {
        let mut node = &mut self.root;
        if !pointer.is_empty() {
            let Some(tokens) = pointer.strip_prefix('/') else {
                return Err(format!("`{pointer}` is no JSON pointer: it begins with `/`, or is empty"));
            };
            if tokens.split('/').count() > TOKENS_MAX {
                return Err(format!("a JSON pointer has at most {TOKENS_MAX} levels"));
            }
            for token in tokens.split('/') {
                node = node.child(unescape(token)?);
            }
        }
        Ok(*node.slot.get_or_insert_with(|| {
            self.slots += 1;
            self.slots - 1
        }))
    }

    pub fn len(&self) -> usize {
        self.slots
    }

    pub fn is_empty(&self) -> bool {
        self.slots == 0
    }

    /// Reads all values; an error if the text is no JSON.
    pub fn read<'a>(&self, json: &'a [u8]) -> Result<Vec<Found<'a>>, serde_json::Error> {
        if let Some(found) = self.read_members(json) {
            return Ok(found);
        }
        let mut found = vec![Found::Missing; self.slots];
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        PointerWalk { node: &self.root, found: &mut found }.deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(found)
    }

    /// The same of an object, in less time; `None`: serde has to read it.
    fn read_members<'a>(&self, json: &'a [u8]) -> Option<Vec<Found<'a>>> {
        let json = std::str::from_utf8(json).ok().filter(|_| self.root.slot.is_none())?;
        let mut found = vec![Found::Missing; self.slots];
        let mut is_sound = true;
        json_members::for_each(json, |name, value| {
            if let Some(child) = self.root.known(name) {
                child.clear(&mut found);
                if let Some(plain) = plain(value) {
                    if let Some(slot) = child.slot {
                        found[slot] = plain;
                    }
                    return;
                }
                let mut deserializer = serde_json::Deserializer::from_str(value.json);
                let walk = PointerWalk { node: child, found: &mut found };
                is_sound &= walk.deserialize(&mut deserializer).is_ok();
            }
        })?;
        is_sound.then_some(found)
    }
}

/// A value that is sound JSON and has nothing below it, no escapes and few digits, as most have; `None`: serde has to read it.
fn plain(value: Value<'_>) -> Option<Found<'_>> {
    /// All integers with so many digits fit.
    const DIGITS_MAX: usize = 18;
    if let Some(text) = value.plain_text() {
        return Some(Found::Text(text.into()));
    }
    let json = value.json;
    match json.as_bytes().first()? {
        b'0'..=b'9' if json.len() <= DIGITS_MAX => json.parse().ok().map(Found::Integer),
        b't' => Some(Found::Bool(true)),
        b'f' => Some(Found::Bool(false)),
        b'n' => Some(Found::Missing),
        _ => None,
    }
}

impl PointerNode {
    fn child(&mut self, token: String) -> &mut PointerNode {
        let known = self.children.iter().position(|(name, _)| **name == *token);
        self.lengths |= length_bit(&token);
        let index = known.unwrap_or_else(|| {
            self.children.push((token.into(), PointerNode::default()));
            self.children.len() - 1
        });
        &mut self.children[index].1
    }

    fn known(&self, name: &str) -> Option<&Self> {
        if self.lengths & length_bit(name) == 0 {
            return None;
        }
        self.children.iter().find(|(known, _)| **known == *name).map(|(_, child)| child)
    }

    /// Forgets what was found here and below: the member occurs again.
    fn clear(&self, found: &mut [Found<'_>]) {
        if let Some(slot) = self.slot {
            found[slot] = Found::Missing;
        }
        for (_, child) in &self.children {
            child.clear(found);
        }
    }
}

/// `~1` is `/`, `~0` is `~`.
fn unescape(token: &str) -> Result<String, String> {
    let unescaped = token.replace("~1", "/").replace("~0", "~");
    let escapes = token.matches("~0").count() + token.matches("~1").count();
    if token.matches('~').count() != escapes {
        return Err(format!("`{token}` is no part of a JSON pointer: `~` is written `~0`"));
    }
    Ok(unescaped)
}

/// Reads one value at a node of the tree.
struct PointerWalk<'t, 'f, 'a> {
    node: &'t PointerNode,
    found: &'f mut [Found<'a>],
}

impl<'a> PointerWalk<'_, '_, 'a> {
    fn keep<E>(self, value: Found<'a>) -> Result<(), E> {
        if let Some(slot) = self.node.slot {
            self.found[slot] = value;
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for PointerWalk<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PointerWalk<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.keep(Found::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.keep(Found::Integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        // No status and no time is so great that the rounding could matter.
        #[allow(clippy::cast_precision_loss, reason = "only beyond the range of i64")]
        let found = i64::try_from(value).map_or(Found::Float(value as f64), Found::Integer);
        self.keep(found)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.keep(Found::Float(value))
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<(), E> {
        self.keep(Found::Text(value.into()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        match self.node.slot {
            Some(_) => self.keep(Found::Text(value.to_owned().into())),
            None => Ok(()),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.keep(Found::Missing)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let PointerWalk { node, found } = self;
        if let Some(slot) = node.slot {
            found[slot] = Found::Compound;
        }
        while let Some(child) = map.next_key_seed(Member(node))? {
            match child {
                Some(child) => {
                    child.clear(found);
                    map.next_value_seed(PointerWalk { node: child, found: &mut *found })?;
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        let PointerWalk { node, found } = self;
        if let Some(slot) = node.slot {
            found[slot] = Found::Compound;
        }
        for index in 0_usize.. {
            let is_index = |name: &str| !node.children.is_empty() && name == index.to_string();
            let child = node.children.iter().find(|(name, _)| is_index(name));
            let is_there = match child {
                Some((_, child)) => {
                    sequence.next_element_seed(PointerWalk { node: child, found: &mut *found })?.is_some()
                }
                None => sequence.next_element::<IgnoredAny>()?.is_some(),
            };
            if !is_there {
                break;
            }
        }
        Ok(())
    }
}

/// Reads a member's name and says which child of the node it is, if any.
struct Member<'t>(&'t PointerNode);

impl<'de, 't> DeserializeSeed<'de> for Member<'t> {
    type Value = Option<&'t PointerNode>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'t> Visitor<'_> for Member<'t> {
    type Value = Option<&'t PointerNode>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.known(name))
    }
}
