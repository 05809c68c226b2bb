//! Whether a request is answered at all: its size, its key, how often its sender asks; and the headers that every answer
//! bears. The resources know nothing of it: each stands in a group that needs a scope.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use parking_lot::Mutex;
use tokio::time::timeout;

use super::credentials::Credentials;
use super::error::Error;
use super::platform;
use super::refusal::Refusal;
use super::settings::HttpSettings;
use crate::access::{AddressThrottle, Denied, Digest, FileContent, Grant, Keyring, Rate, Scope, Scopes};
use crate::clock;
use crate::metrics::{HttpMetrics, RefusedRequest};

/// The longest path and query: a lookup needs a hundred bytes, a list with every filter some hundreds.
const URL_MAX_BYTES: usize = 8 * 1024;
/// Headers of one request; browsers send one or two kilobytes. Beyond twice as much the connection stops reading.
const HEADERS_MAX_BYTES: usize = 16 * 1024;
/// The largest body is a lookup of a thousand devices, whose names may be long.
const BODY_MAX_BYTES: usize = 1 << 20;
/// From the end of the headers to the end of the body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Tries with a wrong key that one address has: nobody guesses 190 bits, but each try costs a hash and an answer.
const FAILURES: Rate = Rate::new(10, 100);
/// What a name and a value cost beside their own bytes: a colon, a space and a line end.
const HEADER_EXTRA_BYTES: usize = 4;

/// Where the request came from; the connection adds it.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// What decides on all requests.
#[derive(Debug)]
pub struct Guard {
    pub keyring: Keyring,
    /// Of the keys file whose keys are in force.
    keys_file_sha256: Mutex<Option<Digest>>,
    allow_anonymous: bool,
    rate: Rate,
    addresses: AddressThrottle,
    failures: AddressThrottle,
    /// What the throttles count from.
    started: Instant,
    https: bool,
    pub metrics: HttpMetrics,
}

impl Guard {
    pub fn new(settings: &HttpSettings, metrics: HttpMetrics) -> Self {
        Self {
            keyring: Keyring::default(),
            keys_file_sha256: Mutex::default(),
            allow_anonymous: settings.allow_anonymous,
            // A burst of one second's worth: a client may ask for a page of devices at once and then rest.
            rate: Rate::new(settings.requests_per_second, settings.requests_per_second),
            addresses: AddressThrottle::default(),
            failures: AddressThrottle::default(),
            started: Instant::now(),
            https: settings.tls.is_some(),
            metrics,
        }
    }

    /// Puts the keys of a file in force; says whether it is another file than before.
    pub fn put_in_force(&self, content: FileContent) -> bool {
        let mut sha256 = self.keys_file_sha256.lock();
        if *sha256 == Some(content.sha256) {
            return false;
        }
        self.keyring.replace(content.keys);
        *sha256 = Some(content.sha256);
        true
    }

    /// The SHA-256 of the keys file whose keys are in force.
    pub fn keys_file_sha256(&self) -> Option<Digest> {
        *self.keys_file_sha256.lock()
    }

    /// What the request may do, if it may do that.
    fn admit(&self, peer: IpAddr, headers: &HeaderMap, scope: Scope) -> Result<Grant, Refusal> {
        let grant = self.identify(peer, headers)?;
        if !grant.allows(scope) {
            self.metrics.refused(RefusedRequest::Scope);
            return Err(Refusal::Forbidden { scope: scope.word() });
        }
        Ok(grant)
    }

    fn identify(&self, peer: IpAddr, headers: &HeaderMap) -> Result<Grant, Refusal> {
        // Where no keys are in use, what a proxy before this service has checked for itself is passed over.
        if !self.keyring.is_in_use() {
            return self.anonymous(peer);
        }
        match Credentials::of(headers) {
            Ok(None) if self.allow_anonymous => self.anonymous(peer),
            Ok(None) => Err(self.unauthorized(RefusedRequest::MissingKey)),
            Ok(Some(credentials)) => {
                let checked = self.keyring.check(&credentials.id, &credentials.secret, clock::now());
                let held = checked.map_err(|denied| self.failed(peer, refused(denied)))?;
                let taken = held.take(self.rate, self.started.elapsed());
                taken.map_err(|wait| self.too_often(RefusedRequest::KeyRate, wait))?;
                Ok(Grant::Key(held))
            }
            Err(_malformed) => Err(self.failed(peer, RefusedRequest::MalformedCredentials)),
        }
    }

    /// On loopback there may be a proxy, whose clients would share one address.
    fn anonymous(&self, peer: IpAddr) -> Result<Grant, Refusal> {
        if !peer.to_canonical().is_loopback() {
            let taken = self.addresses.take(peer, self.rate, self.started.elapsed());
            taken.map_err(|wait| self.too_often(RefusedRequest::AddressRate, wait))?;
        }
        Ok(Grant::Anonymous(Scopes::read_only().with(Scope::Events)))
    }

