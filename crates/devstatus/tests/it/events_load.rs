//! Streams of changes under load: snapshots that neither miss nor repeat a change, and many readers of whom half stall.

use std::collections::HashMap;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;

use serde_json::json;
use socket2::{Domain, Socket, Type};
use tokio::io::AsyncReadExt;

use testkit::events::EventStream;
use testkit::mosquitto::{Mosquitto, Setup};
use testkit::service::{Launch, Service, mentions};
use testkit::status::Device;
use testkit::{PATIENCE, poll};

/// A broker that drops nothing, and a service that has read everything.
fn ready(arguments: &[&str]) -> (Mosquitto, Service) {
    let extra = vec!["max_queued_messages 1000000".to_owned()];
    let broker = Mosquitto::start_with(Setup { extra, ..Setup::default() });
    let service = Launch::to(&broker.url()).arguments(arguments).start();
    service.wait_until_ready();
    (broker, service)
}

const DEVICES: usize = 1_500;
/// Changes of each device; each is a session that began a second after the one before.
const ROUNDS: u32 = if cfg!(debug_assertions) { 12 } else { 40 };

/// The session that an event shows, by its number.
fn session(since: &str) -> u32 {
    let number =
        |range: std::ops::Range<usize>| since.get(range).and_then(|digits| digits.parse::<u32>().ok());
    number(14..16).zip(number(17..19)).map(|(minutes, seconds)| minutes * 60 + seconds).expect("a time")
}

#[test]
fn a_snapshot_and_the_changes_after_it_neither_miss_nor_repeat_anything() {
    let (broker, service) = ready(&[]);
    let ids: Vec<String> = (0..DEVICES).map(|n| format!("d{n}")).collect();
    let devices: Vec<Device<'_>> = ids.iter().map(|id| Device::new("pump", id)).collect();
    let round = AtomicU32::new(0);
    let publish = || {
        let mut publisher = broker.publisher();
        // The second half of the devices turn up on the way, so that some are new while a snapshot is taken.
        for at in 1..=ROUNDS {
            for (n, device) in devices.iter().enumerate() {
                if n % 2 == 0 || at > ROUNDS / 2 {
                    publisher.publish(&device.topic(), device.connect(at));
                }
                if n % 100 == 0 {
                    publisher.flush();
                }
            }
            publisher.flush();
            round.store(at, Ordering::Relaxed);
        }
    };
    let follow = |begin_after: u32| {
        let begun = poll(PATIENCE, || (round.load(Ordering::Relaxed) >= begin_after).then_some(()));
        assert!(begun.is_some());
        follow_to_the_end(&mut EventStream::open(service.address(), "snapshot=true"))
    };
    thread::scope(|scope| {
        scope.spawn(publish);
        let followers: Vec<_> = [0, ROUNDS / 4, ROUNDS / 2, ROUNDS / 2 + 2]
            .map(|begin_after| scope.spawn(move || follow(begin_after)))
            .into_iter()
            .collect();
        for follower in followers {
            let changes = follower.join().expect("a follower sees what it should");
            println!("{changes} changes came before the end of the snapshot");
        }
    });
}

/// Reads until every device is in its last session; each must have come once, and then each of its changes in turn. Returns
/// how many changes came before the end of the snapshot.
fn follow_to_the_end(stream: &mut EventStream) -> usize {
    let mut sessions: HashMap<String, u32> = HashMap::new();
    let (mut is_complete, mut in_snapshot, mut done) = (false, 0, 0);
    while !is_complete || done < DEVICES {
        let event = stream.next().expect("the stream goes on");
        if event.name == "snapshot_complete" {
            is_complete = true;
            continue;
        }
        let id = event.data["id"].as_str().expect("a device").to_owned();
        let now = session(event.data["since"].as_str().expect("a time"));
        let before = sessions.insert(id.clone(), now);
        match event.name.as_str() {
            "device" => assert_eq!(before, None, "{id} comes twice, in its session {now}"),
            "change" if before.is_none() => {
                assert_eq!(event.data["previous_status"], json!(null), "{id} {now}")
            }
            "change" => assert_eq!(before, Some(now - 1), "{id} misses or repeats a change at {now}"),
            other => panic!("{other}"),
        }
        in_snapshot += usize::from(event.name == "change" && !is_complete);
        done += usize::from(now == ROUNDS);
    }
    in_snapshot
}

const READERS: usize = 1_000;
/// Enough that what the sockets of a reader that stalls hold is far from all of it.
const CHANGES: u32 = 1_750;

