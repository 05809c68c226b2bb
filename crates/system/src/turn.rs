//! Lets other threads have the processor between two small pieces of work. Lookups wait for nobody's lock, but for a processor
//! on which a thread computes for long.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

/// How long a thread goes on before others have their turn. A scheduler lets it run for longer otherwise, before Linux 6.12 for
/// milliseconds, also when somebody with a higher priority has come to wait for the processor.
const TURN: Duration = Duration::from_micros(50);

/// A thread that has not asked for so long has mostly slept, and begins its turn.
const SLEPT: Duration = Duration::from_millis(2);

thread_local! {
    static TURN_ENDS: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// How far a thread is with its turn.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    GoesOn,
    IsOver,
    Begins,
}

impl Turn {
    fn of(end: Option<Instant>, now: Instant) -> Self {
        match end {
            Some(end) if now < end => Self::GoesOn,
            Some(end) if now < end + SLEPT => Self::IsOver,
            Some(_) | None => Self::Begins,
        }
    }
}

/// To be called between two pieces of work: if the thread's turn is over, it lets the threads run that wait for the processor. Where others
/// always want the processor, the thread gets a ninth of it at least.
pub fn give_way() {
    let now = Instant::now();
    let waited = match Turn::of(TURN_ENDS.get(), now) {
        Turn::GoesOn => return,
        Turn::IsOver => {
            thread::yield_now();
            now.elapsed()
        }
        Turn::Begins => Duration::ZERO,
    };
    TURN_ENDS.set(Some(now + waited + turn_after(waited)));
}

/// How long a thread goes on that was kept waiting for so long. Threads that went on for as long as they had waited for each other would
/// have longer turns each time.
fn turn_after(waited: Duration) -> Duration {
    TURN.max(waited / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_was_kept_waiting_goes_on_for_an_eighth_of_that() {
        assert_eq!(turn_after(Duration::from_micros(10)), TURN);
        assert_eq!(turn_after(Duration::from_millis(8)), Duration::from_millis(1));
    }

    #[test]
    fn a_turn_ends_and_one_that_was_slept_through_begins_anew() {
        let now = Instant::now();
        let end = Some(now + TURN);
        assert_eq!(Turn::of(None, now), Turn::Begins);
        assert_eq!(Turn::of(end, now), Turn::GoesOn);
        assert_eq!(Turn::of(end, now + TURN), Turn::IsOver);
        assert_eq!(Turn::of(end, now + TURN + SLEPT), Turn::Begins);
    }
}
