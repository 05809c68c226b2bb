//! What runs between the broker, the store and HTTP.
//!
//! ```text
//! mqtt -> sync -RawBatch-> ingest [formats -> merge -> registry] -> feed -> http-api
//!                                                             `-> persistence -> store
//! ```
//!
//! The modules in reading order; each may name only those above it, and `tests/layers.rs` of `devstatus` holds that.

pub mod access;
pub mod clock;
pub mod feed;
pub mod freshness;
pub mod health;
pub mod history;
pub mod ingest;
pub mod metrics;
pub mod pending_ack;
pub mod persistence;
pub mod read_through;
pub mod registry;
pub mod removal;
pub mod retention;
pub mod sync;
