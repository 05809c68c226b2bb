//! How soon a row of the list follows the MQTT message.

use testkit::browser::Browser;
use testkit::mosquitto::Mosquitto;
use testkit::service::Launch;
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
