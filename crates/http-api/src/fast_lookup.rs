//! `GET /{type}/{id}` answered before the router: the request that applications send thousands of times a second. The router
//! answers the same, byte for byte, and takes twice as long; it also answers what this leaves to it.

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use axum::body::{Bytes, HttpBody};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Response, header};
use axum::response::IntoResponse;

use crate::api::device::{self, LastMessage};
use crate::context::Context;
use crate::error::Error;
use crate::error::refusal::RequestRefusal;
use crate::middleware::guard::{self, Guard};
use crate::middleware::origin;
use crate::serving::direct::{AnswerBody, Direct};
use crate::serving::room::SMALL_ANSWER_BYTES;
use presence::Device;
use server::access::Scope;
use server::metrics::RouteMetrics;

/// The route as the router names it.
const ROUTE: &str = "/{type}/{id}";

/// Looks devices up in the map.
pub struct FastLookup {
    context: Context,
    guard: Arc<Guard>,
    metrics: RouteMetrics,
}

impl FastLookup {
    /// `None` if web pages of other origins may read answers: those need headers that are added around the router.
    pub fn new(context: &Context, guard: &Arc<Guard>, cors_origins: &[String]) -> Option<Self> {
        let metrics = context.requests.of_route(ROUTE);
        let lookup = Self { context: context.clone(), guard: Arc::clone(guard), metrics };
        cors_origins.is_empty().then_some(lookup)
    }

    fn lookup(&self, head: &Parts, peer: IpAddr, device: Device<'_>) -> Option<Response<AnswerBody>> {
        if let Err(refusal) = self.guard.check_head(head) {
            return Some(problem(refusal));
        }
        let began = Instant::now();
        // Before the device is read, or a status that is read again in between would be shown as current.
        let freshness = self.context.health.freshness();
        let read =
            self.context.map.read_whole(device, |record| LastMessage::of(&record.state, record.received_in));
        let found = read.ok()?.flatten();
        let answer = device::answer(&self.context, device, freshness, found);
        if answer.as_ref().is_ok_and(|answer| answer.body().len() as u64 > SMALL_ANSWER_BYTES) {
            return None;
        }
        // Last, since a request counts against the rate of its sender once.
        let client = self.guard.proxies.client(peer, &head.headers);
        let response = match self.guard.admit(client, &head.headers, Scope::Read) {
            Ok(_grant) => answer.map_or_else(problem, |answer| answer.map(AnswerBody::Whole)),
            Err(refusal) => problem(refusal),
        };
        self.metrics.answered(response.status().as_u16(), began.elapsed());
        Some(response)
    }
}

impl Direct for FastLookup {
    fn answer(&self, head: &Parts, peer: IpAddr) -> Option<Response<AnswerBody>> {
        let device = plain_device(head)?;
        let answer = catch_unwind(AssertUnwindSafe(|| self.lookup(head, peer, device)));
        let mut response = answer.unwrap_or_else(|_panic| {
            self.guard.metrics.panics.inc();
            Some(problem(RequestRefusal::Internal))
        })?;
        guard::add_headers(response.headers_mut(), self.guard.https);
        if origin::is_sent_by_script(&head.headers) {
            guard::challenge_script(response.headers_mut());
        }
        if let Some(length) = response.body().size_hint().exact() {
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        if head.method == Method::HEAD {
            *response.body_mut() = AnswerBody::Whole(Bytes::new());
        }
        Some(response)
    }
}

fn problem(error: impl Into<Error>) -> Response<AnswerBody> {
    error.into().into_response().map(AnswerBody::routed)
}

/// The device that the path names, if it is one of two parts without escapes, and the method reads.
fn plain_device(head: &Parts) -> Option<Device<'_>> {
    if head.method != Method::GET && head.method != Method::HEAD {
        return None;
    }
    let (device_type, id) = head.uri.path().strip_prefix('/')?.split_once('/')?;
    let is_plain = !device_type.is_empty() && !id.is_empty() && !id.contains('/');
    let device = Device { device_type, id };
    let is_here = is_plain && !head.uri.path().contains('%') && !device::is_reserved(device);
    (is_here && device.is_possible()).then_some(device)
}

#[cfg(test)]
mod tests;
