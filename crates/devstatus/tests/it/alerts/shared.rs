//! Two instances that share a database: one evaluates, and another goes on when it is killed.

use serde_json::json;
use testkit::events::EventStream;
use testkit::mosquitto::Mosquitto;
use testkit::postgres::PostgresServer;
use testkit::service::{Service, Signal};
use testkit::{PATIENCE, poll};

use super::{OFFLINE, OTHER_PUMP, PUMP, VALVE, launch_on, next_alert, settings, summaries};
use crate::webhooks::receiver::{Receiver, Reply, verify};

fn is_evaluating(service: &Service) -> bool {
    service.get("/metrics").text().contains("\ndevstatus_alerts_evaluating 1\n")
}

/// Waits until one of them evaluates; the first of the two is the one that does.
fn in_order(one: Service, other: Service) -> [Service; 2] {
    let is_first = poll(PATIENCE, || match [is_evaluating(&one), is_evaluating(&other)] {
        [true, false] => Some(true),
        [false, true] => Some(false),
        [false, false] | [true, true] => None,
    });
    let is_first =
        is_first.unwrap_or_else(|| panic!("one of them evaluates:\n{}\n{}", one.log(), other.log()));
    if is_first { [one, other] } else { [other, one] }
}

#[test]
fn the_death_of_the_instance_that_evaluates_neither_loses_nor_repeats_a_notification() {
    let (broker, database) = (Mosquitto::start(), PostgresServer::start());
    broker.retain(&[PUMP, OTHER_PUMP, VALVE].map(|device| (device, device.connect(1))));
    let receiver = Receiver::start(|_, _| Reply::Status(200));
    let start = |application: &str| {
        let settings = settings(&receiver.url(), OFFLINE);
        launch_on(&database.url(), &broker, &settings).application(application).start_ready()
    };
    let [first, second] = in_order(start("one"), start("two"));
    // A stream at the other instance is told the same, and goes on when that one takes over.
    let mut stream = EventStream::open(second.address(), "alerts=true&type=none");
    assert_eq!(next_alert(&mut stream), "0 groups");
    broker.retain(&[(PUMP, PUMP.disconnect(1, 2))]);
    assert_eq!(next_alert(&mut stream), "firing offline pump/p-1 1");
    assert_eq!(summaries(&receiver.wait_for(1)), ["alert.firing offline pump/p-1 1/0"]);

    // It dies while the endpoint has the message and has not answered.
    receiver.set_script(|_, _| Reply::Held);
    broker.retain(&[(OTHER_PUMP, OTHER_PUMP.disconnect(1, 3))]);
    let held = receiver.wait_for(2);
    assert_eq!(next_alert(&mut stream), "firing offline pump/q-2 1");
    let shown = second.get("/api/v1/rules").json();
    assert_eq!((&shown["evaluation"], &shown["outputs"][0]["works"]), (&json!("elsewhere"), &json!(null)));
    first.signal(Signal::KILL);
    receiver.set_script(|_, _| Reply::Status(200));
    second.wait_until("it evaluates", || is_evaluating(&second));
    let deliveries = receiver.wait_for(3);
    assert_eq!((&deliveries[2].id, &deliveries[2].body), (&held[1].id, &held[1].body));
    broker.retain(&[
        (PUMP, PUMP.connect(4)),
        (OTHER_PUMP, OTHER_PUMP.connect(4)),
        (VALVE, VALVE.disconnect(1, 4)),
    ]);
    let deliveries = receiver.wait_for(6);
    verify(&deliveries);
    let mut said = summaries(&deliveries[3..]);
    said.sort();
    assert_eq!(
        said,
        [
            "alert.firing offline valve/v-3 1/0",
            "alert.resolved offline pump/p-1 0/1",
            "alert.resolved offline pump/q-2 0/1"
        ]
    );
    let mut streamed: Vec<_> = (0..3).map(|_| next_alert(&mut stream)).collect();
    streamed.sort();
    let ends = ["resolved offline pump/p-1 0", "resolved offline pump/q-2 0"];
    assert_eq!(streamed, [&["firing offline valve/v-3 1"][..], &ends].concat());
    receiver.release();
}
