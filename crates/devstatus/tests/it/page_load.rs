//! The page in Chromium while a thousand devices change each second: every view of a small fleet and of a large one.
//!
//! The large fleet has 50,000 devices; `TEST_LONG=1` makes it 1,000,000.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::browser::Browser;
use testkit::mosquitto::{Mosquitto, Setup};
use testkit::publisher::Publisher;
use testkit::service::{Launch, Service};
use testkit::status::Device;
use testkit::{PATIENCE, pause, poll};

use crate::page::{SAYS_LIVE, fits_the_window, is_for_everybody};

const CHANGES_PER_SECOND: u64 = 1_000;
const TYPES: usize = 10;
/// The devices of the first page of the list. Each tenth change is one of theirs, so that the rows that are shown change, too.
const SHOWN: usize = 100;
/// From one device to the next: a prime, so that all have their turn and all types change at once.
const STRIDE: usize = 7_919;
/// Between two pieces of what is published.
const TICK: Duration = Duration::from_millis(10);

fn is_long() -> bool {
    std::env::var_os("TEST_LONG").is_some_and(|value| value == "1")
}

/// Devices that connect and disconnect in turn.
struct Fleet {
    /// How many messages there have been of each device.
    messages: Vec<u32>,
    changes: usize,
}

impl Fleet {
    fn new(devices: usize) -> Self {
        Self { messages: vec![0; devices], changes: 0 }
    }

    fn publish(&mut self, publisher: &mut Publisher, n: usize) {
        let (kind, id) = (format!("type-{:02}", n * TYPES / self.messages.len()), format!("device-{n:07}"));
        let device = Device::new(&kind, &id);
        let at = self.messages[n] + 1;
        self.messages[n] = at;
        let message = if at % 2 == 1 { device.connect(at) } else { device.disconnect(at - 1, at) };
        publisher.retain(&device.topic(), message);
    }

    /// A first status of each device: two thirds are connected.
    fn begin(&mut self, publisher: &mut Publisher) {
        for n in 0..self.messages.len() {
            self.publish(publisher, n);
            if n % 3 == 0 {
                self.publish(publisher, n);
            }
        }
        publisher.flush();
    }

    fn change_next(&mut self, publisher: &mut Publisher) {
        self.changes += 1;
        let others = self.messages.len() - SHOWN;
        let n = match self.changes % 10 {
            0 => self.changes / 10 % SHOWN,
            _ => SHOWN + self.changes * STRIDE % others,
        };
        self.publish(publisher, n);
    }
}

/// A thread that publishes changes at a steady rate as long as this lives.
struct Traffic {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Traffic {
    fn start(mut fleet: Fleet, mut publisher: Publisher) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let (began, mut published) = (Instant::now(), 0);
            while !stopped.load(Ordering::Relaxed) {
                let due = began.elapsed().as_millis() as u64 * CHANGES_PER_SECOND / 1_000;
                (published..due).for_each(|_| fleet.change_next(&mut publisher));
                published = due;
                publisher.flush();
                pause(TICK);
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        // The test that panics says why; this would only hide it.
        if !thread::panicking() {
            ended.expect("it was started").expect("the publisher goes on to the end");
        }
    }
}

/// A busy fleet, and a browser that looks at it.
struct Look {
    browser: Browser,
    service: Service,
    devices: usize,
    _traffic: Traffic,
    _broker: Mosquitto,
}

impl Look {
    fn at(devices: usize) -> Self {
        let extra = vec!["max_queued_messages 0".to_owned()];
        let broker = Mosquitto::start_with(Setup { extra, ..Setup::default() });
        let (mut fleet, mut publisher) = (Fleet::new(devices), broker.publisher());
        fleet.begin(&mut publisher);
        let service = Launch::to(&broker.url()).start();
        let is_read = || service.get("/readyz").status == 200;
        let read = poll(if is_long() { PATIENCE * 10 } else { PATIENCE }, || is_read().then_some(()));
        assert!(read.is_some(), "the fleet is not read: {}", service.log());
        let mut browser = Browser::start();
        browser.look("light", 1440);
        let traffic = Traffic::start(fleet, publisher);
        Self { browser, service, devices, _traffic: traffic, _broker: broker }
    }

    /// Opens a view and waits until it follows the changes.
    fn open(&mut self, hash: &str) {
        self.browser.open("about:blank");
        self.browser.open(&format!("http://{}/{hash}", self.service.address()));
        self.browser.wait_until(hash, "document.querySelector('h1') && !document.querySelector('.loading')");
        self.browser.wait_until("changes are followed", SAYS_LIVE);
    }

