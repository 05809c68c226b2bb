//! What is around all resources together: errors, keys, sizes, other origins, the time that a request takes.

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;

use super::guard::{self, Guard};
use super::{cors, timing};
use crate::error;
use server::metrics::RequestMetrics;

/// The resources with what stands around all of them.
pub fn surrounded(
    resources: Router,
    requests: RequestMetrics,
    guard: Arc<Guard>,
    cors_origins: &[String],
) -> Router {
    let router = resources
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::other_method)
        .layer(from_fn_with_state(requests, timing::time));
    let router = if cors_origins.is_empty() { router } else { router.layer(cors::layer(cors_origins)) };
    router.layer(from_fn_with_state(guard, guard::shield))
}
