//! A reader of protobuf messages that allocates nothing and knows no schema: the caller takes the fields it wants by number.

/// One field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    pub number: u32,
    pub value: WireValue<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireValue<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// The bytes are no protobuf message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Iterates over the fields of one message, in the order of the bytes; after an error it ends.
pub struct ProtobufFields<'a> {
    rest: &'a [u8],
}

impl<'a> ProtobufFields<'a> {
    pub fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn field(&mut self) -> Result<Field<'a>, Malformed> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| *number != 0).ok_or(Malformed)?;
        let value = match tag & 7 {
            0 => WireValue::Varint(self.varint()?),
            1 => WireValue::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_too_long| Malformed)?;
                WireValue::Bytes(self.take(length)?)
            }
            5 => WireValue::Fixed32(u32::from_le_bytes(self.array()?)),
            // 3 and 4 are groups, which none of our formats has.
            _ => return Err(Malformed),
        };
        Ok(Field { number, value })
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(Malformed)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_length| Malformed)
    }
}

impl<'a> Iterator for ProtobufFields<'a> {
    type Item = Result<Field<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_kind_of_value() {
        let message = [8, 0xac, 2, 17, 1, 0, 0, 0, 0, 0, 0, 0, 26, 2, b'h', b'i', 37, 7, 0, 0, 0];
        let fields: Vec<_> = ProtobufFields::new(&message).map(|field| field.unwrap()).collect();
        let field = |number, value| Field { number, value };
        assert_eq!(
            fields,
            [
                field(1, WireValue::Varint(300)),
                field(2, WireValue::Fixed64(1)),
                field(3, WireValue::Bytes(b"hi")),
                field(4, WireValue::Fixed32(7)),
            ]
        );
    }

    #[test]
    fn refuses_what_is_cut_or_has_no_length_that_fits() {
        let longest = [8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1];
        assert_eq!(
            ProtobufFields::new(&longest).next(),
            Some(Ok(Field { number: 1, value: WireValue::Varint(u64::MAX) }))
        );
        let too_long = [8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1];
        for message in [&[8][..], &[26, 3, 1], &[17, 0], &[37], &[0, 0], &[11], &[12], &[8, 0x80], &too_long]
        {
            let mut fields = ProtobufFields::new(message);
            assert_eq!(fields.next(), Some(Err(Malformed)), "{message:?}");
            assert_eq!(fields.next(), None, "an error ends the message: {message:?}");
        }
    }
}