    /// Takes a picture of a view, and holds that none of its requests was heavier than it may be.
    fn leave(&mut self, view: &str) {
        fits_the_window(&mut self.browser, &format!("{view}-busy-{}", self.devices));
        let requests = self.browser.evaluate(
            "performance.getEntriesByType('resource').filter(({name}) => name.includes('/api/')) \
             .map(({name, decodedBodySize}) => [name, decodedBodySize])",
        );
        let requests: Vec<(String, usize)> = serde_json::from_value(requests).expect("names and sizes");
        assert!(!requests.is_empty(), "{view} asks for something");
        let heaviest = ["/api/v1/devices?limit=500", "/api/v1/summary", "/api/v1/series?step=1m"]
            .map(|path| self.service.get(path).body.len());
        let most = heaviest.into_iter().max().expect("three");
        for (path, bytes) in requests {
            assert!(bytes <= most, "{view} asks for {bytes} bytes of {path}; a page has {heaviest:?}");
        }
        assert_eq!(self.browser.complaints(), Vec::<String>::new(), "{view}");
    }

    fn overview(&mut self) {
        self.open("#/");
        let shown = |what: &str, condition: &str, browser: &mut Browser| browser.wait_until(what, condition);
        let known = format!("document.body.innerText.includes('{} devices known')", grouped(self.devices));
        shown("all devices are counted", &known, &mut self.browser);
        let often =
            "[...document.querySelectorAll('.rows .end')].some((end) => / changes$/.test(end.innerText))";
        shown("devices that change most are listed", often, &mut self.browser);
        let rate = "Number([...document.querySelectorAll('.figure-number')].at(-1).innerText.replaceAll(',', '')) > 20";
        shown("changes a minute are shown", rate, &mut self.browser);
        self.leave("overview");
    }

    /// Rows change where they are: each is the same element at the same place, with the focus where it was.
    fn devices(&mut self) {
        self.open("#/devices?type=type-00");
        self.browser.wait_until("a page is shown", "document.querySelectorAll('tbody tr').length === 100");
        self.browser.evaluate(
            "window.rows = [...document.querySelectorAll('tbody tr')]; \
             window.before = rows.map((row) => row.querySelector('time').dateTime); \
             rows[7].querySelector('a').focus(); window.focused = document.activeElement",
        );
        self.browser.wait_until("a row is marked", "document.querySelector('tr.changed') !== null");
        self.browser.wait_until(
            "most rows have changed",
            "rows.filter((row, n) => row.querySelector('time').dateTime !== before[n]).length > 50",
        );
        let stay = "[...document.querySelectorAll('tbody tr')].every((row, n) => row === rows[n])";
        assert_eq!(self.browser.evaluate(stay), true, "no row has moved");
        assert_eq!(self.browser.evaluate("document.activeElement === focused"), true, "the focus stays");
        self.leave("devices");
    }

    /// The events of a device that changes all the time are read again while it does so.
    fn device(&mut self) {
        self.open("#/devices/type-00/device-0000001");
        let newest = "document.querySelector('.events tbody time')?.dateTime";
        self.browser.wait_until("events are shown", &format!("(window.newest = {newest}) !== undefined"));
        self.browser.wait_until("further events follow", &format!("{newest} > window.newest"));
        self.leave("device");
    }

    fn live(&mut self) {
        self.open("#/live");
        self.browser.wait_until("sums are shown", "document.body.innerText.includes('sums instead of rows')");
        let all_types = "[...document.querySelectorAll('.columns h2')].some((title) => \
             title.innerText.startsWith('By type')) && document.querySelectorAll('.columns tbody tr').length > 10";
        self.browser.wait_until("by type and by cause", all_types);
        assert_eq!(self.browser.evaluate("document.querySelectorAll('.feed li').length"), 0, "no rows");
        let rate = "Number(document.querySelector('.rate-number').innerText.replaceAll(',', '')) > 20";
        self.browser.wait_until("the rate is shown", rate);
        is_for_everybody(&mut self.browser, &format!("live-checked-{}", self.devices));
        self.leave("live");
    }

    fn population(&mut self) {
        self.open("#/population");
        let rows = format!("document.querySelectorAll('tbody tr').length === {TYPES}");
        self.browser.wait_until("each type has a row", &rows);
        self.leave("population");
    }

    fn each_view(&mut self) {
        self.overview();
        self.devices();
        self.device();
        self.live();
        self.population();
        let known: Value = self.service.get("/api/v1/summary").json();
        assert_eq!(known["total"], json!(self.devices), "the changes were of known devices");
    }
}

/// As the page writes numbers.
fn grouped(number: usize) -> String {
    match number {
        0..1_000 => number.to_string(),
        _ => format!("{},{:03}", grouped(number / 1_000), number % 1_000),
    }
}

#[test]
fn each_view_follows_a_small_fleet_that_changes_a_thousand_times_a_second() {
    Look::at(1_000).each_view();
}

#[test]
fn each_view_follows_a_large_fleet_that_changes_a_thousand_times_a_second() {
    Look::at(if is_long() { 1_000_000 } else { 50_000 }).each_view();
}
