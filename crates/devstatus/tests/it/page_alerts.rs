//! The view of alerts in Chromium: what fires and what is held back, acknowledged and silenced by those who may.

use serde_json::{Value, json};
use testkit::browser::Browser;
use testkit::keys::{Key, Keys};
use testkit::mosquitto::Mosquitto;
use testkit::service::{Launch, Service};
use testkit::status::Device;

use crate::page::{SAYS_LIVE, is_for_everybody, press};
use crate::page_keyboard::is_used_without_a_mouse;
use crate::page_login::log_in;
use crate::page_requests::only_what_the_api_has;
use crate::webhooks::receiver::{Receiver, Reply, SECRET};

const LOOKS: [(&str, u32); 3] = [("light", 1440), ("dark", 1440), ("light", 320)];
const HOSTILE: Device<'_> = Device { kind: "pump", id: "<img src=x onerror=window.harmed=1>" };
const VALVE: Device<'_> = Device { kind: "valve", id: "v-1" };

fn settings(url: &str) -> String {
    format!(
        "startup_grace = \"1s\"\n\
         [[webhook]]\nname = \"ops\"\nurl = \"{url}\"\nsecret_file = \"hook.secret\"\nallow_private = true\n\
         [[rule]]\nname = \"offline\"\nkind = \"offline_for\"\nfor = \"1s\"\ngroup_by = \"device\"\ngroup_wait = \"0s\"\n\
         selector = {{ type = \"pump\" }}\nwebhooks = [\"ops\"]\n\
         [[rule]]\nname = \"valves\"\nkind = \"offline_for\"\nfor = \"30d\"\nselector = {{ type = \"valve\" }}\nwebhooks = [\"ops\"]\n\
         [[silence]]\nfrom = 2026-11-01T08:00:00Z\nuntil = 2126-12-01T12:00:00Z\nrules = [\"valves\"]\nauthor = \"ops\"\n\
         comment = \"<b>they are exchanged</b>\"\n\
         [[window]]\nname = \"updates\"\ndays = [\"sun\"]\nstart = \"02:00\"\nduration = \"3h\"\nzone = \"Europe/Berlin\"\n\
         selector = {{ type = \"none\" }}\n"
    )
}

/// A pump and a valve that are off, and rules for both.
struct Fleet {
    broker: Mosquitto,
    service: Service,
    admin: Key,
    reader: Key,
    _receiver: Receiver,
}

impl Fleet {
    fn start() -> Self {
        let (broker, keys) = (Mosquitto::start(), Keys::new());
        // The quotes of a name would end the text of a message.
        let message = |device: Device<'_>, text: String| text.replace(&device.client_id(), "d:org:device:id");
        broker.retain(&[HOSTILE, VALVE].map(|device| (device, message(device, device.disconnect(1, 2)))));
        let receiver = Receiver::start(|_, _| Reply::Status(200));
        let (admin, reader) = (keys.create("read,events,admin"), keys.create("read,events"));
        let launch = keys.launch(&broker.url()).file("hook.secret", &format!("{SECRET}\n"));
        let launch = launch.file("devstatus.toml", &settings(&receiver.url()));
        let service = launch.arguments(&["-c", "devstatus.toml"]).start_ready();
        Self { broker, service, admin, reader, _receiver: receiver }
    }

    fn open(&self, browser: &mut Browser, hash: &str) {
        browser.open("about:blank");
        browser.open(&format!("http://{}/{hash}", self.service.address()));
    }

    fn api(&self, path: &str) -> Value {
        self.service.request_with("GET", path, &[("authorization", &self.admin.bearer())]).json()
    }
}

/// Whether a row of a table says so.
fn row(of: &str, word: &str) -> String {
    format!(
        "[...document.querySelectorAll('tbody tr')].some((row) => \
         row.innerText.includes({}) && row.innerText.includes({}))",
        json!(of),
        json!(word)
    )
}

