//! The series of the fleet as lines of bars (pure).

use serde::Deserialize;

use super::table::{Cell, Paint, TableColumns};

/// Bars in a line: with names and numbers it fits eighty columns. A day is 48 half hours, and the one that is on.
const BARS_MAX: usize = 49;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Nothing is known of the interval.
const NOT_OBSERVED: char = '·';

/// What the service says of a range of time.
#[derive(Debug, Deserialize)]
pub struct SeriesView {
    from: String,
    to: String,
    step_seconds: u64,
    connected: GaugeView,
    disconnected: GaugeView,
    connects: Vec<Option<u64>>,
    disconnects: Vec<Option<u64>>,
}

#[derive(Debug, Deserialize)]
struct GaugeView {
    min: Vec<Option<u64>>,
    max: Vec<Option<u64>>,
    last: Vec<Option<u64>>,
}

/// A line for each metric: devices at the end of each part of the range, sessions in it.
pub fn series(view: &SeriesView, colour: bool) -> Vec<String> {
    let per_bar = view.connects.len().div_ceil(BARS_MAX).max(1);
    let gauge = |name: &str, gauge: &GaugeView, paint| {
        let (min, max) = (gauge.min.iter().flatten().min(), gauge.max.iter().flatten().max());
        let bars = bars(&gauge.last, per_bar, |observed| observed.last().copied());
        let range = min.zip(max).map_or_else(String::new, |(min, max)| format!("{min} to {max}"));
        vec![Cell::new(name, Paint::Faint), Cell::new(&bars, paint), Cell::new(&range, Paint::Plain)]
    };
    let flow = |name: &str, values: &[Option<u64>]| {
        let bars = bars(values, per_bar, |observed| Some(observed.iter().sum()));
        let total: Option<u64> = values.iter().flatten().copied().reduce(u64::saturating_add);
        let total = total.map_or_else(String::new, |total| format!("{total} in all"));
        vec![Cell::new(name, Paint::Faint), Cell::new(&bars, Paint::Plain), Cell::new(&total, Paint::Plain)]
    };
    let rows = [
        gauge("connected", &view.connected, Paint::Good),
        gauge("disconnected", &view.disconnected, Paint::Bad),
        flow("connects", &view.connects),
        flow("disconnects", &view.disconnects),
    ];
    let seconds = view.step_seconds.saturating_mul(per_bar as u64);
    let mut lines = vec![format!("{} to {}, {} in each column", view.from, view.to, length(seconds))];
    lines.extend(TableColumns::new(&[], colour).lines(&rows));
    if view.connects.contains(&None) {
        lines.push(format!("{NOT_OBSERVED} the fleet was not observed"));
    }
    lines
}

/// A bar for so many intervals each, the highest one for the greatest value.
fn bars(values: &[Option<u64>], per_bar: usize, of: impl Fn(&[u64]) -> Option<u64>) -> String {
    let parts = values.chunks(per_bar).map(|part| part.iter().flatten().copied().collect::<Vec<_>>());
    let heights: Vec<_> =
        parts.map(|observed| if observed.is_empty() { None } else { of(&observed) }).collect();
    let most = heights.iter().flatten().max().copied().unwrap_or(0).max(1);
    let bar = |height: Option<u64>| {
        let Some(height) = height else { return NOT_OBSERVED };
        let eighth = (u128::from(height) * (BARS.len() as u128 - 1)).div_ceil(u128::from(most));
        BARS[eighth as usize]
    };
    heights.into_iter().map(bar).collect()
}

/// In the largest unit that divides it.
fn length(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "min")];
    let unit = units.into_iter().find(|(length, _)| seconds > 0 && seconds.is_multiple_of(*length));
    unit.map_or_else(|| format!("{seconds} s"), |(length, name)| format!("{} {name}", seconds / length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_show_what_was_observed_and_points_what_was_not() {
        let view = serde_json::json!({
            "from": "2026-11-24T12:00:00Z", "to": "2026-11-24T12:04:00Z", "step_seconds": 60,
            "observed_seconds": [60, 0, 60, 60],
            "connected": {"min": [1, null, 8, 4], "max": [2, null, 9, 8], "last": [2, null, 8, 4]},
            "disconnected": {"min": [0, null, 0, 0], "max": [0, null, 0, 0], "last": [0, null, 0, 0]},
            "connects": [0, null, 7, 1], "disconnects": [1, null, 1, 4],
        });
        let lines = series(&serde_json::from_value(view).unwrap(), false);
        assert_eq!(
            lines,
            [
                "2026-11-24T12:00:00Z to 2026-11-24T12:04:00Z, 1 min in each column",
                "connected     ▃·█▅  1 to 9",
                "disconnected  ▁·▁▁  0 to 0",
                "connects      ▁·█▂  8 in all",
                "disconnects   ▃·▃█  6 in all",
                "· the fleet was not observed",
            ]
        );
    }

    #[test]
    fn many_intervals_share_a_bar() {
        let values: Vec<_> = (0..1_440).map(|at| (at >= 720).then_some(1)).collect();
        let bars = bars(&values, 30, |observed| Some(observed.iter().sum()));
        assert_eq!(bars, "·".repeat(24) + &"█".repeat(24));
        assert_eq!(
            [length(1_800), length(3_600), length(90), length(172_800)],
            ["30 min", "1 h", "90 s", "2 d"]
        );
    }
}
