//! Brokers that want a certificate of their clients, as AWS IoT Core does.

use testkit::keys::text;
use testkit::mosquitto::{Mosquitto, Setup, Transport};
use testkit::private_ca::PrivateCa;
use testkit::service::{Launch, mentions};
use testkit::status::Device;

const PUMP: Device<'_> = Device { kind: "pump", id: "1" };

/// A broker that lets nobody in without a certificate of the authority of `client`.
fn broker(transport: Transport, client: &PrivateCa) -> Mosquitto {
    let extra = vec![format!("cafile {}", text(&client.ca_file)), "require_certificate true".to_owned()];
    let broker = Mosquitto::start_with(Setup { transport, extra, ..Setup::default() });
    let mut publisher = broker.publisher();
    publisher.retain(&PUMP.topic(), PUMP.connect(1));
    publisher.retain("tele/plug/LWT", "Online");
    publisher.flush();
    broker
}

/// Shows the certificate of `own` to whatever the broker is.
fn showing(launch: Launch, broker: &Mosquitto, own: &PrivateCa) -> Launch {
    launch.arguments(&["--ca-file", text(broker.ca_file())]).arguments(&[
        "--broker-cert",
        text(&own.certificate_file),
        "--broker-key",
        text(&own.key_file),
    ])
}

fn tasmota(broker: &Mosquitto) -> Launch {
    Launch::default().arguments(&[
        "--broker",
        &broker.url(),
        "--source",
        "tasmota",
        "--quiet-interval-ms",
        "300",
    ])
}

#[test]
fn a_broker_that_wants_a_certificate_gets_it_from_every_source() {
    let directory = tempfile::tempdir().unwrap();
    let own = PrivateCa::issue_for_client(directory.path());
    for transport in [Transport::Tls, Transport::Wss] {
        let broker = broker(transport, &own);
        let service = showing(Launch::to(&broker.url()), &broker, &own).start();
        service.wait_for_answer(&PUMP.path(), &PUMP.connect(1));
        service.wait_until_ready();
        drop(service);
        let service = showing(tasmota(&broker).arguments(&["-p", "0"]), &broker, &own);
        let service = service.arguments(&["--broker-alpn", "x-amzn-mqtt-ca"]).start();
        service.wait_until_ready();
        assert_eq!(service.get("/tasmota/plug").json()["Action"], "Connect", "{transport:?}");
        let dry = showing(tasmota(&broker), &broker, &own);
        let dry = dry.arguments(&["--dry-run", "--dry-run-seconds", "1"]).run();
        assert!(dry.stdout.contains("tele/plug/LWT: tasmota connect"), "{}", dry.stdout);
    }
}

#[test]
fn without_the_certificate_that_the_broker_wants_the_reason_is_shown() {
    let (directory, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let own = PrivateCa::issue_for_client(directory.path());
    let stranger = PrivateCa::issue_for_client(elsewhere.path());
    let broker = broker(Transport::Tls, &own);
    let launch = || tasmota(&broker).arguments(&["-p", "0"]);
    let trusting = launch().arguments(&["--ca-file", text(broker.ca_file())]);
    for launch in [trusting, showing(launch(), &broker, &stranger)] {
        let mut service = launch.start();
        service.wait_until("/readyz speaks of the certificate of this client", || {
            let ready = service.get("/readyz");
            ready.status == 503 && mentions(ready.text(), &["certificate of this client"])
        });
        assert!(service.is_running());
    }
}

#[test]
fn a_certificate_that_is_renewed_is_used_by_the_next_connection() {
    let (directory, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let own = PrivateCa::issue_for_client(directory.path());
    let shown = PrivateCa::issue_for_client(elsewhere.path());
    let broker = broker(Transport::Tls, &own);
    let service = showing(tasmota(&broker).arguments(&["-p", "0"]), &broker, &shown).start();
    service.wait_until("the first certificate is refused", || {
        mentions(service.get("/readyz").text(), &["certificate of this client"])
    });
    std::fs::copy(&own.key_file, &shown.key_file).unwrap();
    std::fs::copy(&own.certificate_file, &shown.certificate_file).unwrap();
    service.wait_until_ready();
}

#[test]
fn a_certificate_that_cannot_be_shown_stops_the_start() {
    let (directory, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let own = PrivateCa::issue_for_client(directory.path());
    let other = PrivateCa::issue_for_client(elsewhere.path());
    let (certificate, key) = (text(&own.certificate_file), text(&own.key_file));
    let tls = "mqtts://localhost:1";
    for (url, arguments, said) in [
        (tls, vec!["--broker-cert", certificate], "missing --broker-key or DEVSTATUS_BROKER_KEY"),
        (tls, vec!["--broker-key", key], "missing --broker-cert or DEVSTATUS_BROKER_CERT"),
        (
            tls,
            vec!["--broker-cert", "nowhere", "--broker-key", key],
            "--broker-cert: cannot read the file: No such file or directory (os error 2)",
        ),
        (
            tls,
            vec!["--broker-cert", certificate, "--broker-key", "nowhere"],
            "--broker-key: cannot read the file: No such file or directory (os error 2)",
        ),
        (
            tls,
            vec!["--broker-cert", key, "--broker-key", key],
            "--broker-cert: expected a PEM file with a certificate",
        ),
        (
            tls,
            vec!["--broker-cert", certificate, "--broker-key", certificate],
            "--broker-key: expected a PEM file with a private key that is not encrypted",
        ),
        (
            tls,
            vec!["--broker-cert", certificate, "--broker-key", text(&other.key_file)],
            "--broker-key: expected the private key of the certificate of broker-cert",
        ),
        (
            "mqtt://localhost:1",
            vec!["--broker-cert", certificate, "--broker-key", key],
            "--broker-cert contradicts --broker: mqtt:// and ws:// use no certificates",
        ),
        (
            tls,
            vec!["--broker-alpn", "mqtt,,x"],
            "--broker-alpn: expected names of protocols separated by commas, as x-amzn-mqtt-ca",
        ),
    ] {
        let ended = Launch::default().arguments(&["--broker", url, "--source", "tasmota"]);
        let ended = ended.arguments(&arguments).run();
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}: {}", ended.stderr);
        assert_eq!(ended.stderr, format!("devstatus: {said}\n"), "{arguments:?}");
    }
}
