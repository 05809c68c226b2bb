//! `devstatus export` and `devstatus import`: what one store keeps, as text, is the same in another.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use testkit::closing_broker::{ClosingBroker, Reply, Script};
use testkit::mosquitto::Mosquitto;
use testkit::service::{Ended, Launch, Service, mentions};
use testkit::status::Device;

const PUMP: Device<'_> = Device { kind: "pump", id: "1" };
const FAN: Device<'_> = Device { kind: "fan", id: "ünï, %" };
const MANY: usize = 500;

struct Directory(TempDir);

impl Directory {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory can be made"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn store(&self, name: &str) -> String {
        format!("sqlite:{}", self.path(name).display())
    }

    /// Runs a subcommand on a store to its end.
    fn run(&self, verb: &str, store: &str, flags: &[&str]) -> Ended {
        let store = self.store(store);
        Launch::default().arguments(&[verb, "--store", &store]).arguments(flags).run()
    }
}

/// A service that keeps two devices and many more.
fn service_with_devices(directory: &Directory, broker: &Mosquitto) -> Service {
    let mut publisher = broker.publisher();
    publisher.retain(&PUMP.topic(), PUMP.connect(1));
    // Taken over and not yet seen again: its state rests on two messages.
    publisher.retain(&FAN.topic(), FAN.connect(1));
    for id in (0..MANY).map(|id| id.to_string()) {
        let device = Device { kind: "valve", id: &id };
        publisher.retain(&device.topic(), device.disconnect(1, 2));
    }
    publisher.flush();
    let flags = ["--store", &directory.store("one.db"), "--flush-interval-ms", "20"];
    let service = Launch::to(&broker.url()).arguments(&flags).start();
    service.wait_until_ready();
    let takeover = FAN.disconnect(100, 200).replace("\"CloseCode\":91", "\"CloseCode\":288");
    publisher.publish(&FAN.topic(), takeover);
    publisher.flush();
    let written = format!("devstatus_store_devices_written_total {}", MANY + 3);
    service.wait_until("all is kept", || service.get("/metrics").text().contains(&written));
    service
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn an_export_of_a_running_service_imports_elsewhere() {
    let (directory, broker) = (Directory::new(), Mosquitto::start());
    let service = service_with_devices(&directory, &broker);
    let exported = directory.run("export", "one.db", &[]);
    assert_eq!(exported.status.code(), Some(0), "{}", exported.stderr);
    let devices = lines(&exported.stdout);
    assert_eq!(devices.len(), MANY + 2);
    let fan = devices.iter().find(|device| device["id"] == FAN.id).expect("each device has a line");
    assert_eq!((&fan["status"], fan["events"].as_array().map(Vec::len)), (&"connected".into(), Some(2)));

    let file = directory.path("devices.jsonl");
    let to_file = directory.run("export", "one.db", &["--file", file.to_str().unwrap()]);
    assert_eq!((to_file.status.code(), to_file.stdout.as_str()), (Some(0), ""), "{}", to_file.stderr);
    let written = fs::read_to_string(&file).unwrap();
    assert_eq!(sorted(&written), sorted(&exported.stdout));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "it names every device");

    // Twice, as merging the same again changes nothing.
    for _ in 0..2 {
        let imported = directory.run("import", "two.db", &["--file", file.to_str().unwrap()]);
        assert_eq!(imported.status.code(), Some(0), "{}", imported.stderr);
        assert!(mentions(&imported.stderr, &["imported", "502"]), "{}", imported.stderr);
    }
    assert_eq!(sorted(&directory.run("export", "two.db", &[]).stdout), sorted(&written));
    let nobody = ClosingBroker::start(Script { connect: Reply::silence(), ..Script::default() });
    let other = Launch::to(&nobody.url()).arguments(&["--store", &directory.store("two.db")]).start();
    for device in [PUMP, FAN, Device { kind: "valve", id: "7" }] {
        let path = device.path().replace(FAN.id, "%C3%BCn%C3%AF,%20%25");
        assert_eq!(other.get(&path).text(), service.get(&path).text(), "{path}");
        assert_eq!(other.get(&path).status, 200, "{path}");
    }
    assert_eq!(other.get("/api/v1/summary").json()["connected"], 2);
}

