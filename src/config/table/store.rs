//! The settings of the store, and of what goes into it and comes out of it as text.

use super::{NONE, SERVE};
use crate::config::setting::{Setting, Spec, Verb};

/// Those that a store must be found for.
const KEPT: &[Verb] = &[Verb::Serve, Verb::Export, Verb::Import];

pub const STORE: Spec = Spec {
    setting: Setting::Store,
    long: Some("store"),
    value: Some("URL"),
    help: "Where statuses outlive the process: sqlite:PATH, memory: for nowhere, or, shared by several instances, postgres:// or valkey:// with login and hosts; by default sqlite:{state directory}/{organization}.db",
    verbs: KEPT,
    ..NONE
};

pub const STORE_SCHEMA: Spec = Spec {
    setting: Setting::StoreSchema,
    long: Some("store-schema"),
    value: Some("NAME"),
    help: "Schema of the database, or prefix of the keys of the grid; by default devstatus_{organization}",
    verbs: KEPT,
    ..NONE
};

pub const STORE_PASSWORD_FILE: Spec = Spec {
    setting: Setting::StorePasswordFile,
    long: Some("store-password-file"),
    value: Some("FILE"),
    help: "File with the password of the store's login on its only line, instead of one in the URL",
    verbs: KEPT,
    ..NONE
};

pub const STORE_CA_FILE: Spec = Spec {
    setting: Setting::StoreCaFile,
    long: Some("store-ca-file"),
    value: Some("FILE"),
    default: Some("_os_"),
    help: "PEM file with the certificates to trust of a store reached over TLS; _os_: the system's trust store",
    verbs: KEPT,
    ..NONE
};

pub const FLUSH_INTERVAL: Spec = Spec {
    setting: Setting::FlushInterval,
    long: Some("flush-interval-ms"),
    value: Some("MS"),
    default: Some("200"),
    help: "Longest time between a change and its being kept, 1 to 3600000 ms",
    verbs: SERVE,
    ..NONE
};

pub const FORGET_AFTER: Spec = Spec {
    setting: Setting::ForgetAfter,
    long: Some("forget-after"),
    value: Some("DAYS"),
    help: "Days after which a device that stays disconnected is dropped, 1 to 36500; by default never",
    verbs: SERVE,
    ..NONE
};

pub const HISTORY_DAYS: Spec = Spec {
    setting: Setting::HistoryDays,
    long: Some("history-days"),
    value: Some("DAYS"),
    default: Some("45"),
    help: "Days for which an event of a device is kept, 1 to 36500",
    verbs: SERVE,
    ..NONE
};

pub const HISTORY_PER_DEVICE: Spec = Spec {
    setting: Setting::HistoryPerDevice,
    long: Some("history-per-device"),
    value: Some("N"),
    default: Some("1000"),
    help: "Events that are kept of one device, 1 to 100000",
    verbs: SERVE,
    ..NONE
};

pub const MAP_LIMIT: Spec = Spec {
    setting: Setting::MapLimit,
    long: Some("map-limit"),
    value: Some("DEVICES"),
    help: "Devices held in memory beside those that wait to be written, 1 to 4000000000; the others are read from the store when they are asked for. By default all are held",
    verbs: SERVE,
    ..NONE
};

pub const FILE: Spec = Spec {
    setting: Setting::File,
    long: Some("file"),
    value: Some("FILE"),
    verbs: &[Verb::Export, Verb::Import],
    help: "File to export to or import from; by default standard output or input",
    ..NONE
};

pub const FORMAT: Spec = Spec {
    setting: Setting::Format,
    long: Some("format"),
    value: Some("FORMAT"),
    default: Some("jsonl"),
    verbs: &[Verb::Export],
    help: "Form of an export: jsonl (JSON Lines, which an import reads), csv, or csv-spreadsheet, where what would be a formula is escaped",
    ..NONE
};
