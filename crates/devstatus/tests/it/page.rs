//! The web page: how it is served, and, in Chromium, what it shows, how it follows the changes, and whether everybody can use it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use testkit::browser::Browser;
use testkit::keys::Keys;
use testkit::mosquitto::Mosquitto;
use testkit::port::Port;
use testkit::publisher::Publisher;
use testkit::service::{Launch, Service};
use testkit::status::{APPLICATION, Device, ORG};

const BROWSER: [(&str, &str); 2] = [("Accept", "text/html,*/*;q=0.8"), ("Accept-Encoding", "gzip, br")];
const PUMP: Device<'_> = Device { kind: "pump", id: "1" };

/// The paths of the files that the page refers to.
fn files_of(page: &str) -> Vec<&str> {
    page.split("\"/assets/").skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[test]
fn a_browser_gets_the_page_and_its_files_without_a_key_and_others_get_text() {
    let (broker, keys) = (Mosquitto::start(), Keys::new());
    let key = keys.create("read");
    let service = keys.launch(&broker.url()).start();
    let page = service.request_with("GET", "/", &BROWSER[..1]);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"),
        "{policy}"
    );
    let files = files_of(page.text());
    assert!(files.len() > 3, "{files:?}");
    for file in files {
        let path = format!("/assets/{file}");
        let packed = service.request_with("GET", &path, &BROWSER);
        assert_eq!((packed.status, packed.header("content-encoding")), (200, Some("gzip")), "{path}");
        assert_eq!(packed.header("cache-control"), Some("public, max-age=31536000, immutable"), "{path}");
        assert_eq!(packed.header("content-security-policy"), Some(policy), "{path}: a worker obeys its own");
        assert!(packed.body.len() < service.get(&path).body.len(), "{path}");
    }
    let packed = service.request_with("GET", "/", &BROWSER);
    assert!(packed.body.starts_with(&[0x1f, 0x8b]) && packed.body.len() < page.body.len());
    for path in ["/assets/0000000000000000/main.js", "/assets/0000000000000000/../main.js"] {
        assert_eq!(service.get(path).status, 404, "{path}");
    }
    assert_eq!(service.get("/").status, 401, "the text names numbers of devices");
    let text = service.request_with("GET", "/", &[("Authorization", &key.bearer())]);
    assert_eq!(text.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(text.header("vary"), Some("accept"));
}

/// The service on a port that it can have again.
fn launch(broker: &Mosquitto, port: &Port, store: &Path) -> Service {
    let (url, port) = (broker.url(), port.number.to_string());
    let store = format!("sqlite:{}", store.join("statuses").display());
    let flags = ["-o", ORG, "-i", APPLICATION, "-p", &port, "--broker", &url];
    let service = Launch::default().arguments(&flags).on_store(&store).start();
    service.wait_until_ready();
    service
}

/// Names that a page could take for something else.
const HOSTILE: [Device<'_>; 4] = [
    Device { kind: "<b>bold<\u{2215}b>", id: "<img src=x onerror=window.harmed=1>" },
    Device { kind: "pump", id: "\"quoted\" 'twice' & $(x) `y`" },
    Device { kind: "pump", id: "\u{202e}exe.gnp \u{200f}\u{5d0}\u{5d1}" },
    Device {
        kind: "meter",
        id: concat!(
            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        ),
    },
];

fn publish(publisher: &mut Publisher, device: Device<'_>, message: String) {
    // The quotes of a name are escaped in JSON; the message names the client only for people.
    let message = message.replace(&device.client_id(), "d:org:device:id");
    publisher.retain(&device.topic(), message);
}

#[test]
fn the_page_shows_the_fleet_follows_it_and_can_be_used_by_everybody() {
    let (broker, port, store) = (Mosquitto::start(), Port::take(), tempfile::tempdir().unwrap());
    let mut publisher = broker.publisher();
    publish(&mut publisher, PUMP, PUMP.connect(1));
    for device in HOSTILE {
        publish(&mut publisher, device, device.disconnect(1, 2));
    }
    publisher.flush();
    let service = launch(&broker, &port, store.path());
    let mut browser = Browser::start();
    let page = format!("http://127.0.0.1:{}/", port.number);
    each_view_is_shown_to_everybody(&mut browser, &page);
    hostile_names_are_text(&mut browser, &page, &mut publisher);
    assert_eq!(browser.complaints(), Vec::<String>::new());

    browser.open("about:blank");
    browser.open(&format!("{page}#/devices?type=pump"));
    browser.wait_until("the pump is shown", &row_says("Connected"));
    browser.wait_until("changes are followed", SAYS_LIVE);
    browser.evaluate("window.loaded = 'once'");
    publish(&mut publisher, PUMP, PUMP.disconnect(1, 3));
    publisher.flush();
    browser.wait_until("the row has followed", &row_says("Disconnected"));

    service.terminate();
    browser.wait_until(
        "the page says that it is cut off",
        "document.getElementById('connection').innerText.includes('since')",
    );
    for (hash, name) in [("#/population", "population"), ("#/devices?type=pump", "devices")] {
        browser.evaluate(&format!("location.hash = {}", json!(hash)));
        browser
            .wait_until("it says why", "document.body.innerText.includes('The service cannot be reached.')");
        browser.screenshot(&screens().join(format!("{name}-error.png")));
    }
    let _service = launch(&broker, &port, store.path());
    browser.wait_until("the page is live again", SAYS_LIVE);
    browser.wait_until("the list is asked for again", &row_says("Disconnected"));
    publish(&mut publisher, PUMP, PUMP.connect(4));
    publisher.flush();
    browser.wait_until("the row has followed again", &row_says("Connected"));
    assert_eq!(browser.evaluate("window.loaded"), "once", "the page was not loaded again");
}

/// Where pictures of the page are put for people to look at.
pub fn screens() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../screens");
    fs::create_dir_all(&directory).expect("the build directory can be written");
    directory
}

