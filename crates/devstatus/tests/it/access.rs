//! Who is answered: keys, their scopes, expiry and revocation, as Basic and as Bearer, on every resource; and that the
//! service is open to others than this machine only if somebody has said so.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::process::{Command, Stdio};

use testkit::events::EventStream;
use testkit::http::{self, Connection};
use testkit::keys::{Key, Keys, text};
use testkit::mosquitto::Mosquitto;
use testkit::service::{Launch, Service, Signal, mentions};
use testkit::status::Device;

const PUMP: Device<'_> = Device { kind: "pump", id: "1" };

/// Every path that names a device or counts them.
const READABLE: [&str; 11] = [
    "/",
    "/metrics",
    "/openapi.json",
    "/api/v1/summary",
    "/api/v1/population",
    "/api/v1/types",
    "/api/v1/devices",
    "/api/v1/devices/pump/1",
    "/api/v1/devices/pump/1/history",
    "/api/v0002/clientconnectionstates",
    "/pump/1",
];

fn broker() -> Mosquitto {
    Mosquitto::start().retaining([(PUMP, PUMP.connect(1))])
}

/// Answers in the platform's own form.
fn is_platforms(path: &str) -> bool {
    path.starts_with("/api/v0002")
}

fn status(service: &Service, path: &str, authorization: Option<&str>) -> u16 {
    let headers: Vec<_> = authorization.iter().map(|value| ("Authorization", *value)).collect();
    service.request_with("GET", path, &headers).status
}

#[test]
fn every_resource_but_the_probes_needs_a_key_and_takes_it_as_basic_and_as_bearer() {
    let (broker, keys) = (broker(), Keys::new());
    let key = keys.create("read");
    let service = keys.launch(&broker.url()).start();
    service.wait_until_ready();
    assert_eq!(status(&service, "/livez", None), 200);
    for path in READABLE {
        let refused = service.get(path);
        assert_eq!(refused.status, 401, "{path}");
        assert!(
            is_platforms(path) || refused.json()["type"] == "urn:devstatus:problem:unauthorized",
            "{path}"
        );
        let challenges: Vec<_> =
            refused.headers.iter().filter(|(name, _)| name == "www-authenticate").collect();
        assert_eq!(challenges.len(), 2, "{challenges:?}");
        for authorization in [key.basic(), key.bearer()] {
            assert_eq!(status(&service, path, Some(&authorization)), 200, "{path} {authorization}");
        }
    }
    let answer = service.request_with("GET", &PUMP.path(), &[("Authorization", &key.bearer())]);
    assert_eq!(answer.text(), PUMP.connect(1), "the seed's answer, byte for byte");
}

#[test]
fn a_wrong_secret_an_unknown_key_and_a_malformed_key_get_the_same_401() {
    let (broker, keys) = (broker(), Keys::new());
    let (key, other) = (keys.create("read"), keys.create("read"));
    let service = keys.launch(&broker.url()).start();
    service.wait_until_ready();
    let crossed = Key { id: key.id.clone(), secret: other.secret.clone() };
    let unknown = Key { id: "a-org-unknown".to_owned(), secret: key.secret.clone() };
    let mut bodies = Vec::new();
    for authorization in [&crossed.basic(), &crossed.bearer(), &unknown.basic(), "Basic !!", "Digest a", ""] {
        let refused = service.request_with("GET", "/pump/1", &[("Authorization", authorization)]);
        assert_eq!(refused.status, 401, "{authorization}");
        bodies.push(refused.body);
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "nobody learns which part was wrong");
    assert_eq!(status(&service, "/pump/1", Some(&key.basic())), 200, "whatever others try");
    let metrics = service.request_with("GET", "/metrics", &[("Authorization", &key.basic())]);
    for (reason, count) in [("wrong_secret", 2), ("unknown_key", 1), ("malformed_credentials", 3)] {
        let line = format!("devstatus_http_requests_refused_total{{reason=\"{reason}\"}} {count}");
        assert!(metrics.text().contains(&line), "{line} in {}", metrics.text());
    }
    for secret in [&key.secret, &other.secret] {
        assert!(!service.log().contains(secret.as_str()), "no secret is logged");
    }
}

