//! The roll-up against a naive model, and figures as bytes.

use proptest::prelude::*;

use super::interval::{Figures, Gauge, Interval, TYPES_MAX};
use super::roll_up::rolled_up;
use super::step::Step;
use crate::registry::SOURCES_MAX;
use formats::Cause;
use presence::UnixSeconds;

/// What was counted in ten seconds of a fleet of three types.
#[derive(Clone, Debug)]
struct Sample {
    connected: [u64; 3],
    connects: [u64; 3],
    cause: usize,
}

fn any_sample() -> impl Strategy<Value = Option<Sample>> {
    let sample =
        (any::<[u8; 3]>(), any::<[u8; 3]>(), 0..Cause::PLACES).prop_map(|(connected, connects, cause)| {
            Sample { connected: connected.map(u64::from), connects: connects.map(u64::from), cause }
        });
    prop::option::weighted(0.7, sample)
}

fn figures(connected: u64, connects: u64) -> Figures {
    Figures { connected: Gauge::of(connected), disconnected: Gauge::of(7), connects, disconnects: 2 }
}

fn interval(sample: &Sample) -> Interval {
    let all = figures(sample.connected.iter().sum(), sample.connects.iter().sum());
    let mut interval = Interval { observed_seconds: 10, all, ..Interval::default() };
    interval.causes[sample.cause] = 2;
    for (name, at) in [("a", 0), ("b", 1), ("ü", 2)] {
        interval.add_type(name, figures(sample.connected[at], sample.connects[at]));
        interval.add_source(name, figures(sample.connects[at], sample.connected[at]));
    }
    interval
}

/// The samples of one interval of a day, hour or minute, looked at all at once.
fn model(samples: &[&Sample], read: impl Fn(&Sample) -> (u64, u64)) -> Option<(Gauge, u64)> {
    let values = || samples.iter().map(|sample| read(sample));
    let connected = || values().map(|(connected, _)| connected);
    let gauge = Gauge { min: connected().min()?, max: connected().max()?, last: connected().last()? };
    Some((gauge, values().map(|(_, connects)| connects).sum()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rolling_up_step_by_step_is_rolling_up_at_once(
        first in 0u32..20_000,
        samples in prop::collection::vec(any_sample(), 1..1_500),
    ) {
        let start = |at: usize| UnixSeconds((first + at as u32) * 10);
        let observed: Vec<_> =
            samples.iter().enumerate().filter_map(|(at, sample)| Some((start(at), sample.as_ref()?))).collect();
        let mut rows: Vec<_> = observed.iter().map(|(start, sample)| (*start, interval(sample))).collect();
        for step in [Step::Minute, Step::Hour, Step::Day] {
            rows = rolled_up(step, rows);
            let starts: Vec<_> = rows.iter().map(|(start, _)| *start).collect();
            let mut expected: Vec<_> = observed.iter().map(|(start, _)| step.start_of(*start)).collect();
            expected.dedup();
            prop_assert_eq!(&starts, &expected);
            for (start, interval) in &rows {
                let of_it: Vec<_> =
                    observed.iter().filter(|(at, _)| step.start_of(*at) == *start).map(|(_, s)| *s).collect();
                prop_assert_eq!(interval.observed_seconds as usize, of_it.len() * 10);
                let whole = |sample: &Sample| (sample.connected.iter().sum(), sample.connects.iter().sum());
                prop_assert_eq!(Some((interval.all.connected, interval.all.connects)), model(&of_it, whole));
                for (name, at) in [("a", 0), ("b", 1), ("ü", 2)] {
                    let of_type = |sample: &Sample| (sample.connected[at], sample.connects[at]);
                    let figures = interval.types[name];
                    prop_assert_eq!(Some((figures.connected, figures.connects)), model(&of_it, of_type));
                    let of_source = |sample: &Sample| (sample.connects[at], sample.connected[at]);
                    let figures = interval.sources[name];
                    prop_assert_eq!(Some((figures.connected, figures.connects)), model(&of_it, of_source));
                }
                for (cause, ends) in interval.causes.iter().enumerate() {
                    let expected = of_it.iter().filter(|sample| sample.cause == cause).count() as u64 * 2;
                    prop_assert_eq!(*ends, expected);
                }
                let unpacked = Interval::unpack(&interval.pack());
                prop_assert_eq!(unpacked.as_ref(), Some(interval));
            }
        }
    }

    #[test]
    fn no_bytes_make_unpacking_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut bytes = bytes;
        Interval::unpack(&bytes);
        for version in [1, 2] {
            bytes.insert(0, version);
            Interval::unpack(&bytes);
            bytes.remove(0);
        }
    }
}

#[test]
fn types_beyond_the_bound_are_counted_together_and_a_row_has_a_bound() {
    let mut interval = Interval { observed_seconds: 10, ..Interval::default() };
    for number in 0..TYPES_MAX + 5 {
        interval.add_type(&format!("type {number}"), figures(u64::MAX >> 9, 1));
    }
    interval.add_type(&"n".repeat(257), figures(4, 1));
    assert_eq!((interval.types.len(), interval.other.connects), (TYPES_MAX, 6));
    assert!(interval.pack().len() < 200 * (256 + 2 + 40) + 200);
    assert_eq!(Interval::unpack(&interval.pack()), Some(interval));
}

#[test]
fn sources_have_a_bound_and_a_row_of_the_version_without_them_says_nothing_of_any() {
    let mut interval = Interval { observed_seconds: 10, all: figures(3, 1), ..Interval::default() };
    interval.add_type("pump", figures(3, 1));
    // As the first version wrote it: without what follows the types.
    let mut bytes = interval.pack();
    assert_eq!((bytes[0], bytes.pop()), (2, Some(0)));
    bytes[0] = 1;
    let read = Interval::unpack(&bytes);
    assert_eq!(read.as_ref(), Some(&interval));
    assert_eq!(read.and_then(|interval| interval.of_source("north")), None);
    for number in 0..SOURCES_MAX + 5 {
        interval.add_source(&format!("source {number:03}"), figures(1, 0));
    }
    interval.add_source(&"n".repeat(257), figures(1, 0));
    assert_eq!(interval.sources.len(), SOURCES_MAX + 1);
    assert_eq!(interval.of_source("source 000"), Some(figures(1, 0)));
    assert_eq!(interval.of_source("none"), Some(Figures::default()), "a source without devices");
    assert_eq!(Interval::default().of_source("none"), Some(Figures::default()), "a fleet without devices");
    assert_eq!(Interval::unpack(&interval.pack()), Some(interval));
}

#[test]
fn every_step_is_a_part_of_the_next_and_is_kept_until_that_is_whole() {
    for step in Step::ALL {
        let Some(coarser) = step.coarser() else { continue };
        assert_eq!(coarser.seconds() % step.seconds(), 0);
        assert!(step.kept_seconds() >= 2 * u64::from(coarser.seconds()));
    }
}
