//! What goes through all devices, out of the store: lists, which the store gives in the order of names and which are filtered
//! here, and totals, which are counted there and remembered for a while. Neither knows what waits to be written.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{READ_TIMEOUT, Recall, Unavailable};
use crate::map::{Arrival, Evidence, Name, Page, Snapshot, Totals};
use crate::presence::Status;
use crate::presence::query::{Filter, Position, Query, Sort, SortBy};
use crate::source::backlog::Told;

/// Devices that are looked at at once where a filter may pass over many.
const LOOKED_AT: usize = 1_000;

/// Counting goes through all devices in most stores.
const TOTALS_TIMEOUT: Duration = Duration::from_secs(60);

/// Totals are as old as this, or nine times what counting took: a store spends a tenth of its time on it at most.
const TOTALS_MIN_AGE: Duration = Duration::from_secs(1);
const TOTALS_SHARE: u32 = 9;

/// Part of what a store has in the order of names.
#[derive(Clone, Debug)]
pub struct Scan {
    pub device_type: Option<String>,
    pub status: Option<Status>,
    pub after: Option<Name>,
    pub limit: usize,
}

/// What came of it.
#[derive(Debug)]
pub struct Scanned {
    pub devices: Vec<Told>,
    pub more: bool,
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

/// The whole fleet in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetTotals {
    pub all: Totals,
    /// By name.
    pub types: Vec<(String, Totals)>,
    /// Of disconnected devices, the most frequent first.
    pub close_codes: Vec<(u16, u64)>,
}

impl FleetTotals {
    fn of(parts: Vec<Total>) -> Self {
        let mut types: std::collections::BTreeMap<String, Totals> = std::collections::BTreeMap::new();
        let mut codes: std::collections::BTreeMap<u16, u64> = std::collections::BTreeMap::new();
        let mut all = Totals::default();
        for Total { device_type, status, close_code, devices } in parts {
            let own = types.entry(device_type).or_default();
            match status {
                Status::Connected => {
                    own.connected += devices;
                    all.connected += devices;
                }
                Status::Disconnected => {
                    own.disconnected += devices;
                    all.disconnected += devices;
                    *codes.entry(close_code).or_default() += devices;
                }
            }
        }
        let mut close_codes: Vec<_> = codes.into_iter().collect();
        close_codes.sort_by_key(|(code, devices)| (std::cmp::Reverse(*devices), *code));
        Self { all, types: types.into_iter().collect(), close_codes }
    }
}

/// Totals, and until when they will do.
pub(super) struct Counted {
    totals: Arc<FleetTotals>,
    good_until: Instant,
}

impl Recall {
    /// Whether lists can be had in this order: the stores have no other at hand.
    pub fn lists_by(sort: Sort) -> bool {
        sort == Sort { by: SortBy::Id, descending: false }
    }

    /// Part of a list by id. A device that does not change while the list is read is neither skipped nor repeated.
    pub async fn list(&self, query: &Query) -> Result<Page, Unavailable> {
        let mut found = Vec::new();
        for device_type in listed_types(&query.filter) {
            let Some(mut after) = start(device_type.as_deref(), query.after.as_ref()) else { continue };
            loop {
                let (device_type, status) = (device_type.clone(), query.filter.status);
                let limit = if is_plain(&query.filter) { query.limit - found.len() + 1 } else { LOOKED_AT };
                let scan = Scan { device_type, status, after: after.take(), limit };
                let asked = timeout(READ_TIMEOUT, self.devices.by_name(scan)).await;
                let Ok(Ok(scanned)) = asked else { return Err(Unavailable) };
                after = scanned.devices.last().map(|told| (Arc::clone(&told.device_type), told.id.clone()));
                for snapshot in scanned.devices.into_iter().filter_map(admitted(&query.filter)) {
                    if found.len() == query.limit {
                        let next = found.last().map(position);
                        return Ok(Page { devices: found, next });
                    }
                    found.push(snapshot);
                }
                if !scanned.more {
                    break;
                }
            }
        }
        Ok(Page { devices: found, next: None })
    }

