//! Filters of the list in Chromium: each that the API has, also where an address gives it several times.

use testkit::browser::Browser;
use testkit::mosquitto::Mosquitto;
use testkit::service::Launch;
use testkit::status::{Ago, Device};

use crate::page::SAYS_LIVE;

/// The close code of each device.
const CODES: [(&str, u16); 3] = [("a", 91), ("b", 160), ("c", 0)];

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
    let rows = "[...document.querySelectorAll('tbody a')].map((link) => link.innerText).join()";
    let shows = |browser: &mut Browser, ids: &str| {
        browser.wait_until(ids, &format!("{rows} === '{ids}' && {SAYS_LIVE}"));
        assert_eq!(browser.evaluate("document.body.innerText.includes('no longer matches')"), false, "{ids}");
    };
    browser.open(&format!("{page}#/devices?close_code=91&close_code=160"));
    shows(&mut browser, "a,b");
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
