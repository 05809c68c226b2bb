//! What a person chooses once: the theme and the zone of all times; and one stream of changes for all tabs of a browser.

use serde_json::json;
use testkit::browser::Browser;
use testkit::mosquitto::Mosquitto;
use testkit::service::{Launch, Service};
use testkit::status::Device;

use crate::page::SAYS_LIVE;

const PUMP: Device<'_> = Device { kind: "pump", id: "1" };
const IS_SHOWN: &str = "document.querySelector('tbody a')?.textContent === '1'";

fn fleet() -> (Mosquitto, Service) {
    let broker = Mosquitto::start();
    broker.retain(&[(PUMP, PUMP.connect(1))]);
    let service = Launch::to(&broker.url()).start_ready();
    (broker, service)
}

fn page(service: &Service) -> String {
    format!("http://{}/#/devices", service.address())
}

/// Chooses a value of a field of the menu.
fn choose(browser: &mut Browser, label: &str, value: &str) {
    browser.evaluate(&format!(
        "window.field = [...document.querySelectorAll('#menu-body label')] \
           .find((label) => label.querySelector('span').textContent === {}).querySelector('select'); \
         field.value = {}; field.dispatchEvent(new Event('change'))",
        json!(label),
        json!(value)
    ));
}

#[test]
fn theme_and_zone_are_chosen_once() {
    let (_broker, service) = fleet();
    let mut browser = Browser::start();
    browser.look("light", 1180);
    browser.open(&page(&service));
    browser.wait_until("the device is shown", IS_SHOWN);
    let background = "getComputedStyle(document.body).backgroundColor";
    let light = browser.evaluate(background);
    choose(&mut browser, "Theme", "dark");
    let dark = browser.evaluate(background);
    assert_ne!(dark, light);
    // The pump has connected at 17:00:01 UTC.
    let said = |browser: &mut Browser, zone: &str, time: &str| {
        let time = format!("document.querySelector('tbody time')?.innerText.includes('{time}')");
        browser.wait_until(zone, &format!("{IS_SHOWN} && {time}"));
    };
    choose(&mut browser, "Times in", "Asia/Tokyo");
    said(&mut browser, "Asia/Tokyo", "24 Nov, 02:00:01");
    browser.evaluate("document.querySelector('.more').open = true");
    let label = "document.querySelector('.more').innerText.includes('Changed since (Asia/Tokyo)')";
    assert_eq!(browser.evaluate(label), true, "a period is given in the same zone");
    browser.open("about:blank");
    browser.open(&page(&service));
    said(&mut browser, "it lasts", "24 Nov, 02:00:01");
    assert_eq!(browser.evaluate(background), dark, "and so does the theme");
    assert_eq!(browser.evaluate("document.querySelector('tbody time').dateTime"), "2026-11-23T17:00:01.186Z");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

fn metric(service: &Service, name: &str) -> Option<u64> {
    let metrics = service.get("/metrics");
    metrics.text().lines().find_map(|line| line.strip_prefix(name)?.parse().ok())
}

#[test]
fn all_tabs_share_one_stream_and_a_browser_without_shared_workers_has_its_own() {
    let (broker, service) = fleet();
    let mut browser = Browser::start();
    browser.open(&page(&service));
    browser.wait_until("changes are followed", SAYS_LIVE);
    browser.call("Target.createTarget", json!({"url": page(&service)}));
    let lists = || {
        metric(
            &service,
            "devstatus_http_request_duration_seconds_count{route=\"/api/v1/devices\",status=\"200\"} ",
        )
    };
    service.wait_until("the other tab has read the list, too", || lists() >= Some(2));
    assert_eq!(metric(&service, "devstatus_streams "), Some(1));
    drop(browser);

    let mut browser = Browser::start();
    let script = json!({"source": "delete window.SharedWorker"});
    browser.call("Page.addScriptToEvaluateOnNewDocument", script);
    browser.open(&page(&service));
    browser.wait_until("the device is shown", IS_SHOWN);
    browser
        .wait_until("changes are followed", &format!("typeof SharedWorker === 'undefined' && {SAYS_LIVE}"));
    broker.retain(&[(PUMP, PUMP.disconnect(1, 2))]);
    browser.wait_until(
        "the row follows",
        "document.querySelector('tbody .status')?.innerText === 'Disconnected'",
    );
    assert_eq!(metric(&service, "devstatus_streams "), Some(1));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn the_rows_that_are_shown_are_saved_as_csv() {
    let broker = Mosquitto::start();
    // A spreadsheet would take it for a formula.
    let formula = Device { kind: "pump", id: "=1, or 2" };
    broker.retain(&[(formula, formula.connect(1)), (PUMP, PUMP.disconnect(1, 2))]);
    let service = Launch::to(&broker.url()).start_ready();
    let mut browser = Browser::start();
    browser.open(&page(&service));
    browser.wait_until("the devices are shown", "document.querySelectorAll('tbody tr').length === 2");
    browser.evaluate(
        "URL.createObjectURL = (blob) => { window.saved = blob.text(); return 'data:,'; }; \
         [...document.querySelectorAll('button')].find(({innerText}) => innerText === 'CSV of this page').click()",
    );
    let saved = browser.evaluate("window.saved");
    let lines: Vec<&str> = saved.as_str().unwrap().split("\r\n").collect();
    assert_eq!(lines[0], "type,id,status,since,close_code,cause,reason,address,client_id,expectation");
    assert!(lines[1].starts_with("pump,1,disconnected,2026-11-23T17:00:02.186Z,91,"), "{lines:?}");
    assert!(
        lines[2].starts_with("pump,\"'=1, or 2\",connected,2026-11-23T17:00:01.186Z,,,,198.51.100.7,"),
        "{lines:?}"
    );
    assert_eq!(lines[3..], [""]);
}
