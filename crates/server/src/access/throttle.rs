//! How often one key or one address may ask: a token bucket that is one number, the generic cell rate algorithm. Time is an
//! argument.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Places for addresses, half a megabyte. Two addresses that meet in one share its rate, which a thousand busy addresses do
/// in one of a hundred cases; what it buys is that no number of addresses takes more memory. Who shares a place with whom
/// differs from process to process, so nobody can choose to.
const PLACES: usize = 65_536;

/// So many in a second over any length of time, and a burst of so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Nanoseconds that each takes.
    interval: u64,
    /// How far the bucket may be ahead of the time.
    tolerance: u64,
}

impl Rate {
    /// Neither may be 0.
    pub const fn new(per_second: u32, burst: u32) -> Self {
        let interval = 1_000_000_000 / per_second as u64;
        Self { interval, tolerance: interval * (burst as u64 - 1) }
    }
}

/// One bucket.
#[derive(Debug, Default)]
pub struct Throttle {
    /// When the bucket is full again, in nanoseconds since whatever the caller counts from.
    full_at: AtomicU64,
}

impl Throttle {
    /// Takes one, or says how long there is none.
    pub fn take(&self, rate: Rate, now: Duration) -> Result<(), Duration> {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let mut full_at = self.full_at.load(Ordering::Relaxed);
        loop {
            let ahead = full_at.saturating_sub(now);
            if ahead > rate.tolerance {
                return Err(Duration::from_nanos(ahead - rate.tolerance));
            }
            let next = full_at.max(now) + rate.interval;
            match self.full_at.compare_exchange_weak(full_at, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(changed) => full_at = changed,
            }
        }
    }
}

/// A bucket for each address, in memory that does not grow.
#[derive(Debug)]
pub struct AddressThrottle {
    places: Box<[Throttle]>,
    hasher: RandomState,
}

impl Default for AddressThrottle {
    fn default() -> Self {
        Self { places: (0..PLACES).map(|_| Throttle::default()).collect(), hasher: RandomState::new() }
    }
}

impl AddressThrottle {
    pub fn take(&self, address: IpAddr, rate: Rate, now: Duration) -> Result<(), Duration> {
        let hash = self.hasher.hash_one(network(address));
        self.places[hash as usize % PLACES].take(rate, now)
    }
}

/// What one client has: an IPv4 address, or 64 bits of an IPv6 one, of which it can use any.
pub fn network(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate::new(10, 5);

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn taken(throttle: &Throttle, now: Duration) -> usize {
        (0..100).take_while(|_| throttle.take(RATE, now).is_ok()).count()
    }

    #[test]
    fn a_burst_is_let_through_and_then_the_rate() {
        let throttle = Throttle::default();
        assert_eq!(taken(&throttle, at(1_000)), 5);
        assert_eq!(throttle.take(RATE, at(1_000)), Err(at(100)), "the wait is said");
        assert_eq!(taken(&throttle, at(1_099)), 0);
        assert_eq!(taken(&throttle, at(1_100)), 1);
        assert_eq!(taken(&throttle, at(1_400)), 3);
        assert_eq!(taken(&throttle, at(60_000)), 5, "an idle bucket holds no more than the burst");
    }

    #[test]
    fn threads_take_no_more_than_there_is() {
        let throttle = Throttle::default();
        let taken: usize = std::thread::scope(|scope| {
            let takers: Vec<_> = (0..4).map(|_| scope.spawn(|| taken(&throttle, at(1_000)))).collect();
            takers.into_iter().map(|taker| taker.join().unwrap()).sum()
        });
        assert_eq!(taken, 5);
    }

    #[test]
    fn addresses_are_limited_separately_and_those_of_one_network_together() {
        let throttle = AddressThrottle::default();
        let take = |address: &str| throttle.take(address.parse().unwrap(), Rate::new(1, 1), at(0)).is_ok();
        assert!(take("192.0.2.1") && take("192.0.2.2") && take("2001:db8::1"));
        assert!(!take("192.0.2.1") && !take("::ffff:192.0.2.2") && !take("2001:db8::2"));
        assert!(take("2001:db8:0:1::1"));
    }
}
