//! Lets other threads have the processor between two small pieces of work. Lookups wait for nobody's lock, but for a processor
//! on which a thread computes for long.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

/// How long a thread goes on before others have their turn. A scheduler lets it run for milliseconds otherwise, also when
/// somebody with a higher priority has come to wait for the processor.
const TURN: Duration = Duration::from_micros(50);

/// What a thread gets of a processor that others always want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// As much as they.
    Equal,
    /// A ninth.
    Small,
}

impl Share {
    /// How long a thread goes on that was kept waiting for so long. Threads of equal shares that went on for as long as they had
    /// waited for each other would have longer turns each time.
    fn turn_after(self, waited: Duration) -> Duration {
        match self {
            Share::Equal => TURN,
            Share::Small => TURN.max(waited / 8),
        }
    }
}

thread_local! {
    static TURN_ENDS: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Between two pieces of work: if the thread's turn is over, whoever waits for the processor comes first.
pub fn give_way(share: Share) {
    let now = Instant::now();
    if TURN_ENDS.get().is_some_and(|end| now < end) {
        return;
    }
    thread::yield_now();
    let back = Instant::now();
    TURN_ENDS.set(Some(back + share.turn_after(back - now)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_was_kept_waiting_goes_on_for_its_share() {
        let (short, long) = (Duration::from_micros(10), Duration::from_millis(8));
        assert_eq!(Share::Equal.turn_after(short), TURN);
        assert_eq!(Share::Small.turn_after(short), TURN);
        assert_eq!(Share::Equal.turn_after(long), TURN);
        assert_eq!(Share::Small.turn_after(long), Duration::from_millis(1));
    }
}