#[test]
fn a_thousand_readers_of_whom_half_stall_are_served_or_ended_and_harm_nobody() {
    let limits = ["--stream-lag-max", "600", "--streams-max", "1000"];
    let (broker, service) = ready(&limits);
    let stalled: Vec<TcpStream> = (0..READERS / 2).map(|_| stalled_reader(service.address())).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let address = service.address();
    let received = Arc::new(AtomicUsize::new(0));
    let read = || runtime.spawn(read_changes(address, Arc::clone(&received)));
    let readers: Vec<_> = (0..READERS / 2).map(|_| read()).collect();
    let gauge = |name: &str| {
        let text = service.get("/metrics").text().to_owned();
        let line =
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
        line.and_then(|number| number.parse::<u64>().ok()).unwrap_or(0)
    };
    service.wait_until("all follow", || gauge("devstatus_streams") == READERS as u64);

    let (kind, id) = ("pump", "p".repeat(60));
    let device = Device::new(kind, &id);
    let mut publisher = broker.publisher();
    for at in 1..=CHANGES {
        publisher.publish(&device.topic(), device.connect(at));
        // At the pace of those that read, whatever the machine is busy with.
        if at % 250 == 0 {
            publisher.flush();
            let all = at as usize * READERS / 2;
            service.wait_until("those that read have read", || received.load(Ordering::Relaxed) >= all);
        }
    }
    publisher.flush();
    for reader in readers {
        let counted = runtime.block_on(async { tokio::time::timeout(PATIENCE * 3, reader).await });
        let sessions = counted.expect("it is read in time").expect("a reader does not fail");
        assert_eq!(sessions, (1..=CHANGES).collect::<Vec<_>>(), "every change, once, in order");
    }
    let slow = "devstatus_streams_refused_total{reason=\"slow\"}";
    service.wait_until("those that stall are ended", || gauge(slow) == (READERS / 2) as u64);
    service.wait_until("only they were open", || gauge("devstatus_streams") == 0);
    assert_eq!(service.get("/livez").status, 200);
    drop(stalled);
}

#[test]
fn a_stop_does_not_wait_for_a_reader_that_stalls() {
    let (broker, service) = ready(&[]);
    let stalled = stalled_reader(service.address());
    service.wait_until("it follows", || service.get("/metrics").text().contains("devstatus_streams 1\n"));
    let id = "p".repeat(60);
    let device = Device::new("pump", &id);
    let mut publisher = broker.publisher();
    for at in 1..=1_500 {
        publisher.publish(&device.topic(), device.connect(at));
    }
    publisher.flush();
    // What its socket holds is a few hundred changes.
    service.wait_until("the reader has stalled", || {
        let metrics = service.get("/metrics").text().to_owned();
        metrics.contains("devstatus_changes_total 1500\n")
            && !metrics.contains("devstatus_stream_lag_changes 0\n")
    });
    let ended = service.terminate();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(!mentions(&ended.stderr, &["busy", "cut"]), "no connection had to be waited for: {ended:?}");
    drop(stalled);
}

/// A client that asks and never reads, with as little room in its socket as the system allows.
fn stalled_reader(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket can be made");
    socket.set_recv_buffer_size(4_096).expect("its buffer can be set");
    socket.connect(&address.into()).expect("the service accepts a connection");
    let mut stream = TcpStream::from(socket);
    stream
        .write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .expect("the service reads the request");
    stream
}

/// The sessions of all changes, until the last has come. An old client, whose answer ends with the connection: the bytes are
/// those of the stream and nothing else.
async fn read_changes(address: SocketAddr, received: Arc<AtomicUsize>) -> Vec<u32> {
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("the service accepts a connection");
    let request = b"GET /api/v1/events HTTP/1.0\r\nHost: localhost\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, request).await.expect("the service reads the request");
    let (mut sessions, mut waiting) = (Vec::new(), Vec::new());
    while sessions.last() != Some(&CHANGES) {
        let read = stream.read_buf(&mut waiting).await.expect("the stream goes on");
        assert!(read > 0, "the stream ended after {} changes", sessions.len());
        let Some(end) = waiting.iter().rposition(|&byte| byte == b'\n') else { continue };
        for line in waiting[..end].split(|&byte| byte == b'\n').filter(|line| line.starts_with(b"data: ")) {
            let text = std::str::from_utf8(line).expect("an event is text");
            let (_, since) = text.split_once(r#""since":""#).expect("a change has a time");
            sessions.push(session(since));
            received.fetch_add(1, Ordering::Relaxed);
        }
        waiting.drain(..=end);
    }
    sessions
}
