//! Over which connection the client asks, and as whom: HTTPS with an authority of one's own, certificates of both sides, and
//! keys from everywhere.

use std::path::Path;

use super::{code, retain};
use testkit::keys::{Key, Keys, text};
use testkit::mosquitto::Mosquitto;
use testkit::private_ca::PrivateCa;
use testkit::service::{Ended, Launch, Service, mentions};

/// A service whose certificate is good for `localhost` alone.
fn secured(broker: &Mosquitto, files: &PrivateCa, more: &[&str]) -> Service {
    let flags = ["--tls-cert", text(&files.certificate_file), "--tls-key", text(&files.key_file)];
    let service = Launch::to(&broker.url()).arguments(&flags).arguments(more).start();
    service
        .wait_until("it has read everything", || !service.log_lines(&["population", "complete"]).is_empty());
    service
}

fn ask(url: &str, arguments: &[&str]) -> Ended {
    Launch::default().arguments(arguments).arguments(&["--url", url]).run()
}

/// Exit code 1, nothing on stdout, one line on stderr with these words.
fn assert_refused(ended: &Ended, words: &[&str]) {
    assert_eq!((code(ended), ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
    assert!(ended.stderr.lines().count() == 1 && mentions(&ended.stderr, words), "{words:?}: {ended:?}");
}

#[test]
fn over_https_only_a_service_is_asked_that_a_trusted_authority_vouches_for() {
    let (directory, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let broker = Mosquitto::start();
    let files = PrivateCa::issue(directory.path(), &["localhost"]);
    let service = secured(&broker, &files, &[]);
    let port = service.address().port();
    let url = format!("https://localhost:{port}");
    let trusting = ["--ca-file", text(&files.ca_file)];
    for (question, exit_code) in [(&["summary"][..], 0), (&["list", "--json"], 0), (&["get", "pump", "1"], 4)]
    {
        let ended = ask(&url, &[question, &trusting].concat());
        assert_eq!((code(&ended), ended.stderr.as_str()), (Some(exit_code), ""), "{ended:?}");
    }
    let trusting_by_variable = Launch::default().arguments(&["summary", "--url", &url]);
    let trusting_by_variable = trusting_by_variable.environment("DEVSTATUS_CA_FILE", text(&files.ca_file));
    assert_eq!(code(&trusting_by_variable.run()), Some(0));

    let other = PrivateCa::issue(elsewhere.path(), &["localhost"]);
    assert_refused(&ask(&url, &["summary"]), &["cannot ask", &url, "certificate"]);
    assert_refused(&ask(&url, &["summary", "--ca-file", text(&other.ca_file)]), &["certificate"]);
    let by_number = format!("https://127.0.0.1:{port}");
    let of_no_such_name = ask(&by_number, &[&["summary"], &trusting[..]].concat());
    assert_refused(&of_no_such_name, &["certificate", "name"]);
    assert_refused(&ask(&format!("http://localhost:{port}"), &["summary"]), &["cannot ask"]);
    let no_certificate = directory.path().join("empty.pem");
    std::fs::write(&no_certificate, "nothing\n").unwrap();
    let with_nobody = ask(&url, &["summary", "--ca-file", text(&no_certificate)]);
    assert_refused(&with_nobody, &["certificate", text(&no_certificate)]);
}

#[test]
fn a_service_that_asks_for_a_certificate_is_shown_one() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start();
    let files = PrivateCa::issue(directory.path(), &["localhost"]);
    let own = PrivateCa::issue_for_client(directory.path());
    let service = secured(&broker, &files, &["--tls-client-ca", text(&own.ca_file)]);
    let url = format!("https://localhost:{}", service.address().port());
    let summary = |certificate: &Path, key: &Path| {
        let shown = ["--tls-client-cert", text(certificate), "--tls-client-key", text(key)];
        ask(&url, &[&["summary", "--ca-file", text(&files.ca_file)], &shown[..]].concat())
    };
    let ended = summary(&own.certificate_file, &own.key_file);
    assert_eq!(code(&ended), Some(0), "{ended:?}");
    let yaml = format!(
        "devstatus:\n  url: {url}\n  tlsClientCert: {}\n  tlsClientKey: {}\n",
        text(&own.certificate_file),
        text(&own.key_file)
    );
    let by_file = Launch::default().file("client.yaml", &yaml).arguments(&["summary", "-c", "client.yaml"]);
    let ended = by_file.arguments(&["--ca-file", text(&files.ca_file)]).run();
    assert_eq!(code(&ended), Some(0), "{ended:?}");

    let nobody = ask(&url, &["summary", "--ca-file", text(&files.ca_file)]);
    assert_refused(&nobody, &["certificate", "required"]);
    // Of an authority that the service does not know.
    assert_refused(&summary(&files.certificate_file, &files.key_file), &["cannot ask"]);
    assert_refused(&summary(&own.certificate_file, &files.key_file), &[text(&files.key_file)]);
    assert_refused(&summary(&own.key_file, &own.key_file), &[text(&own.key_file), "certificate"]);
    assert_refused(&summary(&own.certificate_file, &own.ca_file), &[text(&own.ca_file), "key"]);
    let half = ask(&url, &["summary", "--tls-client-cert", text(&own.certificate_file)]);
    assert_eq!(code(&half), Some(2), "{half:?}");
    assert!(mentions(&half.stderr, &["--tls-client-key"]), "{}", half.stderr);
}

#[test]
fn a_flag_beats_a_variable_and_that_the_file_also_for_the_key() {
    let (broker, keys) = (Mosquitto::start(), Keys::new());
    retain(&broker);
    let good = keys.create("read");
    let bearer = |key: &Key| format!("{}.{}", key.id, key.secret);
    let wrong = bearer(&Key { secret: "x".repeat(32), ..good.clone() });
    let good = bearer(&good);
    let service = keys.launch(&broker.url()).start();
    service.wait_until_ready();
    let url = format!("http://{}", service.address());
    let file = |key: &str| format!("[application]\ndevstatus-url = {url}\ndevstatus-api-key = {key}\n");
    let yaml = |key: &str| format!("devstatus:\n  url: {url}\n  apiKeyFile: {key}\n");
    let asked = |settings: &str, name: &str| {
        let launch = Launch::default().file(name, settings).file("good.key", &good).file("wrong.key", &wrong);
        launch.arguments(&["get", "pump", "1", "-c", name])
    };
    let in_ini = |key: &str| asked(&file(key), "client.cfg");
    let in_yaml = |key: &str| asked(&yaml(key), "client.yaml");
    let variable = "DEVSTATUS_API_KEY";
    for (number, (launch, exit_code)) in [
        (in_ini(&good), 0),
        (in_ini(&wrong), 1),
        (in_yaml("good.key"), 0),
        (in_yaml("wrong.key"), 1),
        (in_ini(&wrong).environment(variable, &good), 0),
        (in_ini(&good).environment(variable, &wrong), 1),
        (in_yaml("wrong.key").environment(variable, &good), 0),
        (in_yaml("good.key").environment("DEVSTATUS_API_KEY_FILE", "wrong.key"), 1),
        (in_ini(&wrong).environment(variable, &wrong).arguments(&["--api-key", &good]), 0),
        (in_ini(&good).environment(variable, &good).arguments(&["--api-key", &wrong]), 1),
        (in_ini(&wrong).environment(variable, &wrong).arguments(&["--api-key-file", "good.key"]), 0),
    ]
    .into_iter()
    .enumerate()
    {
        let ended = launch.run();
        assert_eq!(code(&ended), Some(exit_code), "{number}: {ended:?}");
        assert!(!ended.stderr.contains(&good) && !ended.stderr.contains(&wrong), "{ended:?}");
    }
}
