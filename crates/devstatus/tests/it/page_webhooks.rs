//! The view of webhooks in Chromium: what endpoints have received and rejected, and the orders of an administrator.

use serde_json::json;
use testkit::browser::Browser;
use testkit::keys::Keys;
use testkit::mosquitto::Mosquitto;
use testkit::service::Service;
use testkit::status::Device;

use crate::page::{is_for_everybody, press};
use crate::page_keyboard::is_used_without_a_mouse;
use crate::page_login::log_in;
use crate::page_requests::only_what_the_api_has;
use crate::webhooks::receiver::{Receiver, Reply, SECRET, verify};

const LOOKS: [(&str, u32); 3] = [("light", 1440), ("dark", 1440), ("light", 320)];
const HOSTILE: Device<'_> = Device { kind: "pump", id: "<img src=x onerror=window.harmed=1>" };

fn open(browser: &mut Browser, service: &Service, hash: &str) {
    browser.open("about:blank");
    browser.open(&format!("http://{}/{hash}", service.address()));
}

fn says(text: &str) -> String {
    format!("document.querySelector('main')?.innerText.includes({})", json!(text))
}

/// What the last order has come to.
fn came(text: &str) -> String {
    format!("document.querySelector('[role=status] .notice')?.innerText.includes({})", json!(text))
}

fn seen_by_everybody(browser: &mut Browser, service: &Service, name: &str, hash: &str, shown: &str) {
    for (scheme, width) in LOOKS {
        browser.look(scheme, width);
        open(browser, service, hash);
        browser.wait_until(name, &format!("{} && !document.querySelector('.loading')", says(shown)));
        is_for_everybody(browser, &format!("{name}-{scheme}-{width}"));
    }
    browser.look("light", 1440);
}

#[test]
fn an_endpoint_is_seen_tested_enabled_and_sent_its_dead_letters_again() {
    let (broker, keys) = (Mosquitto::start(), Keys::new());
    // A store that is new makes a gap of its own.
    let receiver = Receiver::start(|delivery, _| {
        Reply::Status(if delivery.summary().starts_with("device.") { 400 } else { 204 })
    });
    let endpoint = |name: &str, url: &str| {
        format!(
            "[[webhook]]\nname = \"{name}\"\nurl = \"{url}\"\nsecret_file = \"hook.secret\"\nallow_private = true\n\
             events = [\"device.connected\", \"device.disconnected\"]\n"
        )
    };
    let long = "an-endpoint-with-the-longest-name-that-the-settings-let-pass-now";
    let gone = Receiver::start(|_, _| Reply::Status(410));
    let settings = endpoint("ops", &receiver.url()) + &endpoint(long, &gone.url());
    let admin = keys.create("read,events,admin");
    let launch = keys.launch(&broker.url()).file("hook.secret", &format!("{SECRET}\n"));
    let launch = launch.file("devstatus.toml", &settings).arguments(&["-c", "devstatus.toml"]);
    let service = launch.start_ready();
    let mut browser = Browser::start();
    browser.note_requests();
    browser.look("light", 1440);
    open(&mut browser, &service, "#/webhooks");
    log_in(&mut browser, &admin);
    browser.wait_until("the endpoints are listed", &says(long));
    let message = HOSTILE.connect(1).replace(&HOSTILE.client_id(), "d:org:device:id");
    broker.retain(&[(HOSTILE, message)]);
    browser.wait_until("one is disabled", &says("Disabled: answered 410"));
    seen_by_everybody(&mut browser, &service, "webhooks", "#/webhooks", "Disabled: answered 410");
    open(&mut browser, &service, "#/webhooks?state=delivering");
    browser.wait_until("the filter is obeyed", &format!("!{}", says(long)));

    open(&mut browser, &service, "#/webhooks/ops");
    browser.wait_until(
        "a message is rejected for good",
        &format!("{} && {}", says("Send again"), says("Answered 400")),
    );
    assert_eq!(browser.evaluate("document.querySelectorAll('main img').length"), 0, "names are text");
    press(&mut browser, "Send a test");
    browser.wait_until("it is accepted", &came("The endpoint has accepted the test."));
    browser.wait_until("it is among the attempts", &says("Accepted, 204"));
    press(&mut browser, "Send again");
    browser.wait_until("it is rejected again", &came("It has not accepted the message."));
    seen_by_everybody(&mut browser, &service, "webhook", "#/webhooks/ops", "Send again");
    is_used_without_a_mouse(&mut browser, "webhook");
    receiver.set_script(|_, _| Reply::Status(200));
    press(&mut browser, "Send again");
    browser.wait_until("it is accepted", &came("The endpoint has accepted the message."));
    browser.wait_until("it is no dead letter", &says("It has rejected nothing for good."));
    browser.evaluate("location.hash = '#/webhooks/ops?outcome=failed'");
    let failed = "(() => { const rows = [...document.querySelectorAll('main tbody tr')]; \
         return rows.length > 3 && rows.every((row) => row.innerText.includes('Answered 400')); })()";
    browser.wait_until("those that failed", failed);

    let before = receiver.deliveries().len();
    browser.evaluate("document.querySelector('input[type=datetime-local]').value = '2026-11-01T00:00:00'");
    press(&mut browser, "Send once more");
    browser.wait_until("it has begun", &came("is sent once more"));
    receiver.wait_for(before + 1);
    open(&mut browser, &service, &format!("#/webhooks/{long}"));
    browser.wait_until("it is disabled", &says("Disabled: answered 410"));
    gone.set_script(|_, _| Reply::Status(200));
    press(&mut browser, "Enable, try now");
    browser.wait_until("it is enabled", &came("It is enabled"));
    browser.wait_until("it delivers", &says("Delivering"));
    only_what_the_api_has(&browser.requests());
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// The page keeps it nowhere.
#[test]
fn another_secret_is_made_and_shown_once() {
    let (broker, keys, directory) = (Mosquitto::start(), Keys::new(), tempfile::tempdir().unwrap());
    let receiver = Receiver::start(|_, _| Reply::Status(204));
    let endpoint = format!(
        "[[webhook]]\nname = \"ops\"\nurl = \"{}\"\nsecret_file = \"hook.secret\"\nallow_private = true\n",
        receiver.url()
    );
    let admin = keys.create("read,events,admin");
    let launch = keys.launch(&broker.url()).file("hook.secret", &format!("{SECRET}\n"));
    let launch = launch.file("devstatus.toml", &endpoint).arguments(&["-c", "devstatus.toml"]);
    let service = launch.on_store(&format!("sqlite:{}/store.db", directory.path().display())).start_ready();
    let mut browser = Browser::start();
    browser.note_requests();
    browser.look("light", 320);
    open(&mut browser, &service, "#/webhooks/ops");
    log_in(&mut browser, &admin);
    press(&mut browser, "Make a new secret");
    browser.wait_until("it is shown", "document.querySelector('.secret')?.innerText.startsWith('whsec_')");
    browser.wait_until("both count", &says("Two secrets"));
    is_for_everybody(&mut browser, "webhook-secret");
    press(&mut browser, "Send a test");
    browser.wait_until("it is accepted", &came("The endpoint has accepted the test."));
    // The secret of before verifies it still.
    verify(&receiver.deliveries());
    press(&mut browser, "Hide it");
    assert_eq!(browser.evaluate("document.body.innerHTML.includes('whsec_')"), false);
    only_what_the_api_has(&browser.requests());
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
