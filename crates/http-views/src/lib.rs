//! What the resources of the HTTP API have in common: devices and changes as they are shown (`devices`, `events`), what is read of
//! a request (`parameters`, `accept`), and where the answers come from (`context`). No resource is here: a changed line in one
//! builds none of this again.
//!
//! Which module may name which is in the table of `tools/tree-rules/tests/layers.rs`.

pub mod accept;
pub mod context;
mod describe;
pub mod devices;
pub mod events;
pub mod known;
pub mod metrics_format;
pub mod parameters;
pub mod stale;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
