//! `GET /{type}/{id}` and `GET /api/v1/devices/{type}/{id}` answered before the HTTP library: the requests that applications
//! send thousands of times a second. The router answers the same, byte for byte, and takes several times as long; it also
//! answers what this leaves to it.

use std::cell::RefCell;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::http::{HeaderMap, Response};

use crate::api::device::{self, LastMessage};
use crate::api::devices::one;
use formats::catalog::IOT_PLATFORM;
use http_views::context::Context;
use http_views::devices::view::Viewer;
use http_views::stale;
use presence::{Device, Status};
use server::access::Scope;
use server::metrics::RouteMetrics;
use server::registry::{DeviceSearch, Snapshot};
use serving::error::Error;
use serving::error::refusal::RequestRefusal;
use serving::middleware::guard::{self, Guard};
use serving::network::direct::{self, Direct};
use serving::network::plain_request::{self, PlainRequest};
use serving::network::room::SMALL_ANSWER_BYTES;

/// Where the view of a device is.
const VIEWS: &str = "/api/v1/devices/";

/// Looks devices up in the map.
pub struct FastLookup {
    context: Context,
    guard: Arc<Guard>,
    last_messages: RouteMetrics,
    views: RouteMetrics,
    /// The headers that every answer has.
    common: Vec<u8>,
}

thread_local! {
    /// The message that is looked up, until its length is known and it is written behind the headers. It grows to the longest of the
    /// small answers.
    static MESSAGE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What is asked for of a device.
#[derive(Clone, Copy)]
enum LookupTarget {
    LastMessage,
    View,
}

/// What is answered if the request is let in.
enum Answer {
    /// The message stands in the buffer that was given.
    LastMessage {
        status: Status,
        is_stale: bool,
    },
    Other(Response<Bytes>),
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
        let lookup = Self {
            context: context.clone(),
            guard: Arc::clone(guard),
            last_messages: context.requests.of_route("/{type}/{id}"),
            views: context.requests.of_route("/api/v1/devices/{type}/{id}"),
            common,
        };
        cors_origins.is_empty().then_some(lookup)
    }

    /// `None`: the router answers.
    fn lookup(
        &self,
        request: &[u8],
        peer: IpAddr,
        message: &mut Vec<u8>,
        answer: &mut Vec<u8>,
    ) -> Option<Instant> {
        let (target, device) = target(plain_request::early_path(request)?)?;
        let mut search = self.context.map.search(device);
        let request = PlainRequest::read(request)?;
        search.fetch_record();
        // Who asks through a trusted proxy is found out by the router.
        if !self.is_answered_here(target, device)
            || self.guard.proxies.trust(peer)
            || !self.guard.answers_host(request.host)
        {
            return None;
        }
        search.fetch_message();
        let began = Instant::now();
        let (found, metrics) = match target {
            LookupTarget::LastMessage => (self.last_message(&search, message)?, &self.last_messages),
            LookupTarget::View => (self.view(device)?, &self.views),
        };
        // Last, since a request counts against the rate of its sender once.
        let status = match self.guard.admit(peer, &request, Scope::Read) {
            Ok(_grant) => self.write(found, message, request.is_head, answer),
            Err(refusal) => self.refuse(refusal, request.is_head, answer),
        };
        let ended = Instant::now();
        metrics.answered(status, ended - began);
        Some(ended)
    }

    fn is_answered_here(&self, target: LookupTarget, device: Device<'_>) -> bool {
        let is_reserved = match target {
            LookupTarget::LastMessage => device::is_reserved(device),
            LookupTarget::View => false,
        };
        !is_reserved && self.context.is_possible(device)
    }

    /// `None`: memory does not hold the device, or the answer is large.
    fn last_message(&self, search: &DeviceSearch<'_>, message: &mut Vec<u8>) -> Option<Answer> {
        message.clear();
        // Before the device is read, or a status that is read again in between would be shown as current.
        let freshness = self.context.health.freshness();
        if let Some(found) = search.append_message(message) {
            let is_stale = freshness.is_stale(IOT_PLATFORM, found.freshness_round);
            return small(message).then_some(Answer::LastMessage { status: found.status, is_stale });
        }
        let device = search.device();
        let read = self
            .context
            .map
            .read_whole(device, |record| LastMessage::of(&record.state, record.freshness_round()));
        match read.ok()?.flatten() {
            Some(found) => {
                let is_stale = found.is_stale(&freshness);
                *message = found.message;
                small(message).then_some(Answer::LastMessage { status: found.status, is_stale })
            }
            None => {
                let response = device::answer(&self.context, device, &freshness, None);
                Some(Answer::Other(response.unwrap_or_else(|error| error.response())))
            }
        }
    }

    /// `None`: memory does not hold the device, or the answer is large.
    fn view(&self, device: Device<'_>) -> Option<Answer> {
        let viewer = Viewer::of(&self.context);
        let known = self.context.map.read_whole(device, Snapshot::of).ok()?;
        let response = one::answer(&viewer, device, known.as_ref());
        (response.body().len() as u64 <= SMALL_ANSWER_BYTES).then_some(Answer::Other(response))
    }

    fn write(&self, found: Answer, message: &[u8], is_head: bool, answer: &mut Vec<u8>) -> u16 {
        match found {
            Answer::LastMessage { status, is_stale } => {
                self.write_status(status, is_stale, answer);
                direct::write_body(message, is_head, answer);
                200
            }
            Answer::Other(mut response) => {
                guard::add_headers(response.headers_mut(), self.guard.https);
                direct::write_response(&response, is_head, answer);
                response.status().as_u16()
            }
        }
    }

    fn write_status(&self, status: Status, is_stale: bool, answer: &mut Vec<u8>) {
        answer.extend_from_slice(match status {
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
    }

    fn refuse(&self, refusal: RequestRefusal, is_head: bool, answer: &mut Vec<u8>) -> u16 {
        self.write(Answer::Other(Error::from(refusal).response()), &[], is_head, answer)
    }
}

impl Direct for FastLookup {
    fn answer(&self, request: &[u8], peer: IpAddr, answer: &mut Vec<u8>) -> Option<Instant> {
        let begin = answer.len();
        let lookup = AssertUnwindSafe(|| {
            MESSAGE.with_borrow_mut(|message| self.lookup(request, peer, message, answer))
        });
        catch_unwind(lookup).unwrap_or_else(|_panic| {
            self.guard.metrics.panics.inc();
            answer.truncate(begin);
            self.refuse(RequestRefusal::Internal, request.starts_with(b"HEAD "), answer);
            Some(Instant::now())
        })
    }
}

/// Whether the message may be answered here. The memory of one that is too long is given back.
fn small(message: &mut Vec<u8>) -> bool {
    let is_small = message.len() as u64 <= SMALL_ANSWER_BYTES;
    if !is_small {
        *message = Vec::new();
    }
    is_small
}

/// What a path asks for, and of which device.
fn target(path: &str) -> Option<(LookupTarget, Device<'_>)> {
    let (target, name) = match path.strip_prefix(VIEWS) {
        Some(name) => (LookupTarget::View, name),
        None => (LookupTarget::LastMessage, path.strip_prefix('/')?),
    };
    let (device_type, id) = name.split_once('/')?;
    (!id.contains('/')).then_some((target, Device { device_type, id }))
}

#[cfg(test)]
mod tests;
