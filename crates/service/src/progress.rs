//! Shows how far the population is: a bar on a terminal, otherwise a line in the log from time to time. Only looks; what
//! it shows is kept by `health`, `registry` and `metrics`. The same bar shows how far an export or import is.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::fmt::MakeWriter;

use server::health::{Health, RoundProgress};
use server::metrics::Metrics;
use server::registry::DeviceRegistry;

/// A person sees this as movement.
const BAR_INTERVAL: Duration = Duration::from_millis(250);
/// Most populations are over before the first line.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
const TEMPLATE: &str = "{spinner} retained statuses [{bar:24}] {msg}";

/// What is looked at.
#[derive(Clone)]
pub struct ProgressSource {
    pub registry: Arc<DeviceRegistry>,
    pub health: Arc<Health>,
    pub metrics: Metrics,
}

/// Where log lines and the bar meet: a line takes the bar away, is written, and the bar comes back below it.
#[derive(Clone)]
pub struct Screen {
    /// Draws nothing unless it has a terminal.
    bar: ProgressBar,
    is_terminal: bool,
}

/// Writes one log line at a time.
pub struct LineWriter(ProgressBar);

impl Screen {
    /// A bar on stderr if `is_terminal`, else none.
    pub fn new(is_terminal: bool) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style);
        }
        Self { bar, is_terminal }
    }

    /// Another bar, for something that is counted: on the terminal if there is one, and log lines go around it.
    pub fn count(&self, what: &str) -> ProgressBar {
        if self.is_terminal {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        if let Ok(style) = ProgressStyle::with_template(&format!("{{spinner}} [{{bar:24}}] {what}")) {
            self.bar.set_style(style);
        }
        self.bar.clone()
    }

    /// Shows every round until shutdown.
    pub async fn show(self, source: ProgressSource, shutdown: CancellationToken) {
        let mut ticks = interval(if self.is_terminal { BAR_INTERVAL } else { LINE_INTERVAL });
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut round = None;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = shutdown.cancelled() => break,
            }
            let state = source.health.state();
            if !state.is_reading() {
                round = None;
                self.hide();
                continue;
            }
            let messages = source.metrics.messages_received.get();
            let Some(RateSample { began, at, messages: before }) = round else {
                round = Some(RateSample { began: Instant::now(), at: Instant::now(), messages });
                continue;
            };
            let now = Instant::now();
            round = Some(RateSample { began, at: now, messages });
            let seconds = (now - at).as_secs_f64().max(f64::EPSILON);
            self.say(&ProgressReport {
                progress: state.progress,
                devices: source.registry.totals().total(),
                messages_per_second: (messages.saturating_sub(before) as f64 / seconds) as u64,
                left: left(state.progress, now - began),
            });
        }
        self.hide();
    }

    fn say(&self, report: &ProgressReport) {
        let ProgressReport {
            progress: RoundProgress { types_done, types_total },
            devices,
            messages_per_second,
            left,
        } = *report;
        if !self.is_terminal {
            let left_s = left.map(|left| left.as_secs());
            tracing::info!(
                types_done,
                types_total,
                devices,
                messages_per_second,
                left_s,
                "reading the retained statuses"
            );
            return;
        }
        if self.bar.is_hidden() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        // A bar of no length looks as if all were done.
        self.bar.set_length(types_total.max(1) as u64);
        self.bar.set_position(types_done as u64);
        self.bar.set_message(words(report));
        self.bar.tick();
    }

    fn hide(&self) {
        if !self.bar.is_hidden() {
            self.bar.set_draw_target(ProgressDrawTarget::hidden());
        }
    }
}

/// One look at a round.
#[derive(Clone, Copy)]
struct RateSample {
    began: Instant,
    at: Instant,
    messages: u64,
}

/// What is shown.
struct ProgressReport {
    progress: RoundProgress,
    devices: u64,
    messages_per_second: u64,
    left: Option<Duration>,
}

/// What follows the bar.
fn words(report: &ProgressReport) -> String {
    let ProgressReport {
        progress: RoundProgress { types_done, types_total },
        devices,
        messages_per_second,
        left,
    } = *report;
    let types = match types_total {
        0 => "all types at once".to_owned(),
        total => format!("{types_done} of {total} types"),
    };
    let left = left.map(|left| format!(", about {} s left", left.as_secs())).unwrap_or_default();
    format!("{types}, {devices} devices, {messages_per_second} messages/s{left}")
}

/// How long the rest takes if its types are as large as those that are done.
fn left(progress: RoundProgress, elapsed: Duration) -> Option<Duration> {
    let RoundProgress { types_done, types_total } = progress;
    let share = types_total.checked_sub(types_done)? as f64 / types_done as f64;
    (types_done > 0).then(|| elapsed.mul_f64(share))
}

impl<'a> MakeWriter<'a> for Screen {
    type Writer = LineWriter;

    fn make_writer(&'a self) -> LineWriter {
        LineWriter(self.bar.clone())
    }
}

impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write(line))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_estimated_once_a_type_is_done() {
        let progress = |types_done| RoundProgress { types_done, types_total: 4 };
        let elapsed = Duration::from_secs(6);
        assert_eq!(left(progress(0), elapsed), None);
        assert_eq!(left(progress(1), elapsed), Some(Duration::from_secs(18)));
        assert_eq!(left(progress(4), elapsed), Some(Duration::ZERO));
    }

    #[test]
    fn types_are_counted_only_once_they_are_read_one_by_one() {
        let report = |types_total, left| ProgressReport {
            progress: RoundProgress { types_done: 0, types_total },
            devices: 7,
            messages_per_second: 5,
            left,
        };
        assert_eq!(words(&report(0, None)), "all types at once, 7 devices, 5 messages/s");
        let left = Some(Duration::from_secs(9));
        assert_eq!(words(&report(4, left)), "0 of 4 types, 7 devices, 5 messages/s, about 9 s left");
    }
}
