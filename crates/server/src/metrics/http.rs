//! What is counted of the HTTP server: what it refuses, whom it cuts off, what it could not read again.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::ReasonLabel;

/// Why a request is refused, each answered with its own status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedRequest {
    MissingKey,
    MalformedCredentials,
    UnknownKey,
    WrongSecret,
    ExpiredKey,
    Scope,
    KeyRate,
    AddressRate,
    FailureRate,
    UrlTooLong,
    HeadersTooLarge,
    BodyTooLarge,
    SlowBody,
    SlowHeaders,
    Malformed,
    BadHost,
    OtherHost,
    CrossOrigin,
    ConnectionsMax,
    RequestMemory,
    AnswerMemory,
}

impl RefusedRequest {
    pub const ALL: [RefusedRequest; 21] = [
        RefusedRequest::MissingKey,
        RefusedRequest::MalformedCredentials,
        RefusedRequest::UnknownKey,
        RefusedRequest::WrongSecret,
        RefusedRequest::ExpiredKey,
        RefusedRequest::Scope,
        RefusedRequest::KeyRate,
        RefusedRequest::AddressRate,
        RefusedRequest::FailureRate,
        RefusedRequest::UrlTooLong,
        RefusedRequest::HeadersTooLarge,
        RefusedRequest::BodyTooLarge,
        RefusedRequest::SlowBody,
        RefusedRequest::SlowHeaders,
        RefusedRequest::Malformed,
        RefusedRequest::BadHost,
        RefusedRequest::OtherHost,
        RefusedRequest::CrossOrigin,
        RefusedRequest::ConnectionsMax,
        RefusedRequest::RequestMemory,
        RefusedRequest::AnswerMemory,
    ];

    pub fn reason(self) -> &'static str {
        match self {
            RefusedRequest::MissingKey => "missing_key",
            RefusedRequest::MalformedCredentials => "malformed_credentials",
            RefusedRequest::UnknownKey => "unknown_key",
            RefusedRequest::WrongSecret => "wrong_secret",
            RefusedRequest::ExpiredKey => "expired_key",
            RefusedRequest::Scope => "scope",
            RefusedRequest::KeyRate => "key_rate",
            RefusedRequest::AddressRate => "address_rate",
            RefusedRequest::FailureRate => "failure_rate",
            RefusedRequest::UrlTooLong => "url_too_long",
            RefusedRequest::HeadersTooLarge => "headers_too_large",
            RefusedRequest::BodyTooLarge => "body_too_large",
            RefusedRequest::SlowBody => "slow_body",
            RefusedRequest::SlowHeaders => "slow_headers",
            RefusedRequest::Malformed => "malformed",
            RefusedRequest::BadHost => "bad_host",
            RefusedRequest::OtherHost => "other_host",
            RefusedRequest::CrossOrigin => "cross_origin",
            RefusedRequest::ConnectionsMax => "connections_max",
            RefusedRequest::RequestMemory => "request_memory",
            RefusedRequest::AnswerMemory => "answer_memory",
        }
    }
}

/// Why a connection is closed without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutConnection {
    TlsHandshake,
    SlowTlsHandshake,
    TooManyOfAddress,
    SlowReader,
    /// It was idle, and others needed its place.
    GaveWay,
    /// A trusted proxy did not begin it with a header of the PROXY protocol.
    ProxyProtocol,
    /// Its client has given up too many requests in a short time.
    ResetFlood,
}

impl CutConnection {
    pub const ALL: [CutConnection; 7] = [
        CutConnection::TlsHandshake,
        CutConnection::SlowTlsHandshake,
        CutConnection::TooManyOfAddress,
        CutConnection::SlowReader,
        CutConnection::GaveWay,
        CutConnection::ProxyProtocol,
        CutConnection::ResetFlood,
    ];

    pub fn reason(self) -> &'static str {
        match self {
            CutConnection::TlsHandshake => "tls_handshake",
            CutConnection::SlowTlsHandshake => "slow_tls_handshake",
            CutConnection::TooManyOfAddress => "too_many_of_address",
            CutConnection::SlowReader => "slow_reader",
            CutConnection::GaveWay => "idle",
            CutConnection::ProxyProtocol => "proxy_protocol",
            CutConnection::ResetFlood => "reset_flood",
        }
    }
}

/// Files that are read again when they change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadTarget {
    Keys,
    Tls,
}

impl ReloadTarget {
    pub const ALL: [ReloadTarget; 2] = [ReloadTarget::Keys, ReloadTarget::Tls];

    pub fn what(self) -> &'static str {
        match self {
            ReloadTarget::Keys => "keys",
            ReloadTarget::Tls => "tls",
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct WhatLabel {
    pub what: &'static str,
}

/// Cloning shares them. Every label is there from the start, so that a rate over it begins at 0.
#[derive(Clone, Debug)]
pub struct HttpMetrics {
    refused_requests: Family<ReasonLabel, Counter>,
    cut_connections: Family<ReasonLabel, Counter>,
    reload_failures: Family<WhatLabel, Counter>,
    /// Requests that ended in a fault of ours, answered with 500, or broken off where the answer had begun.
    pub panics: Counter,
    /// Open connections.
    pub connections: Gauge,
}

impl Default for HttpMetrics {
    fn default() -> Self {
        let metrics = Self {
            refused_requests: Family::default(),
            cut_connections: Family::default(),
            reload_failures: Family::default(),
            panics: Counter::default(),
            connections: Gauge::default(),
        };
        for refused in RefusedRequest::ALL {
            drop(metrics.refused_requests.get_or_create(&ReasonLabel { reason: refused.reason() }));
        }
        for cut in CutConnection::ALL {
            drop(metrics.cut_connections.get_or_create(&ReasonLabel { reason: cut.reason() }));
        }
        for reloaded in ReloadTarget::ALL {
            drop(metrics.reload_failures.get_or_create(&WhatLabel { what: reloaded.what() }));
        }
        metrics
    }
}

impl HttpMetrics {
    pub fn refused(&self, why: RefusedRequest) {
        self.refused_requests.get_or_create(&ReasonLabel { reason: why.reason() }).inc();
    }

    pub fn cut(&self, why: CutConnection) {
        self.cut_connections.get_or_create(&ReasonLabel { reason: why.reason() }).inc();
    }

    pub fn reload_failed(&self, what: ReloadTarget) {
        self.reload_failures.get_or_create(&WhatLabel { what: what.what() }).inc();
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let r = registry.sub_registry_with_prefix("http");
        r.register("requests_refused", "Requests refused, by reason", self.refused_requests.clone());
        r.register(
            "connections_cut",
            "Connections closed without an answer, by reason",
            self.cut_connections.clone(),
        );
        r.register(
            "reload_failures",
            "Changed files that could not be used, so that their earlier content stays in force",
            self.reload_failures.clone(),
        );
        r.register(
            "panics",
            "Requests that ended in an internal error: answered with 500, or broken off",
            self.panics.clone(),
        );
        r.register("connections", "Open connections", self.connections.clone());
    }
}
