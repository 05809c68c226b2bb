//! Nothing is on the page that the API lacks: what each view asks for is in the OpenAPI document, and the commands that a view shows
//! give the data that it shows.

use serde_json::{Value, json};
use testkit::browser::{Browser, PageRequest};
use testkit::events::EventStream;
use testkit::http::Response;
use testkit::keys::{Key, Keys};
use testkit::mosquitto::Mosquitto;
use testkit::service::Service;
use testkit::status::Device;

use crate::page::SAYS_LIVE;
use crate::page_login::log_in;
use crate::webhooks::receiver::{Receiver, Reply, SECRET};

pub const PUMP: Device<'_> = Device { kind: "pump", id: "p-1" };
pub const VALVE: Device<'_> = Device { kind: "valve", id: "v-1" };

/// What the page asks for whatever it shows: the one stream of all views, who is logged in, and how fresh everything is.
const OF_EVERY_VIEW: [&str; 3] = ["/api/v1/events?alerts=true", "/api/v1/session", "/readyz"];

/// A view, and where values that it shows are in the answers to its commands.
struct View {
    hash: &'static str,
    shows: &'static [(&'static str, &'static str)],
    /// What it asks for beside what it shows: names for a field, whether something is new.
    beside: &'static [&'static str],
}

const VIEWS: [View; 8] = [
    View {
        hash: "#/",
        shows: &[("/api/v1/summary", "/types/0/type"), ("/api/v1/devices?", "/devices/0/id")],
        beside: &[],
    },
    View {
        hash: "#/devices",
        shows: &[("/api/v1/devices?", "/devices/0/id"), ("/api/v1/devices?", "/devices/1/id")],
        beside: &["/api/v1/summary"],
    },
    View {
        hash: "#/devices/valve/v-1",
        shows: &[
            ("/api/v1/devices/valve/v-1", "/id"),
            ("/api/v1/devices/valve/v-1/history", "/events/0/close_code"),
            ("/valve/v-1", "/Time"),
        ],
        beside: &[],
    },
    View { hash: "#/live", shows: &[], beside: &["/api/v1/summary"] },
    View {
        hash: "#/alerts",
        shows: &[
            ("/api/v1/alerts", "/alerts/0/rule"),
            ("/api/v1/silences", "/silences/0/comment"),
            ("/api/v1/rules", "/rules/0/name"),
            ("/api/v1/webhooks", "/webhooks/0/name"),
        ],
        beside: &["/api/v1/summary"],
    },
    View { hash: "#/population", shows: &[("/api/v1/population", "/types/0/type")], beside: &[] },
    View { hash: "#/webhooks", shows: &[("/api/v1/webhooks", "/webhooks/0/address")], beside: &[] },
    View {
        hash: "#/webhooks/ops",
        shows: &[
            ("/api/v1/webhooks", "/webhooks/0/name"),
            ("/api/v1/webhooks/ops/deliveries", "/attempts/0/type"),
        ],
        beside: &["/api/v1/rules"],
    },
];

/// A pump, a valve that is off, a rule that it breaks, and an endpoint that is told.
pub struct Fleet {
    pub broker: Mosquitto,
    pub service: Service,
    pub admin: Key,
}

pub fn fleet(receiver: &Receiver) -> Fleet {
    let settings = format!(
        "startup_grace = \"0s\"\n\
         [[webhook]]\nname = \"ops\"\nurl = \"{}\"\nsecret_file = \"hook.secret\"\nallow_private = true\n\
         [[rule]]\nname = \"offline\"\nkind = \"offline_for\"\nfor = \"0s\"\ngroup_by = \"device\"\ngroup_wait = \"0s\"\nwebhooks = [\"ops\"]\n\
         [[silence]]\nfrom = 2026-11-01T08:00:00Z\nuntil = 2126-12-01T12:00:00Z\nselector = {{ type = \"fan\" }}\n\
         comment = \"fans are exchanged\"\n",
        receiver.url()
    );
    let (broker, keys) = (Mosquitto::start(), Keys::new());
    broker.retain(&[(PUMP, PUMP.connect(1)), (VALVE, VALVE.connect(1))]);
    let admin = keys.create("read,events,admin");
    let launch = keys.launch(&broker.url()).file("hook.secret", &format!("{SECRET}\n"));
    let service = launch.file("devstatus.toml", &settings).arguments(&["-c", "devstatus.toml"]).start_ready();
    broker.retain(&[(VALVE, VALVE.disconnect(1, 2))]);
    Fleet { broker, service, admin }
}

impl Fleet {
    fn get(&self, path: &str) -> Response {
        self.service.request_with("GET", path, &[("Authorization", &self.admin.bearer())])
    }
}

