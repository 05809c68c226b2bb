//! What was counted in one interval, and how two that follow each other become one (pure).

use std::collections::BTreeMap;

use crate::registry::SOURCES_MAX;
use formats::Cause;

/// Types that have figures of their own; the devices of all others are counted together.
pub const TYPES_MAX: usize = 200;

/// A type or a source with a longer name is counted among the others, so that a row has a bound.
const NAME_MAX_BYTES: usize = 256;

/// The first byte of the figures of a row.
const VERSION: u8 = 2;

/// That of rows without figures by source.
const VERSION_WITHOUT_SOURCES: u8 = 1;

/// A number of devices as it was during an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauge {
    pub min: u64,
    pub max: u64,
    /// At its end.
    pub last: u64,
}

/// Some devices during an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub connected: Gauge,
    pub disconnected: Gauge,
    /// Sessions that began.
    pub connects: u64,
    /// Sessions that ended.
    pub disconnects: u64,
}

/// The fleet during an interval, or the parts of it in which the fleet was observed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    pub observed_seconds: u32,
    pub all: Figures,
    /// Ends of sessions by cause.
    pub causes: [u64; Cause::PLACES],
    pub types: BTreeMap<Box<str>, Figures>,
    /// The devices of all other types.
    pub other: Figures,
    /// As many as the registry counts apart, and the rest as one.
    pub sources: BTreeMap<Box<str>, Figures>,
}

impl Gauge {
    pub fn of(number: u64) -> Self {
        Self { min: number, max: number, last: number }
    }

    fn then(self, later: Self) -> Self {
        Self { min: self.min.min(later.min), max: self.max.max(later.max), last: later.last }
    }

    /// Of two groups of devices at once: the extremes of the sum lie within these bounds.
    fn beside(self, other: Self) -> Self {
        let sum = u64::saturating_add;
        Self {
            min: sum(self.min, other.min),
            max: sum(self.max, other.max),
            last: sum(self.last, other.last),
        }
    }
}

impl Figures {
    fn then(self, later: Self) -> Self {
        Self {
            connected: self.connected.then(later.connected),
            disconnected: self.disconnected.then(later.disconnected),
            connects: self.connects.saturating_add(later.connects),
            disconnects: self.disconnects.saturating_add(later.disconnects),
        }
    }

    fn beside(self, other: Self) -> Self {
        Self {
            connected: self.connected.beside(other.connected),
            disconnected: self.disconnected.beside(other.disconnected),
            connects: self.connects.saturating_add(other.connects),
            disconnects: self.disconnects.saturating_add(other.disconnects),
        }
    }
}

impl Interval {
    /// Adds a type, among the others if there are too many.
    pub fn add_type(&mut self, name: &str, figures: Figures) {
        if name.len() > NAME_MAX_BYTES || self.types.len() >= TYPES_MAX {
            self.other = self.other.beside(figures);
        } else {
            self.types.insert(name.into(), figures);
        }
    }

    /// Adds a source; beyond the bound it is left out.
    pub fn add_source(&mut self, name: &str, figures: Figures) {
        if name.len() <= NAME_MAX_BYTES && self.sources.len() <= SOURCES_MAX {
            self.sources.insert(name.into(), figures);
        }
    }

    /// The figures of a source, all zero if it had no devices. `None`: a version wrote the row that counted no sources.
    pub fn of_source(&self, name: &str) -> Option<Figures> {
        let had_devices = self.all != Figures::default();
        match self.sources.get(name) {
            Some(figures) => Some(*figures),
            None if self.sources.is_empty() && had_devices => None,
            None => Some(Figures::default()),
        }
    }