#[test]
fn a_scope_is_good_for_its_own_and_admin_for_all() {
    let (broker, keys) = (broker(), Keys::new());
    let (read, events, admin) = (keys.create("read"), keys.create("events"), keys.create("admin"));
    let service = keys.launch(&broker.url()).start();
    service.wait_until_ready();
    for path in READABLE {
        let (read, events, admin) = (read.bearer(), events.bearer(), admin.bearer());
        assert_eq!(status(&service, path, Some(&read)), 200, "{path}");
        assert_eq!(status(&service, path, Some(&admin)), 200, "{path}");
        let refused = service.request_with("GET", path, &[("Authorization", &events)]);
        assert_eq!(refused.status, 403, "{path}");
        assert!(refused.text().contains("scope read"), "{}", refused.text());
    }
    let stream =
        |key: &Key| EventStream::ask_with(service.address(), "", &[("Authorization", &key.bearer())]);
    let refused = stream(&read).err().expect("it follows nothing");
    assert_eq!((refused.status, &refused.json()["type"]), (403, &"urn:devstatus:problem:forbidden".into()));
    assert!(refused.text().contains("scope events"), "{}", refused.text());
    assert!(stream(&events).is_ok() && stream(&admin).is_ok());
}

#[test]
fn a_running_service_takes_new_keys_in_and_revoked_ones_out() {
    let (broker, keys) = (broker(), Keys::new());
    let first = keys.create("read");
    let service = keys.launch(&broker.url()).start();
    service.wait_until_ready();
    assert_eq!(status(&service, "/pump/1", Some(&first.basic())), 200);
    let second = keys.create("read");
    service.wait_until("the new key is taken", || status(&service, "/pump/1", Some(&second.basic())) == 200);
    assert!(keys.run(&["revoke", &first.id]).status.success());
    service.wait_until("the revoked key is refused", || {
        status(&service, "/pump/1", Some(&first.basic())) == 401
    });
    assert_eq!(status(&service, "/pump/1", Some(&second.basic())), 200);
    // The last one too: nobody is let in for want of keys.
    assert!(keys.run(&["revoke", &second.id]).status.success());
    service
        .wait_until("the last key is refused", || status(&service, "/pump/1", Some(&second.basic())) == 401);
    assert_eq!(status(&service, "/pump/1", None), 401);
}

#[test]
fn a_keys_file_that_cannot_be_read_changes_nothing_and_is_logged() {
    let (broker, keys) = (broker(), Keys::new());
    let key = keys.create("read");
    let service = keys.launch(&broker.url()).start();
    service.wait_until_ready();
    std::fs::write(keys.path(), "{\"keys\": [").unwrap();
    service.wait_until("the log says so", || !service.log_lines(&["ERROR", "keys file"]).is_empty());
    assert_eq!(status(&service, "/pump/1", Some(&key.basic())), 200);
    std::fs::remove_file(keys.path()).unwrap();
    service.wait_until("the log says so", || !service.log_lines(&["keys file is gone"]).is_empty());
    assert_eq!(status(&service, "/pump/1", Some(&key.basic())), 200);
    assert_eq!(status(&service, "/pump/1", None), 401);
}

#[test]
fn an_expired_key_is_refused() {
    let (broker, keys) = (broker(), Keys::new());
    let (good, expired) = (keys.create("read"), keys.create("read"));
    let file = std::fs::read_to_string(keys.path()).unwrap();
    let mut document: serde_json::Value = serde_json::from_str(&file).unwrap();
    document["keys"][1]["expires_at"] = "2026-01-01T00:00:00Z".into();
    std::fs::write(keys.path(), document.to_string()).unwrap();
    let service = keys.launch(&broker.url()).start();
    service.wait_until_ready();
    assert_eq!(status(&service, "/pump/1", Some(&good.basic())), 200);
    assert_eq!(status(&service, "/pump/1", Some(&expired.basic())), 401);
    let list = keys.run(&["list"]).stdout;
    assert!(list.lines().any(|line| mentions(line, &[&expired.id, "expired"])), "{list}");
}

#[test]
fn keys_are_listed_without_secrets_in_a_file_for_their_owner() {
    let keys = Keys::new();
    let key = keys.create("read,events");
    let listed = keys.run(&["list"]);
    assert!(listed.stdout.lines().any(|line| mentions(line, &[&key.id, "read,events", "never", "a test"])));
    let file = std::fs::read_to_string(keys.path()).unwrap();
    assert!(!listed.stdout.contains(&key.secret) && !file.contains(&key.secret));
    assert_eq!(std::fs::metadata(keys.path()).unwrap().permissions().mode() & 0o777, 0o600);
    let unknown = keys.run(&["revoke", "a-org-nobody"]);
    assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");
    let limited = keys.run(&["create", "for a while", "--expires-days", "30"]);
    assert!(limited.status.success() && !limited.stdout.contains("never"), "{limited:?}");
}

