//! Which devices a list shows and in which order, as plain values: the holder of devices, be it the map, a store or a stream of
//! changes, can be asked by them. How a query is written in a request is not known here.

use std::cmp::Ordering;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::contact::ExpectationFilter;
use super::{Device, Moment, Status};

/// What a device must be like to be shown; by default every device is. Values of one field mean "or", fields mean "and": lists,
/// streams, webhooks and alert rules all select by this.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// One of these types; empty: any.
    pub types: Vec<String>,
    /// From one of these sources; empty: any.
    pub sources: Vec<String>,
    /// One of these ids; empty: any.
    pub ids: Vec<String>,
    /// What the id begins with, one of these; empty: anything.
    pub id_prefixes: Vec<String>,
    pub status: Option<Status>,
    /// Why it is disconnected, one of these; no connected device has one. Empty: any.
    pub close_codes: Vec<u16>,
    /// Words for why it is disconnected, one of these; no connected device has one. Empty: any.
    pub causes: Vec<&'static str>,
    /// Where it connected from, one of these; empty: anywhere.
    pub addresses: Vec<Network>,
    /// Its status was decided then or later.
    pub since: Option<Moment>,
    /// Its status was decided before.
    pub until: Option<Moment>,
    /// Whether it is as its contact policy expects; `None`: either way.
    pub expectation: Option<ExpectationFilter>,
}

/// What filters look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits<'a> {
    pub device_type: &'a str,
    pub id: &'a str,
    /// The source of the deciding event.
    pub source: &'a str,
    pub status: Status,
    /// Of the deciding event; `None` if its source has no close codes.
    pub close_code: Option<u16>,
    /// The word for why a disconnected device is so; only looked at by a filter of causes.
    pub cause: Option<&'static str>,
    /// Of the deciding event; `None` if it names none.
    pub address: Option<IpAddr>,
    /// Of the deciding event.
    pub time: Moment,
}

impl Filter {
    /// Whether the filter lets a device through.
    pub fn admits(&self, device: &Traits<'_>) -> bool {
        let name = Device { device_type: device.device_type, id: device.id };
        self.admits_name_and_source(name, Some(device.source))
            && self.status.is_none_or(|wanted| wanted == device.status)
            && is_any_of(&self.close_codes, |wanted| {
                device.status == Status::Disconnected && device.close_code == Some(*wanted)
            })
            && (self.causes.is_empty() || device.cause.is_some_and(|cause| self.causes.contains(&cause)))
            && is_any_of(&self.addresses, |wanted| {
                device.address.is_some_and(|address| wanted.contains(address))
            })
            && self.admits_time(device.time)
            && self.expectation.as_ref().is_none_or(|wanted| wanted.admits(device))
    }

    /// Whether the filter lets a device of that type and id through, if it fits otherwise.
    pub fn admits_name(&self, device: Device<'_>) -> bool {
        is_any_of(&self.types, |wanted| wanted == device.device_type)
            && is_any_of(&self.ids, |wanted| wanted == device.id)
            && is_any_of(&self.id_prefixes, |wanted| device.id.starts_with(wanted.as_str()))
    }

    /// The same of a device of that source; `None`: no source is known, so it may be any.
    pub fn admits_name_and_source(&self, device: Device<'_>, source: Option<&str>) -> bool {
        self.admits_name(device)
            && source.is_none_or(|source| is_any_of(&self.sources, |wanted| wanted == source))
    }

    /// What the id of every device begins with that the filter lets through: an order by id is only gone through from there on.
    pub fn common_id_prefix(&self) -> &str {
        let wanted = if self.ids.is_empty() { &self.id_prefixes } else { &self.ids };
        let Some((first, others)) = wanted.split_first() else { return "" };
        others.iter().fold(first, |common, other| {
            let same = common.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count();
            &common[..common.floor_char_boundary(same)]
        })
    }

    /// Whether a status decided at that time is let through; one decided at an unknown time is in no span.
    fn admits_time(&self, time: Moment) -> bool {
        let in_no_span = time == Moment::UNKNOWN && (self.since.is_some() || self.until.is_some());
        !in_no_span
            && self.since.is_none_or(|since| time >= since)
            && self.until.is_none_or(|until| time < until)
    }
}

/// Whether one of the wanted values fits, or none is wanted.
fn is_any_of<T>(wanted: &[T], fits: impl FnMut(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(fits)
}

/// What a list is ordered by. Either order is total, so that each device has one place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortBy {
    /// By type, then id.
    Id,
    /// By the time at which the status was decided, then by type, then id; an unknown time comes before all others.
    Since,
}

