//! Looks devices up one after the other at a steady rate, beside whatever else a measurement does.

use std::time::{Duration, Instant};

use crate::Outcome;
use crate::http::Connection;
use crate::process::pause;

/// A lookup: when it was due, and how long it took from then.
pub struct Lookup {
    pub due: Instant,
    pub took: Duration,
}

/// Looks up so many devices a second, from `begins` on, until it is over. Each lookup is of the path that comes next.
///
/// The thread asks for short slices of the processor, as the service's workers do: if it shares one with the service, it counts what
/// the service takes, and not how long it waits itself for a thread that computes.
pub fn at_rate(
    url: &str,
    each_second: u32,
    begins: Instant,
    mut path: impl FnMut() -> String,
    is_over: impl Fn() -> bool,
) -> Outcome<Vec<Lookup>> {
    // Where the kernel has none, the figure contains these waits.
    let _ = system::slice::shorten(system::slice::SHORTEST);
    let mut connection = Connection::open(url)?;
    let interval = Duration::from_secs(1) / each_second.max(1);
    let (mut lookups, mut due) = (Vec::new(), begins);
    while !is_over() {
        pause(due.saturating_duration_since(Instant::now()));
        connection.ask(&path())?;
        lookups.push(Lookup { due, took: due.elapsed() });
        due += interval;
    }
    Ok(lookups)
}

/// The next of pseudorandom numbers, for devices all over a fleet.
pub fn random_after(number: u32) -> u32 {
    number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)
}
