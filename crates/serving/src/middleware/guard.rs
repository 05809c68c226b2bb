//! Whether a request is answered at all: its size, its key, how often its sender asks; and the headers that every answer
//! bears. The resources know nothing of it: each is in a group that needs a scope.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::time::timeout;

use super::credentials::{ClientIdentity, Credentials};
use super::origin::{self, BadHost};
use super::platform_form;
use super::sessions::{self, LIFETIME, LoginSession, Sessions};
use crate::error::Error;
use crate::error::refusal::RequestRefusal;
use crate::network::places::Use;
use crate::network::proxy::TrustedProxies;
use crate::network::requests::{Multiplexed, Peer};
use crate::network::room::{
    ANSWERS_MAX_BYTES, BodyError, Full, REQUESTS_MAX_BYTES, Room, SMALL_ANSWER_BYTES, WholeBody,
};
use presence::UnixSeconds;
use server::access::{
    AddressThrottle, Digest, FileContent, Grant, HeldKey, KeyRefusal, Keyring, Rate, Scope, Scopes,
};
use server::clock;
use server::http_settings::{AllowedHost, HttpSettings};
use server::metrics::{HttpMetrics, RefusedRequest};

/// The longest path and query: a lookup needs a hundred bytes, a list with every filter some hundreds.
const URL_MAX_BYTES: usize = 8 * 1024;
/// Headers of one request; browsers send one or two kilobytes. Beyond twice as much the connection stops reading.
const HEADERS_MAX_BYTES: usize = 16 * 1024;
/// The largest body is a lookup of a thousand devices, whose names may be long.
const BODY_MAX_BYTES: usize = 1 << 20;
/// From the end of the headers to the end of the body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests with a wrong key, or without the key that is needed, that one address has: nobody guesses 190 bits, but each
/// costs a hash and an answer.
const FAILURES: Rate = Rate::new(10, 100);
/// Answered whatever host is named: it says nothing but that the process lives, and who does not hear that ends it.
const LIVENESS: &str = "/livez";
/// Answered even if all places for connections are taken.
const HEALTH: [&str; 3] = [LIVENESS, "/readyz", "/metrics"];
/// What a name and a value cost beside their own bytes: a colon, a space and a line end.
const HEADER_EXTRA_BYTES: usize = 4;

/// What a request may do, and until when if that is by a login.
pub struct LoggedIn {
    pub grant: Grant,
    pub expires_at: Option<UnixSeconds>,
}

/// What decides on all requests.
#[derive(Debug)]
pub struct Guard {
    pub keyring: Keyring,
    /// Of the keys file whose keys are in force.
    keys_file_sha256: Mutex<Option<Digest>>,
    sessions: Sessions,
    allow_anonymous: bool,
    rate: Rate,
    addresses: AddressThrottle,
    failures: AddressThrottle,
    /// What the throttles count from.
    started: Instant,
    pub https: bool,
    /// Only this machine can reach the service.
    on_loopback: bool,
    allowed_hosts: Vec<AllowedHost>,
    cors_origins: Vec<String>,
    room: Room,
    pub proxies: TrustedProxies,
    pub metrics: HttpMetrics,
}

impl Guard {
    pub fn new(settings: &HttpSettings, metrics: HttpMetrics) -> Self {
        Self {
            keyring: Keyring::default(),
            keys_file_sha256: Mutex::default(),
            sessions: Sessions::default(),
            allow_anonymous: settings.allow_anonymous,
            // A burst of one second's worth: a client may ask for a page of devices at once and then rest.
            rate: Rate::new(settings.requests_per_second, settings.requests_per_second),
            addresses: AddressThrottle::default(),
            failures: AddressThrottle::default(),
            started: Instant::now(),
            https: settings.tls.is_some(),
            on_loopback: settings.listen.to_canonical().is_loopback(),
            allowed_hosts: settings.allowed_hosts.clone(),
            cors_origins: settings.cors_origins.clone(),
            proxies: TrustedProxies::new(settings),
            room: Room::new(REQUESTS_MAX_BYTES, ANSWERS_MAX_BYTES),
            metrics,
        }
    }

    /// Puts the keys of a file in force; says whether it is another file than before.
    pub fn put_in_force(&self, content: FileContent) -> bool {
        let mut sha256 = self.keys_file_sha256.lock();
        if *sha256 == Some(content.sha256) {
            return false;
        }
        self.keyring.replace(content.keys.clone());
        self.sessions.keep_those_of(&content.keys);
        *sha256 = Some(content.sha256);
        true
    }

