//! Secrets that are made while the service runs: they sign at once, the ones before them for the overlap, and the file wins if it
//! changes.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use testkit::http::Response;
use testkit::mosquitto::Mosquitto;
use testkit::postgres::PostgresServer;
use testkit::service::{Launch, Signal};

use super::faults::once;
use super::receiver::{Delivery, Receiver, Reply, SECRET, verdicts, verify_with};
use super::shared::Site;
use super::steered::Administered;
use super::{OF_STATES, OTHER_PUMP, PRIVATE, PUMP, launch, launch_on, summaries};

const VERIFIED: &str = "verified";

/// A service with one webhook, whose secret is in the directory of its store.
fn launch_in(directory: &Path, broker: &Mosquitto, url: &str) -> Launch {
    let secret = directory.join("hook.secret");
    let table = format!(
        "[[webhook]]\nname = \"ops\"\nurl = \"{url}\"\nsecret_file = \"{}\"\n{PRIVATE}\n{OF_STATES}\n",
        secret.display()
    );
    let store = format!("sqlite:{}/store.db", directory.display());
    let launch = Launch::to(&broker.url()).file("devstatus.toml", &table);
    launch.arguments(&["-c", "devstatus.toml"]).on_store(&store)
}

fn secret_of(answer: &Value) -> String {
    let secret = answer["secret"].as_str().unwrap_or_else(|| panic!("a secret in {answer}"));
    assert!(secret.starts_with("whsec_"), "{answer}");
    secret.to_owned()
}

/// Which of the secrets verify a delivery.
fn verified_by<const N: usize>(delivery: &Delivery, secrets: [&str; N]) -> [bool; N] {
    secrets.map(|secret| verdicts(secret, std::slice::from_ref(delivery)) == [VERIFIED])
}

/// The names of the problem and the status of an answer.
fn refusal(answer: &Response) -> (u16, String) {
    let name = answer.json()["type"].as_str().unwrap_or_default().replace("urn:devstatus:problem:", "");
    (answer.status, name)
}

#[test]
fn a_secret_that_is_made_signs_at_once_and_the_one_before_it_for_the_overlap() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let receiver = Receiver::start(|_, _| Reply::Status(200));
    fs::write(directory.path().join("hook.secret"), format!("{SECRET}\n")).unwrap();
    let start = || Administered::start(launch_in(directory.path(), &broker, &receiver.url()));
    let service = start();
    let answer = service.post("secret?overlap=24h");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let (answer, made) = (answer.json(), secret_of(&answer.json()));
    assert!(answer["previous_secret_until"].is_string(), "{answer}");
    broker.retain(&[(PUMP, PUMP.connect(1))]);
    let delivery = receiver.wait_for_taken(1).remove(0);
    assert_eq!(verified_by(&delivery, [SECRET, &made]), [true, true]);
    assert_eq!(delivery.signatures(), 2);
    assert_eq!(service.shown()["previous_secret_until"], answer["previous_secret_until"]);
    for path in ["/api/v1/webhooks", "/api/v1/webhooks/ops/deliveries"] {
        assert!(!service.request("GET", path).text().contains("whsec_"), "{path} shows no secret");
    }
    assert!(!service.service.log().contains(&made), "no log shows it");

    service.service.signal(Signal::KILL);
    let service = start();
    broker.retain(&[(PUMP, PUMP.disconnect(1, 2))]);
    let taken = receiver.wait_for_taken(2);
    verify_with(&made, &taken);
    assert_eq!(verified_by(&taken[1], [SECRET]), [true]);

    // With an overlap that is over, and with none.
    let second = secret_of(&service.post("secret?overlap=1s").json());
    service.service.wait_until("the overlap is over", || {
        assert_eq!(service.post("test").json()["done"], json!(true));
        receiver.taken().last().is_some_and(|delivery| delivery.signatures() == 1)
    });
    let last = receiver.taken().pop().unwrap();
    assert_eq!(verified_by(&last, [SECRET, &made, &second]), [false, false, true]);
    assert_eq!(service.shown()["previous_secret_until"], Value::Null);
    let third = secret_of(&service.post("secret?overlap=0s").json());
    assert_eq!(service.post("test").json()["done"], json!(true));
    let last = receiver.taken().pop().unwrap();
    assert_eq!(verified_by(&last, [&second, &third]), [false, true]);

    for (path, refused) in [
        ("secret?overlap=8d", (400, "bad-parameter".to_owned())),
        ("secret?overlap=soon", (400, "bad-parameter".to_owned())),
        ("secret?since=1h", (400, "unknown-parameter".to_owned())),
    ] {
        assert_eq!(refusal(&service.post(path)), refused, "{path}");
    }
    let unknown = service.request("POST", "/api/v1/webhooks/other/secret");
    assert_eq!(refusal(&unknown), (404, "not-found".to_owned()));
}

