//! The times that profiles name: a disconnect is held back in case the device is back at once (`grace`), and a device of which
//! nothing is received for too long is out of date (`stale_after`).
//!
//! A clock measures what was observed. While the link to the broker is down none runs out, and one that was running then
//! begins again with the new link.

use std::time::{Duration, Instant};

use super::clocks::Clocks;
use super::other::{MessageContext, device_of};
use super::standing::DeviceAndParent;
use super::{Ingest, other};
use crate::registry::{Applied, Arrival};
use formats::order::{Delivery, Key, Transmission};
use formats::{Event, EventKind};
use presence::{Device, DeviceName};

/// What the disconnects that are held back may take together; a further one counts at once.
const HELD_BACK_MAX_BYTES: usize = 64 << 20;
/// What one takes beside its message.
const HELD_BACK_BYTES: usize = 512;
/// While the link is down, how often is asked whether it is back.
const LINK_POLL: Duration = Duration::from_secs(1);
/// Clocks that may run out between two batches.
const CLOCKS_AT_ONCE: usize = 256;

/// All clocks.
#[derive(Default)]
pub(super) struct SourceClocks {
    grace: Clocks<HeldBack>,
    held_back_bytes: usize,
    silence: Clocks<QuietTimer>,
}

/// A disconnect that counts if no connect follows in time.
struct HeldBack {
    since: Instant,
    grace: Duration,
    source: Box<str>,
    event: Event<'static>,
    payload: Box<[u8]>,
    topic: Box<[u8]>,
    delivery: Delivery,
    arrival: Arrival,
}

/// A device that was heard of.
struct QuietTimer {
    received_at: Instant,
    stale_after: Duration,
}

impl HeldBack {
    fn bytes(&self) -> usize {
        self.payload.len() + self.topic.len() + HELD_BACK_BYTES
    }
}

impl Ingest {
    /// When something is to be done without a message; `None`: never.
    pub(super) fn next_clock(&self) -> Option<Instant> {
        let next =
            [self.timing.grace.next_at(), self.timing.silence.next_at()].into_iter().flatten().min()?;
        Some(if self.feed.link_since().is_some() { next } else { next.max(Instant::now() + LINK_POLL) })
    }

    /// Notes a message about a device.
    pub(super) fn note_message(&mut self, device: Device<'_>, context: &MessageContext<'_>) {
        match (self.timing.silence.value_mut(device), context.delivery.origin) {
            (Some(silence), Transmission::Live { .. }) => silence.received_at = Instant::now(),
            // What the broker repeats says nothing new of the device; its clock runs from the first message.
            (Some(_), Transmission::Retained { .. }) => {}
            (None, _) => self.start_silence(device, context.source),
        }
    }

    /// Starts the clock of a device that the store has kept, unless a message has started it.
    pub(super) fn start_silence_unless_it_runs(&mut self, device: Device<'_>, source: &str) {
        if self.timing.silence.value_mut(device).is_none() {
            self.start_silence(device, source);
        }
    }

    /// Starts the clock of a device that something is known of.
    fn start_silence(&mut self, device: Device<'_>, source: &str) {
        let Some(stale_after) = self.formats.timing(source).stale_after else { return };
        let received_at = Instant::now();
        let silence = QuietTimer { received_at, stale_after };
        self.timing.silence.start(DeviceName::of(device), received_at + stale_after, silence);
    }

    /// Holds back a disconnect that would change what is shown, if its profile says so.
    pub(super) fn is_held_back(
        &mut self,
        event: &Event<'_>,
        key: &Key,
        standing: &DeviceAndParent<'_>,
        context: &MessageContext<'_>,
    ) -> bool {
        let Some(grace) = self.formats.timing(context.source).grace else { return false };
        let is_connected = standing.held.as_ref().is_some_and(|held| held.own().key.is_connected());
        if key.kind != EventKind::Disconnect || !is_connected {
            return false;
        }
        let device = device_of(&event.device);
        if self.timing.grace.value_mut(device).is_some() {
            return true;
        }
        let since = Instant::now();
        let held_back = HeldBack {
            since,
            grace,
            source: context.source.into(),
            event: event.clone().into_owned(),
            payload: context.payload[..context.payload.len().min(formats::status::MESSAGE_MAX_BYTES)].into(),
            topic: context.topic.into(),
            delivery: context.delivery,
            arrival: context.arrival,
        };
        if self.timing.held_back_bytes + held_back.bytes() > HELD_BACK_MAX_BYTES {
            self.pass_over(context.source, "grace_queue_full");
            return false;
        }
        self.timing.held_back_bytes += held_back.bytes();
        self.timing.grace.start(DeviceName::of(device), since + grace, held_back);
        true
    }

    /// The device is back, or something else has been said of it that counts.
    pub(super) fn forget_held_back(&mut self, device: Device<'_>) {
        if !self.timing.grace.is_empty()
            && let Some(held_back) = self.timing.grace.stop(device)
        {
            self.timing.held_back_bytes -= held_back.bytes();
            self.pass_over(&held_back.source, "back_within_grace");
        }
    }

    /// Does what is due.
    pub(super) fn run_clocks(&mut self, now: Instant) {
        let Some(link_since) = self.feed.link_since() else { return };
        for _ in 0..CLOCKS_AT_ONCE {
            if let Some((name, held_back)) = self.timing.grace.take_due(now) {
                let due = held_back.since.max(link_since) + held_back.grace;
                if due > now {
                    self.timing.grace.start(name, due, held_back);
                } else {
                    self.timing.held_back_bytes -= held_back.bytes();
                    self.apply_held_back(&held_back);
                }
            } else if let Some((name, silence)) = self.timing.silence.take_due(now) {
                let due = silence.received_at.max(link_since) + silence.stale_after;
                if due > now {
                    self.timing.silence.start(name, due, silence);
                } else {
                    self.map
                        .silence_then(name.device(), |record| self.publish(record, Applied::Refined, false));
                }
            } else {
                return;
            }
        }
    }

    /// Before a stop: the disconnects of sources whose states are read again at the next start can wait for that.
    pub(super) fn settle_clocks(&mut self) {
        for (_, held_back) in self.timing.grace.take_all() {
            if !self.formats.is_retained(&held_back.source) {
                self.apply_held_back(&held_back);
            }
        }
        self.timing.held_back_bytes = 0;
    }

    fn apply_held_back(&mut self, held_back: &HeldBack) {
        if self.held(device_of(&held_back.event.device)).is_none() {
            // The device was connected when it was held back, so it has been forgotten since.
            return self.pass_over(&held_back.source, "forgotten_within_grace");
        }
        let context = MessageContext {
            source: &held_back.source,
            payload: &held_back.payload,
            topic: &held_back.topic,
            delivery: held_back.delivery,
            arrival: held_back.arrival,
        };
        self.apply_own(&held_back.event, other::Grace::Over, &context);
    }
}

#[cfg(test)]
mod tests;
