//! Logins of browsers: a key is given once, and a cookie stands for it until it ends, the browser logs out, or the key is
//! revoked.

use serde_json::json;
use testkit::browser::Browser;
use testkit::http::Response;
use testkit::keys::Keys;
use testkit::mosquitto::Mosquitto;
use testkit::service::Service;
use testkit::status::Device;

use crate::page::{SAYS_LIVE, is_for_everybody};

const PUMP: Device<'_> = Device { kind: "pump", id: "1" };
const SESSION: &str = "/api/v1/session";

fn broker() -> Mosquitto {
    Mosquitto::start().retaining([(PUMP, PUMP.connect(1))])
}

fn log_in(service: &Service, bearer: &str) -> Response {
    service.request_with("POST", SESSION, &[("Authorization", bearer)])
}

/// What a browser sends after an answer: the name and the value of its cookie.
fn cookie(answer: &Response) -> String {
    let set = answer.header("set-cookie").expect("a cookie is set");
    set.split(';').next().unwrap_or_default().to_owned()
}

#[test]
fn a_login_has_the_scopes_of_its_key_until_it_logs_out() {
    let (broker, keys) = (broker(), Keys::new());
    let key = keys.create("read,events");
    let service = keys.launch(&broker.url()).start();
    service.wait_until_ready();
    assert_eq!((service.get(SESSION).status, service.request("POST", SESSION).status), (401, 401));

    let answer = log_in(&service, &key.bearer());
    let set = answer.header("set-cookie").unwrap();
    assert!(set.starts_with("__Host-devstatus="), "{set}");
    assert!(set.ends_with("; Path=/; Max-Age=43200; Secure; HttpOnly; SameSite=Strict"), "{set}");
    let shown = answer.json();
    assert_eq!((&shown["key_id"], &shown["scopes"]), (&json!(key.id), &json!(["read", "events"])));

    let cookie = cookie(&answer);
    let with_cookie = |method: &str, path: &str, more: &[(&str, &str)]| {
        service.request_with(method, path, &[&[("Cookie", cookie.as_str())], more].concat())
    };
    assert_eq!(with_cookie("GET", "/api/v1/summary", &[]).status, 200);
    assert_eq!(with_cookie("GET", "/pump/1", &[]).status, 200, "the answer before the router, too");
    assert!(with_cookie("GET", SESSION, &[]).json()["expires_at"].is_string());
    let same = [("Sec-Fetch-Site", "same-origin")];
    assert_eq!(with_cookie("DELETE", "/api/v1/devices/pump/1", &same).status, 403, "the key lacks admin");
    assert_eq!(with_cookie("DELETE", SESSION, &[("Sec-Fetch-Site", "none")]).status, 403);
    assert_eq!(with_cookie("GET", "/pump/1", &[]).status, 200, "nobody else logs it out");
    let out = with_cookie("DELETE", SESSION, &same);
    assert_eq!(out.status, 204);
    assert!(out.header("set-cookie").unwrap().starts_with("__Host-devstatus=; Path=/; Max-Age=0;"));
    assert_eq!(with_cookie("GET", "/pump/1", &[]).status, 401);
}

#[test]
fn a_change_by_cookie_is_taken_from_a_page_of_the_service_alone() {
    let (broker, keys) = (broker(), Keys::new());
    let key = keys.create("admin");
    let service = keys.launch(&broker.url()).start();
    service.wait_until_ready();
    let cookie = cookie(&log_in(&service, &key.bearer()));
    let forget = |more: &[(&str, &str)]| {
        let headers = [&[("Cookie", cookie.as_str())], more].concat();
        service.request_with("DELETE", "/api/v1/devices/pump/none", &headers).status
    };
    for site in ["none", "same-site", "cross-site"] {
        assert_eq!(forget(&[("Sec-Fetch-Site", site)]), 403, "{site}");
    }
    assert_eq!(forget(&[]), 403);
    assert_ne!(forget(&[("Sec-Fetch-Site", "same-origin")]), 403);
    assert_ne!(forget(&[("Authorization", &key.bearer())]), 403, "no browser adds a key by itself");
}

