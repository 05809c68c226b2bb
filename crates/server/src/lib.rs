//! What runs between the broker, the store and HTTP.
//!
//! ```text
//! mqtt -> sync -RawBatch-> ingest [formats -> merge -> registry] -> feed -> http-api
//!                                                             `-> persistence -> store
//! ```
//!
//! Which module may name which is in the table of `tools/tree-rules/tests/layers.rs`.

pub mod access;
pub mod clock;
pub mod feed;
pub mod freshness;
pub mod gauges;
pub mod health;
pub mod history;
pub mod http_settings;
pub mod ingest;
pub mod metrics;
pub mod pending_ack;
pub mod persistence;
pub mod read_through;
pub mod registry;
pub mod removal;
pub mod retention;
pub mod series;
pub mod sync;