/// The order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    pub by: SortBy,
    pub descending: bool,
}

/// A device's place in a list, whichever the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub device_type: String,
    pub id: String,
    pub time: Moment,
}

impl Sort {
    /// Which of two places comes first.
    pub fn compare(self, one: &Position, other: &Position) -> Ordering {
        let by_name = || (&one.device_type, &one.id).cmp(&(&other.device_type, &other.id));
        let ascending = match self.by {
            SortBy::Id => by_name(),
            SortBy::Since => one.time.cmp(&other.time).then_with(by_name),
        };
        if self.descending { ascending.reverse() } else { ascending }
    }
}

/// Part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    pub filter: Filter,
    pub sort: Sort,
    /// The end of the part before; `None` for the first.
    pub after: Option<Position>,
    /// At most so many devices.
    pub limit: usize,
}

/// What each holder of devices can select by itself: all of them, or those of a type or with a status, in an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    pub device_type: Option<String>,
    pub status: Option<Status>,
    pub sort: Sort,
    /// The end of the part before; `None` for the first.
    pub after: Option<Position>,
    /// At most so many devices.
    pub limit: usize,
}

/// Part of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<D> {
    pub devices: Vec<D>,
    /// The place of the last device, if any follow it.
    pub next: Option<Position>,
}

/// Devices that have type, status and close code in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Total {
    pub device_type: String,
    pub status: Status,
    /// 0 of connected devices.
    pub close_code: u16,
    pub devices: u64,
}

/// A block of IP addresses, as CIDR notation names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// With every bit behind the prefix 0.
    address: IpAddr,
    prefix_bits: u8,
}

impl Network {
    /// Whether the address lies in it. An IPv4 address written as an IPv6 one is an IPv4 address.
    pub fn contains(self, address: IpAddr) -> bool {
        masked(address.to_canonical(), self.prefix_bits) == Some(self.address)
    }

    /// The bits of an IPv4 address that count, and what they are in this block; `None` if no IPv4 address lies in it.
    pub fn ipv4_mask_and_bits(self) -> Option<(u32, u32)> {
        let IpAddr::V4(own) = self.address else { return None };
        let behind = 32u32.checked_sub(self.prefix_bits.into())?;
        Some((u32::MAX.checked_shl(behind).unwrap_or(0), own.to_bits()))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

/// An address, or an address, a slash and the number of bits that count; bits behind those do not matter.
impl FromStr for Network {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                (address, Some(bits.parse().map_err(drop)?))
            }
            Some(_) => return Err(()),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(drop)?;
        let prefix_bits = bits.unwrap_or(if address.is_ipv4() { 32 } else { 128 });
        let address = masked(address, prefix_bits).ok_or(())?;
        Ok(Self { address, prefix_bits })
    }
}

