//! A filter as far as the entries of an order tell, in plain numbers: a list may pass over millions of them.

use super::end_code::EndCode;
use super::index_entry::{IndexEntry, IndexKey};
use formats::Cause;
use presence::query::Filter;
use presence::{Moment, Status};

pub(super) struct IndexFilter {
    connected: bool,
    disconnected: bool,
    /// Empty: any.
    close_codes: Box<[u16]>,
    /// A bit for the place of each cause that is wanted; `None`: any is.
    causes: Option<u16>,
    /// A status decided at an unknown time is in no span.
    unknown_time: bool,
    since: Moment,
    until: Option<Moment>,
    /// `None`: any address fits.
    networks: Option<Box<[MaskedBits]>>,
    first_check: FirstCheck,
}

/// What nearly all devices that are not wanted differ in, as one comparison of numbers: a filter that wants few passes over
/// many.
enum FirstCheck {
    Network(MaskedBits),
    EndCode(EndCode),
    None,
}

/// Entries of an order that are still to be looked at, from the first on or from the last.
pub(super) struct Entries<'a> {
    entries: std::slice::Iter<'a, IndexEntry>,
    descending: bool,
}

impl<'a> Entries<'a> {
    pub fn new(entries: &'a [IndexEntry], descending: bool) -> Self {
        Self { entries: entries.iter(), descending }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    #[inline]
    fn find(&mut self, is_wanted: impl Fn(&IndexEntry) -> bool) -> Option<&'a IndexEntry> {
        if self.descending {
            self.entries.rfind(|entry| is_wanted(entry))
        } else {
            self.entries.find(|entry| is_wanted(entry))
        }
    }
}

/// An address fits whose masked bits are these.
#[derive(Clone, Copy)]
struct MaskedBits {
    mask: u32,
    bits: u32,
}

impl IndexFilter {
    pub fn of(filter: &Filter) -> Self {
        let any = |status| {
            filter.status.is_none_or(|wanted| wanted == status)
                && filter.expectation.as_ref().is_none_or(|wanted| wanted.may_admit(status))
        };
        // An index has only IPv4 addresses.
        let masked = filter.addresses.iter().filter_map(|wanted| wanted.ipv4_mask_and_bits());
        let networks: Box<[_]> = masked.map(|(mask, bits)| MaskedBits { mask, bits }).collect();
        let first_check = match (&*networks, filter.close_codes.as_slice()) {
            (&[network], _) => FirstCheck::Network(network),
            (_, &[code]) => EndCode::of_platform(code).map_or(FirstCheck::None, FirstCheck::EndCode),
            _ => FirstCheck::None,
        };
        Self {
            connected: any(Status::Connected) && filter.close_codes.is_empty() && filter.causes.is_empty(),
            disconnected: any(Status::Disconnected),
            close_codes: filter.close_codes.as_slice().into(),
            causes: (!filter.causes.is_empty()).then(|| places(&filter.causes)),
            unknown_time: filter.since.is_none() && filter.until.is_none(),
            since: filter.since.unwrap_or(Moment::UNKNOWN),
            until: filter.until,
            networks: (!filter.addresses.is_empty()).then_some(networks),
            first_check,
        }
    }

    /// The next entry of a device that the filter may admit, whatever its id.
    pub fn next<'a>(&self, entries: &mut Entries<'a>) -> Option<&'a IndexEntry> {
        let may_admit = |entry: &IndexEntry| self.may_admit(entry.index_key());
        match self.first_check {
            FirstCheck::Network(MaskedBits { mask, bits }) => entries.find(|entry| {
                let address = entry.address_bits();
                (address & mask == bits || address == 0) && may_admit(entry)
            }),
            FirstCheck::EndCode(code) => entries.find(|entry| entry.end_code() == code && may_admit(entry)),
            FirstCheck::None => entries.find(may_admit),
        }
    }

    /// Whether the filter may admit a device with this index key, whatever its id. An address that the key does not have may be
    /// any.
    #[inline]
    fn may_admit(&self, index_key: IndexKey) -> bool {
        let status = match index_key.status {
            Status::Connected => self.connected,
            Status::Disconnected => self.disconnected,
        };
        status
            && index_key.address.is_none_or(|address| self.admits_address(address.to_bits()))
            && (self.close_codes.is_empty()
                || index_key.end_code.close_code().is_some_and(|code| self.close_codes.contains(&code)))
            && self.causes.is_none_or(|places| places & 1 << index_key.end_code.cause() != 0)
            && index_key.time >= self.since
            && self.until.is_none_or(|until| index_key.time < until)
            && (self.unknown_time || index_key.time != Moment::UNKNOWN)
    }

    #[inline]
    fn admits_address(&self, address: u32) -> bool {
        self.networks
            .as_ref()
            .is_none_or(|networks| networks.iter().any(|network| address & network.mask == network.bits))
    }
}