#[test]
fn revoking_an_unknown_key_creates_no_file() {
    let keys = Keys::new();
    assert_eq!(keys.run(&["revoke", "a-org-nobody"]).status.code(), Some(1));
    assert!(!keys.path().exists(), "a file would make keys a must");
}

#[test]
fn bad_arguments_of_keys_are_refused_in_one_line() {
    let keys = Keys::new();
    for (arguments, words) in [
        (&["create"][..], &["operand"][..]),
        (&["create", "x", "--scopes", "write"], &["--scopes", "read"]),
        (&["create", "x", "--expires-days", "0"], &["--expires-days"]),
        (&["create", ""], &["NAME"]),
        (&["forget"], &["subcommand"]),
    ] {
        let ended = keys.run(arguments);
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.lines().count() == 1 && mentions(&ended.stderr, words), "{}", ended.stderr);
    }
}

#[test]
fn an_address_that_others_reach_needs_a_key_or_the_operators_word() {
    let (broker, keys) = (broker(), Keys::new());
    let exposed = |launch: Launch| launch.arguments(&["--listen", "0.0.0.0"]);
    let ended = exposed(Launch::to(&broker.url())).run();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(mentions(&ended.stderr, &["--allow-anonymous", "0.0.0.0"]), "{}", ended.stderr);

    let service = exposed(Launch::to(&broker.url())).arguments(&["--allow-anonymous"]).start();
    assert!(!service.log_lines(&["WARN", "--allow-anonymous"]).is_empty(), "{}", service.log());
    drop(service);

    keys.create("read");
    let service = exposed(keys.launch(&broker.url())).start();
    assert!(!service.log_lines(&["every request needs an API key"]).is_empty(), "{}", service.log());
}

#[test]
fn a_keys_file_that_is_named_and_missing_stops_the_start_unless_everybody_may_ask() {
    let (broker, keys) = (broker(), Keys::new());
    let ended = keys.launch(&broker.url()).run();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let file = keys.path();
    assert!(mentions(&ended.stderr, &[text(&file), "--keys-file", "--allow-anonymous"]), "{}", ended.stderr);
    let service = keys.launch(&broker.url()).arguments(&["--allow-anonymous"]).start();
    service.wait_until_ready();
    assert_eq!(status(&service, "/pump/1", None), 200);
    // One that is made later is found.
    let key = keys.create("read");
    service.wait_until("a wrong key is refused", || {
        status(&service, "/pump/1", Some("Bearer a-org-x.y")) == 401
            && status(&service, "/pump/1", Some(&key.bearer())) == 200
    });
}

#[test]
fn anonymous_requests_can_be_allowed_and_a_wrong_key_is_still_refused() {
    let (broker, keys) = (broker(), Keys::new());
    let key = keys.create("events");
    let service = keys.launch(&broker.url()).arguments(&["--allow-anonymous"]).start();
    let refused = service.get("/api/v1/webhooks");
    assert_eq!((refused.status, &refused.json()["type"]), (403, &"urn:devstatus:problem:key-needed".into()));
    assert!(refused.text().contains("API key with the scope admin"), "{}", refused.text());
    service.wait_until_ready();
    assert_eq!(status(&service, "/pump/1", None), 200);
    assert_eq!(status(&service, "/pump/1", Some(&key.basic())), 403);
    assert_eq!(status(&service, "/pump/1", Some("Bearer a-org-x.y")), 401);
}

#[test]
fn without_a_keys_file_loopback_clients_may_ask_whatever_a_proxy_has_checked() {
    let broker = broker();
    let service = Launch::to(&broker.url()).start();
    service.wait_until_ready();
    assert_eq!(status(&service, "/pump/1", None), 200);
    assert_eq!(status(&service, "/pump/1", Some("Basic dXNlcjpwYXNzd29yZA==")), 200);
}

#[test]
fn a_throttled_key_gets_retry_after() {
    let (broker, keys) = (broker(), Keys::new());
    let (busy, other) = (keys.create("read"), keys.create("read"));
    let service = keys.launch(&broker.url()).arguments(&["--requests-per-second", "1"]).start();
    let statuses: Vec<_> = (0..50)
        .map(|_| service.request_with("GET", "/openapi.json", &[("Authorization", &busy.basic())]))
        .collect();
    let refused =
        statuses.iter().find(|answer| answer.status == 429).expect("fifty are more than one a second");
    assert!(statuses.iter().any(|answer| answer.status == 200));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(refused.json()["type"], "urn:devstatus:problem:too-many-requests");
    assert_eq!(status(&service, "/openapi.json", Some(&other.basic())), 200, "another key is another bucket");
}

