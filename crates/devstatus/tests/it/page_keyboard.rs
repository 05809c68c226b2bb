//! The page without a mouse: each control is reached by Tab, in both directions, and the one that has the focus is seen (WCAG 2.2, 2.1.1,
//! 2.1.2, 2.4.1, 2.4.7, 2.4.11).

use std::collections::BTreeSet;

use serde_json::json;
use testkit::browser::{Browser, Key};
use testkit::mosquitto::Mosquitto;
use testkit::service::{Launch, Service};
use testkit::status::Device;

use crate::page::SAYS_LIVE;

/// More devices than a page of the list has, so that there is a next page.
const DEVICES: u32 = 60;
/// Stops at most: a field for a time has some of its own.
const STOPS_MAX: usize = 400;

/// What the walk asks the page.
const SCRIPT: &str = r#"
window.nameOf = (element) => `${element.tagName} ${element.getAttribute("aria-label") ?? element.innerText ?? ""} ` +
  `${element.getAttribute("href") ?? element.closest("label")?.innerText ?? ""}`.replace(/\s+/g, " ").trim();
window.controls = () => [...document.querySelectorAll('a[href], button, input, select, summary, [tabindex="0"]')]
  .filter((element) => !element.disabled && element.checkVisibility()).map(nameOf);
/** Whether any part of an element is seen: in the window, and under nothing else. */
window.isSeen = (element) => {
  const { left, top, right, bottom } = element.getBoundingClientRect();
  const [x0, y0] = [Math.max(0, left), Math.max(0, top)];
  const [x1, y1] = [Math.min(innerWidth, right), Math.min(innerHeight, bottom)];
  if (x1 - x0 < 1 || y1 - y0 < 1) return false;
  const parts = [0.05, 0.25, 0.5, 0.75, 0.95];
  return parts.some((x) => parts.some((y) => {
    const hit = document.elementFromPoint(x0 + (x1 - x0) * x, y0 + (y1 - y0) * y);
    return hit !== null && element.contains(hit);
  }));
};
window.stop = () => {
  const element = document.activeElement;
  if (!element || element === document.body) return null;
  const { outlineStyle, outlineWidth } = getComputedStyle(element);
  const fault = outlineStyle === "none" || parseFloat(outlineWidth) < 2 ? "has no outline" : isSeen(element) ? "" : "is not seen";
  return { name: nameOf(element), fault };
};
"#;

fn fleet() -> (Mosquitto, Service) {
    let broker = Mosquitto::start();
    let mut publisher = broker.publisher();
    for n in 0..DEVICES {
        let id = n.to_string();
        let device = Device::new("pump", &id);
        publisher.retain(&device.topic(), device.connect(1));
        if n % 2 == 0 {
            publisher.retain(&device.topic(), device.disconnect(1, 2));
        }
    }
    publisher.flush();
    let service = Launch::to(&broker.url()).start_ready();
    (broker, service)
}

fn open(browser: &mut Browser, service: &Service, hash: &str) {
    browser.open("about:blank");
    browser.open(&format!("http://{}/{hash}", service.address()));
    browser.wait_until(hash, SAYS_LIVE);
    browser.wait_until(hash, "document.querySelector('h1') && !document.querySelector('.loading')");
    browser.evaluate(SCRIPT);
}

/// Presses a key until the focus has been everywhere and has left the page, or begins anew. The names of where it was.
fn walk(browser: &mut Browser, view: &str, key: Key) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for _ in 0..STOPS_MAX {
        browser.press(key);
        let stop = browser.evaluate("stop()");
        let Some(name) = stop["name"].as_str() else { return names };
        assert_eq!(stop["fault"], "", "{view}, {key:?}: {name} has the focus and {}", stop["fault"]);
        // Names can be alike, but not those of the first two.
        if names.len() > 2 && names[0] == name && names[1] != name {
            return names;
        }
        names.push(name.to_owned());
    }
    panic!("{view}: the focus does not come to an end: {names:?}");
}

/// Holds that the walk has been at all controls that there are.
fn reaches_all(browser: &mut Browser, view: &str, names: &[String]) {
    let controls: BTreeSet<String> =
        serde_json::from_value(browser.evaluate("controls()")).expect("names of controls");
    let reached: BTreeSet<String> = names.iter().cloned().collect();
    let missed: Vec<_> = controls.difference(&reached).collect();
    assert!(controls.len() > 5 && missed.is_empty(), "{view}: {missed:?} are not reached, but {reached:?}");
}

