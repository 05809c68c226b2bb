//! The settings of those that ask a running service.

use super::NONE;
use crate::config::setting::{Setting, Spec, Verb};

/// Those that ask.
const CLIENT: &[Verb] = &[Verb::Get, Verb::Forget, Verb::List, Verb::Watch, Verb::Summary];
/// Those that show an answer.
const SHOWING: &[Verb] = &[Verb::Get, Verb::List, Verb::Watch, Verb::Summary];
/// Those that ask, or want to know whether a service has taken a change.
const ASKING: &[Verb] = &[Verb::Get, Verb::Forget, Verb::List, Verb::Watch, Verb::Summary, Verb::KeysRevoke];
/// Those that show many devices.
const MANY: &[Verb] = &[Verb::List, Verb::Watch];
/// Those that show them in an order.
const LISTS: &[Verb] = &[Verb::List];
/// Those that read a settings file.
pub(super) const CONFIGURED: &[Verb] = &[
    Verb::Serve,
    Verb::Simulate,
    Verb::Export,
    Verb::Import,
    Verb::KeysCreate,
    Verb::KeysList,
    Verb::KeysRevoke,
    Verb::Get,
    Verb::Forget,
    Verb::List,
    Verb::Watch,
    Verb::Summary,
];
/// Those that check a certificate.
pub(super) const CERTIFIED: &[Verb] = &[
    Verb::Serve,
    Verb::Simulate,
    Verb::Get,
    Verb::Forget,
    Verb::List,
    Verb::Watch,
    Verb::Summary,
    Verb::KeysRevoke,
];

pub(super) const URL: Spec = Spec {
    setting: Setting::Url,
    long: Some("url"),
    value: Some("URL"),
    ini: Some("devstatus-url"),
    yaml: Some("devstatus.url"),
    default: Some("http://127.0.0.1:5000"),
    verbs: ASKING,
    help: "The service to ask, http:// or https://; keys revoke fails if the service that is named here does not confirm",
    ..NONE
};

pub(super) const API_KEY: Spec = Spec {
    setting: Setting::ApiKey,
    long: Some("api-key"),
    value: Some("KEY"),
    ini: Some("devstatus-api-key"),
    yaml: Some("devstatus.apiKey"),
    verbs: CLIENT,
    help: "API key to ask with, the id.secret that keys create shows as bearer; --api-key-file is the safer way",
    ..NONE
};

pub(super) const API_KEY_FILE: Spec = Spec {
    setting: Setting::ApiKeyFile,
    long: Some("api-key-file"),
    value: Some("FILE"),
    ini: Some("devstatus-api-key-file"),
    yaml: Some("devstatus.apiKeyFile"),
    verbs: CLIENT,
    help: "File with the API key to ask with on its only line",
    ..NONE
};

pub(super) const TLS_CLIENT_CERT: Spec = Spec {
    setting: Setting::TlsClientCert,
    long: Some("tls-client-cert"),
    value: Some("FILE"),
    ini: Some("devstatus-tls-client-cert"),
    yaml: Some("devstatus.tlsClientCert"),
    verbs: ASKING,
    help: "PEM file with the certificate to show to a service that asks for one, and those that vouch for it",
    ..NONE
};

pub(super) const TLS_CLIENT_KEY: Spec = Spec {
    setting: Setting::TlsClientKey,
    long: Some("tls-client-key"),
    value: Some("FILE"),
    ini: Some("devstatus-tls-client-key"),
    yaml: Some("devstatus.tlsClientKey"),
    verbs: ASKING,
    help: "PEM file with the private key of that certificate",
    ..NONE
};

pub(super) const JSON: Spec = Spec {
    setting: Setting::Json,
    long: Some("json"),
    verbs: SHOWING,
    help: "Show JSON, of many devices a line each, instead of aligned text",
    ..NONE
};

pub(super) const TYPE: Spec = Spec {
    setting: Setting::Type,
    long: Some("type"),
    value: Some("TYPE"),
    repeatable: true,
    verbs: MANY,
    help: "Only devices of this type; may stand more than once, or be a list separated by commas",
    ..NONE
};

pub(super) const ID_PREFIX: Spec = Spec {
    setting: Setting::IdPrefix,
    long: Some("id-prefix"),
    value: Some("TEXT"),
    verbs: MANY,
    help: "Only devices whose id begins so",
    ..NONE
};

pub(super) const STATUS: Spec = Spec {
    setting: Setting::Status,
    long: Some("status"),
    value: Some("STATUS"),
    verbs: MANY,
    help: "Only devices that are connected, or disconnected",
    ..NONE
};

pub(super) const CLOSE_CODE: Spec = Spec {
    setting: Setting::CloseCode,
    long: Some("close-code"),
    value: Some("N"),
    verbs: MANY,
    help: "Only devices that are disconnected for this reason, 0 to 65535",
    ..NONE
};

pub(super) const ADDRESS: Spec = Spec {
    setting: Setting::Address,
    long: Some("address"),
    value: Some("ADDR"),
    verbs: MANY,
    help: "Only devices that connected from this address or block, as in 192.0.2.0/24",
    ..NONE
};

pub(super) const SINCE: Spec = Spec {
    setting: Setting::Since,
    long: Some("since"),
    value: Some("TIME"),
    verbs: LISTS,
    help: "Only devices with a status decided then or later, as in 2026-11-24T12:00:00Z",
    ..NONE
};

pub(super) const UNTIL: Spec = Spec {
    setting: Setting::Until,
    long: Some("until"),
    value: Some("TIME"),
    verbs: LISTS,
    help: "Only devices with a status decided before",
    ..NONE
};

pub(super) const SORT: Spec = Spec {
    setting: Setting::Sort,
    long: Some("sort"),
    value: Some("ORDER"),
    default: Some("id"),
    verbs: LISTS,
    help: "id (by type, then id) or since (by the time of the status); -id or -since: from the end",
    ..NONE
};

pub(super) const SNAPSHOT: Spec = Spec {
    setting: Setting::Snapshot,
    long: Some("snapshot"),
    verbs: &[Verb::Watch],
    help: "Show every device first, then what changes",
    ..NONE
};

pub(super) const LIMIT: Spec = Spec {
    setting: Setting::Limit,
    long: Some("limit"),
    value: Some("N"),
    verbs: MANY,
    help: "End after that many devices or changes, 1 to 1000000000",
    ..NONE
};