    /// The whole fleet in numbers, counted anew now and then; whoever asks meanwhile waits for the same numbers.
    pub async fn totals(&self) -> Result<Arc<FleetTotals>, Unavailable> {
        let mut counted = self.counted.lock().await;
        let begun = Instant::now();
        if let Some(counted) = counted.as_ref().filter(|counted| begun < counted.good_until) {
            return Ok(Arc::clone(&counted.totals));
        }
        let Ok(Ok(parts)) = timeout(TOTALS_TIMEOUT, self.devices.totals()).await else {
            return Err(Unavailable);
        };
        let totals = Arc::new(FleetTotals::of(parts));
        let good_for = (begun.elapsed() * TOTALS_SHARE).max(TOTALS_MIN_AGE);
        *counted = Some(Counted { totals: Arc::clone(&totals), good_until: Instant::now() + good_for });
        Ok(totals)
    }
}

/// One after the other, in order; `None`: all of them at once.
fn listed_types(filter: &Filter) -> Vec<Option<String>> {
    let mut types: Vec<_> = filter.types.iter().cloned().map(Some).collect();
    types.sort_unstable();
    types.dedup();
    if types.is_empty() { vec![None] } else { types }
}

/// Where the devices of a type begin behind a position, if not before all of them; `None` if the position is behind all.
#[expect(clippy::option_option, reason = "there may be nothing to begin with, or nothing to begin behind")]
fn start(device_type: Option<&str>, after: Option<&Position>) -> Option<Option<Name>> {
    let Some(after) = after else { return Some(None) };
    let name = (after.device_type.as_str().into(), after.id.as_str().into());
    match device_type.map(|device_type| device_type.cmp(&after.device_type)) {
        None | Some(std::cmp::Ordering::Equal) => Some(Some(name)),
        Some(std::cmp::Ordering::Greater) => Some(None),
        Some(std::cmp::Ordering::Less) => None,
    }
}

/// Whether the store itself can filter.
fn is_plain(filter: &Filter) -> bool {
    let Filter { types: _, id_prefix, status: _, close_code, address, since, until } = filter;
    id_prefix.is_empty() && close_code.is_none() && address.is_none() && since.is_none() && until.is_none()
}

fn admitted(filter: &Filter) -> impl Fn(Told) -> Option<Snapshot> {
    move |told| {
        let heard = Arrival { evidence: Evidence::Restored, at: told.heard_at };
        let snapshot = Snapshot::of_belief((told.device_type, told.id), &told.belief, heard)?;
        let address = filter.address.and_then(|_| snapshot.address());
        filter.admits(&snapshot.traits(address)).then_some(snapshot)
    }
}

fn position(last: &Snapshot) -> Position {
    let (device_type, id) = (last.device_type.to_string(), last.id.to_string());
    Position { device_type, id, time: last.statement.time }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up() {
        let part = |device_type: &str, status, close_code, devices| Total {
            device_type: device_type.to_owned(),
            status,
            close_code,
            devices,
        };
        let (on, off) = (Status::Connected, Status::Disconnected);
        let parts =
            vec![part("b", off, 91, 2), part("a", on, 0, 5), part("b", off, 160, 3), part("a", off, 91, 4)];
        let expected = FleetTotals {
            all: Totals { connected: 5, disconnected: 9 },
            types: vec![
                ("a".to_owned(), Totals { connected: 5, disconnected: 4 }),
                ("b".to_owned(), Totals { connected: 0, disconnected: 5 }),
            ],
            close_codes: vec![(91, 6), (160, 3)],
        };
        assert_eq!(FleetTotals::of(parts), expected);
    }

    #[test]
    fn a_list_of_several_types_goes_on_in_the_right_one() {
        let filter = Filter { types: ["b", "a", "b"].map(str::to_owned).to_vec(), ..Filter::default() };
        assert_eq!(listed_types(&filter), ["a", "b"].map(|name| Some(name.to_owned())));
        let time = crate::presence::Moment::UNKNOWN;
        let after = Position { device_type: "b".to_owned(), id: "7".to_owned(), time };
        let name: Name = ("b".into(), "7".into());
        assert_eq!(start(Some("a"), Some(&after)), None);
        assert_eq!(start(Some("b"), Some(&after)), Some(Some(name.clone())));
        assert_eq!(start(Some("c"), Some(&after)), Some(None));
        assert_eq!(start(None, Some(&after)), Some(Some(name)));
        assert_eq!(start(Some("a"), None), Some(None));
    }
}
