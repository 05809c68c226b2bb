//! Measures every request, by the route that answered it.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;

use server::metrics::RequestMetrics;

/// The route of what no resource answers: the path itself is the client's and may be anything.
const UNMATCHED: &str = "unmatched";

pub async fn time(State(metrics): State<RequestMetrics>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let began = Instant::now();
    let response = next.run(request).await;
    let route = route.as_ref().map_or(UNMATCHED, MatchedPath::as_str);
    metrics.answered(route, response.status().as_u16(), began.elapsed());
    response
}
