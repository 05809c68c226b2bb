//! What goes through all devices, out of the store: lists, which the store gives in order and which are filtered here, and totals, which are counted there and remembered for a while. Neither knows what waits to be written.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{ReadThrough, StoreUnavailable};
use crate::freshness::RoundNumber;
use crate::registry::{Arrival, Provenance, Snapshot, Totals};
use presence::Status;
use presence::query::{Filter, Page, Position, Query, Scan, Sort, SortBy, Total};
use store::StoredDevice;

/// Devices that are looked at at once where a filter may pass over many.
const SCANNED_AT_ONCE: usize = 1_000;

/// Devices of a whole list that are taken at once, some megabytes, where each part costs the store a look at all devices.
const LISTED_AT_ONCE: usize = 9_000;

/// A list by time may take a store so long.
const LIST_TIMEOUT: Duration = Duration::from_secs(20);

/// Counting goes through all devices in most stores.
const TOTALS_TIMEOUT: Duration = Duration::from_secs(60);

/// Totals are as old as this, or nine times what counting took: a store spends a tenth of its time on it at most.
const TOTALS_MIN_AGE: Duration = Duration::from_secs(1);
const TOTALS_SHARE: u32 = 9;

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
pub(super) struct CachedTotals {
    totals: Arc<FleetTotals>,
    good_until: Instant,
}

impl ReadThrough {
    /// How many devices of a whole list are best taken at once, if usually it is so many: where a store has no order at hand,
    /// it goes through all devices for each part.
    pub fn listed_at_once(sort: Sort, usual: usize) -> usize {
        if sort == (Sort { by: SortBy::Id, descending: false }) { usual } else { LISTED_AT_ONCE }
    }

    /// Part of a list. A device that does not change while the list is read is neither skipped nor repeated.
    pub async fn list(&self, query: &Query) -> Result<Page<Snapshot>, StoreUnavailable> {
        let mut found = Vec::new();
        let types = listed_types(query);
        let is_plain = is_plain(&query.filter, &types);
        for device_type in types {
            let Some(mut after) = start(device_type.as_deref(), query) else { continue };
            loop {
                let (device_type, status) = (device_type.clone(), query.filter.status);
                let wanted = query.limit - found.len() + 1;
                let limit = if is_plain { wanted } else { wanted.max(SCANNED_AT_ONCE) };
                let scan = Scan { device_type, status, sort: query.sort, after: after.take(), limit };
                let asked = timeout(LIST_TIMEOUT, self.devices.list(scan)).await;
                let Ok(Ok(part)) = asked else { return Err(StoreUnavailable) };
                for snapshot in part.devices.into_iter().filter_map(admitted(&query.filter)) {
                    if found.len() == query.limit {
                        let next = found.last().map(Snapshot::position);
                        return Ok(Page { devices: found, next });
                    }
                    found.push(snapshot);
                }
                let Some(next) = part.next else { break };
                after = Some(next);
            }
        }
        Ok(Page { devices: found, next: None })
    }

    /// The whole fleet in numbers, counted anew now and then; requests in between wait for the same numbers.
    pub async fn totals(&self) -> Result<Arc<FleetTotals>, StoreUnavailable> {
        let mut counted = self.counted.lock().await;
        let begun = Instant::now();
        if let Some(counted) = counted.as_ref().filter(|counted| begun < counted.good_until) {
            return Ok(Arc::clone(&counted.totals));
        }
        let Ok(Ok(parts)) = timeout(TOTALS_TIMEOUT, self.devices.totals()).await else {
            return Err(StoreUnavailable);
        };
        // There may be millions of types.
        let summed = tokio::task::spawn_blocking(|| FleetTotals::of(parts)).await;
        let totals = Arc::new(summed.map_err(|_panic| StoreUnavailable)?);
        let good_for = (begun.elapsed() * TOTALS_SHARE).max(TOTALS_MIN_AGE);
        *counted = Some(CachedTotals { totals: Arc::clone(&totals), good_until: Instant::now() + good_for });
        Ok(totals)
    }
}

/// One after the other, in order; `None`: all of them at once.
fn listed_types(query: &Query) -> Vec<Option<String>> {
    let mut types: Vec<_> = query.filter.types.iter().cloned().map(Some).collect();
    types.sort_unstable();
    types.dedup();
    if query.sort.descending {
        types.reverse();
    }
    // By time the devices of several types stand among each other.
    if types.is_empty() || types.len() > 1 && query.sort.by == SortBy::Since { vec![None] } else { types }
}

/// Where the devices of a type begin behind the position of a list, if not before all of them; `None` if that is behind all.
#[expect(clippy::option_option, reason = "there may be nothing to begin with, or nothing to begin behind")]
fn start(device_type: Option<&str>, query: &Query) -> Option<Option<Position>> {
    let Some(after) = &query.after else { return Some(None) };
    let side = match (query.sort.by, device_type) {
        (SortBy::Since, _) | (SortBy::Id, None) => Ordering::Equal,
        (SortBy::Id, Some(device_type)) => device_type.cmp(&after.device_type),
    };
    match if query.sort.descending { side.reverse() } else { side } {
        Ordering::Equal => Some(Some(after.clone())),
        Ordering::Greater => Some(None),
        Ordering::Less => None,
    }
}

/// Whether the store itself can filter.
fn is_plain(filter: &Filter, listed: &[Option<String>]) -> bool {
    let Filter { types, sources, ids, id_prefixes, status: _, close_codes, causes, addresses, .. } = filter;
    let Filter { since, until, expectation, .. } = filter;
    (types.is_empty() || listed != [None])
        && sources.is_empty()
        && ids.is_empty()
        && id_prefixes.is_empty()
        && close_codes.is_empty()
        && causes.is_empty()
        && addresses.is_empty()
        && since.is_none()
        && until.is_none()
        && expectation.is_none()
}

fn admitted(filter: &Filter) -> impl Fn(StoredDevice) -> Option<Snapshot> {
    move |device| {
        let arrival =
            Arrival { provenance: Provenance::Restored, at: device.received_at, round: RoundNumber::NONE };
        let snapshot = Snapshot::of_state(device.name, &device.state, arrival)?;
        filter.admits(&snapshot.traits(filter)).then_some(snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use presence::Moment;

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
    fn a_list_of_several_types_continues_in_the_right_type() {
        let position = Position { device_type: "b".to_owned(), id: "7".to_owned(), time: Moment::UNKNOWN };
        let query = |by, descending| Query {
            filter: Filter { types: ["b", "a", "b"].map(str::to_owned).to_vec(), ..Filter::default() },
            sort: Sort { by, descending },
            after: Some(position.clone()),
            limit: 1,
        };
        let (up, down) = (query(SortBy::Id, false), query(SortBy::Id, true));
        assert_eq!(listed_types(&up), ["a", "b"].map(|name| Some(name.to_owned())));
        assert_eq!(listed_types(&down), ["b", "a"].map(|name| Some(name.to_owned())));
        let (nothing, here, all) = (None, Some(Some(position.clone())), Some(None));
        for (device_type, going_up, going_down) in [
            (Some("a"), &nothing, &all),
            (Some("b"), &here, &here),
            (Some("c"), &all, &nothing),
            (None, &here, &here),
        ] {
            assert_eq!((&start(device_type, &up), &start(device_type, &down)), (going_up, going_down));
        }
        assert_eq!(start(Some("a"), &Query { after: None, ..up }), Some(None));
        // By time they are read together, and filtered here.
        let by_time = query(SortBy::Since, true);
        assert_eq!(listed_types(&by_time), [None]);
        assert!(!is_plain(&by_time.filter, &[None]));
    }
}