    /// The SHA-256 of the keys file whose keys are in force.
    pub fn keys_file_sha256(&self) -> Option<Digest> {
        *self.keys_file_sha256.lock()
    }

    /// What the request may do, if it may do that.
    pub fn admit(
        &self,
        peer: IpAddr,
        request: &impl ClientIdentity,
        scope: Scope,
    ) -> Result<Grant, RequestRefusal> {
        let grant = self.identify(peer, request)?;
        if !grant.allows(scope) {
            self.metrics.refused(RefusedRequest::Scope);
            let scope = scope.word();
            return Err(match grant {
                Grant::Key(_) => RequestRefusal::Forbidden { scope },
                Grant::Anonymous(_) => RequestRefusal::KeyNeeded { scope },
            });
        }
        Ok(grant)
    }

    fn identify(&self, peer: IpAddr, request: &impl ClientIdentity) -> Result<Grant, RequestRefusal> {
        // Where no keys are in use, what a proxy before this service has checked for itself is passed over.
        if !self.keyring.is_in_use() {
            return self.anonymous(peer);
        }
        match request.credentials() {
            Ok(None) => match self.session(request) {
                Some(LoginSession { key, .. }) => self.counted(key),
                None if self.allow_anonymous => self.anonymous(peer),
                None => Err(self.failed(peer, RefusedRequest::MissingKey)),
            },
            Ok(Some(credentials)) => {
                let checked = self.keyring.check(&credentials.id, &credentials.secret, clock::now());
                self.counted(checked.map_err(|denied| self.failed(peer, refused(denied)))?)
            }
            Err(_malformed) => Err(self.failed(peer, RefusedRequest::MalformedCredentials)),
        }
    }

    /// One request more with a key.
    fn counted(&self, key: Arc<HeldKey>) -> Result<Grant, RequestRefusal> {
        let taken = key.take(self.rate, self.started.elapsed());
        taken.map_err(|wait| self.too_often(RefusedRequest::KeyRate, wait))?;
        Ok(Grant::Key(key))
    }

    /// The login that the cookie stands for.
    fn session(&self, request: &impl ClientIdentity) -> Option<LoginSession> {
        let session = self.sessions.find(request.session_token()?, self.started.elapsed())?;
        (!session.key.key.is_expired(clock::now())).then_some(session)
    }

    /// Logs a browser in with the key that the request carries; `None` for the cookie: no key is needed.
    pub fn log_in(
        &self,
        peer: IpAddr,
        headers: &HeaderMap,
    ) -> Result<(LoggedIn, Option<HeaderValue>), RequestRefusal> {
        if self.keyring.is_in_use() && !headers.contains_key(header::AUTHORIZATION) {
            return Err(self.failed(peer, RefusedRequest::MissingKey));
        }
        let grant = self.identify(peer, headers)?;
        let Grant::Key(key) = &grant else { return Ok((LoggedIn { grant, expires_at: None }, None)) };
        let token = self.sessions.open(Arc::clone(key), self.started.elapsed());
        let token = token.map_err(|_no_entropy| RequestRefusal::Internal)?;
        // The key can have been revoked since it was checked, and what is revoked later ends its sessions.
        let credentials = Credentials::of(headers).ok().flatten();
        let check = |sent: Credentials<'_>| self.keyring.check(&sent.id, &sent.secret, clock::now());
        if credentials.is_none_or(|sent| check(sent).is_err()) {
            self.sessions.close(&token);
            return Err(self.unauthorized(RefusedRequest::UnknownKey));
        }
        let expires_at = Some(self.expiry(key, LIFETIME));
        Ok((LoggedIn { grant, expires_at }, Some(sessions::cookie(&token))))
    }

    /// What the request may do, and until when if that is by a login.
    pub fn logged_in(&self, peer: IpAddr, headers: &HeaderMap) -> Result<LoggedIn, RequestRefusal> {
        let grant = self.identify(peer, headers)?;
        let by_cookie = matches!(grant, Grant::Key(_)) && !headers.contains_key(header::AUTHORIZATION);
        let session = by_cookie.then(|| self.session(headers)).flatten();
        let expires_at = session
            .map(|LoginSession { key, ends }| self.expiry(&key, ends.saturating_sub(self.started.elapsed())));
        Ok(LoggedIn { grant, expires_at })
    }

