//! The settings of the HTTP server and of its API keys.

use super::{NONE, SERVE};
use crate::config::setting::{Setting, Spec, Verb};

/// Those who answer HTTP.
const HTTP: &[Verb] = &[Verb::Serve, Verb::Demo];
/// Those who read or write the keys.
const KEPT: &[Verb] = &[Verb::Serve, Verb::KeysCreate, Verb::KeysList, Verb::KeysRevoke];

pub(super) const LISTEN: Spec = Spec {
    setting: Setting::Listen,
    long: Some("listen"),
    value: Some("ADDR"),
    default: Some("127.0.0.1"),
    verbs: SERVE,
    help: "IP address to answer HTTP on",
    ..NONE
};

pub(super) const PORT: Spec = Spec {
    setting: Setting::Port,
    long: Some("port"),
    short: Some('p'),
    value: Some("PORT"),
    default: Some("5000"),
    verbs: HTTP,
    help: "Port to answer HTTP on; 0: any free port",
    ..NONE
};

pub(super) const KEYS_FILE: Spec = Spec {
    setting: Setting::KeysFile,
    long: Some("keys-file"),
    value: Some("FILE"),
    verbs: KEPT,
    help: "File with the API keys, read again when it changes; by default {state directory}/{organization}.keys; if it is there, every request needs a key, and one that is named must be there",
    ..NONE
};

pub(super) const ALLOW_ANONYMOUS: Spec = Spec {
    setting: Setting::AllowAnonymous,
    long: Some("allow-anonymous"),
    verbs: SERVE,
    help: "Answer requests without a key too; needed for another listen address than loopback while there is no key",
    ..NONE
};

pub(super) const TLS_CERT: Spec = Spec {
    setting: Setting::TlsCert,
    long: Some("tls-cert"),
    value: Some("FILE"),
    verbs: SERVE,
    help: "PEM file with the certificate for HTTPS and those that vouch for it, read again when it changes",
    ..NONE
};

pub(super) const TLS_KEY: Spec = Spec {
    setting: Setting::TlsKey,
    long: Some("tls-key"),
    value: Some("FILE"),
    verbs: SERVE,
    help: "PEM file with the private key of the certificate",
    ..NONE
};

pub(super) const TLS_CLIENT_CA: Spec = Spec {
    setting: Setting::TlsClientCa,
    long: Some("tls-client-ca"),
    value: Some("FILE"),
    verbs: SERVE,
    help: "PEM file with the authorities one of which must vouch for the certificate of every client",
    ..NONE
};

pub(super) const CORS_ORIGIN: Spec = Spec {
    setting: Setting::CorsOrigin,
    long: Some("cors-origin"),
    value: Some("ORIGIN"),
    repeatable: true,
    verbs: SERVE,
    help: "A web page that may read the answers, as https://host:port; may stand more than once, or be a list separated by commas",
    ..NONE
};

pub(super) const ALLOWED_HOST: Spec = Spec {
    setting: Setting::AllowedHost,
    long: Some("allowed-host"),
    value: Some("HOST"),
    repeatable: true,
    verbs: SERVE,
    help: "While loopback is open without keys, a host that requests may name besides localhost and loopback addresses, as a proxy on this machine passes it on; may stand more than once, or be a list separated by commas",
    ..NONE
};

pub(super) const TRUSTED_PROXY: Spec = Spec {
    setting: Setting::TrustedProxy,
    long: Some("trusted-proxy"),
    value: Some("NETWORK"),
    repeatable: true,
    verbs: SERVE,
    help: "Address or block of addresses (CIDR) of proxies that are believed when they say whose requests they pass on; may stand more than once, or be a list separated by commas",
    ..NONE
};

pub(super) const FORWARDED_HEADER: Spec = Spec {
    setting: Setting::ForwardedHeader,
    long: Some("forwarded-header"),
    value: Some("HEADER"),
    default: Some("X-Forwarded-For"),
    verbs: SERVE,
    help: "Header in which trusted proxies name the client: X-Forwarded-For or Forwarded; the other one is passed over",
    ..NONE
};

pub(super) const PROXY_PROTOCOL: Spec = Spec {
    setting: Setting::ProxyProtocol,
    long: Some("proxy-protocol"),
    verbs: SERVE,
    help: "Every connection of a trusted proxy begins with a header of the PROXY protocol, version 1 or 2",
    ..NONE
};

pub(super) const REQUESTS_PER_SECOND: Spec = Spec {
    setting: Setting::RequestsPerSecond,
    long: Some("requests-per-second"),
    value: Some("N"),
    default: Some("10000"),
    verbs: SERVE,
    help: "How often one API key may ask, or one address without a key (loopback: as often as it likes), 1 to 10000000",
    ..NONE
};

pub(super) const CONNECTIONS_MAX: Spec = Spec {
    setting: Setting::ConnectionsMax,
    long: Some("connections-max"),
    value: Some("N"),
    default: Some("10000"),
    verbs: SERVE,
    help: "Open connections of all clients, 1 to 1000000; idle ones are closed for new ones",
    ..NONE
};

pub(super) const CONNECTIONS_PER_ADDRESS: Spec = Spec {
    setting: Setting::ConnectionsPerAddress,
    long: Some("connections-per-address"),
    value: Some("N"),
    default: Some("256"),
    verbs: SERVE,
    help: "Open connections of one address (loopback: as many as it likes), 1 to 1000000; further ones are closed",
    ..NONE
};

pub(super) const SCOPES: Spec = Spec {
    setting: Setting::Scopes,
    long: Some("scopes"),
    value: Some("LIST"),
    default: Some("read"),
    verbs: &[Verb::KeysCreate],
    help: "What the key is good for, separated by commas: read (ask), events (follow the changes), admin (everything)",
    ..NONE
};

pub(super) const EXPIRES_DAYS: Spec = Spec {
    setting: Setting::ExpiresDays,
    long: Some("expires-days"),
    value: Some("DAYS"),
    verbs: &[Verb::KeysCreate],
    help: "Days for which the key is good, 1 to 36500; by default until it is revoked",
    ..NONE
};
