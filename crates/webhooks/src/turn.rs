//! Lets others have the processor between two small pieces of work.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

/// How long a thread goes on before others have their turn. A scheduler lets it run for milliseconds otherwise, also when
/// somebody with a higher priority has come to wait for the processor.
const TURN: Duration = Duration::from_micros(100);
/// A thread that was kept waiting then goes on for this part of that time, so that a busy machine leaves it some of a processor.
const PART_OF_WAIT: u32 = 8;

thread_local! {
    static TURN_ENDS: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Between two pieces of work: if the thread's turn is over, whoever waits for the processor comes first.
pub fn give_way() {
    let now = Instant::now();
    if TURN_ENDS.get().is_some_and(|end| now < end) {
        return;
    }
    thread::yield_now();
    let back = Instant::now();
    TURN_ENDS.set(Some(back + TURN.max((back - now) / PART_OF_WAIT)));
}