pub const SAYS_LIVE: &str = "document.getElementById('connection')?.innerText.trim() === 'Live'";

/// Whether the row of the pump says so.
fn row_says(word: &str) -> String {
    format!(
        "[...document.querySelectorAll('tbody tr')].some((row) => \
         row.querySelector('a')?.textContent === '1' && row.querySelector('.status')?.textContent === '{word}')"
    )
}

/// The views, and a text that each shows once it has its data.
const VIEWS: [(&str, &str, &str); 5] = [
    ("overview", "#/", "5 devices known"),
    ("devices", "#/devices", "5 shown"),
    ("device", "#/devices/pump/1", "No event is kept"),
    ("live", "#/live", "changes in the last second"),
    ("population", "#/population", "By type"),
];

fn each_view_is_shown_to_everybody(browser: &mut Browser, page: &str) {
    for (scheme, width) in [("light", 1440), ("dark", 1440), ("light", 320)] {
        browser.look(scheme, width);
        for (name, hash, shown) in VIEWS {
            browser.open("about:blank");
            browser.open(&format!("{page}{hash}"));
            browser.wait_until(name, &format!("document.body?.innerText.includes({})", json!(shown)));
            browser.wait_until(name, &format!("!document.querySelector('.loading') && {SAYS_LIVE}"));
            is_for_everybody(browser, &format!("{name}-{scheme}-{width}"));
        }
    }
    browser.look("light", 1440);
}

/// Takes a picture, and holds that what is shown fits the window.
pub fn fits_the_window(browser: &mut Browser, name: &str) {
    browser.screenshot(&screens().join(format!("{name}.png")));
    let wider = "document.documentElement.scrollWidth > document.documentElement.clientWidth";
    assert_eq!(browser.evaluate(wider), false, "{name} is wider than the window");
}

/// Presses the first button with that text which is shown.
pub fn press(browser: &mut Browser, text: &str) {
    let buttons =
        "[...document.querySelectorAll('main button')].filter((button) => button.checkVisibility())";
    let found = format!("{buttons}.find((button) => button.innerText === {})", json!(text));
    browser.wait_until(text, &format!("{found} !== undefined"));
    browser.evaluate(&format!("{found}.click()"));
}

/// Holds that what is shown fits the window, and has no fault that the checker of accessibility knows.
pub fn is_for_everybody(browser: &mut Browser, name: &str) {
    fits_the_window(browser, name);
    browser.evaluate(&fs::read_to_string(axe()).expect("axe-core is installed"));
    let violations = browser.evaluate(
        "axe.run().then(({violations}) => violations.map(({id, nodes}) => `${id}: ${nodes[0].html}`))",
    );
    assert_eq!(violations, json!([]), "{name}");
}

#[test]
fn an_empty_fleet_and_a_broker_that_is_away_are_said_in_words() {
    let mut broker = Mosquitto::start();
    let service = Launch::to(&broker.url()).start();
    service.wait_until_ready();
    let mut browser = Browser::start();
    for width in [320, 1440] {
        browser.look("light", width);
        the_views_are_empty(&mut browser, &service, width);
    }
    let screens = screens();
    broker.stop();
    let away = "document.getElementById('connection').innerText.includes('broker away')";
    browser.wait_until("the page says that the broker is away", away);
    browser.screenshot(&screens.join("population-away.png"));
    browser.open(&format!("http://{}/#/", service.address()));
    browser.wait_until("the line says so, too", "!document.body.innerText.includes('Broker: subscribed')");
    browser.wait_until("the line is there", "document.body.innerText.includes('Broker:')");
    for width in [320, 1440] {
        browser.look("light", width);
        fits_the_window(&mut browser, &format!("overview-away-{width}"));
    }
}