#[test]
fn secrets_that_are_written_to_the_file_count_in_place_of_those_that_were_made() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let receiver = Receiver::start(|_, _| Reply::Status(200));
    let file = directory.path().join("hook.secret");
    fs::write(&file, format!("{SECRET}\n")).unwrap();
    let start = || Administered::start(launch_in(directory.path(), &broker, &receiver.url()));
    let service = start();
    let run = |flags: &[&str]| {
        let asked = Launch::default().arguments(&["webhooks", "rotate", "ops"]).arguments(flags);
        let key = service.admin.bearer().replace("Bearer ", "");
        let url = format!("http://{}", service.service.address());
        asked.environment("DEVSTATUS_API_KEY", &key).environment("DEVSTATUS_URL", &url).run()
    };
    let rotate = |flags: &[&str]| {
        let ended = run(flags);
        assert!(ended.status.success(), "{ended:?}");
        ended.stdout
    };
    let shown = rotate(&[]);
    let first = shown.lines().next().and_then(|line| line.strip_prefix("secret: ")).expect(&shown);
    let made = secret_of(&serde_json::from_str(&rotate(&["--overlap", "12h", "--json"])).unwrap());
    broker.retain(&[(PUMP, PUMP.connect(1))]);
    let delivery = receiver.wait_for_taken(1).remove(0);
    assert_eq!(verified_by(&delivery, [SECRET, first, &made]), [true, true, true]);
    let refused = run(&["--overlap", "8d"]);
    assert!(
        refused.status.code() == Some(2) && refused.stderr.contains("a time from 0 to 7d"),
        "{refused:?}"
    );
    rotate(&["--overlap", "0"]);
    // The operator takes another one, though a secret was made.
    let of_file = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";
    fs::write(&file, format!("{of_file}\n")).unwrap();
    let changed = || !service.service.log_lines(&["the secret file of a webhook has changed"]).is_empty();
    service.service.wait_until("the file counts again", changed);
    broker.retain(&[(PUMP, PUMP.disconnect(1, 2))]);
    let delivery = receiver.wait_for_taken(2).remove(1);
    assert_eq!(verified_by(&delivery, [SECRET, first, &made, of_file]), [false, false, false, true]);
    // And goes on to count, whatever it was before.
    fs::write(&file, format!("{SECRET}\n")).unwrap();
    service.service.terminate();
    let service = start();
    broker.retain(&[(PUMP, PUMP.connect(3))]);
    let delivery = receiver.wait_for_taken(3).remove(2);
    assert_eq!(verified_by(&delivery, [SECRET, &made, of_file]), [true, false, false]);
    drop(service);
}

#[test]
fn no_secret_is_made_where_none_signs_or_none_would_be_kept() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let receiver = Receiver::start(|_, _| Reply::Status(200));
    let service = Administered::start(launch_on("memory:", &broker, &receiver.url(), PRIVATE));
    let refused = (409, "webhook-secret".to_owned());
    assert_eq!(refusal(&service.post("secret")), refused);
    // Two of one application id at one broker would end each other's connections.
    drop(service);
    let table =
        format!("[[webhook]]\nname = \"ops\"\nurl = \"{}\"\nformat = \"slack\"\n{PRIVATE}\n", receiver.url());
    let unsigned = launch(&broker, directory.path(), &receiver.url(), PRIVATE).file("devstatus.toml", &table);
    assert_eq!(refusal(&Administered::start(unsigned).post("secret")), refused);
    let signed = Administered::start(launch(&broker, directory.path(), &receiver.url(), PRIVATE));
    for _ in 0..4 {
        secret_of(&signed.post("secret").json());
    }
    assert_eq!(refusal(&signed.post("secret")), refused, "more secrets than may count at once");
}

#[test]
fn alerts_are_signed_with_the_secret_that_was_made() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let receiver = Receiver::start(|_, _| Reply::Status(200));
    let settings = format!(
        "startup_grace = \"1s\"\n[[webhook]]\nname = \"ops\"\nurl = \"{}\"\nsecret_file = \"hook.secret\"\n{PRIVATE}\n\
         selector = {{ type = \"none\" }}\n[[rule]]\nname = \"offline\"\nkind = \"offline_for\"\nfor = \"1s\"\n\
         group_wait = \"0s\"\nwebhooks = [\"ops\"]\n",
        receiver.url()
    );
    let launch = launch(&broker, directory.path(), &receiver.url(), PRIVATE);
    let service = Administered::start(launch.file("devstatus.toml", &settings));
    let made = secret_of(&service.post("secret?overlap=0s").json());
    broker.retain(&[(PUMP, PUMP.connect(1)), (PUMP, PUMP.disconnect(1, 2))]);
    let delivery = receiver.wait_for_taken(1).remove(0);
    assert_eq!(delivery.json()["type"], json!("alert.firing"));
    assert_eq!(verified_by(&delivery, [SECRET, &made]), [false, true]);
    drop(service);
}

#[test]
fn an_instance_that_goes_on_signs_with_the_secret_that_another_has_made() {
    let database = PostgresServer::start();
    let site = Site::on(database.url());
    let [first, second] = site.in_order(site.launch("one"), site.launch("two"));
    assert_eq!(site.ask(&second, "POST", "/api/v1/webhooks/ops/secret").0, 503);
    let made = secret_of(&site.ask(&first, "POST", "/api/v1/webhooks/ops/secret?overlap=0s").1);
    site.broker.retain(&[(PUMP, PUMP.connect(1))]);
    site.receiver.wait_for_taken(1);
    first.signal(Signal::KILL);
    site.broker.retain(&[(OTHER_PUMP, OTHER_PUMP.connect(2))]);
    // The first may come again, as the instance died before it had kept its position.
    second.wait_until("both have come", || once(&site.receiver.taken()).len() == 2);
    let taken = site.receiver.taken();
    assert_eq!(summaries(&once(&taken)), ["device.connected p-1 00:01", "device.connected q-2 00:02"]);
    verify_with(&made, &taken);
}