    /// A login ends with its key at the latest.
    fn expiry(&self, key: &HeldKey, remaining: Duration) -> UnixSeconds {
        let remaining = u32::try_from(remaining.as_secs()).unwrap_or(u32::MAX);
        let end = UnixSeconds(clock::now().0.saturating_add(remaining));
        key.key.expires_at.map_or(end, |expiry| expiry.min(end))
    }

    pub fn log_out(&self, headers: &HeaderMap) {
        if let Some(token) = sessions::token(headers) {
            self.sessions.close(token);
        }
    }

    /// On loopback there may be a proxy, whose clients would share one address.
    fn anonymous(&self, peer: IpAddr) -> Result<Grant, RequestRefusal> {
        if !peer.to_canonical().is_loopback() {
            let taken = self.addresses.take(peer, self.rate, self.started.elapsed());
            taken.map_err(|wait| self.too_often(RefusedRequest::AddressRate, wait))?;
        }
        Ok(Grant::Anonymous(Scopes::read_only().with(Scope::Events)))
    }

    /// No key, or no valid one. Here loopback counts too: a client with a key is let in whatever others try.
    fn failed(&self, peer: IpAddr, why: RefusedRequest) -> RequestRefusal {
        match self.failures.take(peer, FAILURES, self.started.elapsed()) {
            Ok(()) => self.unauthorized(why),
            Err(wait) => self.too_often(RefusedRequest::FailureRate, wait),
        }
    }

    fn unauthorized(&self, why: RefusedRequest) -> RequestRefusal {
        self.metrics.refused(why);
        RequestRefusal::Unauthorized
    }

    fn too_often(&self, why: RefusedRequest, wait: Duration) -> RequestRefusal {
        self.metrics.refused(why);
        RequestRefusal::TooManyRequests { wait }
    }

    /// Refuses what can be refused by the head of a request, before anything else is read.
    pub fn check_head(&self, parts: &Parts) -> Result<(), RequestRefusal> {
        let url = parts.uri.path_and_query().map_or(0, |url| url.as_str().len());
        if url > URL_MAX_BYTES {
            return Err(self.refused(RefusedRequest::UrlTooLong, RequestRefusal::UrlTooLong));
        }
        let headers = parts.headers.iter();
        let bytes: usize =
            headers.map(|(name, value)| name.as_str().len() + value.len() + HEADER_EXTRA_BYTES).sum();
        if bytes > HEADERS_MAX_BYTES {
            return Err(self.refused(RefusedRequest::HeadersTooLarge, RequestRefusal::HeadersTooLarge));
        }
        self.check_origin(parts)?;
        let is_reserved = parts.extensions.get::<Use>() == Some(&Use::HealthOnly);
        if is_reserved && !HEALTH.contains(&parts.uri.path()) {
            return Err(self.refused(RefusedRequest::ConnectionsMax, RequestRefusal::TooManyConnections));
        }
        Ok(())
    }

    /// The whole body of a request, if it is neither too large nor too slow.
    async fn read_body(&self, body: Body) -> Result<WholeBody, RequestRefusal> {
        if body.size_hint().lower() > BODY_MAX_BYTES as u64 {
            return Err(self.refused(RefusedRequest::BodyTooLarge, RequestRefusal::BodyTooLarge));
        }
        let (why, refusal) = match timeout(BODY_TIMEOUT, self.room.read(body, BODY_MAX_BYTES)).await {
            Ok(Ok(whole)) => return Ok(whole),
            Ok(Err(BodyError::TooLarge)) => (RefusedRequest::BodyTooLarge, RequestRefusal::BodyTooLarge),
            Ok(Err(BodyError::Broken)) => (RefusedRequest::Malformed, RequestRefusal::BrokenBody),
            Ok(Err(BodyError::Full)) => (RefusedRequest::RequestMemory, RequestRefusal::Overloaded),
            Err(_elapsed) => (RefusedRequest::SlowBody, RequestRefusal::SlowRequest),
        };
        Err(self.refused(why, refusal))
    }

