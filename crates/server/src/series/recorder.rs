//! Reads the counters every ten seconds, writes what they have grown by, and rolls the rows up.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::interval::{Figures, Gauge, Interval};
use super::roll_up::rolled_up;
use super::step::Step;
use crate::clock;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::registry::{DeviceRegistry, FleetSessionTotals, SessionTotals};
use presence::UnixSeconds;
use store::{IfExists, SeriesRange, SeriesRow, Store, StoreError};

/// How much later than it should two readings may be for the time between them to count as ten seconds.
const LATE_MAX: Duration = Duration::from_secs(2);

/// Writes the series.
pub struct Recorder {
    pub registry: Arc<DeviceRegistry>,
    pub health: Arc<Health>,
    pub store: Arc<dyn Store>,
    pub metrics: Metrics,
}

/// One reading of the counters.
struct Reading {
    at: Instant,
    /// By the wall clock: where an interval ends and the next one starts.
    boundary: UnixSeconds,
    is_observed: bool,
    counted: FleetSessionTotals,
}

/// What is remembered from one reading to the next.
#[derive(Default)]
struct RecorderMemory {
    reading: Option<Reading>,
    /// From when on rows of ten seconds are not yet part of the coarser ones; `None`: it is not known.
    rolled_up_to: Option<UnixSeconds>,
    has_failed: bool,
}

impl Recorder {
    /// Until `stop`. Of what is not all, there are no series.
    pub async fn run(self, stop: CancellationToken) {
        if self.registry.is_limited() {
            return stop.cancelled().await;
        }
        let mut memory = RecorderMemory::default();
        let step = Duration::from_secs(Step::TenSeconds.seconds().into());
        loop {
            let into_step = clock::since_1970().as_millis() % step.as_millis();
            let wait = step - Duration::from_millis(into_step as u64);
            let next = async {
                sleep(wait).await;
                self.tick(&mut memory).await;
            };
            // A store that does not answer holds up no stop.
            if stop.run_until_cancelled(next).await.is_none() {
                return;
            }
        }
    }

    async fn tick(&self, memory: &mut RecorderMemory) {
        let reading = self.read();
        let boundary = reading.boundary;
        let interval = memory.reading.as_ref().and_then(|before| self.interval(before, &reading));
        memory.reading = Some(reading);
        let recorded = async {
            if let Some(interval) = &interval {
                let start = UnixSeconds(boundary.0 - Step::TenSeconds.seconds());
                self.write(Step::TenSeconds, start, interval, IfExists::Keep).await?;
            }
            let is_minute = boundary.0.is_multiple_of(Step::Minute.seconds());
            if is_minute || memory.rolled_up_to.is_none() {
                self.roll_up(memory.rolled_up_to, boundary).await?;
                memory.rolled_up_to = Some(boundary);
            }
            Ok::<_, StoreError>(())
        };
        match recorded.await {
            Ok(()) => memory.has_failed = false,
            Err(error) => {
                self.metrics.store.failures.inc();
                // Rows that others have written meanwhile are to be rolled up, too.
                memory.rolled_up_to = None;
                if !std::mem::replace(&mut memory.has_failed, true) {
                    tracing::warn!(%error, "cannot write the series; intervals until it can are missing in it");
                }
            }
        }
    }

    fn read(&self) -> Reading {
        let boundary = Step::TenSeconds.start_of(clock::now());
        let is_observed = self.health.has_observed_for(Duration::ZERO);
        Reading { at: Instant::now(), boundary, is_observed, counted: self.registry.counted() }
    }

    /// What happened between two readings; `None` if they are not ten seconds apart by both clocks, or the fleet was not
    /// observed all the time.
    fn interval(&self, before: &Reading, now: &Reading) -> Option<Interval> {
        let step = Step::TenSeconds.seconds();
        let elapsed = now.at - before.at;
        let is_one_step = now.boundary.0.checked_sub(before.boundary.0) == Some(step)
            && elapsed <= Duration::from_secs(step.into()) + LATE_MAX;
        (is_one_step && before.is_observed && self.health.has_observed_for(elapsed))
            .then(|| difference(&before.counted, &now.counted))
    }

