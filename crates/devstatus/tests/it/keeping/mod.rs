//! What outlives the process: after a stop, after a kill, and whatever the file is like. Random kills are in `crash`.

mod full_disk;
mod older_file;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use testkit::closing_broker::{ClosingBroker, Reply, Script};
use testkit::http::Connection;
use testkit::mosquitto::Mosquitto;
use testkit::service::{Launch, Service, Signal, mentions};
use testkit::status::Device;
use testkit::{PATIENCE, http, poll, wait_until};

const PUMP: Device<'_> = Device { kind: "pump", id: "1" };
const FAN: Device<'_> = Device { kind: "fan", id: "2" };

/// A file in a directory of its own; neither is there yet.
struct File {
    directory: TempDir,
}

impl File {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory can be made") }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("state").join("store.db")
    }

    fn flag(&self) -> String {
        format!("sqlite:{}", self.path().display())
    }

    fn launch(&self, broker_url: &str) -> Launch {
        Launch::to(broker_url).arguments(&["--store", &self.flag(), "--flush-interval-ms", "20"])
    }
}

/// A broker that never lets anybody in: a service that answers then answers from the store.
fn no_broker() -> ClosingBroker {
    ClosingBroker::start(Script { connect: Reply::silence(), ..Script::default() })
}

fn wait_until_stored(service: &Service, devices: u64) {
    let written = format!("devstatus_store_devices_written_total {devices}");
    service.wait_until(&format!("{devices} devices are kept"), || {
        service.get("/metrics").text().contains(&written)
    });
}

fn assert_answers(service: &Service, device: Device<'_>, body: &str) {
    let answer = service.get(&device.path());
    assert_eq!((answer.status, answer.text()), (200, body), "{}", service.log());
}

#[test]
fn statuses_survive_a_stop_and_a_kill_without_the_broker() {
    for signal in [Signal::TERM, Signal::KILL] {
        let (file, broker) = (File::new(), Mosquitto::start());
        let service = file.launch(&broker.url()).start();
        service.wait_until_ready();
        let mut publisher = broker.publisher();
        publisher.retain(&PUMP.topic(), PUMP.connect(1));
        publisher.publish(&FAN.topic(), FAN.disconnect(1, 2));
        publisher.flush();
        wait_until_stored(&service, 2);
        service.signal(signal);

        let nobody = no_broker();
        let again = file.launch(&nobody.url()).start();
        assert_answers(&again, PUMP, &PUMP.connect(1));
        assert_answers(&again, FAN, &FAN.disconnect(1, 2));
        let summary = again.get("/api/v1/summary").json();
        assert_eq!((&summary["connected"], &summary["disconnected"]), (&1.into(), &1.into()), "{summary}");
        assert_eq!(again.get("/nobody/0").status, 503, "what is not kept may still be retained");
        let readiness = again.get("/readyz").json();
        assert_eq!(readiness["store"], "good", "{readiness}");
    }
}

/// A service that has answered for a device and writes nothing until it is stopped.
fn answered_and_not_written(file: &File, broker: &Mosquitto) -> Service {
    let flags = ["--store", &file.flag(), "--flush-interval-ms", "3600000"];
    let service = Launch::to(&broker.url()).arguments(&flags).without_terminal().start();
    service.wait_until_ready();
    let mut publisher = broker.publisher();
    publisher.publish(&PUMP.topic(), PUMP.connect(1));
    publisher.flush();
    service.wait_for_answer(&PUMP.path(), &PUMP.connect(1));
    service
}

#[test]
fn the_last_changes_before_a_stop_are_stored_for_any_signal_and_flush_interval() {
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
        let (file, broker) = (File::new(), Mosquitto::start());
        let service = answered_and_not_written(&file, &broker);
        assert_eq!(service.signal(signal).status.code(), Some(0), "{signal:?}");
        assert_answers(&file.launch(&no_broker().url()).start(), PUMP, &PUMP.connect(1));
    }
}

