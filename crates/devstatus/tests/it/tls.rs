//! HTTPS: certificates that are exchanged under a running service, clients that must show one, and clients that never
//! finish the handshake.

use std::path::Path;

use testkit::closing_broker::{ClosingBroker, Script};
use testkit::http::{self, Connection};
use testkit::keys::text;
use testkit::private_ca::PrivateCa;
use testkit::service::{Launch, Service, mentions};
use testkit::tls_client::TlsClient;

fn launch(broker: &ClosingBroker, files: &PrivateCa) -> Launch {
    let arguments = ["--tls-cert", text(&files.certificate_file), "--tls-key", text(&files.key_file)];
    Launch::to(&broker.url()).arguments(&arguments)
}

fn is_answered(client: &TlsClient, service: &Service) -> bool {
    client.get(service.address(), "/livez").is_ok_and(|answer| answer.status == 200)
}

/// Puts another authority's certificate in the place of the first.
fn exchange(files: &PrivateCa, directory: &Path) -> PrivateCa {
    let new = PrivateCa::issue(directory, &["localhost"]);
    std::fs::copy(&new.key_file, &files.key_file).expect("the key can be exchanged");
    std::fs::copy(&new.certificate_file, &files.certificate_file).expect("the certificate can be exchanged");
    new
}

#[test]
fn certificates_are_exchanged_under_a_running_service_and_bad_ones_are_not_taken() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let broker = ClosingBroker::start(Script::default());
    let files = PrivateCa::issue(one.path(), &["localhost"]);
    let service = launch(&broker, &files).start();
    let old_client = TlsClient::new(&files, None);
    let answer = old_client.get(service.address(), "/livez").expect("the certificate is trusted");
    assert_eq!(answer.status, 200);
    assert!(answer.header("strict-transport-security").is_some());

    std::fs::write(&files.key_file, "no key").unwrap();
    service.wait_until("the log says so", || !service.log_lines(&["ERROR", "TLS files"]).is_empty());
    assert!(is_answered(&old_client, &service), "the old certificate stays");

    let new = exchange(&files, two.path());
    let new_client = TlsClient::new(&new, None);
    service.wait_until("the new certificate is used", || is_answered(&new_client, &service));
    assert!(!is_answered(&old_client, &service));
}

#[test]
fn a_client_without_a_certificate_of_the_named_authority_is_not_answered() {
    let directory = tempfile::tempdir().unwrap();
    let broker = ClosingBroker::start(Script::default());
    let files = PrivateCa::issue(directory.path(), &["localhost"]);
    let client_files = PrivateCa::issue_for_client(directory.path());
    let service =
        launch(&broker, &files).arguments(&["--tls-client-ca", text(&client_files.ca_file)]).start();
    assert!(is_answered(&TlsClient::new(&files, Some(&client_files)), &service));
    assert!(!is_answered(&TlsClient::new(&files, None), &service));
    let elsewhere = tempfile::tempdir().unwrap();
    let stranger = PrivateCa::issue_for_client(elsewhere.path());
    assert!(!is_answered(&TlsClient::new(&files, Some(&stranger)), &service));
}

#[test]
fn files_that_cannot_be_used_stop_the_start() {
    let (directory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let broker = ClosingBroker::start(Script::default());
    let files = PrivateCa::issue(directory.path(), &["localhost"]);
    let foreign = PrivateCa::issue(other.path(), &["localhost"]);
    let (certificate, key) = (text(&files.certificate_file), text(&files.key_file));
    for (arguments, code, words) in [
        (vec!["--tls-cert", certificate], 2, "--tls-key"),
        (vec!["--tls-key", key], 2, "--tls-cert"),
        (vec!["--tls-cert", "nowhere", "--tls-key", key], 2, "--tls-cert"),
        (vec!["--tls-client-ca", certificate], 2, "--tls-cert"),
        (vec!["--tls-cert", certificate, "--tls-key", text(&foreign.key_file)], 1, "private key"),
        (vec!["--tls-cert", key, "--tls-key", key], 1, "certificate"),
    ] {
        let ended = Launch::to(&broker.url()).arguments(&arguments).run();
        assert_eq!(ended.status.code(), Some(code), "{arguments:?}: {ended:?}");
        assert!(mentions(&ended.stderr, &[words]), "{words} in {}", ended.stderr);
    }
}

#[test]
fn an_unfinished_handshake_is_cut_off_and_plain_http_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let broker = ClosingBroker::start(Script::default());
    let files = PrivateCa::issue(directory.path(), &["localhost"]);
    let service = launch(&broker, &files).start();
    let mut silent = Connection::open(service.address());
    let mut plain = Connection::open(service.address());
    plain.send_what_is_taken(&http::request("GET", "/livez"));
    assert!(plain.receive("GET").is_err(), "there is no answer outside of TLS");
    assert!(silent.is_closed());
    let metrics = TlsClient::new(&files, None).get(service.address(), "/metrics").unwrap();
    for reason in ["tls_handshake", "slow_tls_handshake"] {
        let line = format!("devstatus_http_connections_cut_total{{reason=\"{reason}\"}} 1");
        assert!(metrics.text().contains(&line), "{line} in {}", metrics.text());
    }
}