#[test]
fn each_view_asks_for_what_the_api_describes_and_its_commands_give_what_it_shows() {
    let receiver = Receiver::start(|_, _| Reply::Status(204));
    let fleet = fleet(&receiver);
    let fires = || fleet.get("/api/v1/alerts?state=firing").json()["alerts"][0]["rule"] == "offline";
    fleet.service.wait_until("the rule fires", fires);
    let mut browser = Browser::start();
    browser.note_requests();
    // One that shares nothing between tabs asks for everything itself.
    let script = json!({"source": "delete window.SharedWorker"});
    browser.call("Page.addScriptToEvaluateOnNewDocument", script);
    let page = format!("http://{}/", fleet.service.address());
    browser.open(&page);
    log_in(&mut browser, &fleet.admin);
    let mut others = Vec::new();
    for view in VIEWS {
        browser.open("about:blank");
        browser.requests();
        browser.open(&format!("{page}{}", view.hash));
        let is_shown =
            format!("{SAYS_LIVE} && !document.querySelector('.loading') && document.querySelector('.curl')");
        browser.wait_until(view.hash, &format!("Boolean({is_shown})"));
        let commands = commands(&mut browser, &page);
        for (path, value) in view.shows {
            let command = commands.iter().find(|command| command.gives(path));
            let command =
                command.unwrap_or_else(|| panic!("{}: {path} is in none of {commands:?}", view.hash));
            shows(&mut browser, &fleet, (command, value));
        }
        follows_the_same(&fleet, &commands);
        let requests = browser.requests();
        assert!(requests.iter().any(|request| request.target == OF_EVERY_VIEW[0]), "{requests:?}");
        only_what_the_api_has(&requests);
        let is_known = |target: &str| {
            [&OF_EVERY_VIEW[..], view.beside].concat().contains(&target)
                || commands.iter().any(|command| command.target == target)
        };
        others.extend(requests.into_iter().filter(|request| !is_known(&request.target)));
    }
    assert_eq!(others, [], "no command of the view gives that");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// A command that a view shows.
#[derive(Debug)]
struct Command {
    options: String,
    target: String,
}

impl Command {
    fn gives(&self, path: &str) -> bool {
        let is_path = if path.ends_with('?') {
            self.target.starts_with(path)
        } else {
            self.target.split('?').next() == Some(path)
        };
        is_path && self.options.is_empty()
    }
}

/// The commands as they are shown: options, and an address of this service in quotes.
fn commands(browser: &mut Browser, page: &str) -> Vec<Command> {
    let shown = browser.evaluate(
        "[...document.querySelectorAll('.curl code')].map(({textContent}) => textContent).join('\\n')",
    );
    let command = |line: &str| {
        let (options, address) = line.strip_prefix("curl ")?.strip_suffix('\'')?.rsplit_once('\'')?;
        let target = address.strip_prefix(page.trim_end_matches('/'))?.to_owned();
        Some(Command { options: options.trim().to_owned(), target })
    };
    let lines = shown.as_str().expect("a view shows commands").lines();
    lines.map(|line| command(line).unwrap_or_else(|| panic!("{line} is no command"))).collect()
}

/// Holds that the answer to a command has a value there, and that the view shows it.
fn shows(browser: &mut Browser, fleet: &Fleet, (command, value): (&Command, &str)) {
    let answer = fleet.get(&command.target);
    assert_eq!(answer.status, 200, "{command:?}");
    let answer = answer.json();
    let found = answer.pointer(value).unwrap_or_else(|| panic!("{command:?}: no {value} in {answer}"));
    let text = match found {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let shown = format!("document.querySelector('main').textContent.includes({})", json!(text));
    browser.wait_until(&format!("{text} is shown, of {command:?}"), &shown);
}

/// Opens the streams of the commands.
fn follows_the_same(fleet: &Fleet, commands: &[Command]) {
    for command in commands.iter().filter(|command| command.options == "-N") {
        let query = command.target.strip_prefix("/api/v1/events").expect("the stream of changes");
        let (address, query) = (fleet.service.address(), query.trim_start_matches('?'));
        let stream = EventStream::ask_with(address, query, &[("Authorization", &fleet.admin.bearer())]);
        assert!(stream.is_ok(), "{command:?} is refused");
    }
}

/// Holds that the OpenAPI document has each of these requests, with all of its parameters.
pub fn only_what_the_api_has(requests: &[PageRequest]) {
    let document = include_str!("../../../../docs/openapi.json");
    let document: Value = serde_json::from_str(document).expect("the document is JSON");
    let paths = document["paths"].as_object().expect("the document has paths");
    for request in requests {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let of_path = paths.iter().filter(|(template, _)| is_of_template(path, template));
        // A path without places is closer than one that fits everything.
        let operation = of_path.min_by_key(|(template, _)| template.matches('{').count());
        let operation = operation.map(|(_, operations)| &operations[request.method.to_lowercase()]);
        let operation = operation.filter(|operation| operation.is_object());
        let operation = operation.unwrap_or_else(|| panic!("{request:?} is not in the API"));
        for parameter in
            query.split('&').filter_map(|pair| pair.split('=').next()).filter(|name| !name.is_empty())
        {
            let known = operation["parameters"].as_array().into_iter().flatten();
            let is_known = known.clone().any(|known| known["name"] == parameter && known["in"] == "query");
            assert!(is_known, "{request:?}: the API has no {parameter}");
        }
    }
}

fn is_of_template(path: &str, template: &str) -> bool {
    let pairs = path.split('/').zip(template.split('/'));
    path.split('/').count() == template.split('/').count()
        && pairs.into_iter().all(|(part, place)| part == place || place.starts_with('{'))
}
