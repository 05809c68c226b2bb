//! The operations of a packed document one by one, for readers that know how it was packed.

use std::net::Ipv4Addr;

use super::{Piece, op, unpack};

/// One operation of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    Piece(Piece),
    Literal(&'a [u8]),
    Integer(u64),
    Address(Ipv4Addr),
    /// A time, or the name of the source.
    Other,
}

/// The operations up to the message that is held beside the document, or to the first that is damaged.
#[derive(Clone)]
pub struct Operations<'a>(pub(super) &'a [u8]);

impl Operations<'_> {
    /// Whether the message follows.
    pub fn are_before_message(&self) -> bool {
        self.0.first() == Some(&op::MESSAGE)
    }

    /// Whether a text ends here: what follows begins with a quotation mark.
    pub fn are_behind_text(&self) -> bool {
        unpack::begins_with_quotation_mark(self.0)
    }
}

impl<'a> Iterator for Operations<'a> {
    type Item = Operation<'a>;

    #[inline]
    fn next(&mut self) -> Option<Operation<'a>> {
        let (&code, operands) = self.0.split_first()?;
        let (operation, behind) = match code {
            op::FIRST_PIECE.. => (Operation::Piece(Piece(code)), operands),
            op::LITERAL => {
                let (literal, behind) = unpack::literal(self.0)?;
                (Operation::Literal(literal), behind)
            }
            op::INTEGER => {
                let (integer, behind) = unpack::varint(operands)?;
                (Operation::Integer(integer), behind)
            }
            op::IPV4 => {
                let (octets, behind) = operands.split_first_chunk::<4>()?;
                (Operation::Address((*octets).into()), behind)
            }
            _other => (Operation::Other, unpack::skip(self.0)?),
        };
        self.0 = behind;
        Some(operation)
    }
}
