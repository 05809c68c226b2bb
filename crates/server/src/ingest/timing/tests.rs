//! What clocks do, with the time as an argument.

use super::*;
use crate::ingest::rig::Rig;
use presence::Status;

const PROFILE: &str = r#"
[[profile]]
name = "lamps"
topic = "lamp/{id}/state"
type = "lamp"
connected = ["on"]
disconnected = ["off"]
alive = ["lamp/{id}/data"]
grace = "30s"
stale_after = "1h"
"#;

const ON: Option<(Status, bool)> = Some((Status::Connected, false));
const OFF: Option<(Status, bool)> = Some((Status::Disconnected, false));

#[test]
fn a_disconnect_counts_after_the_grace_unless_the_device_is_back() {
    let mut rig = Rig::of_profile(PROFILE);
    rig.send("lamp/a/state", "off", true);
    assert_eq!(
        rig.shown("lamp", "a"),
        OFF,
        "of a device that is not known to be connected it counts at once"
    );
    rig.send("lamp/a/state", "on", false);
    for back in ["on", "alive"] {
        rig.send("lamp/a/state", "off", false);
        rig.send("lamp/a/state", "off", false);
        rig.after(29);
        assert_eq!(rig.shown("lamp", "a"), ON, "{back}");
        match back {
            "on" => rig.send("lamp/a/state", "on", false),
            _ => rig.send("lamp/a/data", "7", false),
        }
        rig.after(60);
        assert_eq!(rig.shown("lamp", "a"), ON, "{back}");
    }
    rig.send("lamp/a/state", "off", false);
    rig.after(31);
    assert_eq!(rig.shown("lamp", "a"), OFF);
    rig.send("lamp/a/state", "on", false);
    assert_eq!(rig.shown("lamp", "a"), ON, "a later connect is newer than a disconnect that was held back");
    rig.send("lamp/a/state", "", false);
    assert_ne!(rig.shown("lamp", "a"), ON, "a removal is not held back");
    assert_eq!(rig.ingest.timing.held_back_bytes, 0);
}

#[test]
fn a_disconnect_that_is_held_back_brings_no_forgotten_device_back() {
    let mut rig = Rig::of_profile(PROFILE);
    rig.send("lamp/a/state", "on", false);
    rig.send("lamp/a/state", "off", false);
    rig.map.forget_device(Device { device_type: "lamp", id: "a" }, |_record| ());
    rig.after(31);
    assert_eq!(rig.shown("lamp", "a"), None);
    assert_eq!(rig.ingest.timing.held_back_bytes, 0);
}

#[test]
fn no_clock_runs_out_for_time_in_which_there_was_no_link() {
    let mut rig = Rig::of_profile(PROFILE);
    rig.send("lamp/a/state", "on", false);
    rig.send("lamp/b/state", "on", false);
    rig.send("lamp/a/state", "off", false);
    rig.health.link_lost(Duration::ZERO);
    rig.after(7_200);
    assert_eq!((rig.shown("lamp", "a"), rig.shown("lamp", "b")), (ON, ON));
    assert!(rig.ingest.next_clock().is_some(), "it is asked again");
    rig.reconnect();
    // Both begin again with the new link.
    rig.after(29);
    assert_eq!(rig.shown("lamp", "a"), ON);
    rig.after(31);
    assert_eq!((rig.shown("lamp", "a"), rig.shown("lamp", "b")), (OFF, ON));
    rig.after(3_601);
    assert_eq!(rig.shown("lamp", "b"), Some((Status::Connected, true)), "out of date, and not disconnected");
    rig.send("lamp/b/state", "on", true);
    assert_eq!(rig.shown("lamp", "b"), Some((Status::Connected, true)), "the broker repeats it");
    rig.send("lamp/b/data", "1", false);
    assert_eq!(rig.shown("lamp", "b"), ON);
    rig.after(3_601);
    assert_eq!(rig.shown("lamp", "b"), Some((Status::Connected, true)), "its clock runs again");
}

#[test]
fn messages_move_the_end_of_a_silence() {
    let mut rig = Rig::of_profile(PROFILE);
    rig.send("lamp/a/state", "on", false);
    let first = rig.ingest.next_clock().unwrap();
    rig.send("lamp/a/data", "1", false);
    assert_eq!(rig.ingest.next_clock(), Some(first), "a message costs no place in the order");
    rig.ingest.run_clocks(first);
    assert_eq!(rig.shown("lamp", "a"), ON);
    assert!(rig.ingest.next_clock() > Some(first));
}

#[test]
fn before_a_stop_only_what_no_broker_repeats_is_settled() {
    for (retained, expected) in [("", ON), ("retained = false\n", OFF)] {
        let mut rig = Rig::of_profile(&format!("{PROFILE}{retained}"));
        rig.send("lamp/a/state", "on", false);
        rig.send("lamp/a/state", "off", false);
        rig.ingest.settle_clocks();
        assert_eq!(rig.shown("lamp", "a"), expected, "{retained}");
    }
}

#[test]
fn disconnects_beyond_the_bound_count_at_once() {
    let mut rig = Rig::of_profile(PROFILE);
    rig.send("lamp/a/state", "on", false);
    rig.ingest.timing.held_back_bytes = HELD_BACK_MAX_BYTES;
    rig.send("lamp/a/state", "off", false);
    assert_eq!(rig.shown("lamp", "a"), OFF);
}
