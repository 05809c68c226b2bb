//! What the page draws, in Chromium: lines and sessions with a gap where the fleet was not observed, and nothing made up in it.

use rusqlite::Connection;
use serde_json::json;
use server::series::{Figures, Gauge, Interval, Step};
use testkit::browser::Browser;
use testkit::mosquitto::Mosquitto;
use testkit::service::{Launch, Service};
use testkit::status::{Ago, Device};

use crate::page::is_for_everybody;

const PUMP: Device<'_> = Device { kind: "pump", id: "1" };
const HOUR: i64 = 3_600;
/// Hours before now, between which the fleet was not observed.
const GAP: [i64; 2] = [12, 9];
/// Hours before now at which the pump connected, disconnected, and connected again.
const SESSIONS: [i64; 3] = [20, 15, 1];

fn launch(broker: &Mosquitto, store: &str) -> Service {
    let service = Launch::to(&broker.url()).on_store(store).start();
    service.wait_until_ready();
    service
}

/// Writes the rows of so many seconds of minutes and hours before now, but for the gap, as a service would have that was up then.
fn fill_series(file: &Connection, now: i64, length: i64) {
    for step in [Step::Minute, Step::Hour] {
        let seconds = i64::from(step.seconds());
        let newest = now - now % seconds - seconds;
        for start in (0..length / seconds).map(|n| newest - n * seconds) {
            let ago = now - start;
            if (GAP[1] * HOUR..GAP[0] * HOUR).contains(&ago) {
                continue;
            }
            // A day of ups and downs, and a peak of a single minute.
            let connected = 600 + u64::try_from(ago / 600 % 100).expect("it has passed");
            let gauge = |number: u64| Gauge { min: number - 2, max: number + 2, last: number };
            let all = Figures {
                connected: gauge(connected),
                disconnected: gauge(1_000 - connected),
                connects: 7,
                disconnects: if (6 * HOUR..6 * HOUR + seconds).contains(&ago) { 150 } else { 6 },
            };
            let interval = Interval { observed_seconds: step.seconds(), all, ..Interval::default() };
            let row = (step.seconds(), start, interval.pack());
            file.execute("INSERT OR IGNORE INTO series (step, start, figures) VALUES (?1, ?2, ?3)", row)
                .expect("a row fits in");
        }
    }
}

/// The pieces that a path is drawn in, as shares of its width: `[[from, to], ...]`.
fn pieces(browser: &mut Browser, path: &str) -> Vec<[f64; 2]> {
    let script = format!(
        "[...document.querySelectorAll({})].map((path) => path.getAttribute('d').split('M').filter(Boolean).map((piece) => {{ \
            const at = [...piece.matchAll(/(?:^|[LH])(-?[\\d.]+)/g)].map((match) => Number(match[1]) / 1000); \
            const along = [...piece.matchAll(/h(-?[\\d.]+)/g)].map((match) => Number(match[1]) / 1000); \
            return [Math.min(...at), Math.max(...at, at[0] + (along[0] ?? 0))]; }}))[0]",
        json!(path)
    );
    serde_json::from_value(browser.evaluate(&script)).expect("pieces of a line")
}

/// Holds that something is drawn up to the gap and from its end on, and nothing within.
fn leaves_the_gap(what: &str, pieces: &[[f64; 2]]) {
    // The fleet is drawn in 288 points; those at the ends of the gap are partly in it.
    let near = 0.006;
    let [begin, end] = GAP.map(|hours| 1.0 - hours as f64 / 24.0);
    let is_outside = |[from, to]: &[f64; 2]| *to <= begin + near || *from >= end - near;
    assert!(pieces.iter().all(is_outside), "{what} is drawn over the gap: {pieces:?}");
    let touches = |at: f64, edge: f64| (at - edge).abs() < near;
    assert!(pieces.iter().any(|[_, to]| touches(*to, begin)), "{what} ends at the gap: {pieces:?}");
    assert!(pieces.iter().any(|[from, _]| touches(*from, end)), "{what} begins behind it: {pieces:?}");
}

