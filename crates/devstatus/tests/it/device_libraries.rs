//! Devices that publish with libraries of others, an edge node of Sparkplug and a device of Homie, are killed, stopped past their
//! keep-alive, restarted and taken over; each is shown as it is.

use serde_json::{Value, json};
use testkit::device_process::DeviceProcess;
use testkit::mosquitto::Mosquitto;
use testkit::service::{Launch, Service};

/// Seconds; the broker waits half as long again.
const KEEP_ALIVE: &str = "3";

fn launch(broker: &Mosquitto, source: &str) -> Service {
    let service = Launch::default()
        .arguments(&["--broker", &broker.url(), "-p", "0", "--source", source, "--quiet-interval-ms", "300"])
        .start();
    service.wait_until_ready();
    service
}

/// Waits until every device is as given: its id, its status, and the cause of its end.
fn expect(service: &Service, when: &str, expected: &[(&str, &str, Option<&str>)]) {
    let expected: Vec<Value> = expected
        .iter()
        .map(|(id, status, cause)| json!({"id": id, "status": status, "cause": cause}))
        .collect();
    service.wait_until(&format!("{when}: {expected:?}"), || {
        let list = service.get("/api/v1/devices").json();
        let devices = list["devices"].as_array().expect("a list").iter();
        let shown = devices.map(
            |device| json!({"id": device["id"], "status": device["status"], "cause": device.get("cause")}),
        );
        shown.eq(expected.iter().cloned())
    });
}

fn edge_node(broker: &Mosquitto, devices: &[&str]) -> DeviceProcess {
    let port = broker.port().to_string();
    let arguments = [&[port.as_str(), "plant", "n1", KEEP_ALIVE][..], devices].concat();
    let process = DeviceProcess::start("edge_node.py", &arguments);
    process.wait_for("connected");
    process
}

#[test]
fn an_edge_node_of_pysparkplug_and_its_devices_are_shown_as_they_are() {
    const CONNECTED: (&str, Option<&str>) = ("connected", None);
    const ENDED: (&str, Option<&str>) = ("disconnected", Some("ended"));
    const HIDDEN: (&str, Option<&str>) = ("disconnected", Some("parent_offline"));
    let broker = Mosquitto::start();
    let service = launch(&broker, "sparkplug");
    let see = |when: &str, node: &str, states: &[(&str, (&str, Option<&str>))]| {
        let devices = states.iter().map(|(id, (status, cause))| (*id, *status, *cause));
        // Its death is a last will, which says nothing of why.
        let cause = (node == "disconnected").then_some("connection");
        let all: Vec<_> = std::iter::once(("n1", node, cause)).chain(devices).collect();
        expect(&service, when, &all);
    };
    let mut node = edge_node(&broker, &["fan", "pump"]);
    see("born", "connected", &[("n1/fan", CONNECTED), ("n1/pump", CONNECTED)]);
    node.order("deregister fan");
    node.wait_for("deregister");
    see("one is removed", "connected", &[("n1/fan", ENDED), ("n1/pump", CONNECTED)]);
    node.kill();
    see("killed", "disconnected", &[("n1/fan", ENDED), ("n1/pump", HIDDEN)]);
    // The library counts its connections from 0 in each process, so both lives of the node have one number.
    let node = edge_node(&broker, &["pump", "valve"]);
    let after_birth = [("n1/fan", ENDED), ("n1/pump", CONNECTED), ("n1/valve", CONNECTED)];
    see("restarted", "connected", &after_birth);
    node.freeze(true);
    let without_parent = [("n1/fan", ENDED), ("n1/pump", HIDDEN), ("n1/valve", HIDDEN)];
    see("past the keep-alive", "disconnected", &without_parent);
    node.freeze(false);
    see("going on", "connected", &after_birth);
    node.freeze(true);
    let mut other = edge_node(&broker, &["pump"]);
    let born_again = [("n1/fan", ENDED), ("n1/pump", CONNECTED), ("n1/valve", HIDDEN)];
    see("taken over", "connected", &born_again);
    // A clean end by this library sends no NDEATH, and the broker publishes no will: nobody can know.
    drop(node);
    other.order("leave");
    other.wait_for("leave");
    let after = edge_node(&broker, &["valve"]);
    see("back", "connected", &[("n1/fan", ENDED), ("n1/pump", HIDDEN), ("n1/valve", CONNECTED)]);
    drop(after);
    see("killed again", "disconnected", &without_parent);
}

#[test]
fn a_device_of_the_library_homie4_is_shown_as_it_is() {
    let broker = Mosquitto::start();
    let service = launch(&broker, "homie4");
    let start = || {
        let port = broker.port().to_string();
        let process = DeviceProcess::start("homie_device.py", &[&port, "lamp", KEEP_ALIVE]);
        process.wait_for("connected");
        process
    };
    let see = |when: &str, status: &str, cause: Option<&str>| {
        expect(&service, when, &[("lamp", status, cause)]);
    };
    let mut device = start();
    see("ready", "connected", None);
    for (state, status, cause) in [
        ("sleeping", "disconnected", Some("asleep")),
        ("alert", "connected", None),
        ("disconnected", "disconnected", Some("ended")),
        ("ready", "connected", None),
    ] {
        device.order(state);
        see(state, status, cause);
    }
    device.freeze(true);
    see("past the keep-alive", "disconnected", Some("connection"));
    device.freeze(false);
    see("going on", "connected", None);
    device.kill();
    see("killed", "disconnected", Some("connection"));
    let _device = start();
    see("restarted", "connected", None);
}
