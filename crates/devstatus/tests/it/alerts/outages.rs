//! A broker that is away, and an endpoint that is: both are announced themselves, and nothing about devices beside them.

use std::time::Duration;

use serde_json::json;
use testkit::mosquitto::Mosquitto;
use testkit::platform_broker::{Limits, PlatformBroker};
use testkit::poll;
use testkit::service::Launch;
use testkit::status::Device;

use super::{OFFLINE, PUMP, announced, launch, settings, summaries, wait_until_evaluated};
use crate::webhooks::receiver::{Receiver, Reply, SECRET, verify};

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

#[test]
fn rules_run_for_types_that_are_known_to_be_complete_and_wait_for_the_others() {
    let broker = PlatformBroker::start(Limits { buffer_messages: 100, ..Limits::default() });
    let ids: Vec<_> = (0..250).map(|number| format!("{number}")).collect();
    let device = |kind: &'static str, id| Device { kind, id };
    let pumps = ids.iter().map(|id| device("pump", id));
    for boiler_or_pump in ids[..5].iter().map(|id| device("boiler", id)).chain(pumps) {
        broker.publish(&boiler_or_pump.topic(), boiler_or_pump.connect(1), true);
    }
    let receiver = Receiver::start(|_, _| Reply::Status(200));
    let flags = ["--quiet-interval-ms", "300", "--replay-limits", "100,5000", "--broker-counters", "false"];
    let service = Launch::to(&broker.url())
        .file("hook.secret", &format!("{SECRET}\n"))
        .file("devstatus.toml", &settings(&receiver.url(), OFFLINE))
        .arguments(&["-c", "devstatus.toml", "--ready-on", "complete"])
        .arguments(&flags)
        .start();
    service.wait_until("boilers are proven and pumps are not", || {
        let population = service.get("/api/v1/population").json();
        let types = population["types"].as_array().cloned().unwrap_or_default();
        let proven =
            |kind: &str| types.iter().find(|of_type| of_type["type"] == json!(kind))?["proven"].as_bool();
        (proven("boiler"), proven("pump")) == (Some(true), Some(false))
            && population["state"] == json!("unproven")
    });
    wait_until_evaluated(&service);
    for gone in [device("boiler", "1"), device("pump", "1")] {
        broker.publish(&gone.topic(), gone.disconnect(1, 2), true);
    }
    assert_eq!(announced(&receiver, 1), ["alert.firing offline boiler/1 1/0"]);
    let pump = service.get("/api/v1/alerts?type=pump").json()["alerts"][0].clone();
    assert_eq!((&pump["state"], &pump["suppressed_by"]), (&json!("pending"), &json!("population")));
}

#[test]
fn an_endpoint_that_takes_nothing_is_reported_through_the_others() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    broker.retain(&[(PUMP, PUMP.connect(1))]);
    let receiver = Receiver::start(|_, _| Reply::Status(200));
    let failing = Receiver::start(|_, _| Reply::Status(500));
    let chat = format!(
        "[[webhook]]\nname = \"chat\"\nurl = \"{}\"\nallow_private = true\nformat = \"ntfy\"\n",
        failing.url()
    );
    let rules = chat + &OFFLINE.replace("[\"ops\"]", "[\"ops\", \"chat\"]");
    let service = launch(directory.path(), &broker, &settings(&receiver.url(), &rules)).start_ready();
    wait_until_evaluated(&service);
    broker.retain(&[(PUMP, PUMP.disconnect(1, 2))]);
    let said = poll(OUTAGE_PATIENCE, || Some(receiver.deliveries()).filter(|all| all.len() >= 2));
    let said = summaries(&said.expect("the failure is reported"));
    assert_eq!(said, ["alert.firing offline pump/p-1 1/0", "alert.firing output_failing chat 1/0"]);
    failing.set_script(|_, _| Reply::Status(200));
    let said = poll(OUTAGE_PATIENCE, || Some(receiver.deliveries()).filter(|all| all.len() >= 3));
    let said = summaries(&said.expect("its end is reported"));
    assert_eq!(said[2..], ["alert.resolved output_failing chat 0/1"]);
}
