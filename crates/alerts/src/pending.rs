//! Devices that are disconnected, and not yet for as long as rules wait. Half of a fleet may be, so each takes one small record,
//! whatever the number of rules, and gives its room back.

use std::collections::BTreeSet;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use presence::{Device, DeviceName};

use crate::clock::WallMillis;
use crate::coverage::{Coverage, ScopeId};
use crate::place::{AddressBlock, DevicePlace};
use crate::room::ROOM_KEPT;

/// When a rule fires, in observed time, and the rule by its place. The time takes 48 bits: nine thousand years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RuleWait(u64);

impl RuleWait {
    const RULE_BITS: u32 = u16::BITS;

    pub fn new(rule: usize, fires_at: u64) -> Self {
        let rule = u16::try_from(rule).expect("the settings have some hundred rules at most");
        Self(fires_at.min(u64::MAX >> Self::RULE_BITS) << Self::RULE_BITS | u64::from(rule))
    }

    pub fn rule(self) -> usize {
        (self.0 & u64::from(u16::MAX)) as usize
    }

    fn fires_at(self) -> u64 {
        self.0 >> Self::RULE_BITS
    }
}

/// One device, without its type and source, which its clock has.
#[derive(Debug)]
struct PendingDevice {
    id: Box<str>,
    /// The earliest first; there is one at least.
    waits: Box<[RuleWait]>,
    since: WallMillis,
    scope: u32,
    block: AddressBlock,
}

const _: () = assert!(size_of::<Option<PendingDevice>>() <= 56);

impl PendingDevice {
    fn scope(&self) -> ScopeId {
        ScopeId(self.scope as usize)
    }
}

/// What is pending of a rule and a device.
pub(crate) struct PendingAlert {
    pub rule: usize,
    pub device: Arc<DeviceName>,
    pub source: Option<Arc<str>>,
    pub block: AddressBlock,
    pub since: WallMillis,
    pub scope: ScopeId,
}

impl PendingAlert {
    pub fn place(&self) -> DevicePlace<'_> {
        DevicePlace {
            device: &self.device,
            source: self.source.as_ref(),
            block: self.block,
            since: self.since,
        }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct PendingDevices {
    records: Vec<Option<PendingDevice>>,
    unused: Vec<u32>,
    by_name: HashTable<u32>,
    hasher: RandomState,
    /// By the clock: the first deadline of each device.
    deadlines: Vec<BTreeSet<(u64, u32)>>,
    /// How many devices each rule waits for.
    totals: Vec<usize>,
}

/// A device as it was observed.
#[derive(Clone, Copy)]
pub(crate) struct OfflineDevice<'a> {
    pub device: Device<'a>,
    pub scope: ScopeId,
    pub since: WallMillis,
    pub block: AddressBlock,
}

impl PendingDevices {
    /// How many devices a rule waits for.
    pub fn total(&self, rule: usize) -> usize {
        self.totals.get(rule).copied().unwrap_or(0)
    }

    /// A device was observed, and these rules wait for it. Those that have waited already since the same beginning go on; a later
    /// beginning says that it was connected meanwhile, although nobody observed that.
    pub fn set(&mut self, coverage: &Coverage, observed: OfflineDevice<'_>, waits: &[RuleWait]) {
        let before = self.take_record(coverage, observed.device);
        if waits.is_empty() {
            return self.give_back_room(coverage);
        }
        let before =
            before.filter(|before| before.since == observed.since && before.scope() == observed.scope);
        let goes_on = |wait: &RuleWait| {
            let waits = before.as_ref().map(|before| &before.waits).into_iter().flatten();
            waits.copied().find(|one| one.rule() == wait.rule()).unwrap_or(*wait)
        };
        let mut waits: Box<[RuleWait]> = waits.iter().map(goes_on).collect();
        waits.sort_unstable();
        let OfflineDevice { device, scope, since, block } = observed;
        let scope = u32::try_from(scope.0).expect("there are some thousand types and sources");
        let id = before.map_or_else(|| device.id.into(), |before| before.id);
        self.add_record(coverage, PendingDevice { id, waits, since, scope, block });
    }