    /// Adds what was counted later.
    pub fn add(&mut self, later: &Self) {
        if later.observed_seconds == 0 {
            return;
        }
        if self.observed_seconds == 0 {
            *self = later.clone();
            return;
        }
        self.observed_seconds = self.observed_seconds.saturating_add(later.observed_seconds);
        self.all = self.all.then(later.all);
        self.other = self.other.then(later.other);
        for (sum, more) in self.causes.iter_mut().zip(later.causes) {
            *sum = sum.saturating_add(more);
        }
        for (name, figures) in &later.types {
            match self.types.get_mut(name) {
                Some(earlier) => *earlier = earlier.then(*figures),
                None => self.add_type(name, *figures),
            }
        }
        for (name, figures) in &later.sources {
            match self.sources.get_mut(name) {
                Some(earlier) => *earlier = earlier.then(*figures),
                None => self.add_source(name, *figures),
            }
        }
    }

    /// As the figures of a row: numbers in as few bytes as they need.
    pub fn pack(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        put(&mut bytes, self.observed_seconds.into());
        put_figures(&mut bytes, &self.all);
        put_figures(&mut bytes, &self.other);
        put(&mut bytes, Cause::PLACES as u64);
        self.causes.iter().for_each(|ends| put(&mut bytes, *ends));
        put_named(&mut bytes, &self.types);
        put_named(&mut bytes, &self.sources);
        bytes
    }

    /// The opposite of [`Interval::pack`]; `None` for bytes that no version up to this one has written.
    pub fn unpack(bytes: &[u8]) -> Option<Self> {
        let (version, mut rest) = bytes.split_first()?;
        let bytes = &mut rest;
        if !(VERSION_WITHOUT_SOURCES..=VERSION).contains(version) {
            return None;
        }
        let mut interval = Self {
            observed_seconds: u32::try_from(take(bytes)?).ok()?,
            all: take_figures(bytes)?,
            other: take_figures(bytes)?,
            ..Self::default()
        };
        // A version with more causes may have written it: what this one does not know is unknown to it.
        for at in 0..take(bytes)? {
            let place = usize::try_from(at).map_or(Cause::PLACES - 1, |at| at.min(Cause::PLACES - 1));
            interval.causes[place] = interval.causes[place].saturating_add(take(bytes)?);
        }
        take_named(bytes, |name, figures| interval.add_type(name, figures))?;
        if *version > VERSION_WITHOUT_SOURCES {
            take_named(bytes, |name, figures| interval.add_source(name, figures))?;
        }
        bytes.is_empty().then_some(interval)
    }
}

fn put_named(bytes: &mut Vec<u8>, named: &BTreeMap<Box<str>, Figures>) {
    put(bytes, named.len() as u64);
    for (name, figures) in named {
        put(bytes, name.len() as u64);
        bytes.extend_from_slice(name.as_bytes());
        put_figures(bytes, figures);
    }
}

fn take_named(bytes: &mut &[u8], mut add: impl FnMut(&str, Figures)) -> Option<()> {
    for _ in 0..take(bytes)? {
        let len = usize::try_from(take(bytes)?).ok()?;
        let (name, behind) = bytes.split_at_checked(len)?;
        *bytes = behind;
        let name = std::str::from_utf8(name).ok()?;
        add(name, take_figures(bytes)?);
    }
    Some(())
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        if part << shift >> shift != part {
            return None;
        }
        number |= part << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn put_figures(bytes: &mut Vec<u8>, figures: &Figures) {
    for Gauge { min, max, last } in [figures.connected, figures.disconnected] {
        put(bytes, last);
        put(bytes, max - last);
        put(bytes, last - min);
    }
    put(bytes, figures.connects);
    put(bytes, figures.disconnects);
}

fn take_figures(bytes: &mut &[u8]) -> Option<Figures> {
    let mut gauge = || {
        let last = take(bytes)?;
        Some(Gauge { max: last.checked_add(take(bytes)?)?, min: last.checked_sub(take(bytes)?)?, last })
    };
    let (connected, disconnected) = (gauge()?, gauge()?);
    Some(Figures { connected, disconnected, connects: take(bytes)?, disconnects: take(bytes)? })
}
