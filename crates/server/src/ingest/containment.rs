//! A message that makes its decoder panic is counted and skipped: if the broker retains it, it would end the process again after
//! each start.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Ingest;

impl Ingest {
    /// Reads or packs a message of a source; `None` if the code for that has a fault, which is counted.
    pub(super) fn contained<T>(
        &mut self,
        source: &str,
        message: (&[u8], &[u8]),
        read: impl FnOnce() -> T,
    ) -> Option<T> {
        // What is called here changes nothing, so nothing is left half changed.
        let value = catch_unwind(AssertUnwindSafe(|| {
            #[cfg(test)]
            tests::fail_if_wanted();
            read()
        }));
        if value.is_err() {
            self.undecodable(source, "decoder_failed", message);
        }
        value.ok()
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
        for (source, topic, payload, labels) in [
            ("tasmota", "tele/{}/LWT", "Online", &["none", "tasmota"][..]),
            ("iot-platform", "iot-2/type/tasmota/id/{}/mon", r#"{"Action":"Connect"}"#, &["iot-platform"]),
        ] {
            let mut rig = Rig::of_source(source);
            for (fails_at, label) in (0..).zip(labels) {
                READS_LEFT.set(Some(fails_at));
                rig.send(&topic.replace("{}", "a"), payload, true);
                assert_eq!(rig.shown("tasmota", "a"), None);
                let labels = SourceLabel { source: (*label).to_owned(), reason: "decoder_failed" };
                let counted = rig.ingest.metrics.source_messages_undecodable.get_or_create(&labels).get();
                assert_eq!(counted, 1, "{label}");
            }
            rig.send(&topic.replace("{}", "a"), payload, true);
            assert!(rig.shown("tasmota", "a").is_some());
        }
    }
}