#[test]
fn a_hangup_without_a_terminal_ends_nothing() {
    let (file, broker) = (File::new(), Mosquitto::start());
    let mut service = answered_and_not_written(&file, &broker);
    service.notify(Signal::HUP);
    service.wait_until("it was told", || !service.log_lines(&["SIGHUP", "going on"]).is_empty());
    assert!(service.is_running());
    assert_answers(&service, PUMP, &PUMP.connect(1));
    assert_eq!(service.terminate().status.code(), Some(0));
    assert_answers(&file.launch(&no_broker().url()).start(), PUMP, &PUMP.connect(1));
}

/// `script` gives the service a terminal, and takes it away when it is killed.
#[test]
fn a_terminal_that_is_closed_ends_the_service_in_order() {
    let (file, broker) = (File::new(), Mosquitto::start());
    let log = file.directory.path().join("log");
    let command = format!(
        "exec {} -o org -i app -p 0 --broker {} --store {} --flush-interval-ms 3600000 2>{}",
        env!("CARGO_BIN_EXE_devstatus"),
        broker.url(),
        file.flag(),
        log.display()
    );
    let mut terminal = Command::new("script")
        .args(["--quiet", "--command", &command, "/dev/null"])
        .env("STATE_DIRECTORY", file.directory.path().join("state"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("script is installed");
    let address = || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        let (_, rest) = text.split_once("listening on http://")?;
        rest.lines().next()?.trim().parse().ok()
    };
    let address = poll(PATIENCE, address).expect("the service listens");
    let get = |path: &str| {
        let mut connection = Connection::open(address);
        connection.send(&http::request("GET", path));
        connection.receive("GET").expect("the service answers")
    };
    wait_until("it is ready", || get("/readyz").status == 200);
    let mut publisher = broker.publisher();
    publisher.publish(&PUMP.topic(), PUMP.connect(1));
    publisher.flush();
    wait_until("it has answered", || get(&PUMP.path()).body == PUMP.connect(1).as_bytes());
    terminal.kill().expect("a child of ours can be killed");
    terminal.wait().expect("a child of ours can be waited for");
    let lock = fs::File::open(file.path().with_extension("db.lock")).expect("the service holds a lock");
    wait_until("the service has ended", || lock.try_lock().is_ok());
    drop(lock);
    assert!(fs::read_to_string(&log).unwrap().contains("signal=\"SIGHUP\""));
    assert_answers(&file.launch(&no_broker().url()).start(), PUMP, &PUMP.connect(1));
}

#[test]
fn newer_retained_statuses_replace_restored_ones() {
    let (file, broker) = (File::new(), Mosquitto::start());
    let mut publisher = broker.publisher();
    publisher.retain(&PUMP.topic(), PUMP.connect(1));
    publisher.retain(&FAN.topic(), FAN.connect(1));
    publisher.flush();
    let service = file.launch(&broker.url()).start();
    wait_until_stored(&service, 2);
    service.signal(Signal::KILL);
    publisher.retain(&PUMP.topic(), PUMP.disconnect(1, 5));
    publisher.flush();
    let again = file.launch(&broker.url()).start();
    again.wait_for_answer(&PUMP.path(), &PUMP.disconnect(1, 5));
    assert_answers(&again, FAN, &FAN.connect(1));
    again.wait_until_ready();
    assert_eq!(again.get("/api/v1/summary").json()["total"], 2);
}

#[test]
fn the_file_and_its_companions_are_private_to_the_owner() {
    let file = File::new();
    let broker = no_broker();
    let _service = file.launch(&broker.url()).start();
    let files: Vec<_> = fs::read_dir(file.path().parent().unwrap()).unwrap().map(Result::unwrap).collect();
    assert!(files.len() >= 2);
    for entry in files {
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", entry.path());
    }
}

/// Exit code 1 and all the words on stderr.
fn assert_refused(launch: Launch, words: &[&str]) {
    let ended = launch.run();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(mentions(&ended.stderr, words), "{words:?} in {}", ended.stderr);
}

#[test]
fn a_second_process_on_the_same_file_is_refused_and_harms_nothing() {
    let (file, broker) = (File::new(), Mosquitto::start());
    let service = file.launch(&broker.url()).start();
    service.wait_until_ready();
    assert_refused(file.launch(&broker.url()), &["another process", "store.db", "--store"]);
    let mut publisher = broker.publisher();
    publisher.publish(&PUMP.topic(), PUMP.connect(1));
    publisher.flush();
    wait_until_stored(&service, 1);
}

#[test]
fn a_file_of_a_newer_version_or_of_somebody_else_is_refused_and_left_alone() {
    let broker = no_broker();
    for (sql, words) in [
        ("PRAGMA user_version = 99", &["newer", "99", "store.db"][..]),
        ("PRAGMA application_id = 1", &["not of devstatus", "store.db"][..]),
    ] {
        let file = File::new();
        file.launch(&broker.url()).start().terminate();
        rusqlite::Connection::open(file.path()).unwrap().execute_batch(sql).unwrap();
        let before = fs::read(file.path()).unwrap();
        assert_refused(file.launch(&broker.url()), words);
        assert_eq!(fs::read(file.path()).unwrap(), before);
    }
}

#[test]
fn a_place_where_no_file_can_be_is_refused() {
    let broker = no_broker();
    let launch = Launch::to(&broker.url()).arguments(&["--store", "sqlite:/dev/null/store.db"]);
    assert_refused(launch, &["/dev/null/store.db"]);
}

#[test]
fn a_file_that_cannot_be_written_is_refused_at_the_start_and_left_alone() {
    let broker = no_broker();
    let chmod = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for (read_only, advice) in [
        ("file", "change its owner or mode"),
        ("directory", "change its owner or mode"),
        ("filesystem", "mount it writable"),
    ] {
        let file = File::new();
        file.launch(&broker.url()).start().terminate();
        let (path, before) = (file.path(), fs::read(file.path()).unwrap());
        let directory = path.parent().unwrap();
        let launch = file.launch(&broker.url());
        let launch = match read_only {
            "file" => {
                chmod(&path, 0o400);
                launch.bound_by_file_modes()
            }
            "directory" => {
                chmod(directory, 0o500);
                launch.bound_by_file_modes()
            }
            _ => launch.on_a_read_only_filesystem(directory),
        };
        assert_refused(launch, &["cannot use", &directory.display().to_string(), advice]);
        chmod(directory, 0o700);
        assert_eq!(fs::read(&path).unwrap(), before, "{read_only}");
    }
}

fn set_aside(path: &Path) -> Vec<PathBuf> {
    let directory = path.parent().expect("a file is in a directory");
    let beside = fs::read_dir(directory).expect("the service has made the directory");
    let beside = beside.map(|entry| entry.expect("a directory of ours can be read").path());
    beside.filter(|path| path.to_string_lossy().contains("store.db.damaged-")).collect()
}

#[test]
fn a_damaged_file_is_set_aside_and_the_broker_fills_a_new_one() {
    let broker = Mosquitto::start();
    let mut publisher = broker.publisher();
    let ids: Vec<String> = (0..500).map(|id| id.to_string()).collect();
    for id in &ids {
        let device = Device { kind: "pump", id };
        publisher.retain(&device.topic(), device.connect(1));
    }
    publisher.flush();
    let cut = |path: &Path| {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    };
    let overwrite = |path: &Path| {
        fs::write(path, "no database at all, and longer than its header would be".repeat(9)).unwrap()
    };
    // The pages of the table, not the first one: only the loading finds it.
    let scribble = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        bytes[8192..].fill(0xa5);
        fs::write(path, bytes).unwrap();
    };
    let damages: [&dyn Fn(&Path); 3] = [&cut, &overwrite, &scribble];
    for damage in damages {
        let file = File::new();
        let service = file.launch(&broker.url()).start();
        wait_until_stored(&service, 500);
        // An orderly stop leaves everything in the one file.
        assert_eq!(service.terminate().status.code(), Some(0));
        damage(&file.path());
        let service = file.launch(&broker.url()).start();
        service.wait_until_ready();
        assert_eq!(set_aside(&file.path()).len(), 1, "{}", service.log());
        assert_eq!(service.log_lines(&["damaged", "set_aside"]).len(), 1, "{}", service.log());
        wait_until_stored(&service, 500);
        service.terminate();
        assert_eq!(file.launch(&no_broker().url()).start().get("/api/v1/summary").json()["total"], 500);
    }
}

