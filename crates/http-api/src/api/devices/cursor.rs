//! Where a list goes on, as a text that means nothing to a client: the last device of a page, and a check that the next page
//! is of the same list. Any instance can go on from it, also after a restart.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use presence::Moment;
use presence::query::{Filter, Position, Sort};

/// The first byte; another form gets another.
const FORM: u8 = 1;

/// The cursor behind a device of this list.
pub fn write(position: &Position, filter: &Filter, sort: Sort) -> String {
    let mut bytes = vec![FORM];
    bytes.extend(position.time.nanos().unwrap_or(i64::MIN).to_be_bytes());
    bytes.extend((position.device_type.len() as u32).to_be_bytes());
    bytes.extend(position.device_type.as_bytes());
    bytes.extend(position.id.as_bytes());
    bytes.extend(check(&bytes, filter, sort).to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The device that the cursor stands behind; `None` if it is no cursor, or one of another list.
pub fn read(text: &str, filter: &Filter, sort: Sort) -> Option<Position> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (bytes, sum) = bytes.split_last_chunk::<8>()?;
    if u64::from_be_bytes(*sum) != check(bytes, filter, sort) {
        return None;
    }
    let (&FORM, bytes) = bytes.split_first()? else { return None };
    let (time, bytes) = bytes.split_first_chunk::<8>()?;
    let (length, bytes) = bytes.split_first_chunk::<4>()?;
    let (device_type, id) = bytes.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    let time = match i64::from_be_bytes(*time) {
        i64::MIN => Moment::UNKNOWN,
        nanos => Moment::from_nanos(i128::from(nanos)),
    };
    Some(Position { device_type: text(device_type)?, id: text(id)?, time })
}

/// Tells a cursor of this list from others and from chance (FNV-1a). It is no secret: who forges one gets a page of what
/// may be read anyway.
fn check(bytes: &[u8], filter: &Filter, sort: Sort) -> u64 {
    let list = format!("{filter:?} {sort:?}");
    let all = bytes.iter().chain(list.as_bytes());
    all.fold(0xcbf2_9ce4_8422_2325, |sum: u64, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use presence::query::SortBy;

    const SORT: Sort = Sort { by: SortBy::Since, descending: false };

    proptest! {
        #[test]
        fn a_cursor_gives_back_its_position_and_no_other_text_gives_any(
            device_type in ".{1,20}", id in ".{0,40}", time in any::<i64>(), at in any::<prop::sample::Index>(), noise in ".{0,60}",
        ) {
            let time = if time == i64::MIN { Moment::UNKNOWN } else { Moment::from_nanos(i128::from(time)) };
            let position = Position { device_type, id, time };
            let filter = Filter::default();
            let cursor = write(&position, &filter, SORT);
            prop_assert_eq!(read(&cursor, &filter, SORT), Some(position));
            let other_list = Filter { id_prefix: "x".to_owned(), ..Filter::default() };
            prop_assert_eq!(read(&cursor, &other_list, SORT), None);
            prop_assert_eq!(read(&cursor, &filter, Sort { descending: true, ..SORT }), None);
            let mut damaged = cursor.clone().into_bytes();
            let at = at.index(damaged.len());
            damaged[at] = if damaged[at] == b'A' { b'B' } else { b'A' };
            prop_assert_eq!(read(std::str::from_utf8(&damaged).unwrap(), &filter, SORT), None);
            prop_assert_eq!(read(&cursor[..at], &filter, SORT), None);
            prop_assert_eq!(read(&noise, &filter, SORT), None);
        }
    }
}