#[test]
fn an_address_that_tries_many_wrong_keys_has_to_wait_and_others_do_not() {
    let (broker, keys) = (broker(), Keys::new());
    let key = keys.create("read");
    let service = keys.launch(&broker.url()).start();
    let connect = |from: [u8; 4]| Connection::over(http::connect_from(from.into(), service.address()));
    let (mut guessing, mut other) = (connect([127, 0, 0, 1]), connect([127, 0, 0, 2]));
    let ask = |client: &mut Connection, authorization: &str| {
        client.send(&http::request_with("GET", "/openapi.json", &[("Authorization", authorization)]));
        client.receive("GET").expect("each try is answered")
    };
    let guess = "Bearer a-org-unknown.nothing";
    let answers: Vec<_> = (0..1_000).map(|_| ask(&mut guessing, guess)).collect();
    assert_eq!(answers[0].status, 401);
    let refused = answers.iter().find(|answer| answer.status == 429).expect("a thousand are too many");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.json()["type"], "urn:devstatus:problem:too-many-requests");
    assert_eq!(ask(&mut other, guess).status, 401, "another address has tries of its own");
    let mut keyless = connect([127, 0, 0, 3]);
    let statuses: Vec<_> = (0..1_000)
        .map(|_| {
            keyless.send(&http::request("GET", "/openapi.json"));
            keyless.receive("GET").expect("each try is answered").status
        })
        .collect();
    assert!(statuses[0] == 401 && statuses.contains(&429), "so has one without a key: {statuses:?}");
    assert_eq!(ask(&mut keyless, &key.bearer()).status, 200, "the right key is let in there, too");
    assert_eq!(ask(&mut guessing, &key.bearer()).status, 200, "the right key is let in all the same");
}

#[test]
fn the_default_keys_file_is_next_to_the_store() {
    let (broker, state) = (broker(), tempfile::tempdir().unwrap());
    let home = |launch: Launch| launch.environment("STATE_DIRECTORY", text(state.path()));
    let created = home(Launch::default().arguments(&["keys", "create", "x", "-o", "org"])).run();
    assert!(created.status.success(), "{created:?}");
    assert!(state.path().join("org.keys").exists());
    let service = home(Launch::to(&broker.url())).start();
    assert_eq!(status(&service, "/pump/1", None), 401);
}

#[test]
fn a_revocation_is_confirmed_by_the_service_that_has_taken_it() {
    let (broker, keys) = (broker(), Keys::new());
    let (first, second) = (keys.create("read"), keys.create("read"));
    let service = keys.launch(&broker.url()).start();
    service.wait_until_ready();
    let url = format!("http://{}", service.address());
    let revoked = keys.run(&["revoke", &first.id, "--url", &url]);
    assert!(revoked.status.success() && mentions(&revoked.stdout, &["\nconfirmed:", &url]), "{revoked:?}");
    assert_eq!(status(&service, "/pump/1", Some(&first.basic())), 401, "at once");
    assert_eq!(status(&service, "/pump/1", Some(&second.basic())), 200);
    let sum = Command::new("sha256sum").arg(keys.path()).output().expect("sha256sum can be started").stdout;
    let digest = service.get("/readyz").json()["keys_file_sha256"].clone();
    assert!(String::from_utf8(sum).unwrap().starts_with(digest.as_str().expect("keys are in use")));

    // A service with other keys, and none at all: the key is revoked, but the user who named the service is told.
    let others = Keys::new();
    let key = others.create("read");
    let unconfirmed = others.run(&["revoke", &key.id, "--url", &url]);
    assert_eq!(unconfirmed.status.code(), Some(1), "{unconfirmed:?}");
    assert!(
        mentions(&unconfirmed.stderr, &["revoked in the file", "does not confirm", &url]),
        "{unconfirmed:?}"
    );
    assert!(!others.run(&["list"]).stdout.contains(&key.id));
    drop(service);
    let unconfirmed = keys.run(&["revoke", &second.id, "--url", &url]);
    assert_eq!(unconfirmed.status.code(), Some(1), "{unconfirmed:?}");
    assert!(!keys.run(&["list"]).stdout.contains(&second.id));
}

#[test]
fn a_new_keys_file_belongs_to_the_owner_of_its_directory() {
    let keys = Keys::new();
    let directory = keys.path().parent().expect("a directory").to_owned();
    if rustix::process::geteuid().is_root() {
        chown(&directory, Some(12_345), Some(12_346)).unwrap();
    }
    keys.create("read");
    let owner = |file: &fs::Metadata| (file.uid(), file.gid());
    let (directory, file) = (fs::metadata(directory).unwrap(), fs::metadata(keys.path()).unwrap());
    assert_eq!(owner(&file), owner(&directory));
    assert_eq!(file.mode() & 0o777, 0o600);
}

