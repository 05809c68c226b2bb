//! What a request is made of besides: CloudEvents, headers and client certificates.

use std::fs;
use std::sync::Arc;

use serde_json::{Value, json};
use testkit::mosquitto::Mosquitto;
use testkit::peers;
use testkit::private_ca::PrivateCa;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::receiver::{Delivery, Receiver, Reply, verify};
use super::{OF_STATES, OTHER_PUMP, PRIVATE, PUMP, VALVE, launch};

/// Has the official package read all of these.
fn events(deliveries: &[Delivery]) -> Vec<Value> {
    let message = |delivery: &Delivery| json!({"content_type": delivery.content_type, "body": delivery.body});
    let asked: Vec<_> = deliveries.iter().map(message).collect();
    let read = peers::run("read_cloudevents.py", &json!(asked).to_string());
    read.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

#[test]
fn a_cloud_event_is_read_by_the_official_package() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let receiver = Receiver::start(|_, number| Reply::Status(if number == 0 { 500 } else { 200 }));
    let settings = format!(
        "public_url = \"https://devstatus.example\"\n[[webhook]]\nname = \"ops\"\nurl = \"{}\"\n\
         secret_file = \"hook.secret\"\n{OF_STATES}\n{PRIVATE}\nformat = \"cloudevents\"\n",
        receiver.url()
    );
    let launch = launch(&broker, directory.path(), &receiver.url(), PRIVATE);
    let service = launch.file("devstatus.toml", &settings).start_ready();
    broker.retain(&[(PUMP, PUMP.connect(1)), (PUMP, PUMP.disconnect(1, 2))]);
    let deliveries = receiver.wait_for(3);
    verify(&deliveries);
    assert_eq!((&deliveries[0].id, &deliveries[0].body), (&deliveries[1].id, &deliveries[1].body));
    let [first, second] = events(&receiver.taken()).try_into().unwrap();
    assert_eq!(
        (&first["type"], &second["type"]),
        (&json!("device.connected"), &json!("device.disconnected"))
    );
    assert_eq!((&first["source"], &first["subject"]), (&json!("urn:devstatus:org"), &json!("pump/p-1")));
    assert_eq!((&first["id"], &first["partitionkey"]), (&json!(deliveries[1].id), &first["subject"]));
    assert!(second["time"].as_str().unwrap().starts_with("2026-11-23T17:00:02.186"), "{second}");
    let sequence = |event: &Value| event["sequence"].as_str().unwrap().to_owned();
    assert!(sequence(&first) < sequence(&second) && sequence(&first).len() == 20);
    let schema = first["dataschema"].as_str().expect("it has a schema");
    let (document, pointer) = schema.split_once('#').expect("the schema is in the API's document");
    assert_eq!(document, "https://devstatus.example/openapi.json");
    assert!(service.get("/openapi.json").json().pointer(pointer).is_some(), "{pointer}");
    let mut shown = service.get("/api/v1/devices/pump/p-1").json();
    shown["previous_status"] = json!("connected");
    assert_eq!(second["data"], shown);
}

#[test]
fn a_batch_of_cloud_events_comes_again_as_it_was_and_one_by_one_if_it_is_rejected() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let receiver = Receiver::start(|_, _| Reply::Status(500));
    let lines = format!("{PRIVATE}\nformat = \"cloudevents\"\nbatch_max = 100");
    let service = launch(&broker, directory.path(), &receiver.url(), &lines).start_ready();
    broker.retain(&[(PUMP, PUMP.connect(1))]);
    receiver.wait_for(1);
    // What happens while the endpoint fails comes in the next page, in one batch.
    broker.retain(&[
        (OTHER_PUMP, OTHER_PUMP.connect(2)),
        (VALVE, VALVE.connect(3)),
        (PUMP, PUMP.disconnect(1, 4)),
    ]);
    service.wait_until("the events are kept", || {
        service.get("/metrics").text().contains("devstatus_store_events_written_total 4\n")
    });
    receiver.set_script(|delivery, _| {
        let rejects = delivery.body.contains("q-2");
        Reply::Status(if rejects { 422 } else { 200 })
    });
    let taken = receiver.wait_for_taken(3);
    verify(&taken);
    // Several devices have no order among them.
    let of = |id: &str| -> Vec<String> {
        let events = events(&taken).into_iter().filter(|event| event["data"]["id"] == id);
        events.map(|event| event["type"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(of("p-1"), ["device.connected", "device.disconnected"]);
    assert_eq!(of("v-3"), ["device.connected"]);
    let rejected: Vec<_> = receiver.deliveries().into_iter().filter(|one| one.body.contains("q-2")).collect();
    assert_eq!(events(&rejected[..1]).len(), 3, "a batch");
    assert_eq!(
        rejected.iter().map(|one| events(std::slice::from_ref(one)).len()).collect::<Vec<_>>()[1..],
        [1, 1, 1]
    );
    drop(service);
}

#[test]
fn an_endpoint_is_shown_the_client_certificate_and_sent_its_headers() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let (server, client) =
        (PrivateCa::issue(directory.path(), &["localhost"]), PrivateCa::issue_for_client(directory.path()));
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&client.ca_file).unwrap()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let chain =
        CertificateDer::pem_file_iter(&server.certificate_file).unwrap().map(Result::unwrap).collect();
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(&server.key_file).unwrap())
        .unwrap();
    let receiver = Receiver::start_over(Some(Arc::new(tls)), |_, _| Reply::Status(200));
    let url = format!("https://localhost:{}/", receiver.port());
    let token = directory.path().join("token");
    fs::write(&token, "Bearer of-the-file\n").unwrap();
    let of_server = format!("{PRIVATE}\nca_file = \"{}\"", server.ca_file.display());
    let all = format!(
        "{of_server}\ntls_client_cert = \"{}\"\ntls_client_key = \"{}\"\n\
         headers = {{ X-Site = \"7\", Authorization = {{ file = \"{}\" }} }}",
        client.certificate_file.display(),
        client.key_file.display(),
        token.display()
    );
    let service = launch(&broker, directory.path(), &url, &of_server).start_ready();
    broker.retain(&[(PUMP, PUMP.connect(1))]);
    service.wait_until("it is refused", || !service.log_lines(&["a webhook is not delivered"]).is_empty());
    assert_eq!(receiver.deliveries(), []);
    service.terminate();
    let service = launch(&broker, directory.path(), &url, &all).start_ready();
    let taken = receiver.wait_for_taken(1);
    verify(&taken);
    for line in ["x-site: 7", "authorization: Bearer of-the-file"] {
        assert!(taken[0].head.iter().any(|header| header == line), "{line}: {:?}", taken[0].head);
    }
    assert!(!service.log().contains("of-the-file"));
}
