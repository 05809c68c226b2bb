//! The series of the fleet: what was observed is counted once, whatever ends and whichever instance writes it, and what was not observed is
//! not made up.

use serde_json::Value;

use testkit::link::Link;
use testkit::mosquitto::Mosquitto;
use testkit::postgres::PostgresServer;
use testkit::service::{Launch, Service, Signal};
use testkit::status::Device;
use testkit::{PATIENCE, poll};

const FAN: Device<'_> = Device { kind: "fan", id: "1" };
const PUMP: Device<'_> = Device { kind: "pump", id: "1" };

/// The newest intervals of ten seconds.
#[derive(Debug)]
struct Newest {
    observed_seconds: Vec<u64>,
    connected: Vec<Option<u64>>,
    connects: Vec<Option<u64>>,
    disconnects: Vec<Option<u64>>,
}

impl Newest {
    fn of(service: &Service, query: &str) -> Self {
        // As long as the ten seconds are kept, so that nothing leaves the range during a test.
        let now = now();
        let from = now - jiff::SignedDuration::from_mins(100);
        let series = service.get(&format!("/api/v1/series?step=10s&from={from}&to={now}{query}")).json();
        let numbers = |values: &Value| -> Vec<_> {
            values.as_array().expect("there is a list").iter().map(Value::as_u64).collect()
        };
        Self {
            observed_seconds: numbers(&series["observed_seconds"]).into_iter().flatten().collect(),
            connected: numbers(&series["connected"]["last"]),
            connects: numbers(&series["connects"]),
            disconnects: numbers(&series["disconnects"]),
        }
    }

    /// Ends of sessions of a cause.
    fn of_cause(service: &Service, cause: &str) -> u64 {
        let from = now() - jiff::SignedDuration::from_mins(5);
        let series = service.get(&format!("/api/v1/series?step=10s&cause={cause}&from={from}")).json();
        series["disconnects"].as_array().expect("there is a list").iter().filter_map(Value::as_u64).sum()
    }

    fn observed(&self) -> usize {
        self.observed_seconds.iter().filter(|seconds| **seconds > 0).count()
    }

    /// Whether the interval before the one that is on, which nobody has written yet, was observed. The newest may still be
    /// on its way.
    fn is_newest_observed(&self) -> bool {
        self.observed_seconds.iter().rev().take(2).any(|seconds| *seconds > 0)
    }

    fn sums(&self) -> (u64, u64) {
        (self.connects.iter().flatten().sum(), self.disconnects.iter().flatten().sum())
    }
}

fn now() -> jiff::Timestamp {
    let millis = system::clock::now_millis();
    jiff::Timestamp::from_millisecond(millis).expect("a time of this century")
}

/// Waits until the series is so.
fn wait_for(service: &Service, what: &str, is_so: impl Fn(&Newest) -> bool) -> Newest {
    let found = poll(PATIENCE, || Some(Newest::of(service, "")).filter(|newest| is_so(newest)));
    found.unwrap_or_else(|| panic!("in vain until {what}: {:?}\n{}", Newest::of(service, ""), service.log()))
}

/// Waits until an interval begins, so that what happens next is in the middle of it.
fn wait_for_one_more(service: &Service) -> Newest {
    let before = Newest::of(service, "").observed();
    wait_for(service, "one more interval was observed", |newest| newest.observed() > before)
}

