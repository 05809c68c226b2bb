//! A disconnect that has not settled is not published.

use testkit::mosquitto::Mosquitto;

use super::{PUMP, VALVE, launch, statuses, text_of, wait_until_online};

#[test]
fn a_disconnect_is_published_once_it_has_lasted_and_a_bounce_is_not() {
    let broker = Mosquitto::start().retaining([(PUMP, PUMP.connect(1)), (VALVE, VALVE.connect(1))]);
    let service = launch(&broker, "settle = \"2s\"").start_ready();
    wait_until_online(&service, &broker);
    service.wait_until("both are published", || statuses(&broker).len() == 2);
    let before = text_of(&broker, "devstatus/valve/v-2");
    // The valve is back before its disconnect has settled.
    broker.retain(&[
        (PUMP, PUMP.disconnect(1, 2)),
        (VALVE, VALVE.disconnect(1, 2)),
        (VALVE, VALVE.connect(3)),
    ]);
    service.wait_until("the disconnect is published", || {
        let statuses = statuses(&broker);
        assert_eq!(statuses["devstatus/valve/v-2"], "connected");
        statuses["devstatus/pump/p-1"] == "disconnected"
    });
    assert_eq!(text_of(&broker, "devstatus/valve/v-2"), before, "nothing is published about a bounce");
    service.terminate();
    // A start does not know how long it has lasted, but the end is the same.
    let service = launch(&broker, "settle = \"1s\"").start_ready();
    wait_until_online(&service, &broker);
    service.wait_until("the new session is published", || text_of(&broker, "devstatus/valve/v-2") != before);
    assert_eq!(statuses(&broker)["devstatus/pump/p-1"], "disconnected");
}