#[test]
fn the_last_day_is_drawn_and_what_was_not_observed_is_a_gap() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let file = directory.path().join("store.db");
    let store = format!("sqlite:{}", file.display());
    let now_ms = system::clock::now_millis();
    let ago = Ago { now_ms };
    let service = launch(&broker, &store);
    let mut publisher = broker.publisher();
    let [first, off, second] = SESSIONS.map(|hours| hours * HOUR);
    for message in
        [ago.connect(PUMP, first), ago.disconnect(PUMP, first, off, 160), ago.connect(PUMP, second)]
    {
        publisher.retain(&PUMP.topic(), message);
    }
    publisher.flush();
    let history = || service.get("/api/v1/devices/pump/1/history").json();
    service.wait_until("the history has all", || history()["events"].as_array().map(Vec::len) == Some(3));
    assert!(service.terminate().status.success());
    fill_series(&Connection::open(&file).unwrap(), now_ms / 1_000, 48 * HOUR);

    let service = launch(&broker, &store);
    let mut browser = Browser::start();
    browser.look("light", 1440);
    browser.open(&format!("http://{}/#/", service.address()));
    browser.wait_until("three charts are drawn", "document.querySelectorAll('.trend-plot').length === 3");
    for (what, path) in [
        ("connected", ".trend:nth-child(1) .line-connected"),
        ("disconnected", ".trend:nth-child(2) .line-disconnected"),
        ("connects", ".trend:nth-child(3) .trend-plot .line-connected"),
        ("disconnects", ".trend:nth-child(3) .trend-plot .line-disconnected"),
    ] {
        leaves_the_gap(what, &pieces(&mut browser, path));
    }
    let labels =
        "[...document.querySelectorAll('.trend-plot')].map((plot) => plot.getAttribute('aria-label'))";
    let labels = browser.evaluate(labels);
    let says = |at: usize, words: &str| labels[at].as_str().is_some_and(|label| label.contains(words));
    assert!(says(0, "and 701,"), "{labels}");
    assert!(says(2, "and 150 ended"), "the peak of one minute is not lost: {labels}");
    browser.wait_until("the gap is explained", "document.body.innerText.includes('was not observed')");
    for (scheme, width) in [("light", 1440), ("dark", 1440), ("light", 320)] {
        browser.look(scheme, width);
        is_for_everybody(&mut browser, &format!("overview-filled-{scheme}-{width}"));
    }

    the_sessions_of_the_device_are_drawn(&mut browser, &service);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

fn the_sessions_of_the_device_are_drawn(browser: &mut Browser, service: &Service) {
    browser.look("light", 1440);
    browser.open(&format!("http://{}/#/devices/pump/1", service.address()));
    // Twenty hours are known, but for the three in which the device was off and nobody looked.
    browser.wait_until("the coverage is said", "document.body.innerText.includes('coverage 70.')");
    leaves_the_gap("the device", &pieces(browser, ".timeline .fill-disconnected"));
    let sessions = pieces(browser, ".timeline .fill-connected");
    let expected = [[1.0 - 20.0 / 24.0, 1.0 - 15.0 / 24.0], [1.0 - 1.0 / 24.0, 1.0]];
    assert!(is_near(&sessions, &expected), "{sessions:?}");
    for (scheme, width) in [("light", 1440), ("dark", 1440), ("light", 320)] {
        browser.look(scheme, width);
        is_for_everybody(browser, &format!("device-filled-{scheme}-{width}"));
    }
    for (range, words) in [("7d", "the last 7 days; coverage"), ("30d", "the last 30 days; coverage")] {
        browser.evaluate(&format!("location.hash = '#/devices/pump/1?range={range}'"));
        browser.wait_until(range, &format!("document.body.innerText.includes({})", json!(words)));
    }
}

fn is_near(found: &[[f64; 2]], expected: &[[f64; 2]]) -> bool {
    let is_same = |(a, b): (&[f64; 2], &[f64; 2])| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 0.01);
    found.len() == expected.len() && found.iter().zip(expected).all(is_same)
}

/// Half an hour of a day would be a stroke at the edge.
#[test]
fn a_fleet_that_is_new_is_drawn_over_the_last_hour() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let file = directory.path().join("store.db");
    let store = format!("sqlite:{}", file.display());
    assert!(launch(&broker, &store).terminate().status.success());
    let now = system::clock::now_millis() / 1_000;
    fill_series(&Connection::open(&file).unwrap(), now, HOUR / 2);

    let service = launch(&broker, &store);
    let mut browser = Browser::start();
    browser.look("light", 1440);
    browser.open(&format!("http://{}/#/", service.address()));
    browser.wait_until("it is said", "document.body?.innerText.includes('so only the last hour is drawn')");
    let line = pieces(&mut browser, ".trend:nth-child(1) .line-connected");
    assert!(line.len() == 1 && (line[0][0] - 0.5).abs() < 0.1, "half of the width: {line:?}");
    let label = browser.evaluate("document.querySelector('.trend-plot').getAttribute('aria-label')");
    assert!(label.as_str().unwrap().contains("in the last hour: between"), "{label}");
    is_for_everybody(&mut browser, "overview-new");
}
