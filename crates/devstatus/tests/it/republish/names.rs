//! Names that no level of a topic can have as they are.

use std::collections::BTreeSet;

use serde_json::Value;
use testkit::mosquitto::{Mosquitto, Setup};
use testkit::service::Launch;
use testkit::subscriber::Subscriber;

use super::{retained, text_of};

#[test]
fn client_ids_of_any_kind_have_topics_of_their_own() {
    let extra = ["log_dest topic", "connection_messages true"].map(str::to_owned).to_vec();
    let broker = Mosquitto::start_with(Setup { extra, ..Setup::default() });
    let flags = ["-c", "devstatus.toml", "--broker", &broker.url(), "--source", "mosquitto-log", "-p", "0"];
    let table = "[republish]\nhome_assistant = \"homeassistant\"\nselector = { id_prefix = \"x\" }\n";
    let service = Launch::default().file("devstatus.toml", table).arguments(&flags).start();
    service.wait_until("it is online and reads the log", || {
        let reads = service.get("/api/v1/summary").json()["broker"] == "subscribed";
        reads && text_of(&broker, "devstatus/service").as_deref() == Some("online")
    });
    let ids = ["x/y", "x+", "x#", "x%2Fy", "x y", "x$SYS", "xé", "x//", "x_-x", "x\"{"];
    let clients: Vec<_> = ids.iter().map(|id| Subscriber::connect(broker.port(), id)).collect();
    service.wait_until("all are published", || retained(&broker, "devstatus/+/+").len() == ids.len());
    let devices = retained(&broker, "devstatus/+/+");
    assert!(devices.keys().all(|topic| topic.is_ascii() && topic.split('/').count() == 3), "{devices:?}");
    assert!(devices.contains_key("devstatus/mqtt/x%2Fy") && devices.contains_key("devstatus/mqtt/x%252Fy"));
    let id = |payload: &Vec<u8>| {
        let device: Value = serde_json::from_slice(payload).unwrap();
        device["id"].as_str().unwrap().to_owned()
    };
    assert_eq!(devices.values().map(id).collect::<BTreeSet<_>>(), ids.map(str::to_owned).into());
    assert_eq!(retained(&broker, "homeassistant/device/+/config").len(), ids.len());
    drop(clients);
}
