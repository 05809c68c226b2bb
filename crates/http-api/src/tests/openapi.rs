//! Makes the OpenAPI document from the annotations of the resources, and holds the committed one, and the resources, to it.

use std::collections::BTreeSet;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use serving::error::Problem;
use tower::Service as _;
use utoipa::OpenApi;

use super::router;
use crate::api::webhooks::{WebhookGapView, WebhookTestView};
use crate::api::{
    alerts, described, device, devices, events, health, metrics, page, population, rules, series, session,
    silences, summary, types, webhooks,
};
use crate::platform;
use http_views::events::{
    AlertGroupView, AlertsCompleteView, ChangeView, ForgottenView, GapView, SnapshotCompleteView,
    WebhookDataView,
};
use http_views::testing::Fixture;
use server::http_settings::HttpSettings;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "devstatus",
        description = "Which devices of an IoT fleet are connected, since when, and why the others are not. \
                       Every error is a problem document (RFC 9457); a query parameter that a resource does not have \
                       is refused.",
    ),
    tags(
        (name = "devices", description = "The status of devices"),
        (name = "platform", description = "The platform's own later API, for clients that were written against it; its errors have the platform's form"),
        (name = "fleet", description = "All devices at a glance"),
        (name = "alerts", description = "Alerts by the rules of the settings, and when they are not announced"),
        (name = "webhooks", description = "Deliveries to other systems"),
        (name = "service", description = "The service itself"),
    ),
    paths(
        alerts::acknowledge, alerts::end_acknowledgement, alerts::list, device::last_message, devices::history::history,
        devices::list::list, devices::lookup::lookup, devices::one::forget, devices::one::one, events::events,
        health::livez, health::readyz, metrics::metrics, page::text, platform::list, platform::one,
        population::population, rules::list, series::series, session::log_in, session::log_out, session::session,
        silences::end, silences::list, silences::silence, summary::summary, types::types, webhooks::deliveries,
        webhooks::enable, webhooks::list, webhooks::redeliver, webhooks::rotate, webhooks::test,
    ),
    components(schemas(Problem, platform::SortKey, ChangeView, ForgottenView, SnapshotCompleteView, GapView, AlertGroupView, AlertsCompleteView, WebhookDataView, WebhookGapView, WebhookTestView)),
)]
struct Document;

/// The document as text, the same in every run.
fn made() -> String {
    let document = described::complete(Document::openapi());
    let mut text = document.to_pretty_json().expect("a document made of texts and numbers is JSON");
    text.push('\n');
    text
}

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");

/// `make openapi` sets this to have the committed document written anew.
const WRITE: &str = "WRITE_OPENAPI";

#[test]
fn the_committed_document_is_the_one_that_the_code_makes() {
    let made = made();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(COMMITTED, &made).unwrap();
    }
    let committed = std::fs::read_to_string(COMMITTED).unwrap();
    assert!(committed == made, "docs/openapi.json is not what the code says: run `make openapi`");
}

#[test]
fn every_description_is_whole_and_every_refusal_has_the_same_form() {
    let document: serde_json::Value = serde_json::from_str(&made()).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut operation_ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let summary = operation["summary"].as_str().unwrap_or_default();
            assert!(!summary.is_empty(), "{method} {path} has no summary");
            assert!(operation["tags"].is_array(), "{method} {path} has no tag");
            assert!(operation_ids.insert(operation["operationId"].to_string()), "{method} {path}");
            for (status, answer) in operation["responses"].as_object().unwrap() {
                let problem = &answer["content"]["application/problem+json"]["schema"]["$ref"];
                let is_problem = problem == "#/components/schemas/Problem";
                // `/readyz` says what is missing with a 503.
                assert!(
                    is_problem == status.starts_with(['4', '5'])
                        || path == "/readyz"
                        || path.starts_with(serving::middleware::platform_form::ROOT),
                    "{method} {path} {status}"
                );
            }
        }
    }
}

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// Whether a resource has the method; what it answers does not matter.
async fn is_served(router: &mut Router, method: &str, path: &str) -> bool {
    let request = Request::builder().method(method).uri(path).header("host", "localhost");
    let answer = router.call(request.body(Body::empty()).unwrap()).await;
    answer.unwrap().status() != StatusCode::METHOD_NOT_ALLOWED
}

#[tokio::test]
async fn every_resource_is_described_and_nothing_else_is() {
    let document: serde_json::Value = serde_json::from_str(&made()).unwrap();
    let described = document["paths"].as_object().unwrap();
    let paths: BTreeSet<_> = described.keys().map(String::as_str).collect();
    assert_eq!(paths, crate::router::paths());
    let mut router = router(&Fixture::new(&HttpSettings::default()), Router::new());
    for (path, item) in described {
        for method in METHODS {
            let is_described = item.get(method.to_lowercase()).is_some();
            let an_example = path.replace(['{', '}'], "");
            assert_eq!(is_served(&mut router, method, &an_example).await, is_described, "{method} {path}");
        }
    }
}