    async fn write(
        &self,
        step: Step,
        start: UnixSeconds,
        interval: &Interval,
        if_exists: IfExists,
    ) -> Result<(), StoreError> {
        let row = SeriesRow { step_seconds: step.seconds(), start, figures: interval.pack() };
        self.store.write_series(row, if_exists, step.rows_max()).await.map(drop)
    }

    /// Makes the coarser rows of what was written since, and of the minutes, hours and days that it is part of.
    async fn roll_up(&self, since: Option<UnixSeconds>, now: UnixSeconds) -> Result<(), StoreError> {
        let minute = Step::Minute.seconds();
        let back = match since {
            // Another instance may have written the last row and died.
            Some(since) => now.0.saturating_sub(since.0).saturating_add(minute),
            // After a start: whatever an earlier process has left, in minutes of which every row is kept.
            None => u32::try_from(Step::TenSeconds.kept_seconds()).unwrap_or(u32::MAX) - minute,
        };
        let since = UnixSeconds(now.0.saturating_sub(back));
        for step in Step::ALL {
            let Some(coarser) = step.coarser() else { break };
            // The first one is whole: its finer rows are kept for longer than it lasts.
            let range = SeriesRange { step_seconds: step.seconds(), from: coarser.start_of(since), to: now };
            let rows = self.store.series(range).await?;
            let intervals = rows.iter().filter_map(|row| Some((row.start, Interval::unpack(&row.figures)?)));
            for (start, interval) in rolled_up(coarser, intervals) {
                self.write(coarser, start, &interval, IfExists::Replace).await?;
            }
        }
        Ok(())
    }
}

fn difference(before: &FleetSessionTotals, now: &FleetSessionTotals) -> Interval {
    let mut interval = Interval {
        observed_seconds: Step::TenSeconds.seconds(),
        all: figures(before.all, now.all),
        ..Interval::default()
    };
    for ((ends, now), before) in interval.causes.iter_mut().zip(now.causes).zip(before.causes) {
        *ends = now.saturating_sub(before);
    }
    let earlier = by_name(&before.types);
    let (mut of_types_before, mut of_types_now) = (SessionTotals::default(), SessionTotals::default());
    for (name, counted) in &now.types {
        let earlier = earlier.get(&**name).copied().unwrap_or_default();
        add(&mut of_types_before, earlier);
        add(&mut of_types_now, *counted);
        interval.add_type(name, figures(earlier, *counted));
    }
    // The types are read while they are counted, so their sum may be ahead of the whole.
    let rest = figures(before.all.less(&of_types_before), now.all.less(&of_types_now));
    if rest.connected.last + rest.disconnected.last > 0 && now.types.len() >= super::interval::TYPES_MAX {
        interval.other = rest;
    }
    let earlier = by_name(&before.sources);
    for (name, counted) in &now.sources {
        let earlier = earlier.get(&**name).copied().unwrap_or_default();
        interval.add_source(name, figures(earlier, *counted));
    }
    interval
}

fn by_name(counted: &[(Arc<str>, SessionTotals)]) -> HashMap<&str, SessionTotals> {
    counted.iter().map(|(name, counted)| (&**name, *counted)).collect()
}

fn figures(before: SessionTotals, now: SessionTotals) -> Figures {
    Figures {
        connected: Gauge::of(now.now.connected),
        disconnected: Gauge::of(now.now.disconnected),
        connects: now.connects.saturating_sub(before.connects),
        disconnects: now.disconnects.saturating_sub(before.disconnects),
    }
}

fn add(sum: &mut SessionTotals, more: SessionTotals) {
    sum.now.connected += more.now.connected;
    sum.now.disconnected += more.now.disconnected;
    sum.connects += more.connects;
    sum.disconnects += more.disconnects;
}
