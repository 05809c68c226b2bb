//! devstatus: which devices of an IoT fleet are connected, since when, and why the others are not.
//!
//! ```text
//! broker -> source -RawBatch-> ingest[decode -> merge -> map] -> http (REST, health, metrics)
//! ```
//!
//! The modules in reading order; each may name only those above it, and `tests/layers.rs` holds that.

pub mod access;
pub mod app;
pub mod client;
pub mod clock;
pub mod config;
pub mod demo;
pub mod descriptors;
pub mod exchange;
pub mod feed;
pub mod files;
pub mod fleet;
pub mod freshness;
pub mod health;
pub mod history;
pub mod http;
pub mod ingest;
pub mod keys;
pub mod map;
pub mod memory;
pub mod metrics;
pub mod progress;
pub mod recall;
pub mod receipt;
pub mod removal;
pub mod retention;
pub mod secret;
pub mod simulate;
pub mod source;
pub mod store;
pub mod tls;