fn the_views_are_empty(browser: &mut Browser, service: &Service, width: u32) {
    for (name, hash, shown) in [
        ("overview", "#/", "No devices yet."),
        ("devices", "#/devices", "No device"),
        ("device", "#/devices/pump/1", "Never connected"),
        ("live", "#/live", "No change so far."),
        ("population", "#/population", "No device type is known yet."),
    ] {
        browser.open("about:blank");
        browser.open(&format!("http://{}/{hash}", service.address()));
        browser.wait_until(name, &format!("document.body?.innerText.includes({})", json!(shown)));
        browser.wait_until(name, "!document.querySelector('.loading')");
        is_for_everybody(browser, &format!("{name}-empty-{width}"));
    }
}

/// The pictures of the README; `make pictures` keeps them.
#[test]
fn the_page_of_the_demo_is_a_picture() {
    let demo = Launch::default().arguments(&["demo", "-p", "0"]).start();
    let address = demo.address();
    let mut browser = Browser::start();
    let pictures = match std::env::var_os("WRITE_PICTURES") {
        Some(_) => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/pictures"),
        None => screens(),
    };
    fs::create_dir_all(&pictures).expect("the directory can be written");
    for (name, scheme, hash, shown) in [
        ("overview", "light", "#/", "document.querySelectorAll('.rows a').length >= 8"),
        (
            "devices",
            "dark",
            "#/devices?type=thermostat&status=disconnected&limit=50",
            "document.querySelectorAll('tbody a').length >= 10",
        ),
    ] {
        browser.look(scheme, 1180);
        browser.open("about:blank");
        browser.open(&format!("http://{address}/{hash}"));
        browser.wait_until(name, &format!("{shown} && {SAYS_LIVE}"));
        browser.screenshot_of_window(&pictures.join(format!("page-{name}.png")));
    }
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// The script of the checker of accessibility.
fn axe() -> PathBuf {
    let setup = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/page/setup.sh");
    let output = Command::new(setup).output().expect("a shell");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("a path").trim().into()
}

/// The name of a device as the page spells it: what would be invisible, or turn the direction of its neighbours, is named.
fn spelled(text: &str) -> String {
    text.replace('\u{202e}', "⟨U+202E⟩").replace('\u{200f}', "⟨U+200F⟩")
}

fn hostile_names_are_text(browser: &mut Browser, page: &str, publisher: &mut Publisher) {
    let of_devices: Vec<_> = HOSTILE.iter().map(|device| spelled(device.id)).collect();
    let of_types: Vec<_> = HOSTILE.iter().map(|device| spelled(device.kind)).collect();
    let device = |n: usize| format!("#/devices/{}/{}", encoded(HOSTILE[n].kind), encoded(HOSTILE[n].id));
    let mut views = vec![
        ("#/".to_owned(), [&of_devices[..], &of_types].concat()),
        ("#/devices".to_owned(), [&of_devices[..], &of_types].concat()),
        ("#/live".to_owned(), of_devices.clone()),
        ("#/population".to_owned(), of_types.clone()),
    ];
    views.extend((0..HOSTILE.len()).map(|n| (device(n), vec![of_devices[n].clone(), of_types[n].clone()])));
    for (view, names) in views {
        browser.open("about:blank");
        browser.open(&format!("{page}{view}"));
        browser.wait_until(&view, "document.querySelector('h1') && !document.querySelector('.loading')");
        if view == "#/live" {
            browser.wait_until("changes are followed", SAYS_LIVE);
            HOSTILE.into_iter().for_each(|device| publish(publisher, device, device.connect(3)));
            HOSTILE.into_iter().for_each(|device| publish(publisher, device, device.disconnect(3, 4)));
            publisher.flush();
        }
        for name in names {
            let shown = format!("document.querySelector('main')?.innerText.includes({})", json!(name));
            browser.wait_until(&format!("{name} in {view}"), &shown);
        }
        let made = "document.querySelectorAll('main img, main b, main script').length";
        assert_eq!(browser.evaluate(made), 0, "{view}");
        assert_eq!(browser.evaluate("window.harmed === undefined"), true, "{view}");
    }
}

/// A segment of the address of a view.
fn encoded(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric();
    text.bytes()
        .map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
