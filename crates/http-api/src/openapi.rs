//! `GET /openapi.json`: the OpenAPI 3.1 document, made from the annotations of the resources, and what it says of the
//! whole. `docs/openapi.json` is the same document; a test holds that.

use axum::Extension;
use axum::body::Bytes;
use axum::http::header;
use axum::response::IntoResponse;
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;

use crate::api::events::{
    AlertGroupView, AlertsCompleteView, ChangeView, ForgottenView, GapView, SnapshotCompleteView,
    WebhookDataView,
};
use crate::api::webhooks::{WebhookGapView, WebhookTestView};
use serving::error::Problem;
use serving::network::room::Uncounted;

/// What is in the document beside the resources.
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
    components(schemas(Problem, crate::platform::SortKey, ChangeView, ForgottenView, SnapshotCompleteView, GapView, AlertGroupView, AlertsCompleteView, WebhookDataView, WebhookGapView, WebhookTestView)),
)]
struct BareDocument;

/// The document without any resource.
pub fn head() -> Document {
    BareDocument::openapi()
}

/// The document as text, the same in every run.
pub fn text(document: &Document) -> String {
    let mut text = document.to_pretty_json().expect("a document made of texts and numbers is JSON");
    text.push('\n');
    text
}

/// The answer of `GET /openapi.json`.
pub async fn answer(text: Bytes) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], Extension(Uncounted), text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::document;

    const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");

    /// `make openapi` sets this to have the committed document written anew.
    const WRITE: &str = "WRITE_OPENAPI";

    #[test]
    fn the_committed_document_is_the_one_that_the_code_makes() {
        let made = text(&document());
        if std::env::var_os(WRITE).is_some() {
            std::fs::write(COMMITTED, &made).unwrap();
        }
        let committed = std::fs::read_to_string(COMMITTED).unwrap();
        assert!(committed == made, "docs/openapi.json is not what the code says: run `make openapi`");
    }

    #[test]
    fn every_resource_is_described_and_every_refusal_has_the_same_form() {
        let document: serde_json::Value = serde_json::from_str(&text(&document())).unwrap();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        let mut operation_ids = std::collections::BTreeSet::new();
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
}
