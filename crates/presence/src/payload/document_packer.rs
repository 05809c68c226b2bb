//! Packs a document part by part, without its text. The bytes are those that packing the text gives.

use super::pack::{self, Packer};
use super::{Payload, Piece, SourceMessage, put_source};

/// A packed document with its message and some room.
const CAPACITY: usize = 192;

/// Packs a document. Its parts come in the order of the text, which begins with a piece. Where a value or a number is no
/// piece, a piece must follow.
pub struct DocumentPacker(Packer);

impl DocumentPacker {
    /// A document of this source.
    pub fn new(source: &str) -> Self {
        let mut packer = Packer::with_capacity(CAPACITY);
        put_source(source, &mut packer.packed);
        Self(packer)
    }

    /// A piece; it must be the longest that the text has there.
    pub fn piece(&mut self, piece: Piece) {
        self.0.packed.push(piece.0);
    }

    /// What follows a piece up to the next quotation mark; `None`: the document must be packed as a text, because the value
    /// is escaped in it, or too long.
    pub fn value(&mut self, value: &str) -> Option<()> {
        if pack::is_escaped(value.as_bytes()) { None } else { self.0.value_behind_piece(value.as_bytes()) }
    }

    /// Milliseconds since 1970, behind a piece, as [`crate::time_text::TimeText::of_millis`] writes them.
    pub fn time(&mut self, millis: u64) {
        self.0.put_time(millis);
    }

    /// A number in digits, behind a piece.
    pub fn integer(&mut self, number: u64) {
        self.0.integer(number);
    }

    /// A text in which no piece and no value is, in parts.
    pub fn literal<const PARTS: usize>(&mut self, parts: [&str; PARTS]) {
        self.0.literal_of(&parts.map(str::as_bytes));
    }

    /// Whether a text may be a part of a literal, between quotation marks.
    pub fn is_literal(text: &str) -> bool {
        pack::is_literal(text.as_bytes())
    }

    /// All that is left, from where a piece may begin.
    pub fn rest(&mut self, text: &[u8]) {
        self.0.text(text);
    }

    /// The message that the document was made of.
    pub fn with_message(mut self, message: &SourceMessage<'_>) -> Payload {
        self.0.message(message);
        self.finish()
    }

    pub fn finish(self) -> Payload {
        Payload(self.0.packed.as_slice().into())
    }
}
