//! The operations of a packed document one by one, for readers that know how it was packed.

use super::{Piece, op, unpack};

/// One operation of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    Piece(Piece),
    Literal(&'a [u8]),
    Integer(u64),
    /// A time, an address, or the name of the source.
    Other,
}

/// The operations up to the message that is held beside the document, or to the first that is damaged.
pub struct Operations<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Operations<'a> {
    type Item = Operation<'a>;

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
            _other => (Operation::Other, unpack::skip(self.0)?),
        };
        self.0 = behind;
        Some(operation)
    }
}