/// The address with only its first bits; `None` if it has fewer.
fn masked(address: IpAddr, bits: u8) -> Option<IpAddr> {
    let bits = u32::from(bits);
    Some(match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32u32.checked_sub(bits)?).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128u32.checked_sub(bits)?).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Option<Network> {
        text.parse().ok()
    }

    #[test]
    fn a_network_holds_the_addresses_that_share_its_first_bits() {
        let holds = |network: &str, address: &str| {
            let network: Network = network.parse().unwrap();
            let address: IpAddr = address.parse().unwrap();
            let holds = network.contains(address);
            if let IpAddr::V4(address) = address {
                let by_bits =
                    network.ipv4_mask_and_bits().is_some_and(|(mask, bits)| address.to_bits() & mask == bits);
                assert_eq!(by_bits, holds);
            }
            holds
        };
        assert!(holds("10.0.0.0/8", "10.255.0.1") && !holds("10.0.0.0/8", "11.0.0.0"));
        assert!(holds("10.9.9.9/8", "10.1.2.3"), "bits behind the prefix do not matter");
        assert!(holds("192.0.2.7", "192.0.2.7") && !holds("192.0.2.7", "192.0.2.6"));
        assert!(holds("0.0.0.0/0", "203.0.113.9") && !holds("0.0.0.0/0", "2001:db8::1"));
        assert!(holds("2001:db8::/32", "2001:db8:1::9") && !holds("2001:db8::/32", "2001:db9::"));
        assert!(holds("::/0", "2001:db8::1") && !holds("::/0", "192.0.2.7"));
        assert!(holds("192.0.2.0/24", "::ffff:192.0.2.7"), "an IPv4 address in IPv6 form");
    }

    #[test]
    fn an_invalid_network_is_refused() {
        for text in [
            "",
            "10",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "::/129",
            "10.0.0.0/8/8",
            "a/8",
            "10.0.0.0/256",
            " 10.0.0.0",
        ] {
            assert_eq!(network(text), None, "{text:?}");
        }
    }

    #[test]
    fn each_filter_checks_its_own_trait() {
        let moment = Moment::from_nanos;
        let device = Traits {
            source: "tasmota",
            device_type: "pump",
            id: "p-17",
            status: Status::Disconnected,
            close_code: Some(91),
            cause: Some("connection"),
            address: "192.0.2.7".parse().ok(),
            time: moment(50),
        };
        let any = Filter::default();
        let without_code = Traits { close_code: None, ..device };
        let connected = Traits { status: Status::Connected, cause: None, ..device };
        let unknown = Traits { time: Moment::UNKNOWN, address: None, ..device };
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let types = |types: &[&str]| Filter { types: texts(types), ..any.clone() };
        let sources = |sources: &[&str]| Filter { sources: texts(sources), ..any.clone() };
        let ids = |ids: &[&str]| Filter { ids: texts(ids), ..any.clone() };
        let prefixes = |prefixes: &[&str]| Filter { id_prefixes: texts(prefixes), ..any.clone() };
        let codes = |codes: &[u16]| Filter { close_codes: codes.to_vec(), ..any.clone() };
        let networks = |networks: &[&str]| Filter {
            addresses: networks.iter().map(|text| network(text).unwrap()).collect(),
            ..any.clone()
        };
        let span = |since: Option<i128>, until: Option<i128>| Filter {
            since: since.map(moment),
            until: until.map(moment),
            ..any.clone()
        };
        for (filter, device, admitted) in [
            (any.clone(), device, true),
            (types(&["valve", "pump"]), device, true),
            (types(&["valve"]), device, false),
            (sources(&["emqx", "tasmota"]), device, true),
            (sources(&["emqx"]), device, false),
            (ids(&["p-1", "p-17"]), device, true),
            (ids(&["p-1"]), device, false),
            (prefixes(&["p-1"]), device, true),
            (prefixes(&["q", "p-"]), device, true),
            (prefixes(&["p-17x"]), device, false),
            (Filter { status: Some(Status::Disconnected), ..any.clone() }, device, true),
            (Filter { status: Some(Status::Connected), ..any.clone() }, device, false),
            (codes(&[160, 91]), device, true),
            (codes(&[91]), connected, false),
            (codes(&[0]), device, false),
            (codes(&[0]), without_code, false),
            (Filter { causes: vec!["timeout", "connection"], ..any.clone() }, device, true),
            (Filter { causes: vec!["timeout"], ..any.clone() }, device, false),
            (Filter { causes: vec!["connection"], ..any.clone() }, connected, false),
            (networks(&["192.0.3.0/24", "192.0.2.0/24"]), device, true),
            (networks(&["192.0.3.0/24"]), device, false),
            (networks(&["0.0.0.0/0"]), unknown, false),
            (Filter { causes: vec!["connection"], ..types(&["pump"]) }, device, true),
            (Filter { causes: vec!["timeout"], ..types(&["pump"]) }, device, false),
            (span(Some(50), Some(51)), device, true),
            (span(Some(51), None), device, false),
            (span(None, Some(50)), device, false),
            (span(None, Some(50)), unknown, false),
            (any, unknown, true),
        ] {
            assert_eq!(filter.admits(&device), admitted, "{filter:?} {device:?}");
        }
    }

    #[test]
    fn what_all_wanted_ids_begin_with_is_their_common_beginning() {
        let common = |ids: &[&str], prefixes: &[&str]| {
            let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
            let filter = Filter { ids: texts(ids), id_prefixes: texts(prefixes), ..Filter::default() };
            filter.common_id_prefix().to_owned()
        };
        assert_eq!(common(&[], &[]), "");
        assert_eq!(common(&[], &["p-1"]), "p-1");
        assert_eq!(common(&[], &["p-1", "p-2", "p-17"]), "p-");
        assert_eq!(common(&["p-1", "p-17"], &["x"]), "p-1");
        assert_eq!(common(&["p", "q"], &[]), "");
        // Half of a character is no text.
        assert_eq!(common(&[], &["aä", "aö"]), "a");
    }
}
