//! Whether something on the way to the broker ends connections that are idle. Pure: durations are arguments.

use std::time::Duration;

/// Shorter pauses between packets are no sign of a timeout: a broker that restarts closes whenever it likes.
const IDLE_MIN: Duration = Duration::from_secs(1);
/// How far two timeouts of the same length may be apart when they are measured here.
const TOLERANCE: Duration = Duration::from_millis(500);

/// How the earlier connections ended.
#[derive(Debug, Default)]
pub struct IdleCloses {
    last: Option<Duration>,
}

impl IdleCloses {
    /// A connection with this keep-alive broke without a word, after nothing had been sent either way for `idle`; `None`: it
    /// ended in another way. Returns what to tell if two in a row broke after the same time.
    pub fn note(&mut self, idle: Option<Duration>, keep_alive: Duration) -> Option<String> {
        let idle = idle.filter(|&idle| idle >= IDLE_MIN && idle <= keep_alive);
        let last = std::mem::replace(&mut self.last, idle);
        let (idle, last) = (idle?, last?);
        if idle.abs_diff(last) > TOLERANCE {
            return None;
        }
        // A ping is sent after half the keep-alive, so this one leaves as much time again for it to arrive.
        let seconds = idle.min(last).as_secs_f32().round().max(1.0);
        Some(format!(
            "this was the second time in a row after {seconds} seconds without traffic, so a proxy, load balancer or \
             firewall on the way probably ends idle connections sooner than the keep-alive of {} seconds: set \
             --keep-alive to {seconds} or less, or raise its idle timeout",
            keep_alive.as_secs()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP_ALIVE: Duration = Duration::from_secs(60);

    fn note(closes: &mut IdleCloses, idle_ms: u64) -> Option<String> {
        closes.note(Some(Duration::from_millis(idle_ms)), KEEP_ALIVE)
    }

    #[test]
    fn two_ends_after_the_same_silence_are_an_idle_timeout() {
        let mut closes = IdleCloses::default();
        assert_eq!(note(&mut closes, 5_010), None);
        let said = note(&mut closes, 5_120).unwrap();
        assert!(said.contains("after 5 seconds") && said.contains("--keep-alive to 5 or less"), "{said}");
        assert_eq!(note(&mut closes, 5_020), Some(said), "the same is told in the same words");
    }

    #[test]
    fn other_closes_are_no_idle_timeout() {
        let mut closes = IdleCloses::default();
        for idle_ms in [3_000, 9_000, 400, 410, 61_000, 61_010] {
            assert_eq!(note(&mut closes, idle_ms), None, "{idle_ms}");
        }
        assert_eq!(note(&mut closes, 5_000), None);
        assert_eq!(closes.note(None, KEEP_ALIVE), None);
        assert_eq!(note(&mut closes, 5_000), None, "another end came between");
    }
}
