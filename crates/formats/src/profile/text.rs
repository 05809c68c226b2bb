//! Texts that are made of captures, and captures that are parted by literal separators.

use std::borrow::Cow;

use super::template::{CAPTURES_MAX, Captures, Level, Template, slot};

/// A text with captures in it, for example the type `{site}.{line}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text {
    pieces: Vec<TextPart>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum TextPart {
    Literal(Box<str>),
    Capture(usize),
}

impl Text {
    pub fn parse(text: &str, names: &mut Vec<Box<str>>) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let literal = &rest[..rest.find(['{', '}']).unwrap_or(rest.len())];
            if !literal.is_empty() {
                pieces.push(TextPart::Literal(literal.into()));
            }
            rest = &rest[literal.len()..];
            if rest.is_empty() {
                break;
            }
            let Some((name, after)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) else {
                return Err(format!("`{text}` has a brace without its other one"));
            };
            pieces.push(TextPart::Capture(slot(name, names)?));
            rest = after;
        }
        Ok(Self { pieces })
    }

    pub fn of_capture(capture: usize) -> Self {
        Self { pieces: vec![TextPart::Capture(capture)] }
    }

    /// The topic of a template without its last level, or up to its first `+`: what a message there is about.
    pub fn of_parent(template: &Template) -> Self {
        let mut pieces = Vec::new();
        let levels = template.levels.iter().take(template.levels.len() - 1);
        for (index, level) in levels.take_while(|level| **level != Level::One(None)).enumerate() {
            if index > 0 {
                pieces.push(TextPart::Literal("/".into()));
            }
            match level {
                Level::Literal(literal) => pieces.push(TextPart::Literal(literal.clone())),
                Level::One(capture) => pieces.extend(capture.map(TextPart::Capture)),
                Level::Many(capture) => pieces.push(TextPart::Capture(*capture)),
                Level::Affixed { prefix, capture, suffix } => {
                    pieces.push(TextPart::Literal(prefix.clone()));
                    pieces.push(TextPart::Capture(*capture));
                    pieces.push(TextPart::Literal(suffix.clone()));
                }
            }
        }
        Self { pieces }.joined()
    }

    /// Neighbouring literals as one, so that a text without captures can be borrowed.
    fn joined(self) -> Self {
        let mut pieces: Vec<TextPart> = Vec::new();
        for piece in self.pieces {
            match (pieces.last_mut(), piece) {
                (Some(TextPart::Literal(last)), TextPart::Literal(literal)) => {
                    *last = format!("{last}{literal}").into()
                }
                (_, piece) => pieces.push(piece),
            }
        }
        Self { pieces }
    }

    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The text, if it is the same for every message.
    pub fn fixed(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [TextPart::Literal(literal)] => Some(literal),
            _ => None,
        }
    }

    /// The slots that the text needs.
    pub fn captures(&self) -> impl Iterator<Item = usize> {
        self.pieces.iter().filter_map(|piece| match piece {
            TextPart::Literal(_) => None,
            TextPart::Capture(capture) => Some(*capture),
        })
    }

    /// The text with its captures filled in; one that was not captured is empty.
    pub fn fill<'a>(&'a self, captures: &Captures<'a>) -> Cow<'a, str> {
        match self.pieces.as_slice() {
            [TextPart::Literal(literal)] => Cow::Borrowed(literal),
            [TextPart::Capture(capture)] => Cow::Borrowed(captures[*capture].unwrap_or_default()),
            pieces => Cow::Owned(pieces.iter().map(|piece| piece.text(captures)).collect()),
        }
    }
}

impl TextPart {
    fn text<'a>(&'a self, captures: &Captures<'a>) -> &'a str {
        match self {
            TextPart::Literal(literal) => literal,
            TextPart::Capture(capture) => captures[*capture].unwrap_or_default(),
        }
    }
}

/// Parts one capture into others. From left to right, each takes the shortest text before the separator that follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Split {
    pub from: usize,
    parts: Text,
}

impl Split {
    pub fn parse(from: usize, text: &str, names: &mut Vec<Box<str>>) -> Result<Self, String> {
        let parts = Text::parse(text, names)?;
        let follow = |pair: &[TextPart]| matches!(pair, [TextPart::Capture(_), TextPart::Capture(_)]);
        if parts.pieces.windows(2).any(follow) {
            return Err(format!("`{text}` has two captures without a separator"));
        }
        let captures: Vec<_> = parts.captures().collect();
        if captures.is_empty() || captures.len() > CAPTURES_MAX {
            return Err(format!("`{text}` has no capture"));
        }
        if let Some(twice) =
            captures.iter().find(|one| captures.iter().filter(|other| other == one).count() > 1)
        {
            return Err(format!("`{text}` captures `{{{}}}` twice", names[*twice]));
        }
        Ok(Self { from, parts })
    }

    /// The slots that are filled.
    pub fn captured(&self) -> impl Iterator<Item = usize> {
        self.parts.captures()
    }

    /// Fills the slots; `None` if the text is not of this form. No part is empty.
    pub fn apply(&self, captures: &mut Captures<'_>) -> Option<()> {
        let mut rest = captures[self.from]?;
        let mut pieces = self.parts.pieces.iter().peekable();
        while let Some(piece) = pieces.next() {
            match piece {
                TextPart::Literal(literal) => rest = rest.strip_prefix(&**literal)?,
                TextPart::Capture(capture) => {
                    let end = match pieces.peek() {
                        None => rest.len(),
                        Some(TextPart::Literal(separator)) => {
                            let first = rest.chars().next()?.len_utf8();
                            first + rest[first..].find(&**separator)?
                        }
                        // `parse` refuses it.
                        Some(TextPart::Capture(_)) => return None,
                    };
                    captures[*capture] = Some(&rest[..end]).filter(|part| !part.is_empty());
                    captures[*capture]?;
                    rest = &rest[end..];
                }
            }
        }
        rest.is_empty().then_some(())
    }
}
