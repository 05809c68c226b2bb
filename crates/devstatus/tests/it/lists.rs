//! Lists, lookups of many, types and the summary: filters, pages, streams, and what is refused.

use serde_json::{Value, json};

use testkit::http::{Connection, Response};
use testkit::mosquitto::Mosquitto;
use testkit::service::{Launch, Service};
use testkit::status::Device;

/// A service that knows pumps p-000 to p-049 and valves v-000 to v-019. Every third device is disconnected, those whose
/// number ends in 0 with code 160, the others with 91.
fn fleet() -> (Mosquitto, Service) {
    let broker = Mosquitto::start();
    let mut publisher = broker.publisher();
    for (kind, number) in devices() {
        let id = id(kind, number);
        let device = Device::new(kind, &id);
        let message = if number % 3 == 0 {
            let code = if number % 10 == 0 { "\"CloseCode\":160" } else { "\"CloseCode\":91" };
            device.disconnect(number, 1_000 + number).replace("\"CloseCode\":91", code)
        } else {
            device.connect(number).replace("198.51.100.7", &format!("203.0.113.{number}"))
        };
        publisher.retain(&device.topic(), message);
    }
    publisher.flush();
    let service = Launch::to(&broker.url()).start();
    service.wait_until_ready();
    (broker, service)
}

fn devices() -> impl Iterator<Item = (&'static str, u32)> {
    (0..50).map(|number| ("pump", number)).chain((0..20).map(|number| ("valve", number)))
}

fn id(kind: &str, number: u32) -> String {
    format!("{}-{number:03}", &kind[..1])
}

fn list(service: &Service, query: &str) -> Value {
    let answer = service.get(&format!("/api/v1/devices?{query}"));
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{answer:?}");
    answer.json()
}

fn ids(page: &Value) -> Vec<String> {
    let devices = page["devices"].as_array().expect("a list");
    devices.iter().map(|device| device["id"].as_str().expect("an id").to_owned()).collect()
}

/// The ids of every device of the fleet that fits, by type and id.
fn fitting(fits: impl Fn(&str, u32) -> bool) -> Vec<String> {
    devices().filter(|(kind, number)| fits(kind, *number)).map(|(kind, number)| id(kind, number)).collect()
}

#[test]
fn every_filter_admits_matching_devices_only() {
    let (_broker, service) = fleet();
    let is_off = |number: u32| number.is_multiple_of(3);
    for (query, expected) in [
        ("limit=1000", fitting(|_, _| true)),
        ("type=valve", fitting(|kind, _| kind == "valve")),
        ("type=valve&type=pump", fitting(|_, _| true)),
        ("type=none", Vec::new()),
        ("status=disconnected", fitting(|_, number| is_off(number))),
        ("status=connected&type=pump", fitting(|kind, number| kind == "pump" && !is_off(number))),
        ("close_code=160", fitting(|_, number| number % 30 == 0)),
        ("close_code=0", Vec::new()),
        ("cause=timeout", fitting(|_, number| number % 30 == 0)),
        ("cause=timeout&cause=connection&sort=id", fitting(|_, number| is_off(number))),
        ("cause=unknown", Vec::new()),
        ("cause=timeout&status=connected", Vec::new()),
        ("id_prefix=p-01", fitting(|kind, number| kind == "pump" && (10..20).contains(&number))),
        ("address=203.0.113.0/29", fitting(|_, number| !is_off(number) && number < 8)),
        ("address=198.51.100.7", fitting(|_, number| is_off(number))),
        ("since=2026-11-23T17:16:40.186Z", fitting(|_, number| is_off(number))),
        ("until=2026-11-23T17:00:05.186Z", fitting(|_, number| !is_off(number) && number < 5)),
        (
            "status=disconnected&close_code=91&type=pump&id_prefix=p-00",
            fitting(|kind, number| kind == "pump" && [3, 6, 9].contains(&number)),
        ),
    ] {
        let page = list(&service, query);
        assert_eq!((ids(&page), &page["next_cursor"]), (expected, &Value::Null), "{query}");
    }
    let one = &list(&service, "id_prefix=p-007")["devices"][0];
    let native = service.get("/api/v1/devices/pump/p-007").json();
    assert_eq!(one, &native);
}