#[test]
fn a_table_has_a_row_for_each_device_and_a_reader_may_end_early() {
    let (directory, broker) = (Directory::new(), Mosquitto::start());
    let _service = service_with_devices(&directory, &broker);
    let table = directory.run("export", "one.db", &["--format", "csv"]).stdout;
    assert!(
        table.starts_with(
            "type,id,status,since,session,close_code,reason,address,received_at,message,source\n"
        )
    );
    assert_eq!(table.lines().count(), MANY + 3);
    let pump = "pump,1,connected,2026-11-23T17:00:01.186Z,2026-11-23T17:00:01.186Z,,,198.51.100.7,2";
    assert!(table.lines().any(|row| row.starts_with(pump)), "{table}");
    assert!(table.contains("disconnected,2026-11-23T17:00:02.186Z,2026-11-23T17:00:01.186Z,91,The connection was closed by the client.,"));

    let mut command = Command::new(env!("CARGO_BIN_EXE_devstatus"));
    command.args(["export", "--store", &directory.store("one.db")]).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::null()).spawn().expect("the binary can be started");
    let mut first = String::new();
    let mut pipe = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
    pipe.read_line(&mut first).expect("a line comes");
    drop(pipe);
    assert_eq!(lines(&first).len(), 1);
    assert_eq!(child.wait().expect("it ends").code(), Some(0), "as `head` would have it");
}

fn assert_fails(ended: &Ended, words: &[&str]) {
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    assert!(mentions(&ended.stderr, words), "{words:?} in {}", ended.stderr);
}

