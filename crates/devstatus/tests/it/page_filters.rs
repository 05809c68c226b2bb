//! Filters of the list in Chromium: each that the API has, also where an address gives it several times.

use testkit::browser::{Browser, Key};
use testkit::mosquitto::Mosquitto;
use testkit::service::Launch;
use testkit::status::{Ago, Device};

use crate::page::SAYS_LIVE;

/// The close code of each device.
const CODES: [(&str, u16); 3] = [("a", 91), ("b", 160), ("c", 0)];

const ROWS: &str = "[...document.querySelectorAll('tbody a')].map((link) => link.innerText).join()";
const CHIPS: &str = "[...document.querySelectorAll('.chip .name')].map((chip) => chip.innerText).join()";

#[test]
fn a_filter_that_is_given_several_times_is_kept_and_its_rows_match() {
    let broker = Mosquitto::start();
    let ago = Ago { now_ms: system::clock::now_millis() };
    let mut publisher = broker.publisher();
    for (id, code) in CODES {
        let device = Device::new("pump", id);
        publisher.retain(&device.topic(), ago.disconnect(device, 20, 10, code));
    }
    publisher.flush();
    let service = Launch::to(&broker.url()).start_ready();
    let mut browser = Browser::start();
    let page = format!("http://{}/", service.address());
    let shows = |browser: &mut Browser, ids: &str| {
        browser.wait_until(ids, &format!("{ROWS} === '{ids}' && {SAYS_LIVE}"));
        assert_eq!(browser.evaluate("document.body.innerText.includes('no longer matches')"), false, "{ids}");
    };
    browser.open(&format!("{page}#/devices?close_code=91&close_code=160"));
    shows(&mut browser, "a,b");
    assert_eq!(browser.evaluate(CHIPS), "91,160", "all values are seen");
    browser.evaluate(
        "const status = document.querySelector('.filters select'); status.value = 'disconnected'; \
         status.dispatchEvent(new Event('change'))",
    );
    browser.wait_until("the address has both", "location.hash.includes('status=disconnected')");
    assert_eq!(
        browser.evaluate("new URLSearchParams(location.hash.split('?')[1]).getAll('close_code').join()"),
        "91,160"
    );
    shows(&mut browser, "a,b");
    each_value_is_edited(&mut browser);
    browser.open("about:blank");
    browser.open(&format!("{page}#/devices?id=b&id=c"));
    shows(&mut browser, "b,c");
    // A change of a device that is shown leaves it a match.
    let device = Device::new("pump", "b");
    publisher.retain(&device.topic(), ago.connect(device, 5));
    publisher.flush();
    browser
        .wait_until("the row follows", "document.querySelector('tbody .status')?.innerText === 'Connected'");
    shows(&mut browser, "b,c");
}

/// A value is removed by its chip and added by Enter, and going back gives the form of before.
fn each_value_is_edited(browser: &mut Browser) {
    let shows = |browser: &mut Browser, ids: &str| browser.wait_until(ids, &format!("{ROWS} === '{ids}'"));
    browser.evaluate("document.querySelector('.chip').click()");
    shows(browser, "b");
    assert_eq!(browser.evaluate(CHIPS), "160");
    let focused = "document.activeElement.closest('label')?.innerText.trim()";
    assert_eq!(browser.evaluate(focused), "Close code", "the focus is not lost");
    browser.evaluate(
        "document.activeElement.value = '0'; document.activeElement.dispatchEvent(new Event('input'))",
    );
    shows(browser, "b,c");
    browser.press(Key::Enter);
    browser.wait_until("it is a chip", &format!("{CHIPS} === '160,0'"));
    assert_eq!(
        browser.evaluate("location.hash"),
        "#/devices?close_code=160&close_code=0&status=disconnected"
    );
    browser.evaluate("[...document.querySelectorAll('.filters button')].find(({innerText}) => innerText === 'Clear').click()");
    shows(browser, "a,b,c");
    assert_eq!(browser.evaluate(CHIPS), "");
    browser.evaluate("history.back()");
    shows(browser, "b,c");
    browser.wait_until("the form follows", &format!("{CHIPS} === '160,0'"));
    browser.evaluate(
        "location.hash = '#/devices?status=connected&status=disconnected&cause=timeout&cause=ended'",
    );
    shows(browser, "b,c");
    let status = "document.querySelector('.filters select').selectedOptions[0].innerText";
    assert_eq!(browser.evaluate(status), "Connected or Disconnected");
    assert_eq!(browser.evaluate(CHIPS), "timeout,ended");
}

const CONTACTS: &str = "[[contact]]\npolicy = \"ephemeral\"\nselector = { type = \"phone\" }\n";

#[test]
fn what_a_contact_policy_expects_is_shown_and_can_be_filtered() {
    let (broker, phone, pump) = (Mosquitto::start(), Device::new("phone", "a"), Device::new("pump", "b"));
    broker.retain(&[phone, pump].map(|device| (device, device.disconnect(1, 2))));
    let launch = Launch::to(&broker.url()).file("devstatus.toml", CONTACTS);
    let service = launch.arguments(&["-c", "devstatus.toml"]).start_ready();
    let mut browser = Browser::start();
    browser.look("light", 1180);
    let page = format!("http://{}/", service.address());
    browser.open(&format!("{page}#/devices"));
    let rows = "[...document.querySelectorAll('tbody tr')].map((row) => row.cells[1].innerText.split('\\n')[1]).join()";
    browser.wait_until("each row says it", &format!("{rows} === 'nothing is expected of it,overdue'"));
    browser.open("about:blank");
    browser.open(&format!("{page}#/devices?expectation=overdue"));
    browser.wait_until("the pump is overdue", &format!("{ROWS} === 'b' && {SAYS_LIVE}"));
    assert_eq!(browser.evaluate(CHIPS), "overdue");
    broker.retain(&[(pump, pump.connect(3))]);
    let left = "document.querySelector('tbody tr')?.innerText.includes('no longer matches')";
    browser.wait_until("it is no longer overdue", left);
    browser.open(&format!("{page}#/devices/phone/a"));
    browser.wait_until(
        "the device says it",
        "document.querySelector('dl')?.innerText.includes('nothing is expected of it')",
    );
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