#[test]
fn pages_in_every_order_come_to_the_whole_list() {
    let (_broker, service) = fleet();
    for sort in ["id", "-id", "since", "-since"] {
        let whole = ids(&list(&service, &format!("limit=1000&sort={sort}")));
        assert_eq!(whole.len(), 70);
        let mut parts = Vec::new();
        let mut query = format!("limit=9&sort={sort}");
        loop {
            let page = list(&service, &query);
            parts.extend(ids(&page));
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            query = format!("limit=9&sort={sort}&cursor={cursor}");
        }
        assert_eq!(parts, whole, "{sort}");
    }
    let since: Vec<Value> = list(&service, "sort=-since&limit=1000")["devices"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|device| device["since"].clone())
        .collect();
    assert!(since.is_sorted_by(|one, next| one.as_str() >= next.as_str()), "{since:?}");
}

#[test]
fn a_page_that_ends_with_the_list_has_no_next_one() {
    let (_broker, service) = fleet();
    let page = list(&service, "type=valve&limit=20");
    assert_eq!((ids(&page).len(), &page["next_cursor"]), (20, &Value::Null));
    assert!(list(&service, "type=valve&limit=19")["next_cursor"].is_string());
}

fn refused(answer: &Response) -> (u16, String) {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
    (answer.status, answer.json()["parameter"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn invalid_list_parameters_are_refused_by_name() {
    let (_broker, service) = fleet();
    let cursor = list(&service, "limit=5")["next_cursor"].as_str().expect("more").to_owned();
    for (query, parameter) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=ten", "limit"),
        ("limit=5&limit=5", "limit"),
        ("sort=name", "sort"),
        ("sort=--id", "sort"),
        ("status=unknown", "status"),
        ("address=10.0.0.0/99", "address"),
        ("since=now", "since"),
        ("close_code=many", "close_code"),
        ("cause=160", "cause"),
        ("cursor=", "cursor"),
        ("cursor=AAAA", "cursor"),
        (&format!("limit=5&status=connected&cursor={cursor}"), "cursor"),
        (&format!("limit=5&sort=-id&cursor={cursor}"), "cursor"),
        (&format!("limit=5&cursor={}", &cursor[1..]), "cursor"),
        ("page=2", "page"),
    ] {
        let answer = service.get(&format!("/api/v1/devices?{query}"));
        assert_eq!(refused(&answer), (400, parameter.to_owned()), "{query}");
    }
    // How many are shown may change from page to page.
    assert_eq!(ids(&list(&service, &format!("limit=6&cursor={cursor}"))).len(), 6);
}

fn accepting(service: &Service, path: &str, accept: &str) -> Response {
    let mut connection = Connection::open(service.address());
    connection.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n").as_bytes());
    connection.receive("GET").expect("an answer")
}

#[test]
fn the_whole_list_is_streamed_as_lines_of_json_and_as_rows() {
    let broker = Mosquitto::start();
    let mut publisher = broker.publisher();
    // More than is taken out of the map at once.
    let names: Vec<String> = (0..1_000).map(|number| format!("n{number:04}")).collect();
    for name in &names {
        let device = Device::new("pump, big", name);
        publisher.retain(&device.topic(), device.connect(1));
    }
    publisher.flush();
    let service = Launch::to(&broker.url()).start();
    service.wait_until_ready();

    let lines = accepting(&service, "/api/v1/devices", "application/x-ndjson");
    assert_eq!((lines.status, lines.header("content-type")), (200, Some("application/x-ndjson")));
    let of_lines: Vec<Value> =
        lines.text().lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    assert!(of_lines.iter().map(|device| device["id"].as_str().unwrap_or_default()).eq(&names));
    assert_eq!(of_lines[7], service.get("/api/v1/devices/pump,%20big/n0007").json());

    let rows = accepting(&service, "/api/v1/devices?sort=-id&status=connected", "text/csv");
    assert!(rows.header("content-type").is_some_and(|kind| kind.starts_with("text/csv")), "{rows:?}");
    let mut rows = rows.text().split_terminator("\r\n");
    assert!(rows.next().is_some_and(|head| head.starts_with("type,id,client_id,status,since,")));
    let of_rows: Vec<&str> = rows.collect();
    assert_eq!(of_rows.len(), 1_000);
    let last =
        "\"pump, big\",n0000,\"d:org:pump, big:n0000\",connected,2026-11-23T17:00:01.186Z,198.51.100.7,,,,";
    assert!(of_rows[999].starts_with(last), "{}", of_rows[999]);

    assert_eq!(accepting(&service, "/api/v1/devices", "image/png").status, 406);
    let limited = accepting(&service, "/api/v1/devices?limit=5", "text/csv");
    assert_eq!(refused(&limited), (400, "limit".to_owned()));
}

fn post(service: &Service, content_type: &str, body: &str) -> Response {
    let mut connection = Connection::open(service.address());
    let length = body.len();
    let head = format!(
        "POST /api/v1/devices:lookup HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    connection.send(head.as_bytes());
    connection.send(body.as_bytes());
    connection.receive("POST").expect("an answer")
}

#[test]
fn many_devices_are_looked_up_in_the_order_of_the_request() {
    let (_broker, service) = fleet();
    let asked = json!({"devices": [
        {"type": "valve", "id": "v-003"}, {"type": "pump", "id": "nobody"}, {"type": "pump", "id": "p-001"},
    ]});
    let answer = post(&service, "application/json; charset=utf-8", &asked.to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
    let expected: Vec<Value> = ["valve/v-003", "pump/nobody", "pump/p-001"]
        .map(|name| service.get(&format!("/api/v1/devices/{name}")).json())
        .into();
    assert_eq!(answer.json()["devices"], json!(expected));
    assert_eq!(post(&service, "application/json", "{\"devices\":[]}").json(), json!({"devices": []}));
}

#[test]
fn an_invalid_lookup_is_refused_with_its_reason() {
    let (_broker, service) = fleet();
    let names = |count: usize| -> String {
        let names: Vec<_> =
            (0..count).map(|number| json!({"type": "pump", "id": format!("{number}")})).collect();
        json!({"devices": names}).to_string()
    };
    assert_eq!(post(&service, "application/json", &names(1_000)).status, 200);
    let more = names(1_001);
    let name = json!({"type": "pump", "id": "p-001"});
    let twice = json!({"devices": [name, {"type": "pump", "id": "p-002"}, name]}).to_string();
    let refused_twice = post(&service, "application/json", &twice);
    assert_eq!(refused(&refused_twice).0, 400);
    assert!(
        refused_twice.text().contains("devices[2] is the same device as devices[0]"),
        "{}",
        refused_twice.text()
    );
    let large = format!("{{\"devices\":[]{}}}", " ".repeat(1 << 20));
    for (content_type, body, status) in [
        ("application/json", more.as_str(), 400),
        ("application/json", "", 400),
        ("application/json", "[]", 400),
        ("application/json", "{\"devices\":[{\"type\":\"pump\"}]}", 400),
        ("application/json", "{\"devices\":[{\"type\":\"pump\",\"id\":\"1\",\"more\":1}]}", 400),
        ("application/json", "{\"devices\":[{\"type\":\"pump\",\"id\":\"a\\u0007b\"}]}", 400),
        ("application/json", "{\"devices\":[{\"type\":\"\",\"id\":\"a\"}]}", 400),
        ("application/json", large.as_str(), 413),
        ("text/plain", "{\"devices\":[]}", 415),
    ] {
        let shown = &body[..body.len().min(60)];
        assert_eq!(refused(&post(&service, content_type, body)).0, status, "{content_type} {shown}");
    }
}

#[test]
fn types_are_read_page_by_page() {
    let broker = Mosquitto::start();
    let mut publisher = broker.publisher();
    for number in 0..25 {
        let device = Device { kind: &format!("type-{number:02}"), id: "1" };
        publisher.retain(&device.topic(), device.connect(number));
    }
    publisher.flush();
    let service = Launch::to(&broker.url()).start();
    service.wait_until_ready();
    let whole = service.get("/api/v1/types").json();
    assert_eq!((&whole["types_total"], &whole["next_cursor"]), (&json!(25), &Value::Null));
    for limit in [1, 7, 24, 25, 10_000] {
        let (mut parts, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = service.get(&format!("/api/v1/types?limit={limit}{cursor}")).json();
            let types = page["types"].as_array().expect("a list");
            assert!(types.len() <= limit && page["types_total"] == 25, "{page}");
            parts.extend(types.iter().cloned());
            let Some(next) = page["next_cursor"].as_str() else { break };
            assert_eq!(types.len(), limit, "only the last page is shorter");
            cursor = format!("&cursor={next}");
        }
        assert_eq!(Value::from(parts), whole["types"], "limit={limit}");
    }
    let of_a_list = service.get("/api/v1/devices?limit=1&sort=since").json()["next_cursor"].clone();
    let of_a_list = format!("cursor={}", of_a_list.as_str().expect("a cursor"));
    for query in ["limit=0", "limit=10001", "limit=-1", "limit=many", "cursor=none", "cursor=", &of_a_list] {
        let answer = service.get(&format!("/api/v1/types?{query}"));
        let name = query.split('=').next().expect("a name");
        assert_eq!((answer.status, &answer.json()["parameter"]), (400, &json!(name)), "{query}");
    }
}

#[test]
fn types_and_summary_count_the_fleet() {
    let (broker, service) = fleet();
    let types = json!([
        {"type": "pump", "total": 50, "connected": 33, "disconnected": 17},
        {"type": "valve", "total": 20, "connected": 13, "disconnected": 7},
    ]);
    let all = json!({"types_total": 2, "types": types, "next_cursor": null});
    assert_eq!(service.get("/api/v1/types").json(), all);
    let summary = service.get("/api/v1/summary").json();
    assert_eq!((&summary["total"], &summary["types"]), (&json!(70), &types));
    assert_eq!((&summary["stale"], &summary["store"]), (&json!(false), &json!("off")));
    let codes = summary["top_close_codes"].as_array().expect("a list");
    let counts: Vec<_> = codes.iter().map(|code| (&code["close_code"], &code["devices"])).collect();
    assert_eq!(counts, [(&json!(91), &json!(21)), (&json!(160), &json!(3))]);
    let classes: Vec<_> = codes.iter().map(|code| &code["cause_class"]).collect();
    assert_eq!(classes, ["connection", "timeout"]);
    let causes =
        json!([{"cause_class": "connection", "devices": 21}, {"cause_class": "timeout", "devices": 3}]);
    assert_eq!(summary["causes"], causes);
    let metrics = service.get("/metrics");
    for sample in [
        "devstatus_type_devices{type=\"pump\",status=\"connected\"} 33",
        "devstatus_type_devices{type=\"valve\",status=\"disconnected\"} 7",
        "devstatus_disconnects_total{cause=\"connection\"} 0",
    ] {
        assert!(metrics.text().lines().any(|line| line == sample), "{sample} in {}", metrics.text());
    }
    assert_eq!(
        summary["per_minute"],
        json!({"connects": 0, "disconnects": 0}),
        "retained is not happening now"
    );

    let mut publisher = broker.publisher();
    let device = Device::new("pump", "p-001");
    publisher.publish(&device.topic(), device.disconnect(1, 1_800));
    publisher.publish(&device.topic(), device.connect(1_801));
    publisher.flush();
    service.wait_until("both are counted in the minute", || {
        service.get("/api/v1/summary").json()["per_minute"] == json!({"connects": 1, "disconnects": 1})
    });
    let metrics = service.get("/metrics");
    assert!(metrics.text().contains("devstatus_disconnects_total{cause=\"connection\"} 1\n"));
}
