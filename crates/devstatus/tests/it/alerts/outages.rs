//! A broker that is away, and an endpoint that is: both are announced themselves, and nothing about devices beside them.

use std::time::Duration;

use testkit::mosquitto::Mosquitto;
use testkit::poll;
use testkit::status::Device;

use super::{OFFLINE, PUMP, launch, settings, summaries, wait_until_evaluated};
use crate::webhooks::receiver::{Receiver, Reply, verify};

/// The minute after which an outage is announced, and what a busy machine takes besides.
const OUTAGE_PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn a_broker_that_goes_away_is_one_notification_about_the_service() {
    let (mut broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let ids: Vec<_> = (0..300).map(|number| format!("p-{number}")).collect();
    let pumps: Vec<_> = ids.iter().map(|id| Device { kind: "pump", id }).collect();
    broker.retain(&pumps.iter().map(|pump| (*pump, pump.connect(1))).collect::<Vec<_>>());
    let receiver = Receiver::start(|_, _| Reply::Status(200));
    let service = launch(directory.path(), &broker, &settings(&receiver.url(), OFFLINE)).start_ready();
    wait_until_evaluated(&service);
    broker.stop();
    let announced = poll(OUTAGE_PATIENCE, || Some(receiver.deliveries()).filter(|all| !all.is_empty()));
    assert_eq!(summaries(&announced.expect("the outage is announced")), ["alert.firing unobserved  1/0"]);
    broker.start_again();
    // Every session has ended with the broker, and begins again.
    let ends: Vec<_> = pumps.iter().map(|pump| (*pump, pump.disconnect(1, 2))).collect();
    let connects: Vec<_> = pumps.iter().map(|pump| (*pump, pump.connect(3))).collect();
    broker.retain(&ends);
    broker.retain(&connects);
    receiver.wait_for(2);
    broker.retain(&[(PUMP, PUMP.connect(4)), (PUMP, PUMP.disconnect(4, 5))]);
    let deliveries = receiver.wait_for(3);
    verify(&deliveries);
    assert_eq!(
        summaries(&deliveries[1..]),
        ["alert.resolved unobserved  0/1", "alert.firing offline pump/p-1 1/0"]
    );
    assert_eq!(deliveries[0].json()["data"]["key"], deliveries[1].json()["data"]["key"]);
}
