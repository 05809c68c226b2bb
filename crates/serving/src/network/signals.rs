//! What a connection is told from outside while it waits for its client. Many connections wait, and each looks here whenever
//! its client has sent something: so this takes no lock, which a token or a notification of the runtime would.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

/// One thing to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Signal {
    /// Give the place to another connection.
    GiveWay = 1,
    /// The service stops.
    Stop = 2,
}

/// The signals of one connection; one task waits for them.
#[derive(Debug, Default)]
pub struct Signals {
    /// The bits of those that were given and not taken.
    given: AtomicU8,
    waker: AtomicWaker,
}

impl Signals {
    pub fn give(&self, signal: Signal) {
        self.given.fetch_or(signal as u8, Ordering::Release);
        self.waker.wake();
    }

    /// To be called before signals are taken, so that one that is given from then on wakes the task.
    pub fn register(&self, cx: &Context<'_>) {
        self.waker.register(cx.waker());
    }

    /// Whether the signal was given since it was last taken.
    pub fn take(&self, signal: Signal) -> bool {
        let is_given = self.given.load(Ordering::Acquire) & signal as u8 != 0;
        if is_given {
            self.given.fetch_and(!(signal as u8), Ordering::Acquire);
        }
        is_given
    }

    /// Waits until the signal is given, and takes it.
    pub async fn wait(&self, signal: Signal) {
        poll_fn(|cx| {
            self.register(cx);
            if self.take(signal) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::timeout;

    use super::*;
    use crate::tests::PATIENCE;

    #[tokio::test]
    async fn a_signal_is_taken_once_whenever_it_is_given() {
        let signals = Arc::new(Signals::default());
        signals.give(Signal::Stop);
        assert!(!signals.take(Signal::GiveWay));
        signals.wait(Signal::Stop).await;
        assert!(!signals.take(Signal::Stop));
        let waiting = tokio::spawn({
            let signals = Arc::clone(&signals);
            async move { signals.wait(Signal::GiveWay).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        signals.give(Signal::GiveWay);
        timeout(PATIENCE, waiting).await.expect("the task was woken").unwrap();
    }
}