#[test]
fn alerts_are_seen_and_those_who_may_acknowledge_and_silence_them() {
    let fleet = Fleet::start();
    let mut browser = Browser::start();
    browser.note_requests();
    browser.look("light", 1440);
    fleet.open(&mut browser, "#/alerts");
    log_in(&mut browser, &fleet.admin);
    browser.wait_until("the pump fires", &row(HOSTILE.id, "Firing"));
    browser.wait_until("the valve waits, held back", &row("valves", "Pending"));
    browser.wait_until(
        "the silence of the settings is listed",
        &row("in the settings", "<b>they are exchanged</b>"),
    );
    browser.wait_until("and the window", &row("updates", "sun 02:00:00 for 3h Europe/Berlin"));
    browser.wait_until("and the output", &row("ops", "Accepted, 200"));
    browser.wait_until("and the rules", &row("offline for, for 1s", "pump"));
    browser.wait_until(
        "the bar counts them",
        "document.querySelector('.firing-count')?.innerText.startsWith('1')",
    );
    assert_eq!(browser.evaluate("document.querySelectorAll('main img, main b').length"), 0, "names are text");
    assert_eq!(browser.evaluate("window.harmed === undefined"), true);

    press(&mut browser, "Acknowledge");
    browser.wait_until("it is acknowledged", &row(HOSTILE.id, "Acknowledged until"));
    let alert = |fleet: &Fleet| fleet.api("/api/v1/alerts?rule=offline")["alerts"][0].clone();
    assert!(alert(&fleet)["acknowledged_until"].is_string());
    browser.wait_until(
        "it says so",
        "document.querySelector('[role=status] .notice')?.innerText.includes('4 hours')",
    );
    press(&mut browser, "Take back");
    browser.wait_until("it is so no longer", &format!("!({})", row(HOSTILE.id, "Acknowledged until")));
    assert_eq!(alert(&fleet)["acknowledged_until"], json!(null));

    silence_is_made_and_ended(&fleet, &mut browser);
    for (scheme, width) in LOOKS {
        browser.look(scheme, width);
        fleet.open(&mut browser, "#/alerts");
        browser.wait_until(
            "all is shown",
            &format!("{} && !document.querySelector('.loading')", row(HOSTILE.id, "Firing")),
        );
        browser.evaluate("document.querySelector('.adding').open = true");
        is_for_everybody(&mut browser, &format!("alerts-{scheme}-{width}"));
    }
    is_used_without_a_mouse(&mut browser, "alerts");
    filters_are_in_the_address(&fleet, &mut browser);
    what_has_ended_stays_in_its_place(&fleet, &mut browser);
    only_what_the_api_has(&browser.requests());
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

fn silence_is_made_and_ended(fleet: &Fleet, browser: &mut Browser) {
    browser.evaluate(
        "document.querySelector('.adding').open = true; \
         window.fields = Object.fromEntries([...document.querySelectorAll('.adding label')].map((label) => \
           [label.querySelector('span').innerText, label.querySelector('input, select')])); \
         window.type = (name, text) => { fields[name].value = text; fields[name].dispatchEvent(new Event('input', {bubbles: true})) }; \
         type('Rule', 'offline'); type('Id begins with', '<img'); type('Who', 'the <i>shift</i>'); type('Why', 'tested & tried')",
    );
    let command = "document.querySelector('.adding code').innerText";
    browser.wait_until(
        "the command is shown",
        &format!("{command}.includes('rule=offline') && {command}.includes('for=2h')"),
    );
    press(browser, "Silence");
    browser.wait_until("it is listed", &row("tested & tried", "Active"));
    let made = fleet.api("/api/v1/silences")["silences"].as_array().cloned().unwrap_or_default();
    let made =
        made.iter().find(|silence| silence["author"] == "the <i>shift</i>").expect("the service has it");
    assert_eq!((&made["rules"], &made["id_prefixes"]), (&json!(["offline"]), &json!(["<img"])));
    browser.wait_until("the alert is held back by it", &row(HOSTILE.id, "it is silenced"));
    press(browser, "End");
    browser.wait_until("it is over", &format!("!({})", row("tested & tried", "Active")));
    browser.wait_until("nothing holds the alert back", &format!("!({})", row(HOSTILE.id, "it is silenced")));
}

fn filters_are_in_the_address(fleet: &Fleet, browser: &mut Browser) {
    browser.look("light", 1440);
    fleet.open(browser, "#/alerts?rule=valves&rule=none");
    browser.wait_until("the valve is shown", &row("valves", "Pending"));
    assert_eq!(browser.evaluate(&row(HOSTILE.id, "Firing")), false);
    browser.evaluate(
        "const state = document.querySelector('.filters select'); state.value = 'firing'; \
         state.dispatchEvent(new Event('change'))",
    );
    browser.wait_until("nothing is left", "document.body?.innerText.includes('No alert matches.')");
    assert_eq!(browser.evaluate("location.hash"), "#/alerts?rule=valves&rule=none&state=firing");
    browser.evaluate("history.back()");
    browser.wait_until("the form follows", "document.querySelectorAll('.filters .chip').length === 2");
    browser.wait_until("the valve is shown again", &row("valves", "Pending"));
}

/// No row moves away under the mouse: what has ended says so where it is.
fn what_has_ended_stays_in_its_place(fleet: &Fleet, browser: &mut Browser) {
    fleet.open(browser, "#/alerts");
    browser.wait_until("the pump fires", &row(HOSTILE.id, "Firing"));
    browser.evaluate(
        "window.first = document.querySelector('.alerts tbody tr'); first.querySelector('a').focus()",
    );
    let back = HOSTILE.connect(3).replace(&HOSTILE.client_id(), "d:org:device:id");
    fleet.broker.retain(&[(HOSTILE, back)]);
    browser.wait_until("it has ended", &row(HOSTILE.id, "Resolved"));
    assert_eq!(browser.evaluate("document.querySelector('.alerts tbody tr') === first"), true);
    assert_eq!(
        browser.evaluate("document.activeElement === first.querySelector('a')"),
        true,
        "the focus stays"
    );
}

#[test]
fn without_the_scope_admin_the_actions_are_hidden_and_it_is_said_why() {
    let fleet = Fleet::start();
    let mut browser = Browser::start();
    browser.look("light", 1440);
    fleet.open(&mut browser, "#/alerts");
    log_in(&mut browser, &fleet.reader);
    browser.wait_until("the pump fires", &row(HOSTILE.id, "Firing"));
    let why = "document.body?.innerText.includes('lacks the scope admin')";
    browser.wait_until("it says why", why);
    browser.wait_until("outputs say whether they work", &row("ops", "Accepts"));
    assert_eq!(browser.evaluate("document.querySelectorAll('[data-action], .adding').length"), 0);
    is_for_everybody(&mut browser, "alerts-reader");
    fleet.open(&mut browser, "#/webhooks");
    browser.wait_until("webhooks say so, too", why);
    is_for_everybody(&mut browser, "webhooks-reader");
    // Logging in with another key leads back.
    browser.evaluate("document.querySelector('main a[href=\"#/login\"]').click()");
    log_in(&mut browser, &fleet.admin);
    browser.wait_until("the endpoint is shown", &row("ops", "Accepted, 200"));
}

#[test]
fn a_service_without_rules_and_one_that_observes_nothing_say_so() {
    let mut fleet = Fleet::start();
    let mut browser = Browser::start();
    let other_broker = Mosquitto::start();
    let quiet = Launch::to(&other_broker.url()).start_ready();
    for width in [1440, 320] {
        browser.look("light", width);
        browser.open("about:blank");
        browser.open(&format!("http://{}/#/alerts", quiet.address()));
        browser.wait_until(
            "there are no rules",
            "document.body?.innerText.includes('No alert rules are evaluated.')",
        );
        browser.wait_until("changes are followed", SAYS_LIVE);
        is_for_everybody(&mut browser, &format!("alerts-off-{width}"));
        browser.open(&format!("http://{}/#/webhooks", quiet.address()));
        browser
            .wait_until("nobody may", "document.body?.innerText.includes('if this service has a keys file')");
        is_for_everybody(&mut browser, &format!("webhooks-off-{width}"));
    }
    fleet.open(&mut browser, "#/alerts");
    log_in(&mut browser, &fleet.admin);
    browser.look("light", 1440);
    browser.wait_until("the pump fires", &row(HOSTILE.id, "Firing"));
    fleet.broker.stop();
    browser
        .wait_until("it is not observed", "document.body?.innerText.includes('The fleet is not observed')");
    is_for_everybody(&mut browser, "alerts-away");
}
