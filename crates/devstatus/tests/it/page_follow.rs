//! How soon a row of the list follows the MQTT message, and that it does so after a sleep of the machine, too.

use serde_json::json;
use testkit::browser::Browser;
use testkit::mosquitto::Mosquitto;
use testkit::service::{Launch, Service};
use testkit::status::Device;

use crate::page::SAYS_LIVE;

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
