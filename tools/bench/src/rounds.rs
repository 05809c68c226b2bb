//! Figures of several rounds, and how they are printed: every raw figure, the medians, one ratio. What is measured is
//! not known here.

/// What one side reached, a figure for each round.
pub struct Figures {
    side: &'static str,
    unit: &'static str,
    values: Vec<f64>,
}

impl Figures {
    pub fn new(side: &'static str, unit: &'static str) -> Self {
        Self { side, unit, values: Vec::new() }
    }

    pub fn push(&mut self, value: f64) {
        println!("  {:<24} {value:>14.1} {}", self.side, self.unit);
        self.values.push(value);
    }

    pub fn median(&self) -> f64 {
        median(&self.values)
    }
}

/// Prints the medians and `ours : peer`.
pub fn print_ratio(name: &str, ours: &Figures, peer: &Figures) {
    println!();
    for figures in [ours, peer] {
        let raw: Vec<_> = figures.values.iter().map(|value| format!("{value:.1}")).collect();
        println!("{:<26} {:>14.1} {}   of {}", figures.side, figures.median(), figures.unit, raw.join(", "));
    }
    println!("{name} ratio, {} : {}, medians: {:.2}", ours.side, peer.side, ours.median() / peer.median());
}

/// The middle value; of an even number, the mean of the middle two.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.as_slice() {
        [] => f64::NAN,
        sorted if sorted.len() % 2 == 1 => sorted[sorted.len() / 2],
        sorted => (sorted[sorted.len() / 2 - 1] + sorted[sorted.len() / 2]) / 2.0,
    }
}

/// The least value that so many of a hundred do not exceed.
pub fn percentile(mut values: Vec<f64>, percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get((values.len() * percent).div_ceil(100).saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::{median, percentile};

    #[test]
    fn median_is_the_middle_whatever_the_order() {
        assert_eq!(median(&[9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
        assert!(median(&[]).is_nan());
    }
    #[test]
    fn a_percentile_is_the_value_that_so_many_do_not_exceed() {
        let values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!((percentile(values.clone(), 99), percentile(values, 50)), (198.0, 100.0));
        assert_eq!(percentile(vec![7.0], 99), 7.0);
    }
}
