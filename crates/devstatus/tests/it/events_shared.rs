//! A stream of changes that goes on at another instance, where several share a PostgreSQL: whatever became of the one that it
//! was begun at, nothing that has happened since is missing.

use testkit::events::{Event, EventStream};
use testkit::mosquitto::Mosquitto;
use testkit::postgres::PostgresServer;
use testkit::service::{Launch, Service, Signal};
use testkit::status::Device;
use testkit::{PATIENCE, poll};

const PUMP: Device<'_> = Device { kind: "pump", id: "p-1" };
const OTHER: Device<'_> = Device { kind: "pump", id: "q-2" };

/// More than an instance keeps in memory while nobody follows: what is found at the start is in no history.
const FLEET: usize = 2_300;

/// What is seen of the pumps alone.
const PUMPS: &str = "type=pump";

struct Site {
    broker: Mosquitto,
    database: PostgresServer,
    /// The second at which something happens next.
    clock: u32,
}

impl Site {
    fn start() -> Self {
        let site = Self { broker: Mosquitto::start(), database: PostgresServer::start(), clock: 0 };
        let mut publisher = site.broker.publisher();
        for id in 0..FLEET {
            let id = id.to_string();
            let device = Device::new("fleet", &id);
            publisher.retain(&device.topic(), device.connect(1));
        }
        publisher.flush();
        site
    }

    fn launch(&self, application: &str) -> Service {
        Launch::as_application(application, &self.broker.url()).on_store(&self.database.url()).start()
    }

    /// A pump begins a session, or ends the one before; returns what a stream tells of it.
    fn happen(&mut self, device: Device<'_>, connects: bool) -> String {
        self.clock += 1;
        let (status, said) = if connects {
            ("connected", device.connect(self.clock))
        } else {
            ("disconnected", device.disconnect(self.clock - 1, self.clock))
        };
        let mut publisher = self.broker.publisher();
        publisher.retain(&device.topic(), &said);
        publisher.flush();
        let (minute, second) = (self.clock / 60, self.clock % 60);
        format!("{}/{} {status} 2026-11-23T17:{minute:02}:{second:02}.186Z", device.kind, device.id)
    }

    /// Lets pumps change until the stream names a transaction from which on it can be taken up anywhere, at least that one;
    /// returns it.
    fn happen_until_stored(&mut self, stream: &mut EventStream, at_least: u64) -> u64 {
        let kept = poll(PATIENCE, || {
            let change = self.happen(PUMP, true);
            let seen = read_until(stream, &change).pop().expect("it ends with the change");
            transaction(&seen).filter(|kept| *kept >= at_least)
        });
        kept.expect("the history follows")
    }
}

/// The transaction in the id of an event, if it has one.
fn transaction(event: &Event) -> Option<u64> {
    let history = event.id.as_deref()?.split('-').nth(2)?;
    Some(history.parse::<u64>().expect("a position is a number"))
}

/// Reads on until that change comes, and gives all that came. Nothing but changes may.
fn read_until(stream: &mut EventStream, change: &str) -> Vec<Event> {
    let mut seen = Vec::new();
    loop {
        let event = stream.next().unwrap_or_else(|| panic!("the stream ended before {change}"));
        if event.name.is_empty() {
            // A sign of life.
            continue;
        }
        assert_eq!(event.name, "change", "{event:?}");
        let is_last = event.summary() == change;
        seen.push(event);
        if is_last {
            return seen;
        }
    }
}

/// Of what was seen of each device, that which is expected, in order, behind what may have come again.
fn assert_seen(seen: &[Event], expected: &[String]) {
    for device in [PUMP, OTHER].map(|device| format!("{}/{} ", device.kind, device.id)) {
        let mut first: Vec<String> = Vec::new();
        for summary in seen.iter().map(Event::summary).filter(|summary| summary.starts_with(&device)) {
            if !first.contains(&summary) {
                first.push(summary);
            }
        }
        let expected: Vec<_> =
            expected.iter().filter(|summary| summary.starts_with(&device)).cloned().collect();
        assert!(first.ends_with(&expected), "{device}: {first:#?} for {expected:#?}");
    }
}

#[test]
fn a_stream_resumes_at_another_instance_after_a_kill_and_after_the_restart() {
    let mut site = Site::start();
    // The second one finds all devices itself, as the store has none yet.
    let second = site.launch("app2");
    let first = site.launch("app1");
    for service in [&first, &second] {
        service.wait_until_ready();
        service.wait_until("all that was found is kept", || {
            service.get("/metrics").text().contains("devstatus_store_devices_waiting 0\n")
        });
    }
    let found = site.database.psql("SELECT txid_current()").parse().expect("a number");
    let mut stream = EventStream::open(first.address(), "type=pump&snapshot=true");
    stream.expect("snapshot_complete");
    let second_follows = site.happen_until_stored(&mut EventStream::open(second.address(), PUMPS), found);
    site.happen_until_stored(&mut stream, second_follows);
    let id = stream.last_event_id.clone();
    drop(stream);

    let mut expected = vec![site.happen(OTHER, true)];
    first.signal(Signal::KILL);
    expected.extend([site.happen(OTHER, false), site.happen(PUMP, true), site.happen(PUMP, false)]);
    let mut resumed = EventStream::resume(second.address(), PUMPS, id.as_deref());
    let seen = read_until(&mut resumed, expected.last().expect("there are some"));
    assert_seen(&seen, &expected);
    let live = site.happen(OTHER, true);
    assert_eq!(read_until(&mut resumed, &live).len(), 1, "and it is live from there on");
    site.happen_until_stored(&mut resumed, second_follows);
    let id = resumed.last_event_id.clone();
    drop(resumed);

    let mut expected = vec![site.happen(OTHER, false)];
    assert_eq!(second.terminate().status.code(), Some(0));
    expected.push(site.happen(PUMP, true));
    let second = site.launch("app2");
    second.wait_until_ready();
    expected.push(site.happen(PUMP, true));
    let mut resumed = EventStream::resume(second.address(), PUMPS, id.as_deref());
    let seen = read_until(&mut resumed, expected.last().expect("there are some"));
    assert_seen(&seen, &expected);
    assert!(second.get("/metrics").text().contains("devstatus_stream_gaps_total 0\n"));
}
