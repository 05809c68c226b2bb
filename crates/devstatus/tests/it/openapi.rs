//! The served OpenAPI document, and that the resources keep to what it says of their parameters.

use serde_json::{Value, json};

use testkit::keys::Keys;
use testkit::mosquitto::Mosquitto;
use testkit::service::Launch;

#[test]
fn the_served_document_is_the_committed_one() {
    let broker = Mosquitto::start();
    let service = Launch::to(&broker.url()).start();
    let answer = service.get("/openapi.json");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!(answer.text(), include_str!("../../../../docs/openapi.json"));
}

/// The names of an operation's query parameters, sorted.
fn documented_parameters(operation: &Value) -> Vec<String> {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let of_query = parameters.filter(|parameter| parameter["in"] == "query");
    let mut names: Vec<_> =
        of_query.map(|parameter| parameter["name"].as_str().expect("a name").to_owned()).collect();
    names.sort();
    names
}

#[test]
fn every_resource_of_the_api_refuses_an_unknown_parameter_and_names_those_it_has() {
    let (broker, keys) = (Mosquitto::start(), Keys::new());
    let admin = keys.create("admin").bearer();
    let service = keys.launch(&broker.url()).start();
    service.wait_until_ready();
    let get = |path: &str| service.request_with("GET", path, &[("authorization", &admin)]);
    let document = get("/openapi.json").json();
    for (path, item) in document["paths"].as_object().unwrap() {
        if !path.starts_with("/api/v1/") || item.get("get").is_none() {
            continue;
        }
        let path_of_one = path.replace("{type}", "pump").replace("{id}", "1").replace("{name}", "ops");
        let answer = get(&format!("{path_of_one}?no%20such=1"));
        assert_eq!(answer.status, 400, "{path}");
        let problem = answer.json();
        assert_eq!(problem["type"], json!("urn:devstatus:problem:unknown-parameter"), "{path}");
        assert_eq!(problem["parameter"], json!("no such"), "{path}");
        let mut known: Vec<String> = serde_json::from_value(problem["known"].clone()).unwrap();
        known.sort();
        assert_eq!(known, documented_parameters(&item["get"]), "{path}");
    }
}
