//! Logins of a browser over TLS, where it speaks HTTP/2: a key is given once, a cookie stands for it, and it logs out again. Over plain
//! HTTP: `session`.

use serde_json::json;
use testkit::browser::Browser;
use testkit::keys::{Key, Keys, text};
use testkit::mosquitto::Mosquitto;
use testkit::private_ca::PrivateCa;
use testkit::status::Device;
use testkit::tls_client::TlsClient;

use crate::page::SAYS_LIVE;
use crate::page_requests::only_what_the_api_has;

const PUMP: Device<'_> = Device { kind: "pump", id: "1" };
const IS_SHOWN: &str = "document.querySelector('tbody a')?.textContent === '1'";

/// Enters a key on the page that is shown, and waits until the page shows something else.
pub fn log_in(browser: &mut Browser, key: &Key) {
    browser.wait_until("a key is asked for", "document.querySelector('#key') !== null");
    let bearer = format!("{}.{}", key.id, key.secret);
    browser.evaluate(&format!(
        "document.querySelector('#key').value = {}; document.querySelector('.login').requestSubmit()",
        json!(bearer)
    ));
    browser.wait_until("it is logged in", "document.querySelector('h1') && !document.querySelector('#key')");
    // Every request was refused before the login; that is no fault.
    browser.complaints();
}

#[test]
fn inside_tls_a_browser_logs_in_over_http_2_and_out_again() {
    let (broker, directory, keys) = (Mosquitto::start(), tempfile::tempdir().unwrap(), Keys::new());
    broker.retain(&[(PUMP, PUMP.connect(1))]);
    let key = keys.create("read,events");
    let files = PrivateCa::issue(directory.path(), &["localhost"]);
    let arguments = ["--tls-cert", text(&files.certificate_file), "--tls-key", text(&files.key_file)];
    let service = keys.launch(&broker.url()).arguments(&arguments).start();
    let client = TlsClient::new(&files, None);
    let is_ready = || client.get(service.address(), "/readyz").is_ok_and(|answer| answer.status == 200);
    service.wait_until("all is read", is_ready);

    let mut browser = Browser::start_trusting_all();
    browser.note_requests();
    let page = format!("https://localhost:{}/#/devices?type=pump", service.address().port());
    browser.open(&page);
    log_in(&mut browser, &key);
    browser.wait_until("the view that was asked for is shown", IS_SHOWN);
    browser.wait_until("changes are followed", SAYS_LIVE);
    let protocols =
        "[...new Set(performance.getEntriesByType('resource').map(({nextHopProtocol}) => nextHopProtocol))]";
    assert_eq!(browser.evaluate(protocols), json!(["h2"]), "the login, too");
    assert_eq!(browser.evaluate("document.cookie"), "", "no script can read the login");
    let cookies = browser.call("Network.getCookies", json!({}));
    let [cookie] = &cookies["cookies"].as_array().unwrap()[..] else { panic!("one cookie: {cookies}") };
    let said = ["name", "path", "httpOnly", "secure", "sameSite"].map(|field| cookie[field].clone());
    let expected = [json!("__Host-devstatus"), json!("/"), json!(true), json!(true), json!("Strict")];
    assert_eq!(said, expected);
    broker.retain(&[(PUMP, PUMP.disconnect(1, 2))]);
    browser.wait_until(
        "the row follows",
        "document.querySelector('tbody .status')?.innerText === 'Disconnected'",
    );

    browser.open("about:blank");
    browser.open(&page);
    browser.wait_until("the login lasts", IS_SHOWN);
    browser.wait_until("logging out is offered", "document.querySelector('#session button') !== null");
    browser.evaluate("document.querySelector('#session button').click()");
    browser.wait_until("a key is asked for again", "document.querySelector('#key') !== null");
    only_what_the_api_has(&browser.requests());
    assert_eq!(browser.evaluate("fetch('/pump/1').then(({status}) => status)"), 401);
    assert_eq!(browser.call("Network.getCookies", json!({}))["cookies"], json!([]));
}