#[test]
fn a_status_expired_at_the_broker_stays_known_with_its_provenance() {
    let (file, broker) = (File::new(), Mosquitto::start());
    let mut publisher = broker.publisher();
    publisher.retain(&PUMP.topic(), PUMP.connect(1));
    publisher.flush();
    let service = file.launch(&broker.url()).start();
    wait_until_stored(&service, 1);
    service.terminate();

    let forgetful = Mosquitto::start();
    let again = file.launch(&forgetful.url()).start();
    again.wait_until_ready();
    assert_answers(&again, PUMP, &PUMP.connect(1));
    let provenance = || again.get("/api/v1/devices/pump/1").json()["provenance"].clone();
    assert_eq!(provenance(), "restored");
    let mut publisher = forgetful.publisher();
    publisher.publish(&PUMP.topic(), PUMP.connect(1));
    publisher.flush();
    again.wait_until("it is confirmed", || provenance() == "live");
}

#[test]
fn only_who_has_been_disconnected_for_too_long_is_forgotten_here_and_in_the_file() {
    let (file, broker) = (File::new(), Mosquitto::start());
    let long_ago = |message: String| message.replace("2026-11-23", "2020-01-01");
    let mut publisher = broker.publisher();
    publisher.retain(&PUMP.topic(), long_ago(PUMP.connect(1)));
    publisher.retain(&FAN.topic(), long_ago(FAN.disconnect(1, 2)));
    publisher.flush();
    let service = file.launch(&broker.url()).start();
    wait_until_stored(&service, 2);
    service.terminate();
    let nobody = no_broker();
    for flags in [&["--forget-after", "30"][..], &[]] {
        let again = file.launch(&nobody.url()).arguments(flags).start();
        assert_answers(&again, PUMP, &long_ago(PUMP.connect(1)));
        let total = || again.get("/api/v1/summary").json()["total"].clone();
        again.wait_until("it is forgotten here", || total() == 1);
        // It is deleted there a moment later, between two flushes.
        again.wait_until("the file has forgotten it, too", || {
            ask_sqlite3(&file.path(), "SELECT count(*) FROM devices;").stdout == b"1\n"
        });
        again.terminate();
    }
}