    /// Refuses what a web page must not do: read the answers of a service that is open to this machine by a name of the
    /// page's own, or change anything from another origin.
    fn check_origin(&self, parts: &Parts) -> Result<(), RequestRefusal> {
        let host = origin::named_host(parts)
            .map_err(|BadHost| self.refused(RefusedRequest::BadHost, RequestRefusal::BadHost))?;
        if parts.uri.path() != LIVENESS && host.is_some_and(|host| !self.answers_name(host)) {
            return Err(self.refused(RefusedRequest::OtherHost, RequestRefusal::OtherHost));
        }
        if origin::is_cross_origin_change(&parts.method, &parts.headers, &self.cors_origins) {
            return Err(self.refused(RefusedRequest::CrossOrigin, RequestRefusal::CrossOrigin));
        }
        Ok(())
    }

    /// Whether requests with this `Host` are answered.
    pub fn answers_host(&self, field: &str) -> bool {
        origin::host_and_port(field).is_ok_and(|(host, _port)| self.answers_name(host))
    }

    /// A service that is open to this machine answers to its own names only.
    fn answers_name(&self, host: &str) -> bool {
        let is_open = self.on_loopback && (self.allow_anonymous || !self.keyring.is_in_use());
        !is_open || origin::is_allowed(host, &self.allowed_hosts)
    }

    fn refused(&self, why: RefusedRequest, refusal: RequestRefusal) -> RequestRefusal {
        self.metrics.refused(why);
        refusal
    }
}

fn refused(denied: KeyRefusal) -> RefusedRequest {
    match denied {
        KeyRefusal::UnknownKey => RefusedRequest::UnknownKey,
        KeyRefusal::WrongSecret => RefusedRequest::WrongSecret,
        KeyRefusal::Expired => RefusedRequest::ExpiredKey,
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
        return Error::from(RequestRefusal::Internal).into_response();
    };
    let client = guard.proxies.client(peer, request.headers());
    match guard.admit(client, request.headers(), scope) {
        Ok(_grant) => next.run(request).await,
        Err(refusal) => Error::from(refusal).into_response(),
    }
}

/// Around the resources that take a body: a request that gets so far is allowed, so the body is read.
pub async fn with_body(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match guard.read_body(body).await {
        Ok(WholeBody { bytes, room }) => {
            let response = next.run(Request::from_parts(parts, Body::from(bytes))).await;
            drop(room);
            response
        }
        Err(refusal) => Error::from(refusal).into_response(),
    }
}

/// Around everything: what is too large is refused, a fault of ours is an answer, and every answer has the headers that
/// keep browsers from making more of it than it is.
pub async fn shield(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let of_platform = request.uri().path().starts_with(platform_form::ROOT);
    let (parts, body) = request.into_parts();
    let by_script = origin::is_sent_by_script(&parts.headers);
    let is_one_of_many = parts.extensions.get::<Multiplexed>().is_some();
    let response = match guard.check_head(&parts).map(|()| Request::from_parts(parts, body)) {
        Ok(request) => match AssertUnwindSafe(next.run(request)).catch_unwind().await {
            Ok(response) => response,
            Err(_panic) => {
                guard.metrics.panics.inc();
                Error::from(RequestRefusal::Internal).into_response()
            }
        },
        Err(refusal) => Error::from(refusal).into_response(),
    };
    let uncounted_bytes = if is_one_of_many { 0 } else { SMALL_ANSWER_BYTES };
    let mut response = guard.room.hold(response, uncounted_bytes).unwrap_or_else(|Full| {
        Error::from(guard.refused(RefusedRequest::AnswerMemory, RequestRefusal::Overloaded)).into_response()
    });
    if of_platform {
        response = platform_form::in_platform_form(response);
    }
    add_headers(response.headers_mut(), guard.https);
    if by_script {
        challenge_script(response.headers_mut());
    }
    response
}

const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
/// What a resource does not say otherwise: nothing is loaded, run, or shown in a frame.
const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
/// Every answer is out of date a moment later, and is for the holder of the key.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const BEARER: HeaderValue = HeaderValue::from_static(r#"Bearer realm="devstatus""#);
/// Half a year.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=15768000");

/// A browser would ask for a password by itself, and the script would wait for the answer; the page has a login of its own.
pub fn challenge_script(headers: &mut HeaderMap) {
    if headers.remove(header::WWW_AUTHENTICATE).is_some() {
        headers.insert(header::WWW_AUTHENTICATE, BEARER);
    }
}

pub fn add_headers(headers: &mut HeaderMap, https: bool) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(POLICY);
    headers.entry(header::CACHE_CONTROL).or_insert(NO_STORE);
    if https {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HSTS);
    }
}