#[test]
fn impossible_exchanges_are_refused_with_a_reason() {
    let (directory, broker) = (Directory::new(), Mosquitto::start());
    let file = |name: &str, text: &str| {
        let path = directory.path(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    assert_fails(&directory.run("export", "absent.db", &[]), &["absent.db"]);
    assert!(!Path::new(&directory.path("absent.db")).exists(), "reading makes no file");
    assert_fails(&directory.run("import", "two.db", &["--file", "/nowhere/devices.jsonl"]), &["/nowhere"]);

    let service = service_with_devices(&directory, &broker);
    let good = directory.run("export", "one.db", &[]).stdout;
    let good = good.lines().next().unwrap();
    let faulty = file("faulty.jsonl", &format!("{good}\n\n{{\"type\":\"pump\"}}\n{good}\n"));
    assert_fails(&directory.run("import", "two.db", &["--file", &faulty]), &["line 3", "id"]);
    assert_eq!(directory.run("export", "two.db", &[]).stdout.lines().count(), 1, "what stood before it");
    fs::copy(directory.path("two.db"), directory.path("copy.db")).unwrap();
    let read_only = ["export", "--store", &directory.store("copy.db")];
    let read_only = Launch::default().arguments(&read_only).on_a_read_only_filesystem(directory.0.path());
    assert_fails(&read_only.run(), &["copy.db", "copy it to a directory that can be written"]);
    let sound = file("sound.jsonl", good);
    assert_fails(&directory.run("import", "one.db", &["--file", &sound]), &["another process", "one.db"]);
    drop(service);
    let refused = Launch::default().arguments(&["export"]).run();
    assert_eq!(refused.status.code(), Some(2), "{}", refused.stderr);
}

#[test]
fn a_device_that_the_store_refuses_keeps_no_other_from_being_imported() {
    let (directory, broker) = (Directory::new(), Mosquitto::start());
    let service = service_with_devices(&directory, &broker);
    let exported = directory.run("export", "one.db", &[]).stdout;
    drop(service);
    let file = directory.path("devices.jsonl");
    let first = exported.lines().next().expect("there are devices");
    fs::write(&file, first).unwrap();
    assert_eq!(directory.run("import", "two.db", &["--file", file.to_str().unwrap()]).status.code(), Some(0));
    let store = rusqlite::Connection::open(directory.path("two.db")).unwrap();
    store
        .execute_batch(
            "DELETE FROM device;
             CREATE TRIGGER refuse BEFORE INSERT ON device WHEN new.type = 'fan'
             BEGIN SELECT RAISE(ABORT, 'not this one'); END",
        )
        .unwrap();
    drop(store);
    fs::write(&file, &exported).unwrap();
    let imported = directory.run("import", "two.db", &["--file", file.to_str().unwrap()]);
    assert_eq!(imported.status.code(), Some(1), "{}", imported.stderr);
    let said = ["refuses 1 of the devices", "fan/", "not this one", "501 are imported"];
    assert!(mentions(&imported.stderr, &said), "{}", imported.stderr);
    let left = sorted(&exported);
    let left: Vec<_> = left.into_iter().filter(|line| !line.contains("\"type\":\"fan\"")).collect();
    assert_eq!(sorted(&directory.run("export", "two.db", &[]).stdout), left);
}

/// What a subcommand of the shell writes; `$0` is the binary, `$1` the store.
fn shell(directory: &Directory, script: &str) -> String {
    let mut command = Command::new("bash");
    command.args(["-c", script, env!("CARGO_BIN_EXE_devstatus"), &directory.store("one.db")]);
    let ended = command.current_dir(directory.0.path()).output().expect("bash can be started");
    assert!(ended.status.success(), "{script}: {}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8(ended.stdout).expect("devices are text")
}

#[test]
fn an_export_writes_to_special_files_and_follows_links() {
    let (directory, broker) = (Directory::new(), Mosquitto::start());
    let _service = service_with_devices(&directory, &broker);
    let exported = directory.run("export", "one.db", &[]).stdout;
    let expected = sorted(&exported);

    let (target, link) = (directory.path("target"), directory.path("link"));
    fs::write(&target, "old").unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o644)).unwrap();
    symlink("target", &link).unwrap();
    let ended = directory.run("export", "one.db", &["--file", link.to_str().unwrap()]);
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert_eq!(sorted(&fs::read_to_string(&target).unwrap()), expected);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::metadata(&target).unwrap().mode() & 0o777, 0o644);

    let through_pipe = shell(
        &directory,
        "mkfifo pipe && { cat pipe & } && \"$0\" export --store \"$1\" --file \"$PWD/pipe\" 2>/dev/null && wait",
    );
    assert_eq!(sorted(&through_pipe), expected);
    assert!(fs::symlink_metadata(directory.path("pipe")).unwrap().file_type().is_fifo());

    let substituted = shell(
        &directory,
        "\"$0\" export --store \"$1\" --file >(cat >taken) 2>/dev/null && wait $! && cat taken",
    );
    assert_eq!(sorted(&substituted), expected);
    // The same once more behind what is there: `>>` says so.
    let appended = shell(
        &directory,
        "for _ in 1 2; do \"$0\" export --store \"$1\" --file /dev/stdout 2>/dev/null >>both || exit; done; cat both",
    );
    assert_eq!(sorted(&appended).chunks(2).map(|two| two[0]).collect::<Vec<_>>(), expected);
    let left: Vec<_> = fs::read_dir(directory.0.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("unfinished"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Only root can make devices, and give a file to somebody.
#[test]
fn a_device_stays_a_device_and_one_that_is_full_is_an_error() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (directory, broker) = (Directory::new(), Mosquitto::start());
    let _service = service_with_devices(&directory, &broker);
    // As /dev/null and /dev/full are, but the test's own.
    shell(&directory, "mknod null c 1 3 && mknod full c 1 7");
    let export =
        |name: &str| directory.run("export", "one.db", &["--file", directory.path(name).to_str().unwrap()]);
    assert_eq!(export("null").status.code(), Some(0));
    assert_fails(&export("full"), &["cannot write", "full"]);
    for name in ["null", "full"] {
        assert!(fs::symlink_metadata(directory.path(name)).unwrap().file_type().is_char_device(), "{name}");
    }
    // Root writes what belongs to another, who can still read it.
    fs::write(directory.path("theirs"), "old").unwrap();
    std::os::unix::fs::chown(directory.path("theirs"), Some(12_345), Some(12_346)).unwrap();
    assert_eq!(export("theirs").status.code(), Some(0));
    let theirs = fs::metadata(directory.path("theirs")).unwrap();
    assert_eq!((theirs.uid(), theirs.gid()), (12_345, 12_346));
    assert!(theirs.len() > 1_000);
}
