//! The ways to a real broker: plain, TLS with a private authority, websockets, with a login, in both MQTT versions.

use testkit::mosquitto::{Mosquitto, Setup, Transport};
use testkit::private_ca::Flaw;
use testkit::service::{Launch, mentions};
use testkit::status::{Device, KEY, TOKEN};

const PUMP: Device<'_> = Device { kind: "pump", id: "1" };

const VERSIONS: [&str; 2] = ["3.1.1", "5"];

fn broker_with_a_status(setup: Setup) -> Mosquitto {
    Mosquitto::start_with(setup).retaining([(PUMP, PUMP.connect(1))])
}

fn launch_with_ca(broker: &Mosquitto) -> Launch {
    let ca = std::fs::read_to_string(broker.ca_file()).expect("the broker has written its authority");
    Launch::to(&broker.url()).file("ca.pem", &ca).arguments(&["--ca-file", "ca.pem"])
}

/// Starts and waits until the retained status has come and a live one has replaced it.
fn assert_works(broker: &Mosquitto, launch: Launch) {
    let service = launch.start();
    service.wait_for_answer(&PUMP.path(), &PUMP.connect(1));
    service.wait_until_ready();
    let mut publisher = broker.publisher();
    publisher.publish(&PUMP.topic(), PUMP.disconnect(1, 2));
    publisher.flush();
    service.wait_for_answer(&PUMP.path(), &PUMP.disconnect(1, 2));
}

/// Starts and waits until log and `/readyz` say what is wrong; the service keeps running and is not ready.
fn assert_certificate_refused(launch: Launch, words: &[&str]) {
    let mut service = launch.start();
    service.wait_until(&format!("the log says {words:?}"), || !service.log_lines(words).is_empty());
    service.wait_until(&format!("/readyz says {words:?}"), || {
        let ready = service.get("/readyz");
        ready.status == 503 && mentions(ready.text(), words)
    });
    let said = service.log_lines(&["handshake"]);
    // Names of Rust's, as Debug writes them.
    assert!(!said.iter().any(|line| line.contains("Error") || line.contains("Other(")), "{said:?}");
    assert!(service.is_running());
}

#[test]
fn plain_tcp_works_in_both_versions() {
    for version in VERSIONS {
        let broker = broker_with_a_status(Setup::default());
        assert_works(&broker, Launch::to(&broker.url()).arguments(&["--mqtt-version", version]));
    }
}

#[test]
fn tls_works_when_the_private_authority_is_named() {
    for version in VERSIONS {
        let broker = broker_with_a_status(Setup { transport: Transport::Tls, ..Setup::default() });
        assert_works(&broker, launch_with_ca(&broker).arguments(&["--mqtt-version", version]));
    }
}

#[test]
fn a_certificate_that_is_refused_is_explained_in_a_sentence() {
    let here = || vec!["localhost", "127.0.0.1"];
    for transport in [Transport::Tls, Transport::Wss] {
        for (certificate_names, certificate_flaw, said) in [
            (
                here(),
                Some(Flaw::SelfSigned),
                &["CA:TRUE", "name its certificate with --ca-file", "CA:FALSE"][..],
            ),
            (here(), Some(Flaw::Version1), &["of version 1", "have one of version 3", "subjectAltName"]),
            (here(), Some(Flaw::Expired), &["expired at 2020-01-02", "renew it"]),
            (
                vec!["broker.example"],
                None,
                &["not for localhost", "it names broker.example", "use one of these names"],
            ),
        ] {
            let setup = Setup { transport, certificate_names, certificate_flaw, ..Setup::default() };
            assert_certificate_refused(launch_with_ca(&Mosquitto::start_with(setup)), said);
        }
        let broker = Mosquitto::start_with(Setup { transport, ..Setup::default() });
        let said = ["unknown issuer", "name the certificate of the authority", "--ca-file"];
        assert_certificate_refused(Launch::to(&broker.url()), &said);
    }
}

#[test]
fn websockets_work() {
    let broker = broker_with_a_status(Setup { transport: Transport::Ws, ..Setup::default() });
    assert_works(&broker, Launch::to(&broker.url()));
}

#[test]
fn websockets_over_tls_work() {
    let broker = broker_with_a_status(Setup { transport: Transport::Wss, ..Setup::default() });
    assert_works(&broker, launch_with_ca(&broker));
}

#[test]
fn the_right_login_is_let_in() {
    let broker = broker_with_a_status(Setup { login: Some((KEY, TOKEN)), ..Setup::default() });
    assert_works(&broker, Launch::to(&broker.url()));
}

#[test]
fn a_wrong_login_ends_the_start_with_advice() {
    for version in VERSIONS {
        let broker = broker_with_a_status(Setup { login: Some((KEY, "another token")), ..Setup::default() });
        let ended = Launch::to(&broker.url()).arguments(&["--mqtt-version", version]).run();
        assert_eq!(ended.status.code(), Some(1), "MQTT {version}: {ended:?}");
        assert!(mentions(&ended.stderr, &["key", "token"]), "MQTT {version}: {}", ended.stderr);
        assert!(!ended.stderr.contains(TOKEN), "{}", ended.stderr);
    }
}
