//! How soon a row of the list follows the MQTT message, and that it does so after a sleep of the machine, too.

use serde_json::json;
use testkit::browser::Browser;
use testkit::mosquitto::Mosquitto;
use testkit::service::{Launch, Service};
use testkit::status::Device;

use crate::page::{SAYS_LIVE, press};
use crate::page_login::log_in;
use crate::page_requests::{Fleet, PUMP as RULED_PUMP, VALVE, fleet};
use crate::webhooks::receiver::{Receiver, Reply};

const PUMP: Device<'_> = Device { kind: "pump", id: "1" };
const CHANGES: u32 = 11;

/// What is measured is printed, and held by nobody: a busy machine is no fault.
#[test]
fn a_row_follows_each_message_without_a_reload() {
    let broker = Mosquitto::start();
    broker.retain(&[(PUMP, PUMP.connect(1))]);
    let service = Launch::to(&broker.url()).start_ready();
    let mut browser = Browser::start();
    browser.open(&format!("http://{}/#/devices", service.address()));
    browser.wait_until("the device is shown", "document.querySelector('tbody a')?.textContent === '1'");
    browser.wait_until("changes are followed", SAYS_LIVE);
    browser.evaluate(
        "window.row = document.querySelector('tbody tr'); window.at = 0; \
         new MutationObserver(() => { at ||= Date.now(); }).observe(row, {subtree: true, childList: true, characterData: true, attributes: true})",
    );
    let mut publisher = broker.publisher();
    let mut took_ms: Vec<i64> = Vec::new();
    for at in 2..2 + CHANGES {
        let is_back = at % 2 == 1;
        let message = if is_back { PUMP.connect(at) } else { PUMP.disconnect(at - 1, at) };
        // The mark of the change before ends by itself, which is a change of the row, too.
        browser.wait_until("the row is at rest", "!row.classList.contains('changed')");
        browser.evaluate("at = 0");
        let sent_ms = system::clock::now_millis();
        publisher.retain(&PUMP.topic(), message);
        publisher.flush();
        let word = if is_back { "Connected" } else { "Disconnected" };
        browser.wait_until(word, &format!("row.querySelector('.status').textContent === '{word}'"));
        took_ms.push(browser.evaluate("at").as_i64().expect("it was seen") - sent_ms);
    }
    assert_eq!(browser.evaluate("row.isConnected"), true, "the row is the same");
    took_ms.sort_unstable();
    let [median, longest] = [took_ms[took_ms.len() / 2], took_ms[took_ms.len() - 1]];
    println!("from the MQTT message to the row: median {median} ms, longest {longest} ms of {CHANGES}");
}

/// How often the service was asked for a resource.
fn asked(service: &Service, route: &str) -> u64 {
    let name = format!("devstatus_http_request_duration_seconds_count{{route=\"{route}\",status=\"200\"}} ");
    let metrics = service.get("/metrics");
    let line = metrics.text().lines().find_map(|line| line.strip_prefix(&name)?.parse().ok());
    line.unwrap_or(0)
}

