//! An endpoint that is a process of its own, is killed, and is back at its port later.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use testkit::child::ChildProcess;
use testkit::mosquitto::Mosquitto;
use testkit::peers;
use testkit::port::Port;

use super::faults::once;
use super::receiver::{Delivery, verify};
use super::shared::{check, session};
use super::{PRIVATE, launch};

/// A process that receives at that port and writes what comes into a file; it is killed when it is dropped.
fn start_receiver(port: u16, file: &Path) -> ChildProcess {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/peers/receive_webhooks.py");
    let mut command = Command::new(peers::python("peers"));
    let mut receiver = ChildProcess::start(command.arg(script).arg(port.to_string()).arg(file));
    assert!(receiver.listens(&[port]), "it listens");
    receiver
}

/// What the process has received; a line that was cut off was not answered.
fn received(file: &Path) -> Vec<Delivery> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let delivery = |line: Value| {
        let head = line["head"].as_array().into_iter().flatten();
        let head = head.map(|line| line.as_str().unwrap_or_default().to_owned()).collect();
        Delivery::of(head, line["body"].as_str().unwrap_or_default().to_owned())
    };
    lines.map(delivery).collect()
}

#[test]
fn an_endpoint_that_is_killed_and_comes_back_misses_nothing() {
    const ROUNDS: u32 = 3;
    let (broker, directory, port) = (Mosquitto::start(), tempfile::tempdir().unwrap(), Port::take());
    let file = directory.path().join("received");
    let url = format!("http://127.0.0.1:{}/", port.number);
    let mut receiver = start_receiver(port.number, &file);
    let service = launch(&broker, directory.path(), &url, PRIVATE).start_ready();
    let (mut expected, mut total) = (BTreeMap::new(), 0);
    for round in 0..ROUNDS {
        // It is killed as soon as it has some of the first, and has the second only once it is back.
        broker.retain(&session(20 * round, &mut expected));
        service.wait_until("it has some of it", || once(&received(&file)).len() > total);
        drop(receiver);
        broker.retain(&session(20 * round + 10, &mut expected));
        service.wait_until("an attempt fails", || {
            let metrics = service.get("/metrics").text().to_owned();
            metrics.contains("devstatus_webhook_failing{endpoint=\"ops\"} 1")
        });
        receiver = start_receiver(port.number, &file);
        total = expected.values().map(Vec::len).sum();
        service.wait_until("it has everything", || once(&received(&file)).len() == total);
    }
    let received = received(&file);
    verify(&received);
    check(&received, &expected);
    drop(receiver);
}
