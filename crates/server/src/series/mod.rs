//! The series of the fleet: how many devices were connected, and how many sessions began and ended, in each interval of the
//! last hours, days and years.
//!
//! ```text
//! registry -counters, every 10 s-> Recorder -Interval-> store -> SeriesReader -> http-api
//! ```
//!
//! An interval in which the fleet was not observed has no row. Among several instances, the one whose row of ten seconds comes
//! first writes it, and the others' are dropped by the store: so no one has to be elected, and none is missed when one dies.
//! Coarser rows are made of the finer ones in the store, so it does not matter who makes them, or how often.

mod interval;
mod reader;
mod recorder;
mod roll_up;
mod step;
#[cfg(test)]
mod tests;

pub use self::interval::{Figures, Gauge, Interval};
pub use self::reader::{POINTS_MAX, Points, SeriesReader};
pub use self::recorder::Recorder;
pub use self::step::Step;