#[test]
fn a_login_ends_with_its_key_and_guesses_are_throttled() {
    let (broker, keys) = (broker(), Keys::new());
    let (key, other) = (keys.create("read"), keys.create("read"));
    let service = keys.launch(&broker.url()).start();
    service.wait_until_ready();
    let cookie = cookie(&log_in(&service, &key.bearer()));
    let status = || service.request_with("GET", "/pump/1", &[("Cookie", &cookie)]).status;
    assert_eq!(status(), 200);
    assert!(keys.run(&["revoke", &key.id]).status.success());
    service.wait_until("the login has ended", || status() == 401);

    let wrong = format!("Bearer {}.wrong", other.id);
    service.wait_until("guesses are refused", || log_in(&service, &wrong).status == 429);
    assert_eq!(log_in(&service, &other.bearer()).status, 200, "a good key is let in whatever others try");
}

#[test]
fn no_script_makes_the_browser_ask_for_a_password() {
    let (broker, keys) = (broker(), Keys::new());
    keys.create("read");
    let service = keys.launch(&broker.url()).start();
    for path in ["/pump/1", "/api/v1/summary"] {
        let challenges = |mode: &str| {
            let refused = service.request_with("GET", path, &[("Sec-Fetch-Mode", mode)]);
            assert_eq!(refused.status, 401, "{path}");
            refused.headers.iter().filter(|(name, _)| name == "www-authenticate").count()
        };
        assert_eq!((challenges("navigate"), challenges("cors")), (2, 1), "{path}");
        let refused = service.request_with("GET", path, &[("Sec-Fetch-Mode", "cors")]);
        assert!(refused.header("www-authenticate").unwrap().starts_with("Bearer"), "{path}");
    }
}

#[test]
fn a_service_without_keys_sets_no_cookie() {
    let broker = broker();
    let service = testkit::service::Launch::to(&broker.url()).start();
    service.wait_until_ready();
    let answer = service.request("POST", SESSION);
    assert_eq!((answer.status, answer.header("set-cookie")), (200, None));
    assert_eq!(answer.json()["key_id"], json!(null));
}

#[test]
fn a_person_logs_in_and_out_on_the_page() {
    let (broker, keys) = (broker(), Keys::new());
    let key = keys.create("read,events");
    let service = keys.launch(&broker.url()).start();
    service.wait_until_ready();
    let mut browser = Browser::start();
    browser.look("light", 1440);
    browser.open(&format!("http://127.0.0.1:{}/#/devices", service.address().port()));
    browser.wait_until("a key is asked for", "document.querySelector('#key') !== null");
    for scheme in ["dark", "light"] {
        browser.look(scheme, 320);
        is_for_everybody(&mut browser, &format!("login-{scheme}-320"));
    }
    let enter = |browser: &mut Browser, text: &str| {
        browser.evaluate(&format!(
            "document.querySelector('#key').value = {}; document.querySelector('.login button').click()",
            json!(text)
        ));
    };
    enter(&mut browser, "a-org-x.guessed");
    browser.wait_until("it is refused", "document.body.innerText.includes('No such key is in force')");
    enter(&mut browser, key.bearer().trim_start_matches("Bearer "));
    browser.wait_until("the device is shown", "document.querySelector('tbody a')?.textContent === '1'");
    browser.wait_until("changes are followed", SAYS_LIVE);
    assert_eq!(browser.evaluate("document.cookie"), "", "no script can read the login");
    browser.evaluate("location.reload()");
    browser.wait_until("the login lasts", "document.querySelector('tbody a')?.textContent === '1'");
    browser.wait_until("logging out is offered", "document.querySelector('#session button') !== null");
    browser.evaluate("document.querySelector('#session button').click()");
    browser.wait_until("a key is asked for again", "document.querySelector('#key') !== null");
}