/// The places of these causes, as bits.
fn places(causes: &[&str]) -> u16 {
    causes.iter().filter_map(|word| Cause::place_of_word(word)).fold(0, |places, place| places | 1 << place)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;

    use super::*;
    use crate::registry::shard::RecordPlace;
    use formats::held::close_code;
    use presence::payload::Payload;
    use presence::query::Traits;
    use presence::{EventKind, PresenceEvent};

    fn moment() -> impl Strategy<Value = Moment> {
        prop_oneof![Just(Moment::UNKNOWN), (0i128..4).prop_map(Moment::from_nanos)]
    }

    fn status() -> impl Strategy<Value = Status> {
        prop_oneof![Just(Status::Connected), Just(Status::Disconnected)]
    }

    const NETWORKS: [&str; 6] =
        ["10.0.0.0/8", "10.1.0.0/16", "10.1.0.1", "0.0.0.0/0", "::/0", "2001:db8::/32"];
    const ADDRESSES: [[u8; 4]; 4] = [[10, 1, 0, 1], [10, 1, 0, 2], [10, 2, 0, 1], [192, 0, 2, 1]];

    proptest! {
        #[test]
        fn the_index_filter_admits_every_device_that_the_filter_admits(
            wanted in prop::option::of(status()),
            close_codes in prop::collection::vec(0u16..3, 0..3),
            causes in prop::sample::subsequence(vec!["ended", "connection", "timeout", "unknown"], 0..3),
            networks in prop::sample::subsequence(NETWORKS.to_vec(), 0..3),
            since in prop::option::of((0i128..4).prop_map(Moment::from_nanos)),
            until in prop::option::of((0i128..4).prop_map(Moment::from_nanos)),
            index_key in (status(), prop::sample::select(vec![0u16, 1, 2, 91, 160]), moment(), prop::sample::select(&ADDRESSES[..])),
        ) {
            let (status, code, time, address) = index_key;
            let address = Ipv4Addr::from(address);
            let addresses = networks.iter().map(|text| text.parse().unwrap()).collect();
            let filter = Filter { status: wanted, close_codes, causes, addresses, since, until, ..Filter::default() };
            let traits = Traits {
                source: "iot-platform",
                device_type: "t",
                id: "d",
                status,
                close_code: Some(code),
                cause: (status == Status::Disconnected).then(|| close_code::cause_class(code)),
                address: Some(IpAddr::V4(address)),
                time,
            };
            let event = PresenceEvent {
                kind: EventKind::Disconnect,
                session: time,
                time,
                close_code: code,
                payload: Payload::pack(b"{}"),
            };
            let end_code = if status == Status::Connected { EndCode::NONE } else { EndCode::and_address_of(&event).0 };
            let index_key = IndexKey { status, end_code, time, address: Some(address) };
            let index_filter = IndexFilter::of(&filter);
            prop_assert_eq!(index_filter.may_admit(index_key), filter.admits(&traits));
            let entries = [IndexEntry::new(0, RecordPlace::new(0, 0), index_key)];
            for descending in [false, true] {
                let next = index_filter.next(&mut Entries::new(&entries, descending));
                prop_assert_eq!(next.is_some(), filter.admits(&traits));
            }
            let without_address = Filter { addresses: Vec::new(), ..filter };
            prop_assert_eq!(
                index_filter.may_admit(IndexKey { address: None, ..index_key }),
                without_address.admits(&Traits { address: None, ..traits })
            );
        }
    }
}