/// Holds that each control of what is shown is reached in both directions, and seen while it has the focus.
pub fn is_used_without_a_mouse(browser: &mut Browser, view: &str) {
    browser.evaluate(SCRIPT);
    // Upwards, what stays at the top of the window could cover what comes.
    for key in [Key::Tab, Key::BackTab] {
        let names = walk(browser, view, key);
        reaches_all(browser, view, &names);
    }
}

#[test]
fn each_control_is_reached_by_the_keyboard_and_seen_while_it_has_the_focus() {
    let (_broker, service) = fleet();
    let mut browser = Browser::start();
    for width in [1180, 320] {
        browser.look("light", width);
        for hash in [
            "#/",
            "#/devices?type=pump&limit=50",
            "#/devices/pump/1",
            "#/live",
            "#/alerts",
            "#/population",
            "#/webhooks",
        ] {
            open(&mut browser, &service, hash);
            is_used_without_a_mouse(&mut browser, hash);
        }
    }
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn what_opens_is_used_and_closed_by_the_keyboard() {
    let (_broker, service) = fleet();
    let mut browser = Browser::start();
    browser.look("light", 1180);
    open(&mut browser, &service, "#/devices");
    browser.press(Key::Tab);
    assert_eq!(browser.evaluate("document.activeElement.className"), "skip", "the first is the skip link");
    assert_eq!(browser.evaluate("stop().fault"), "");
    browser.press(Key::Enter);
    assert_eq!(browser.evaluate("document.activeElement.id"), "main");
    browser.press(Key::Tab);
    assert_eq!(browser.evaluate("document.activeElement.type"), "search", "the bar is skipped");

    browser.evaluate("document.querySelector('#menu summary').focus()");
    browser.press(Key::Enter);
    let menu = walk_of(&mut browser, "#menu-body");
    assert!(menu.len() >= 4, "themes, zones, and two links: {menu:?}");
    let edge = "Math.max(...[...document.querySelectorAll('#menu-body select')].map((select) => select.getBoundingClientRect().right)) \
         <= document.getElementById('menu-body').getBoundingClientRect().right";
    assert_eq!(browser.evaluate(edge), true, "the names of zones fit in");
    browser.press(Key::Escape);
    assert_eq!(browser.evaluate("document.getElementById('menu').open"), false);
    assert_eq!(browser.evaluate("document.activeElement.tagName"), "SUMMARY", "the focus is where it was");

    browser.evaluate("document.querySelector('.more summary').focus()");
    browser.press(Key::Enter);
    assert!(walk_of(&mut browser, ".more-body").len() >= 4, "addresses, sources, and two times");

    // A view that is chosen by the keyboard begins at its heading.
    browser.evaluate("document.querySelector('#nav a[href=\"#/live\"]').focus()");
    browser.press(Key::Enter);
    browser.wait_until("the view is shown", "document.querySelector('h1')?.innerText === 'Live'");
    browser.wait_until("it is read out", "document.activeElement.tagName === 'H1'");
    browser.evaluate(
        "[...document.querySelectorAll('button')].find((button) => button.innerText === 'Pause').focus()",
    );
    browser.press(Key::Enter);
    assert_eq!(browser.evaluate("document.activeElement.innerText"), "Resume");
}

/// The controls of a part, reached by Tab from before it; the last has the focus then.
fn walk_of(browser: &mut Browser, part: &str) -> BTreeSet<String> {
    let last =
        format!("[...document.querySelectorAll({})].at(-1)", json!(format!("{part} :is(a, select, input)")));
    let mut names = BTreeSet::new();
    for _ in 0..STOPS_MAX {
        browser.press(Key::Tab);
        let stop = browser.evaluate("stop()");
        assert_eq!(stop["fault"], "", "{part}: {stop}");
        names.insert(stop["name"].as_str().expect("something has the focus").to_owned());
        if browser.evaluate(&format!("document.activeElement === {last}")) == true {
            return names;
        }
    }
    panic!("{part}: its end is not reached: {names:?}");
}
