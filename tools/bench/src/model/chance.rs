//! Numbers by chance, and the two laws that the model is made of: how many messages come, and how many different devices they
//! are about. The same seed gives the same numbers.

/// Splitmix64.
pub struct Chance(pub u64);

impl Chance {
    /// From 0 to below 1.
    pub fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// How many independent events happen where so many are expected (Poisson's law; the normal one where it is as good).
    pub fn count(&mut self, expected: f64) -> f64 {
        const NORMAL_FROM: f64 = 50.0;
        if expected >= NORMAL_FROM {
            let angle = std::f64::consts::TAU * self.share();
            let normal = (-2.0 * (1.0 - self.share()).ln()).sqrt() * angle.cos();
            return (expected + expected.sqrt() * normal).round().max(0.0);
        }
        let (mut left, mut count) = ((-expected).exp(), 0.0);
        let ticket = self.share();
        let mut below = left;
        while ticket >= below && count < NORMAL_FROM * 4.0 {
            count += 1.0;
            left *= expected / count;
            below += left;
        }
        count
    }

    /// Rounds to one of the neighbours, so that the mean stays.
    pub fn whole(&mut self, value: f64) -> f64 {
        value.floor() + f64::from(u8::from(self.share() < value.fract()))
    }
}

/// Of `size` devices `marked` are marked already; how many are after so many messages, each about any of them.
pub fn marked_after(size: f64, marked: f64, messages: f64) -> f64 {
    if size < 1.0 {
        return 0.0;
    }
    let unmarked = (size - marked).max(0.0) * (messages * (-1.0 / size).ln_1p().max(-700.0)).exp();
    (size - unmarked).clamp(marked.min(size), size)
}

#[cfg(test)]
mod tests {
    use super::{Chance, marked_after};

    #[test]
    fn counts_have_the_mean_and_the_spread_of_their_law() {
        for expected in [0.3, 4.0, 49.0, 51.0, 4000.0] {
            let mut chance = Chance(7);
            let counts: Vec<f64> = (0..20_000).map(|_| chance.count(expected)).collect();
            let mean = counts.iter().sum::<f64>() / counts.len() as f64;
            let variance =
                counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / counts.len() as f64;
            assert!((mean / expected - 1.0).abs() < 0.03, "{expected}: mean {mean}");
            assert!((variance / expected - 1.0).abs() < 0.06, "{expected}: variance {variance}");
        }
    }

    #[test]
    fn sampling_marks_as_many_devices_as_simulating_each_one() {
        const SIZE: usize = 500;
        let mut chance = Chance(3);
        let mut total = 0;
        for _ in 0..200 {
            let mut devices = [false; SIZE];
            (0..50).for_each(|device| devices[device] = true);
            (0..300).for_each(|_| devices[(chance.share() * SIZE as f64) as usize] = true);
            total += devices.iter().filter(|marked| **marked).count();
        }
        let counted = total as f64 / 200.0;
        let expected = marked_after(SIZE as f64, 50.0, 300.0);
        assert!((counted / expected - 1.0).abs() < 0.01, "{counted} counted, {expected} by the formula");
        assert_eq!(marked_after(1.0, 0.0, 3.0), 1.0);
        assert_eq!(marked_after(0.0, 0.0, 3.0), 0.0);
    }
}