    /// Takes an alert that is due by a clock that runs.
    pub fn take_due(&mut self, coverage: &Coverage, ticks: u64) -> Option<PendingAlert> {
        for number in 0..self.deadlines.len() {
            let scope = ScopeId(number);
            let Some((at, place)) = self.deadlines[number].first().copied() else { continue };
            if at > coverage.observed(scope, ticks) || coverage.stopped_by(scope, ticks).is_some() {
                continue;
            }
            let record = self.records[place as usize].as_ref().expect("what has a deadline has a record");
            let alert = alert(coverage, record, record.waits[0].rule(), &name(coverage, record));
            let others = record.waits[1..].to_vec();
            let PendingAlert { since, block, .. } = alert;
            self.set(coverage, OfflineDevice { device: alert.device.device(), scope, since, block }, &others);
            return Some(alert);
        }
        None
    }

    /// All of them, in any order.
    pub fn alerts<'a>(&'a self, coverage: &'a Coverage) -> impl Iterator<Item = PendingAlert> + 'a {
        self.records.iter().flatten().flat_map(move |record| {
            let name = name(coverage, record);
            record.waits.iter().map(move |wait| alert(coverage, record, wait.rule(), &name))
        })
    }

    /// The devices for which that is true.
    pub fn devices(
        &self,
        coverage: &Coverage,
        is_wanted: impl Fn(Device<'_>) -> bool,
    ) -> Vec<Arc<DeviceName>> {
        let wanted = self.records.iter().flatten().filter(|record| is_wanted(device(coverage, record)));
        wanted.map(|record| name(coverage, record)).collect()
    }

    /// Gives what each rule waits for to the rule at the place that `place_of` says, and drops what others wait for.
    pub fn move_rules(&mut self, coverage: &Coverage, place_of: impl Fn(usize) -> Option<usize>) {
        let moved = |wait: RuleWait| Some(RuleWait::new(place_of(wait.rule())?, wait.fires_at()));
        for mut record in std::mem::take(self).records.into_iter().flatten() {
            let mut waits: Box<[_]> = record.waits.iter().filter_map(|wait| moved(*wait)).collect();
            waits.sort_unstable();
            if !waits.is_empty() {
                record.waits = waits;
                self.add_record(coverage, record);
            }
        }
    }

    fn add_record(&mut self, coverage: &Coverage, record: PendingDevice) {
        let hash = hash(&self.hasher, device(coverage, &record));
        let place = self.unused.pop().unwrap_or_else(|| self.new_place());
        let scope = record.scope as usize;
        if self.deadlines.len() <= scope {
            self.deadlines.resize_with(scope + 1, BTreeSet::new);
        }
        self.deadlines[scope].insert((record.waits[0].fires_at(), place));
        self.count(&record, |total| *total += 1);
        self.records[place as usize] = Some(record);
        let (records, hasher) = (&self.records, &self.hasher);
        self.by_name.insert_unique(hash, place, |place| hash_of_place(records, hasher, coverage, *place));
    }

    /// It grows by a fifth, because of a million records each spare one counts.
    fn new_place(&mut self) -> u32 {
        if self.records.len() == self.records.capacity() {
            self.records.reserve_exact(self.records.len() / 5 + 16);
        }
        self.records.push(None);
        u32::try_from(self.records.len() - 1).expect("there are fewer devices")
    }

    fn take_record(&mut self, coverage: &Coverage, wanted: Device<'_>) -> Option<PendingDevice> {
        let hash = hash(&self.hasher, wanted);
        let records = &self.records;
        let is_it = |place: &u32| {
            records[*place as usize].as_ref().is_some_and(|record| device(coverage, record) == wanted)
        };
        let (place, _) = self.by_name.find_entry(hash, is_it).ok()?.remove();
        let record = self.records[place as usize].take()?;
        self.unused.push(place);
        self.deadlines[record.scope as usize].remove(&(record.waits[0].fires_at(), place));
        self.count(&record, |total| *total -= 1);
        Some(record)
    }

    fn count(&mut self, record: &PendingDevice, change: impl Fn(&mut usize)) {
        for wait in &record.waits {
            if self.totals.len() <= wait.rule() {
                self.totals.resize(wait.rule() + 1, 0);
            }
            change(&mut self.totals[wait.rule()]);
        }
    }

    /// Once most records are unused, the others move together.
    fn give_back_room(&mut self, coverage: &Coverage) {
        if self.records.len() > 4 * self.by_name.len() + ROOM_KEPT {
            let records = std::mem::take(self).records;
            records.into_iter().flatten().for_each(|record| self.add_record(coverage, record));
        }
    }
}

fn alert(coverage: &Coverage, record: &PendingDevice, rule: usize, device: &Arc<DeviceName>) -> PendingAlert {
    let (scope, source) = (record.scope(), coverage.source(record.scope()).cloned());
    PendingAlert { rule, device: device.clone(), source, block: record.block, since: record.since, scope }
}

fn device<'a>(coverage: &'a Coverage, record: &'a PendingDevice) -> Device<'a> {
    Device { device_type: coverage.device_type(record.scope()), id: &record.id }
}

fn name(coverage: &Coverage, record: &PendingDevice) -> Arc<DeviceName> {
    Arc::new(DeviceName { device_type: coverage.device_type(record.scope()).clone(), id: record.id.clone() })
}

fn hash(hasher: &RandomState, device: Device<'_>) -> u64 {
    hasher.hash_one((device.device_type, device.id))
}

fn hash_of_place(
    records: &[Option<PendingDevice>],
    hasher: &RandomState,
    coverage: &Coverage,
    place: u32,
) -> u64 {
    records[place as usize].as_ref().map_or(0, |record| hash(hasher, device(coverage, record)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::coverage::Part;

    #[test]
    fn devices_wait_for_each_rule_by_itself_and_give_back_their_room() {
        const DEVICES: u64 = 20_000;
        let mut coverage = Coverage::new(Duration::ZERO);
        coverage.set(0, Part::Fleet, true);
        let scope = coverage.scope(Some("a"), Some("pump"));
        let mut pending = PendingDevices::default();
        let ids: Vec<String> = (0..DEVICES).map(|number| number.to_string()).collect();
        let offline = |id: &'static str, since| OfflineDevice {
            device: Device { device_type: "pump", id },
            scope,
            since: WallMillis(since),
            block: AddressBlock::Unknown,
        };
        let ids: Vec<&'static str> = ids.into_iter().map(|id| &*id.leak()).collect();
        let waits = |at: u64| [RuleWait::new(4, 200 + at), RuleWait::new(7, 100 + at)];
        ids.iter().zip(0..).for_each(|(id, at)| pending.set(&coverage, offline(id, 1), &waits(at)));
        assert_eq!((pending.total(4), pending.total(7), pending.total(5)), (20_000, 20_000, 0));
        // The same again changes nothing; a later beginning, or rules that wait no longer, do.
        pending.set(&coverage, offline("3", 1), &waits(5_000));
        pending.set(&coverage, offline("4", 2), &waits(5_000));
        pending.set(&coverage, offline("5", 1), &waits(5_000)[..1]);
        let mut due = || pending.take_due(&coverage, 105).map(|due| (due.device.id.to_string(), due.rule));
        let fired: Vec<_> = std::iter::from_fn(&mut due).collect();
        assert_eq!(fired, ["0", "1", "2", "3"].map(|id| (id.to_owned(), 7)));
        pending.move_rules(&coverage, |rule| (rule == 4).then_some(0));
        assert_eq!((pending.total(0), pending.total(7)), (20_000, 0));

        ids.iter().skip(1).for_each(|id| pending.set(&coverage, offline(id, 3), &[]));
        assert_eq!((pending.total(0), pending.alerts(&coverage).count()), (1, 1));
        assert!(pending.records.capacity() <= 2 * ROOM_KEPT && pending.by_name.capacity() <= 2 * ROOM_KEPT);
        assert_eq!(pending.take_due(&coverage, 199).map(|due| due.rule), None);
        assert_eq!(pending.take_due(&coverage, 200).map(|due| due.rule), Some(0));
        assert_eq!(pending.alerts(&coverage).count(), 0);
    }
}