fn ask_sqlite3(file: &Path, query: &str) -> Output {
    let mut command = Command::new("sqlite3");
    command.arg("-readonly").arg(file).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("sqlite3 is installed");
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    stdin.write_all(query.as_bytes()).expect("sqlite3 reads the query");
    drop(stdin);
    child.wait_with_output().expect("sqlite3 ends")
}

/// The statements of the document's block of SQL.
fn documented_queries() -> Vec<String> {
    let document = include_str!("../../../../../docs/persistence.md");
    let (_, rest) = document.split_once("```sql\n").expect("the document has a block of SQL");
    let (block, _) = rest.split_once("```").expect("a block ends");
    block.split_inclusive(";\n").map(str::to_owned).collect()
}

#[test]
fn the_documented_queries_answer_from_the_file_of_a_running_service() {
    let (file, broker) = (File::new(), Mosquitto::start());
    let service = file.launch(&broker.url()).start();
    service.wait_until_ready();
    let now = jiff::Timestamp::from_millisecond(system::clock::now_millis()).unwrap();
    let mut publisher = broker.publisher();
    publisher.publish(&PUMP.topic(), PUMP.connect(1));
    publisher.publish(
        &FAN.topic(),
        FAN.disconnect(1, 2).replace("2026-11-23T17:00:02.186Z", &format!("{now:.3}")),
    );
    publisher.flush();
    wait_until_stored(&service, 2);
    let queries = documented_queries();
    assert_eq!(queries.len(), 2);
    for query in queries {
        let asked = ask_sqlite3(&file.path(), &query);
        let answer = String::from_utf8_lossy(&asked.stdout);
        assert!(asked.status.success(), "{query}: {}", String::from_utf8_lossy(&asked.stderr));
        assert!(
            answer.starts_with("fan|") && answer.ends_with("|1\n") && answer.lines().count() == 1,
            "{query}: {answer}"
        );
    }
    assert_eq!(service.get("/readyz").json()["store"], "good");
}