#[test]
fn a_key_is_revoked_through_a_link_and_owner_and_mode_of_the_file_stay() {
    let (broker, keys) = (broker(), Keys::new());
    let key = keys.create("read");
    // Root may revoke what another user's service reads.
    if rustix::process::geteuid().is_root() {
        chown(keys.path(), Some(12_345), Some(12_346)).unwrap();
    }
    fs::set_permissions(keys.path(), fs::Permissions::from_mode(0o640)).unwrap();
    let before = fs::metadata(keys.path()).unwrap();
    let link = keys.path().with_file_name("link");
    symlink("keys", &link).unwrap();
    let through_link = |arguments: &[&str]| Launch::default().arguments(&["keys"]).arguments(arguments);
    let service = Launch::to(&broker.url()).arguments(&["--keys-file", text(&link)]).start();
    service.wait_until("the key is good", || status(&service, "/livez", None) == 200);
    let url = format!("http://{}", service.address());
    let revoked = through_link(&["revoke", &key.id, "--keys-file", text(&link), "--url", &url]).run();
    assert!(revoked.status.success(), "{revoked:?}");
    assert_eq!(status(&service, "/pump/1", Some(&key.basic())), 401);
    let after = fs::metadata(keys.path()).unwrap();
    let rights = |file: &fs::Metadata| (file.uid(), file.gid(), file.mode());
    assert_eq!(rights(&after), rights(&before));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[test]
fn a_keys_file_that_is_mounted_alone_is_written_in_place_and_its_replacement_outside_is_warned_of() {
    let (broker, keys) = (broker(), Keys::new());
    let (first, second) = (keys.create("read"), keys.create("read"));
    let mounted = keys.path().with_file_name("mounted");
    fs::write(&mounted, "").unwrap();
    let launch = Launch::to(&broker.url()).with_mounted_file(&keys.path(), &mounted);
    let service = launch.arguments(&["--keys-file", text(&mounted)]).start();
    let url = format!("http://{}", service.address());
    // Where the file is a mount point it cannot be replaced.
    let revoke = ["keys", "revoke", &first.id, "--keys-file", text(&mounted), "--url", &url];
    let revoked = Launch::default().with_mounted_file(&keys.path(), &mounted).arguments(&revoke).run();
    assert!(revoked.status.success(), "{revoked:?}");
    assert_eq!(status(&service, "/pump/1", Some(&first.basic())), 401);
    assert!(!keys.run(&["list"]).stdout.contains(&first.id), "it is the same file");
    // Outside it is replaced, which cannot be seen inside: the log must not claim a reload.
    let reloads = service.log_lines(&["these keys are in force"]).len();
    let revoked = keys.run(&["revoke", &second.id, "--url", &url]);
    assert_eq!(revoked.status.code(), Some(1), "{revoked:?}");
    service
        .wait_until("the log warns", || !service.log_lines(&["WARN", "mounted as a single file"]).is_empty());
    assert_eq!(service.log_lines(&["these keys are in force"]).len(), reloads);
}

#[test]
fn a_pipe_in_place_of_the_keys_file_changes_nothing_and_holds_up_nothing() {
    let (broker, keys) = (broker(), Keys::new());
    let key = keys.create("read");
    let service = keys.launch(&broker.url()).start();
    service.wait_until_ready();
    fs::remove_file(keys.path()).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, keys.path(), rustix::fs::Mode::from(0o600)).unwrap();
    service.wait_until("the log says so", || !service.log_lines(&["ERROR", "no regular file"]).is_empty());
    assert_eq!(status(&service, "/pump/1", Some(&key.basic())), 200);
    let ended = service.signal(Signal::TERM);
    assert!(ended.status.success(), "{ended:?}");
    let refused = keys.launch(&broker.url()).run();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
}

#[test]
fn a_key_that_nobody_has_seen_does_not_stay_in_force() {
    let keys = Keys::new();
    let known = keys.create("read");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_devstatus"));
    command.args(["keys", "create", "unseen", "-o", "org", "--keys-file", text(&keys.path())]);
    let ended = command.stdout(writer).stderr(Stdio::piped()).output().expect("the binary can be started");
    let error = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{error}");
    assert!(error.contains("out of force again"), "{error}");
    let list = keys.run(&["list"]).stdout;
    assert!(list.contains(&known.id) && !list.contains("unseen"), "{list}");
}