    /// A key that is none. Here loopback counts too: whoever has a key is let in whatever others try.
    fn failed(&self, peer: IpAddr, why: RefusedRequest) -> Refusal {
        match self.failures.take(peer, FAILURES, self.started.elapsed()) {
            Ok(()) => self.unauthorized(why),
            Err(wait) => self.too_often(RefusedRequest::FailureRate, wait),
        }
    }

    fn unauthorized(&self, why: RefusedRequest) -> Refusal {
        self.metrics.refused(why);
        Refusal::Unauthorized
    }

    fn too_often(&self, why: RefusedRequest, wait: Duration) -> Refusal {
        self.metrics.refused(why);
        Refusal::TooManyRequests { wait }
    }

    /// The request with its whole body, if neither is too large or too slow.
    async fn bounded(&self, request: Request) -> Result<Request, Refusal> {
        let url = request.uri().path_and_query().map_or(0, |url| url.as_str().len());
        if url > URL_MAX_BYTES {
            return Err(self.refused(RefusedRequest::UrlTooLong, Refusal::UrlTooLong));
        }
        let headers = request.headers().iter();
        let bytes: usize =
            headers.map(|(name, value)| name.as_str().len() + value.len() + HEADER_EXTRA_BYTES).sum();
        if bytes > HEADERS_MAX_BYTES {
            return Err(self.refused(RefusedRequest::HeadersTooLarge, Refusal::HeadersTooLarge));
        }
        if request.body().is_end_stream() {
            return Ok(request);
        }
        let (parts, body) = request.into_parts();
        if body.size_hint().lower() > BODY_MAX_BYTES as u64 {
            return Err(self.refused(RefusedRequest::BodyTooLarge, Refusal::BodyTooLarge));
        }
        match timeout(BODY_TIMEOUT, Limited::new(body, BODY_MAX_BYTES).collect()).await {
            Ok(Ok(whole)) => Ok(Request::from_parts(parts, Body::from(whole.to_bytes()))),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                Err(self.refused(RefusedRequest::BodyTooLarge, Refusal::BodyTooLarge))
            }
            Ok(Err(_broken)) => Err(self.refused(RefusedRequest::Malformed, Refusal::BrokenBody)),
            Err(_elapsed) => Err(self.refused(RefusedRequest::SlowBody, Refusal::SlowRequest)),
        }
    }

    fn refused(&self, why: RefusedRequest, refusal: Refusal) -> Refusal {
        self.metrics.refused(why);
        refusal
    }
}

fn refused(denied: Denied) -> RefusedRequest {
    match denied {
        Denied::UnknownKey => RefusedRequest::UnknownKey,
        Denied::WrongSecret => RefusedRequest::WrongSecret,
        Denied::Expired => RefusedRequest::ExpiredKey,
    }
}

/// Around the resources that need `scope`.
pub async fn authorize(
    State((guard, scope)): State<(Arc<Guard>, Scope)>,
    request: Request,
    next: Next,
) -> Response {
    let Some(Peer(peer)) = request.extensions().get::<Peer>().copied() else {
        tracing::error!("a request came without the address of its sender");
        return Error::from(Refusal::Fault).into_response();
    };
    match guard.admit(peer, request.headers(), scope) {
        Ok(_grant) => next.run(request).await,
        Err(refusal) => Error::from(refusal).into_response(),
    }
}

/// Around everything: what is too large is refused, a fault of ours is an answer, and every answer bears the headers that
/// keep browsers from making more of it than it is.
pub async fn shield(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let of_platform = request.uri().path().starts_with(platform::ROOT);
    let mut response = match guard.bounded(request).await {
        Ok(request) => match AssertUnwindSafe(next.run(request)).catch_unwind().await {
            Ok(response) => response,
            Err(_panic) => {
                guard.metrics.panics.inc();
                Error::from(Refusal::Fault).into_response()
            }
        },
        Err(refusal) => Error::from(refusal).into_response(),
    };
    if of_platform {
        response = platform::in_platform_form(response).await;
    }
    add_headers(response.headers_mut(), guard.https);
    response
}

const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
/// What a resource does not say otherwise: nothing is loaded, run, or shown in a frame.
const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
/// Every answer is out of date a moment later, and is for whoever holds the key.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// Half a year.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=15768000");

fn add_headers(headers: &mut HeaderMap, https: bool) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(POLICY);
    headers.entry(header::CACHE_CONTROL).or_insert(NO_STORE);
    if https {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HSTS);
    }
}
