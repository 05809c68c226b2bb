//! A disk that is full, and has room again.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::{File, PUMP, assert_answers, no_broker, set_aside};
use testkit::mosquitto::Mosquitto;
use testkit::service::{Launch, Service, Signal, mentions};
use testkit::status::Device;

/// Learns of two thousand devices while `fill` leaves the store no room, which is told as `why`, until `make_room` does. `seen`
/// is the store's file as the test sees it.
fn assert_caught_up(
    (file, seen): (&File, &dyn Fn(&Service) -> std::path::PathBuf),
    launch: impl FnOnce(Launch) -> Launch,
    fill: impl FnOnce(&Service),
    why: &str,
    make_room: impl FnOnce(&Service),
) {
    let broker = Mosquitto::start();
    let service = launch(file.launch(&broker.url())).start();
    service.wait_until_ready();
    fill(&service);
    let mut publisher = broker.publisher();
    for id in (0..2_000).map(|id| id.to_string()) {
        let device = Device { kind: "pump", id: &id };
        publisher.publish(&device.topic(), device.connect(1));
    }
    publisher.flush();
    let total = || service.get("/api/v1/summary").json()["total"].clone();
    service.wait_until("every device is answered", || total() == 2_000);
    service.wait_until("it is shown", || service.get("/readyz").json()["store"] == "failing");
    let readiness = service.get("/readyz");
    assert!(mentions(readiness.text(), &["not stored at present", why]), "{}", readiness.text());
    assert_eq!(readiness.status, 200, "what is answered is right all the same");
    assert!(service.get("/metrics").text().contains("\ndevstatus_store_failing 1\n"));
    assert_answers(&service, PUMP, &PUMP.connect(1));

    make_room(&service);
    service.wait_until("all is caught up", || {
        let metrics = service.get("/metrics").text().to_owned();
        [
            "devstatus_store_devices_waiting 0\n",
            "devstatus_store_events_waiting 0\n",
            "devstatus_store_failing 0\n",
        ]
        .iter()
        .all(|line| metrics.contains(line))
    });
    // What a kill would leave behind: nothing is written any more.
    let (seen, survived) = (seen(&service), File::new());
    assert!(set_aside(&seen).is_empty(), "a full disk is no damage");
    fs::create_dir(survived.path().parent().expect("a file is in a directory")).expect("it is not there");
    for suffix in ["", "-wal"] {
        let beside = |path: &Path| format!("{}{suffix}", path.display());
        fs::copy(beside(&seen), beside(&survived.path())).expect("the file can be read");
    }
    service.signal(Signal::KILL);
    let again = survived.launch(&no_broker().url()).start();
    assert_eq!(again.get("/api/v1/summary").json()["total"], 2_000);
    let history = again.get("/api/v1/devices/pump/1999/history").json();
    assert_eq!(history["events"].as_array().map(Vec::len), Some(1), "{history}");
}

#[test]
fn a_file_that_may_not_grow_changes_no_answer_is_shown_and_is_caught_up() {
    let file = File::new();
    assert_caught_up(
        (&file, &|_| file.path()),
        Launch::outliving_its_limits,
        |service| service.limit_file_bytes(Some(128 * 1024)),
        "I/O error",
        |service| service.limit_file_bytes(None),
    );
}

/// Whether this user may have a filesystem of his own. Some containers forbid it.
fn may_mount() -> bool {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Writes until the filesystem has no room left.
fn fill(path: &Path) {
    let mut filler = fs::File::create(path).expect("there is still room");
    let full = loop {
        if let Err(error) = filler.write_all(&[0; 4096]) {
            break error;
        }
    };
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
}

#[test]
fn a_full_filesystem_changes_no_answer_is_shown_and_is_caught_up() {
    if !may_mount() {
        eprintln!("no filesystem can be mounted here: the limit of a file stands in for it");
        return a_file_that_may_not_grow_changes_no_answer_is_shown_and_is_caught_up();
    }
    let file = File::new();
    let directory = file.path().parent().expect("a file is in a directory").to_owned();
    fs::create_dir(&directory).unwrap();
    // The filesystem is the service's alone, and is seen through it.
    let seen = |service: &Service| {
        let path = file.path();
        service.root().join(path.strip_prefix("/").expect("the path begins at the root"))
    };
    let filler = |service: &Service| seen(service).with_file_name("filler");
    assert_caught_up(
        (&file, &seen),
        |launch| launch.on_a_filesystem_of_its_own(&directory, "32m"),
        |service| fill(&filler(service)),
        "disk is full",
        |service| fs::remove_file(filler(service)).expect("the file can be removed"),
    );
}
