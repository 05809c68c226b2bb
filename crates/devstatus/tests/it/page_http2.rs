//! The page inside TLS, where a browser speaks HTTP/2: many streams of changes at once, and lookups beside them.

use serde_json::json;
use testkit::browser::Browser;
use testkit::keys::text;
use testkit::mosquitto::Mosquitto;
use testkit::private_ca::PrivateCa;
use testkit::service::Launch;
use testkit::status::Device;
use testkit::tls_client::TlsClient;

use crate::page::SAYS_LIVE;

const PUMP: Device<'_> = Device { kind: "pump", id: "1" };
/// With HTTP/1.1 a browser has six connections to a host, and each stream takes one.
const STREAMS: u32 = 20;

#[test]
fn inside_tls_a_browser_follows_many_streams_on_one_connection() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let mut publisher = broker.publisher();
    publisher.retain(&PUMP.topic(), PUMP.connect(1));
    publisher.flush();
    let files = PrivateCa::issue(directory.path(), &["localhost"]);
    let arguments = ["--tls-cert", text(&files.certificate_file), "--tls-key", text(&files.key_file)];
    let service = Launch::to(&broker.url()).arguments(&arguments).start();
    let client = TlsClient::new(&files, None);
    let metric = |name: &str| {
        let metrics = client.get(service.address(), "/metrics").expect("the service answers HTTP/1.1, too");
        let number = metrics.text().lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        number.unwrap_or(0)
    };
    let is_ready = || client.get(service.address(), "/readyz").is_ok_and(|answer| answer.status == 200);
    service.wait_until("all is read", is_ready);

    let mut browser = Browser::start_trusting_all();
    browser.open(&format!("https://localhost:{}/#/devices", service.address().port()));
    browser.wait_until("the device is shown", "document.querySelector('tbody a')?.textContent === '1'");
    browser.wait_until("changes are followed", SAYS_LIVE);
    let protocols = "[...new Set([...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')] \
         .map(({nextHopProtocol}) => nextHopProtocol))]";
    assert_eq!(browser.evaluate(protocols), json!(["h2"]));

    browser.evaluate(&format!(
        "window.changes = 0; window.opened = 0; \
         for (let n = 0; n < {STREAMS}; n += 1) {{ \
           const source = new EventSource('/api/v1/events'); \
           source.addEventListener('open', () => {{ opened += 1; }}); \
           source.addEventListener('change', () => {{ changes += 1; }}); \
         }}"
    ));
    browser.wait_until("all streams are open", &format!("opened === {STREAMS}"));
    let streams = || metric("devstatus_streams ");
    service.wait_until("the service has them all", || streams() == STREAMS + 1);
    assert!(metric("devstatus_http_connections ") <= 4, "they share their connections");
    let status = "fetch('/pump/1').then((answer) => answer.headers.get('devstatus-status'))";
    assert_eq!(browser.evaluate(status), "connected");
    publisher.retain(&PUMP.topic(), PUMP.disconnect(1, 2));
    publisher.flush();
    browser.wait_until("each stream tells of the change", &format!("changes === {STREAMS}"));
    browser
        .wait_until("and the page", "document.querySelector('tbody .status')?.innerText === 'Disconnected'");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    let ended = service.terminate();
    assert!(ended.status.success(), "streams do not hold up a stop: {ended:?}");
}
