//! The settings of those that ask a running service.

use super::NONE;
use crate::config::setting::{Setting, Spec, Verb};

/// Those that ask.
const CLIENT: &[Verb] = &[Verb::Get, Verb::List, Verb::Watch, Verb::Summary];
/// Those that show many devices.
const MANY: &[Verb] = &[Verb::List, Verb::Watch];
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
    Verb::List,
    Verb::Watch,
    Verb::Summary,
];
/// Those that check a certificate.
pub(super) const CERTIFIED: &[Verb] =
    &[Verb::Serve, Verb::Simulate, Verb::Get, Verb::List, Verb::Watch, Verb::Summary];

pub(super) const URL: Spec = Spec {
    setting: Setting::Url,
    long: Some("url"),
    value: Some("URL"),
    ini: Some("devstatus-url"),
    yaml: Some("devstatus.url"),
    default: Some("http://127.0.0.1:5000"),
    verbs: CLIENT,
    help: "The service to ask, http:// or https://",
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

pub(super) const JSON: Spec = Spec {
    setting: Setting::Json,
    long: Some("json"),
    verbs: CLIENT,
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

pub(super) const LIMIT: Spec = Spec {
    setting: Setting::Limit,
    long: Some("limit"),
    value: Some("N"),
    verbs: MANY,
    help: "End after that many devices or changes, 1 to 1000000000",
    ..NONE
};
