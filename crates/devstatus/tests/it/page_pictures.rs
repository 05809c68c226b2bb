//! Pictures for people to look at, in `target/screens/`: each view of a fleet as one has it, and what is shown while there is nothing
//! to show.

use serde_json::json;
use testkit::browser::Browser;
use testkit::mosquitto::Mosquitto;
use testkit::service::{Launch, Service};

use crate::page::{SAYS_LIVE, fits_the_window, is_for_everybody};

const LOOKS: [(&str, u32); 3] = [("light", 1440), ("dark", 1440), ("light", 320)];

fn open(browser: &mut Browser, service: &Service, hash: &str) {
    browser.open("about:blank");
    browser.open(&format!("http://{}/{hash}", service.address()));
}

/// What is shown, in every look.
fn pictures(browser: &mut Browser, name: &str) {
    for (scheme, width) in LOOKS {
        browser.look(scheme, width);
        fits_the_window(browser, &format!("{name}-{scheme}-{width}"));
    }
}

/// The address of the view of a thermostat that is off.
fn a_device(demo: &Service) -> String {
    let page = demo.get("/api/v1/devices?type=thermostat&status=disconnected&limit=1").json();
    format!("#/devices/thermostat/{}", page["devices"][0]["id"].as_str().expect("some thermostat is off"))
}

#[test]
fn each_view_of_the_demo_fits_in_light_in_dark_and_on_a_phone() {
    let demo = Launch::default().arguments(&["demo", "-p", "0"]).start();
    demo.wait_until_ready();
    let mut browser = Browser::start();
    for (name, hash, shown) in [
        ("overview", "#/", "document.querySelectorAll('.rows a').length >= 8"),
        ("devices", "#/devices", "document.querySelectorAll('tbody tr').length === 100"),
        ("device", &a_device(&demo), "document.querySelectorAll('.events tbody tr').length > 0"),
        ("live", "#/live", "document.querySelectorAll('.feed li').length >= 2"),
        ("alerts", "#/alerts", "document.querySelector('.empty') !== null"),
        ("population", "#/population", "document.querySelectorAll('tbody tr').length > 1"),
        ("webhooks", "#/webhooks", "document.querySelector('.notice') !== null"),
    ] {
        open(&mut browser, &demo, hash);
        browser.wait_until(name, &format!("{shown} && {SAYS_LIVE}"));
        pictures(&mut browser, &format!("demo-{name}"));
    }
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn a_view_whose_data_is_on_its_way_says_so() {
    let broker = Mosquitto::start();
    let service = Launch::to(&broker.url()).start_ready();
    let mut browser = Browser::start();
    for (name, hash) in [
        ("overview", "#/"),
        ("device", "#/devices/pump/1"),
        ("alerts", "#/alerts"),
        ("population", "#/population"),
        ("webhooks", "#/webhooks"),
    ] {
        open(&mut browser, &service, "#/live");
        browser.wait_until("the page is there", SAYS_LIVE);
        service.freeze(true);
        browser.evaluate(&format!("location.hash = {}", json!(hash)));
        browser.wait_until(name, "document.querySelector('main .loading') !== null");
        pictures(&mut browser, &format!("{name}-loading"));
        service.freeze(false);
        browser.wait_until("it is shown then", "!document.querySelector('main .loading')");
    }
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// No address that the page makes; one that a person has typed or that was cut.
#[test]
fn what_the_api_refuses_is_said_in_its_words() {
    let broker = Mosquitto::start();
    let service = Launch::to(&broker.url()).start_ready();
    let mut browser = Browser::start();
    for (scheme, width) in LOOKS {
        browser.look(scheme, width);
        for (name, hash) in [
            ("devices", "#/devices?cursor=cut"),
            ("devices-filter", "#/devices?close_code=many"),
            ("device", "#/devices/pump/a%07b"),
        ] {
            open(&mut browser, &service, hash);
            let said =
                "document.querySelector('main .notice.warning')?.innerText.includes('cannot be shown.')";
            browser.wait_until(name, said);
            browser.wait_until(name, "!document.querySelector('main .loading')");
            is_for_everybody(&mut browser, &format!("{name}-refused-{scheme}-{width}"));
        }
    }
}
