//! A message that makes its decoder panic is counted and skipped: if the broker retains it, it would end the process again after
//! each start.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::{Arrivals, Ingest};
use crate::sync::backlog::Tally;
use formats::catalog::IOT_PLATFORM;
use mqtt::packet::Publish;

impl Ingest {
    /// Applies a message, or skips one that cannot be read because a decoder has a fault.
    pub(super) fn apply_or_skip(&mut self, publish: &Publish<'_>, arrivals: &Arrivals, tally: &mut Tally) {
        let applying = AssertUnwindSafe(|| self.apply_message(publish, arrivals, tally));
        let Err(panic) = catch_unwind(applying) else { return };
        if !self.is_reading {
            // The registry may be half changed.
            resume_unwind(panic);
        }
        self.is_reading = false;
        let is_platform = self.formats.of_link(arrivals.link).are_platform_only();
        let source = if is_platform { IOT_PLATFORM } else { "none" };
        self.undecodable(source, "decoder_failed", (publish.topic, publish.payload));
    }

    /// Reads a message by code that changes nothing. A panic in it costs that message alone.
    pub(super) fn reading<T>(&mut self, read: impl FnOnce() -> T) -> T {
        self.is_reading = true;
        #[cfg(test)]
        tests::fail_if_wanted();
        let value = read();
        self.is_reading = false;
        value
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::super::rig::Rig;
    use crate::metrics::SourceLabel;

    thread_local! {
        /// How many more messages a decoder of this thread reads before it fails once.
        static READS_LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    }

    pub(super) fn fail_if_wanted() {
        let left = READS_LEFT.get();
        READS_LEFT.set(left.and_then(|left| left.checked_sub(1)));
        assert_ne!(left, Some(0), "a test wants this decoder to fail");
    }

    #[test]
    fn a_message_that_makes_a_decoder_fail_is_counted_and_the_next_one_is_applied() {
        // Each message is read by its decoder, and then packed.
        for (source, topic, payload, label) in [
            ("tasmota", "tele/{}/LWT", "Online", "none"),
            ("iot-platform", "iot-2/type/tasmota/id/{}/mon", r#"{"Action":"Connect"}"#, "iot-platform"),
        ] {
            let mut rig = Rig::of_source(source);
            let reads = if source == "tasmota" { 2 } else { 1 };
            for fails_at in 0..reads {
                READS_LEFT.set(Some(fails_at));
                rig.send(&topic.replace("{}", "a"), payload, true);
                assert_eq!(rig.shown("tasmota", "a"), None);
            }
            let labels = SourceLabel { source: label.to_owned(), reason: "decoder_failed" };
            let counted = rig.ingest.metrics.source_messages_undecodable.get_or_create(&labels).get();
            assert_eq!(counted, u64::from(reads));
            rig.send(&topic.replace("{}", "a"), payload, true);
            assert!(rig.shown("tasmota", "a").is_some());
        }
    }
}
