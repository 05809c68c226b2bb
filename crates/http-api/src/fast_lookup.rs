//! `GET /{type}/{id}` answered before the HTTP library: the request that applications send thousands of times a second. The
//! router answers the same, byte for byte, and takes four times as long; it also answers what this leaves to it.

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use axum::http::HeaderMap;

use crate::api::device::{self, LastMessage};
use crate::api::stale;
use crate::context::Context;
use crate::error::Error;
use crate::error::refusal::RequestRefusal;
use crate::middleware::guard::{self, Guard};
use crate::serving::direct::{self, Direct};
use crate::serving::plain_request::PlainRequest;
use crate::serving::room::SMALL_ANSWER_BYTES;
use presence::{Device, Status};
use server::access::Scope;
use server::metrics::RouteMetrics;

/// The route as the router names it.
const ROUTE: &str = "/{type}/{id}";

/// Looks devices up in the map.
pub struct FastLookup {
    context: Context,
    guard: Arc<Guard>,
    metrics: RouteMetrics,
    /// The headers that every answer has.
    common: Vec<u8>,
}

impl FastLookup {
    /// `None` if web pages of other origins may read answers: those need headers that are added around the router.
    pub fn new(context: &Context, guard: &Arc<Guard>, cors_origins: &[String]) -> Option<Self> {
        let mut headers = HeaderMap::new();
        guard::add_headers(&mut headers, guard.https);
        let mut common = Vec::new();
        for (name, value) in &headers {
            direct::write_header(&mut common, name, value);
        }
        let metrics = context.requests.of_route(ROUTE);
        let lookup = Self { context: context.clone(), guard: Arc::clone(guard), metrics, common };
        cors_origins.is_empty().then_some(lookup)
    }

    fn lookup(
        &self,
        request: &PlainRequest<'_>,
        peer: IpAddr,
        device: Device<'_>,
        answer: &mut Vec<u8>,
    ) -> bool {
        if !self.guard.answers_host(request.host) {
            return false;
        }
        let began = Instant::now();
        // Before the device is read, or a status that is read again in between would be shown as current.
        let freshness = self.context.health.freshness();
        let read =
            self.context.map.read_whole(device, |record| LastMessage::of(&record.state, record.received_in));
        let Ok(Some(Some(found))) = read else { return false };
        if found.message.len() as u64 > SMALL_ANSWER_BYTES {
            return false;
        }
        // Last, since a request counts against the rate of its sender once.
        let status = match self.guard.admit(peer, request, Scope::Read) {
            Ok(_grant) => {
                let is_stale = freshness.is_stale(found.received_in);
                self.write(&found, is_stale, request.is_head, answer);
                200
            }
            Err(refusal) => self.refuse(refusal, request, answer),
        };
        self.metrics.answered(status, began.elapsed());
        true
    }

    fn write(&self, found: &LastMessage, is_stale: bool, is_head: bool, answer: &mut Vec<u8>) {
        answer.extend_from_slice(match found.status {
            Status::Connected => {
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ndevstatus-status: connected\r\n"
            }
            Status::Disconnected => {
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ndevstatus-status: disconnected\r\n"
            }
        });
        if is_stale {
            let mut headers = HeaderMap::new();
            stale::mark(&mut headers, &self.context.health);
            for (name, value) in &headers {
                direct::write_header(answer, name, value);
            }
        }
        answer.extend_from_slice(&self.common);
        direct::write_body(&found.message, is_head, answer);
    }

    fn refuse(&self, refusal: RequestRefusal, request: &PlainRequest<'_>, answer: &mut Vec<u8>) -> u16 {
        let mut response = Error::from(refusal).response();
        guard::add_headers(response.headers_mut(), self.guard.https);
        direct::write_response(&response, request.is_head, answer);
        response.status().as_u16()
    }
}

impl Direct for FastLookup {
    fn answer(&self, request: &PlainRequest<'_>, peer: IpAddr, answer: &mut Vec<u8>) -> bool {
        // Who asks through a trusted proxy is found out by the router.
        let Some(device) = named_device(request.path).filter(|_| !self.guard.proxies.trust(peer)) else {
            return false;
        };
        let begin = answer.len();
        let lookup = AssertUnwindSafe(|| self.lookup(request, peer, device, answer));
        catch_unwind(lookup).unwrap_or_else(|_panic| {
            self.guard.metrics.panics.inc();
            answer.truncate(begin);
            self.refuse(RequestRefusal::Internal, request, answer);
            true
        })
    }
}

/// The device that the path names, if it has two parts.
fn named_device(path: &str) -> Option<Device<'_>> {
    let (device_type, id) = path.strip_prefix('/')?.split_once('/')?;
    let device = Device { device_type, id };
    let is_named = !device_type.is_empty() && !id.is_empty() && !id.contains('/');
    (is_named && !device::is_reserved(device) && device.is_possible()).then_some(device)
}

#[cfg(test)]
mod tests;
