//! When the fleet was observed, as the series says: an interval counts only if the fleet was observed all through it. Finer
//! intervals, which are kept for shorter, fill those of the coarser ones that were observed in part.

use server::series::{Interval, Step};
use store::{SeriesRange, Store, StoreError};

use super::{millis_of, seconds_of};

/// Spans of time in which the fleet was observed: in order, apart from each other, in milliseconds since 1970.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ObservedTimes {
    spans: Vec<ObservedSpan>,
    /// The span that was asked for last: the time only goes on.
    at: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ObservedSpan {
    from: i64,
    until: i64,
}

impl ObservedTimes {
    pub async fn read(store: &dyn Store, from: i64, until: i64) -> Result<Self, StoreError> {
        let mut spans = Vec::new();
        for step in Step::ALL {
            let range = SeriesRange {
                step_seconds: step.seconds(),
                from: step.start_of(seconds_of(from)),
                to: seconds_of(until),
            };
            for row in store.series(range).await? {
                // What cannot be read was not observed.
                let observed = Interval::unpack(&row.figures).map_or(0, |interval| interval.observed_seconds);
                if observed >= step.seconds() {
                    let start = millis_of(row.start);
                    let until = start + i64::from(step.seconds()) * 1_000;
                    spans.push(ObservedSpan { from: start, until });
                }
            }
        }
        let spans = spans
            .into_iter()
            .map(|span| ObservedSpan { from: span.from.max(from), until: span.until.min(until) });
        Ok(Self { spans: joined(spans.filter(|span| span.from < span.until).collect()), at: 0 })
    }

    /// Whether the fleet was observed until then. To be asked in the order of time.
    pub fn is_observed(&mut self, at: i64) -> bool {
        while self.spans.get(self.at).is_some_and(|span| span.until < at) {
            self.at += 1;
        }
        self.spans.get(self.at).is_some_and(|span| span.from < at)
    }

    pub fn total_millis(&self) -> i64 {
        self.spans.iter().map(|span| span.until - span.from).sum()
    }
}

/// Spans that overlap or touch are one.
fn joined(mut spans: Vec<ObservedSpan>) -> Vec<ObservedSpan> {
    spans.sort_unstable();
    let mut joined: Vec<ObservedSpan> = Vec::new();
    for span in spans {
        match joined.last_mut() {
            Some(last) if span.from <= last.until => last.until = last.until.max(span.until),
            Some(_) | None => joined.push(span),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(from: i64, until: i64) -> ObservedSpan {
        ObservedSpan { from, until }
    }

    #[test]
    fn spans_of_all_steps_are_joined_and_what_is_between_was_not_observed() {
        let spans = joined(vec![span(60, 120), span(0, 60), span(200, 210), span(180, 190), span(20, 30)]);
        assert_eq!(spans, [span(0, 120), span(180, 190), span(200, 210)]);
        let mut times = ObservedTimes { spans, at: 0 };
        assert_eq!(times.total_millis(), 140);
        let observed: Vec<i64> = (0..=220).step_by(10).filter(|at| times.is_observed(*at)).collect();
        assert_eq!(observed, [10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120, 190, 210]);
    }
}