/// A connection of before the sleep may be dead without anybody knowing, so a new one takes its place.
#[test]
fn after_a_sleep_of_the_machine_the_page_goes_on_without_a_reload() {
    let broker = Mosquitto::start();
    broker.retain(&[(PUMP, PUMP.connect(1))]);
    let service = Launch::to(&broker.url()).start_ready();
    let mut browser = Browser::start();
    // The stream is in the page itself, whose clock can be set.
    let script = json!({"source": "delete window.SharedWorker; window.loaded = true"});
    browser.call("Page.addScriptToEvaluateOnNewDocument", script);
    browser.open(&format!("http://{}/#/devices", service.address()));
    browser.wait_until("changes are followed", SAYS_LIVE);
    browser.wait_until("the device is shown", "document.querySelector('tbody a')?.textContent === '1'");
    assert_eq!((asked(&service, "/api/v1/events"), asked(&service, "/api/v1/devices:lookup")), (1, 0));
    browser.evaluate("window.loaded = 'once'; window.now = Date.now; Date.now = () => now() + 3_600_000");
    service.wait_until("another stream is opened", || asked(&service, "/api/v1/events") == 2);
    service.wait_until("what is shown is asked for again", || asked(&service, "/api/v1/devices:lookup") == 1);
    browser.wait_until("it is live again", SAYS_LIVE);
    broker.retain(&[(PUMP, PUMP.disconnect(1, 2))]);
    let word = "document.querySelector('tbody .status')?.textContent";
    browser.wait_until("the row follows", &format!("{word} === 'Disconnected'"));
    assert_eq!(browser.evaluate("window.loaded"), "once");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// Elements with an animation, a transition, or a scrolling that takes time.
const MOVING: &str = "[...document.querySelectorAll('*')].filter((element) => { \
     const { animationName, transitionDuration, scrollBehavior } = getComputedStyle(element); \
     return animationName !== 'none' || scrollBehavior !== 'auto' || \
       transitionDuration.split(',').some((length) => parseFloat(length) > 0); }).length";

#[test]
fn nothing_moves_for_those_who_want_reduced_motion() {
    let broker = Mosquitto::start();
    broker.retain(&[(PUMP, PUMP.connect(1))]);
    let service = Launch::to(&broker.url()).start_ready();
    let mut browser = Browser::start();
    for (wanted, at) in [("no-preference", 2), ("reduce", 4)] {
        let features = json!([{"name": "prefers-reduced-motion", "value": wanted}]);
        browser.call("Emulation.setEmulatedMedia", json!({"features": features}));
        let mut moving = 0;
        for hash in
            ["#/", "#/devices/pump/1", "#/live", "#/alerts", "#/population", "#/webhooks", "#/devices"]
        {
            browser.open("about:blank");
            browser.open(&format!("http://{}/{hash}", service.address()));
            browser.wait_until(hash, &format!("{SAYS_LIVE} && !document.querySelector('.loading')"));
            moving += browser.evaluate(MOVING).as_u64().expect("a number");
        }
        browser.wait_until("the device is shown", "document.querySelector('tbody a')?.textContent === '1'");
        browser.evaluate(
            "window.moves = 0; for (const kind of ['transitionrun', 'animationstart']) \
               document.addEventListener(kind, () => { moves += 1; })",
        );
        broker.retain(&[(PUMP, PUMP.disconnect(at - 1, at))]);
        let row = "document.querySelector('tbody tr')";
        browser.wait_until(
            "the change is marked, and no longer then",
            &format!("{row}.innerText.includes('Disconnected') && !{row}.classList.contains('changed')"),
        );
        let runs = browser.evaluate("document.getAnimations().length + moves").as_u64().expect("a number");
        assert_eq!(
            (moving > 0, runs > 0),
            (wanted == "no-preference", wanted == "no-preference"),
            "{wanted}"
        );
        broker.retain(&[(PUMP, PUMP.connect(at + 1))]);
        browser.wait_until("it is back", &format!("{row}.innerText.includes('Connected')"));
    }
}

#[test]
fn the_feed_is_a_log_that_can_be_paused() {
    let receiver = Receiver::start(|_, _| Reply::Status(204));
    let Fleet { broker, service, admin } = fleet(&receiver);
    let mut browser = Browser::start();
    browser.open(&format!("http://{}/#/live", service.address()));
    log_in(&mut browser, &admin);
    let fires = |number: u32| {
        format!("document.querySelector('.firing-count')?.innerText.startsWith('{number}') && {SAYS_LIVE}")
    };
    let log = "document.querySelector('[role=log]')";
    let shows = |id: &str| format!("{log}.innerText.includes('{id}')");
    browser.wait_until("the valve has fired", &fires(1));
    press(&mut browser, "Pause");
    assert_eq!(browser.evaluate(&format!("{log}.getAttribute('aria-live')")), "off", "nothing is read out");
    broker.retain(&[(RULED_PUMP, RULED_PUMP.disconnect(1, 3))]);
    // It fires after the change, on the same stream.
    browser.wait_until("the change has come", &fires(2));
    assert_eq!(browser.evaluate(&shows(RULED_PUMP.id)), false);
    press(&mut browser, "Resume");
    assert_eq!(browser.evaluate(&format!("{log}.getAttribute('aria-live')")), "polite");
    broker.retain(&[(VALVE, VALVE.connect(4))]);
    browser.wait_until("the log goes on", &shows(VALVE.id));
    assert_eq!(browser.evaluate(&shows(RULED_PUMP.id)), false, "what came while it was paused is left out");
}
