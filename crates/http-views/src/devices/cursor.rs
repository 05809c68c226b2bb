//! Where a list goes on, as a text that means nothing to a client: the last device of a page, and a check that the next page
//! is of the same list. Any instance can go on from it, also after a restart.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use presence::query::{Filter, Network, Position, Sort, SortBy};
use presence::{Moment, StableHash};

/// The first byte; another form gets another.
const FORM: u8 = 2;

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

/// The device that the cursor follows; `None` if it is no cursor, or one of another list.
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

/// Tells a cursor of this list from others and from chance. It is no secret: who forges one gets a page of what may be read
/// anyway.
fn check(bytes: &[u8], filter: &Filter, sort: Sort) -> u64 {
    StableHash::default().with(bytes).with(list_of(filter, sort).as_bytes()).value()
}

/// The list as a text that stays the same from version to version: the parameters that are given, by their names in the API. A
/// parameter that a later version adds changes only the cursors of the lists that use it. Each value has its length, so
/// that no value can look like another parameter.
fn list_of(filter: &Filter, sort: Sort) -> String {
    let Filter { types, sources, ids, id_prefixes, status, close_codes, causes, addresses, .. } = filter;
    let Filter { since, until, expectation, .. } = filter;
    // The same list whenever it is asked for, and by whatever policies.
    let expectations = expectation.iter().flat_map(|filter| &filter.wanted);
    let mut list = String::new();
    let mut add = |name: &str, value: &str| {
        let _ = write!(list, "{name}={}:{value};", value.len());
    };
    for (name, values) in [
        ("type", types.clone()),
        ("source", sources.clone()),
        ("id", ids.clone()),
        ("id_prefix", id_prefixes.clone()),
        ("status", status.iter().map(|status| status.word().to_owned()).collect()),
        ("close_code", close_codes.iter().map(u16::to_string).collect()),
        ("cause", causes.iter().map(|cause| (*cause).to_owned()).collect()),
        ("address", addresses.iter().map(Network::to_string).collect()),
        ("expectation", expectations.map(|wanted| wanted.word().to_owned()).collect()),
    ] {
        // Neither order nor repetition makes another list.
        BTreeSet::from_iter(values).iter().for_each(|value| add(name, value));
    }
    for (name, moment) in [("since", since), ("until", until)] {
        if let Some(nanos) = moment.and_then(Moment::nanos) {
            add(name, &nanos.to_string());
        }
    }
    let by = match sort.by {
        SortBy::Id => "id",
        SortBy::Since => "since",
    };
    add("sort", &format!("{}{by}", if sort.descending { "-" } else { "" }));
    list
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use presence::Status;

    const SORT: Sort = Sort { by: SortBy::Since, descending: false };

    #[test]
    fn cursors_of_earlier_versions_are_understood() {
        let position =
            Position { device_type: "pump".to_owned(), id: "7".to_owned(), time: Moment::from_nanos(9) };
        let all = Filter {
            types: vec!["valve".to_owned(), "pump".to_owned()],
            sources: Vec::new(),
            ids: Vec::new(),
            id_prefixes: vec!["p".to_owned()],
            status: Some(Status::Disconnected),
            close_codes: vec![91],
            causes: Vec::new(),
            addresses: vec!["192.0.2.7/24".parse().unwrap()],
            since: Some(Moment::from_nanos(1)),
            until: Some(Moment::from_nanos(2)),
            expectation: None,
        };
        let descending = Sort { by: SortBy::Id, descending: true };
        assert_eq!(
            list_of(&all, descending),
            "type=4:pump;type=5:valve;id_prefix=1:p;status=12:disconnected;close_code=2:91;address=12:192.0.2.0/24;\
             since=1:1;until=1:2;sort=3:-id;"
        );
        for (cursor, filter, sort) in [
            ("AgAAAAAAAAAJAAAABHB1bXA3RKc7499UsgA", Filter::default(), SORT),
            ("AgAAAAAAAAAJAAAABHB1bXA3dG2wVoPv5q0", all, descending),
        ] {
            assert_eq!(write(&position, &filter, sort), cursor);
            assert_eq!(read(cursor, &filter, sort).as_ref(), Some(&position));
        }
    }

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
            let other_list = Filter { id_prefixes: vec!["x".to_owned()], ..Filter::default() };
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
