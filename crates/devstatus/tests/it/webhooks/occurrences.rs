//! What an endpoint is told besides connects and disconnects: other sessions, refused logins, devices that are new.

use serde_json::json;
use testkit::mosquitto::Mosquitto;
use testkit::service::Signal;

use super::faults::once;
use super::receiver::{Delivery, Receiver, Reply, verify};
use super::{OTHER_PUMP, PRIVATE, PUMP, VALVE, launch, summaries};

/// A login of the device that failed, as the platform reports it.
fn failed_login(at: u32) -> String {
    PUMP.connect(at).replace("\"Connect\"", "\"FailedConnect\"").replace(":0,", ":180,")
}

/// The end of a session that never began, for want of authorisation.
fn refusal(at: u32) -> String {
    PUMP.disconnect(at, at).replace("\"CloseCode\":91", "\"CloseCode\":180")
}

#[test]
fn every_event_has_its_type_and_comes_as_it_was_after_a_restart() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    broker.retain(&[(VALVE, VALVE.connect(1))]);
    let receiver = Receiver::start(|_, _| Reply::Status(200));
    let service =
        launch(&broker, directory.path(), &receiver.url(), &format!("{PRIVATE}\n{ALL}")).start_ready();
    // The valve was found, so nothing says that it is new.
    broker.retain(&[(VALVE, VALVE.disconnect(1, 2)), (PUMP, PUMP.connect(3))]);
    receiver.wait_for_taken(3);
    receiver.set_script(|_, _| Reply::Held);
    broker.retain(&[
        (PUMP, PUMP.connect(4)),
        (PUMP, failed_login(5)),
        (PUMP, refusal(6)),
        (PUMP, PUMP.connect(7)),
    ]);
    receiver.wait_for(4);
    service.wait_until("the events are kept", || {
        let history = service.get("/api/v1/devices/pump/p-1/history").json();
        history["events"].as_array().is_some_and(|all| all.len() == 5)
    });
    service.signal(Signal::KILL);
    receiver.set_script(|_, _| Reply::Status(200));
    let service =
        launch(&broker, directory.path(), &receiver.url(), &format!("{PRIVATE}\n{ALL}")).start_ready();
    service.wait_until("all of it comes", || once(&receiver.taken()).len() >= 7);
    let mut taken = once(&receiver.taken());
    verify(&taken);
    // Devices have no order among them.
    taken.sort_by_key(|one| one.json()["data"]["id"] == json!(PUMP.id));
    assert_eq!(
        summaries(&taken),
        [
            "device.disconnected v-3 00:02",
            "device.first_seen p-1 00:03",
            "device.connected p-1 00:03",
            "device.session_changed p-1 00:04",
            "device.refused p-1 00:05",
            "device.refused p-1 00:06",
            "device.session_changed p-1 00:07",
        ]
    );
    let data = |at: usize| taken[at].json()["data"].clone();
    assert_eq!((&data(1)["status"], &data(1)["previous_status"]), (&json!("connected"), &json!(null)));
    assert_eq!((&data(3)["status"], &data(3)["previous_status"]), (&json!("connected"), &json!("connected")));
    let [failed, refused] = [4, 5].map(|at| data(at)["refusal"].clone());
    assert_eq!((&failed["event"], &failed["close_code"]), (&json!("failed_login"), &json!(180)));
    assert_eq!((&refused["event"], &refused["cause_class"]), (&json!("refusal"), &json!("refused")));
    // A refused login changes nothing.
    assert_eq!((&data(5)["status"], &data(5)["since"]), (&data(3)["status"], &data(3)["since"]));
    assert_eq!(data(6)["refusal"], json!(null));
    drop(service);
}

#[test]
fn latest_tells_of_a_new_device_and_of_a_refused_login_only_while_it_is_the_newest() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let receiver = Receiver::start(|_, _| Reply::Status(500));
    let lines = format!("{PRIVATE}\nmode = \"latest\"\n{ALL}");
    let service = launch(&broker, directory.path(), &receiver.url(), &lines).start_ready();
    broker.retain(&[(PUMP, PUMP.connect(1))]);
    receiver.wait_for(1);
    broker.retain(&[
        (PUMP, failed_login(2)),
        (PUMP, PUMP.disconnect(1, 3)),
        (OTHER_PUMP, OTHER_PUMP.connect(4)),
        (PUMP, failed_login(5)),
    ]);
    service.wait_until("the events are kept", || {
        service.get("/metrics").text().contains("devstatus_store_events_written_total 5\n")
    });
    receiver.set_script(|_, _| Reply::Status(200));
    let of = |id: &str| -> Vec<Delivery> {
        let taken = once(&receiver.taken()).into_iter();
        taken.filter(|one| one.json()["data"]["id"] == json!(id)).collect()
    };
    service.wait_until("all of it comes", || of(PUMP.id).len() + of(OTHER_PUMP.id).len() >= 5);
    let of_pump = of(PUMP.id);
    assert_eq!(
        summaries(&of_pump),
        ["device.first_seen p-1 00:01", "device.disconnected p-1 00:03", "device.refused p-1 00:05"]
    );
    // As it is by then.
    assert_eq!(of_pump[0].json()["data"]["status"], json!("disconnected"));
    assert_eq!(summaries(&of(OTHER_PUMP.id)), ["device.first_seen q-2 00:04", "device.connected q-2 00:04"]);
    drop(service);
}

#[test]
fn latest_without_other_sessions_tells_all_the_same_that_a_device_is_back() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let receiver = Receiver::start(|_, _| Reply::Status(200));
    let lines =
        format!("{PRIVATE}\nmode = \"latest\"\nevents = [\"device.connected\", \"device.disconnected\"]");
    let service = launch(&broker, directory.path(), &receiver.url(), &lines).start_ready();
    broker.retain(&[(PUMP, PUMP.connect(1)), (PUMP, PUMP.disconnect(1, 2))]);
    service.wait_until("it is known to be off", || {
        receiver.taken().last().is_some_and(|one| one.summary() == "device.disconnected p-1 00:02")
    });
    receiver.set_script(|_, _| Reply::Status(500));
    let before = receiver.deliveries().len();
    broker.retain(&[(PUMP, PUMP.connect(3))]);
    receiver.wait_for(before + 1);
    broker.retain(&[(PUMP, PUMP.connect(4)), (PUMP, failed_login(5))]);
    service.wait_until("the events are kept", || {
        service.get("/metrics").text().contains("devstatus_store_events_written_total 5\n")
    });
    let taken = receiver.taken().len();
    receiver.set_script(|_, _| Reply::Status(200));
    let back = receiver.wait_for_taken(taken + 1).remove(taken);
    assert_eq!(back.summary(), "device.connected p-1 00:04");
    drop(service);
}

/// The lines that choose everything, which is the default.
const ALL: &str = "# events = everything";