fn begin(broker: &Mosquitto, devices: &[Device<'_>], second: u32) {
    let mut publisher = broker.publisher();
    devices.iter().for_each(|device| publisher.retain(&device.topic(), device.connect(second)));
    publisher.flush();
}

fn end(broker: &Mosquitto, device: Device<'_>, since: u32, second: u32) {
    let mut publisher = broker.publisher();
    publisher.retain(&device.topic(), device.disconnect(since, second));
    publisher.flush();
}

#[test]
fn a_lost_link_and_a_restart_leave_gaps_and_nothing_else() {
    let broker = Mosquitto::start();
    begin(&broker, &[FAN, PUMP], 1);
    let link = Link::to(broker.port());
    let directory = tempfile::tempdir().expect("a directory");
    let store = format!("sqlite:{}", directory.path().join("store.db").display());
    let launch = || Launch::to(&link.url()).on_store(&store).start();
    let service = launch();
    service.wait_until_ready();
    let newest = wait_for_one_more(&service);
    // What was there at the start has not connected since.
    assert_eq!(newest.sums(), (0, 0), "{newest:?}");
    assert_eq!(newest.connected.iter().flatten().last(), Some(&2), "{newest:?}");

    end(&broker, PUMP, 1, 2);
    let newest = wait_for(&service, "a disconnect was counted", |newest| newest.sums() == (0, 1));
    assert_eq!(newest.connected.iter().flatten().last(), Some(&1), "{newest:?}");
    for (query, disconnects) in [("&type=pump", 1), ("&type=fan", 0), ("&type=none", 0)] {
        let of_type = Newest::of(&service, query);
        assert_eq!(of_type.sums(), (0, disconnects), "{query}: {of_type:?}");
    }
    let ends = |series: Value| {
        series["disconnects"]
            .as_array()
            .expect("there is a list")
            .iter()
            .filter_map(Value::as_u64)
            .sum::<u64>()
    };
    assert_eq!((Newest::of_cause(&service, "connection"), Newest::of_cause(&service, "timeout")), (1, 0));

    link.down();
    let cut = wait_for(&service, "an interval without a link is over", |newest| !newest.is_newest_observed());
    let gap = cut.observed_seconds.len() - 2;
    assert_eq!((cut.connected[gap], cut.connects[gap], cut.disconnects[gap]), (None, None, None), "{cut:?}");
    link.up();
    service.wait_until_ready();
    let before = wait_for_one_more(&service);
    assert_eq!(before.sums(), (0, 1), "{before:?}");

    drop(service.terminate());
    let service = launch();
    service.wait_until_ready();
    let after = wait_for_one_more(&service);
    assert_eq!((after.sums(), after.observed()), ((0, 1), before.observed() + 1), "{after:?}");
    let minutes = service.get("/api/v1/series?step=1m&metric=disconnects").json();
    assert_eq!(ends(minutes), 1);
}

#[test]
fn of_several_instances_one_writes_each_interval_and_another_goes_on_when_it_dies() {
    let (broker, database) = (Mosquitto::start(), PostgresServer::start());
    let launch = |application: &str| {
        let service = Launch::as_application(application, &broker.url()).on_store(&database.url()).start();
        service.wait_until_ready();
        service
    };
    let (first, second) = (launch("a"), launch("b"));
    wait_for_one_more(&first);
    begin(&broker, &[FAN, PUMP], 1);
    let newest = wait_for(&first, "both devices were counted once", |newest| newest.sums() == (2, 0));
    assert_eq!(Newest::of(&second, "").sums(), newest.sums());
    drop(first.signal(Signal::KILL));
    let newest = wait_for_one_more(&second);
    assert_eq!(newest.sums(), (2, 0), "{newest:?}");
    end(&broker, PUMP, 1, 2);
    let newest = wait_for(&second, "a disconnect was counted once", |newest| newest.sums().1 > 0);
    assert_eq!(newest.sums(), (2, 1), "{newest:?}");
    // The death of one leaves no gap.
    let begun = newest.observed_seconds.iter().position(|seconds| *seconds > 0).expect("there are some");
    let gaps = newest.observed_seconds[begun..newest.observed_seconds.len() - 1].iter();
    assert_eq!(gaps.filter(|seconds| **seconds == 0).count(), 0, "{newest:?}");
}

#[test]
fn a_source_has_a_series_and_its_disconnects_a_cause() {
    let broker = Mosquitto::start();
    let mut publisher = broker.publisher();
    publisher.retain("tele/plug/LWT", "Online");
    publisher.retain("node/status", "online");
    publisher.flush();
    let directory = tempfile::tempdir().expect("a directory");
    let store = format!("sqlite:{}", directory.path().join("store.db").display());
    let arguments = ["--broker", &broker.url(), "-p", "0", "--source", "tasmota,esphome"];
    let service = Launch::default().arguments(&arguments).on_store(&store).start();
    service.wait_until_ready();
    wait_for_one_more(&service);
    publisher.retain("tele/plug/LWT", "Offline");
    publisher.flush();
    wait_for(&service, "a disconnect was counted", |newest| newest.sums() == (0, 1));
    for (query, sums, connected) in [
        ("&source=tasmota", (0, 1), Some(0)),
        ("&source=esphome", (0, 0), Some(1)),
        ("&source=none", (0, 0), Some(0)),
    ] {
        let newest = Newest::of(&service, query);
        let last = newest.connected.iter().flatten().last().copied();
        assert_eq!((newest.sums(), last), (sums, connected), "{query}: {newest:?}");
    }
    let of_cause = Newest::of_cause(&service, "connection");
    assert_eq!((of_cause, Newest::of_cause(&service, "unknown")), (1, 0));
    let url = format!("http://{}", service.address());
    let drawn = |source: &str| {
        Launch::default()
            .arguments(&["summary", "--url", &url, "--last", "1h", "--source", source])
            .run()
            .stdout
    };
    assert!(drawn("tasmota").contains("1 in all"), "{}", drawn("tasmota"));
    assert!(!drawn("esphome").contains("1 in all"), "{}", drawn("esphome"));
}
