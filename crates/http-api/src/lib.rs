//! The resources of the HTTP API (`api`) and the platform's own API (`platform`). Reads the registry, never writes it. What
//! is between the network and the resources is the crate `serving`.
//!
//! Which module may name which is in the table of `tools/tree-rules/tests/layers.rs`.

mod api;
mod context;
mod fast_lookup;
mod frontend;
mod openapi;
mod platform;
mod router;

pub use self::api::devices::retained::retained_device;
pub use self::api::events::change_data;
pub use self::api::gauges::Gauges;
pub use self::api::summary::summary_text;
pub use self::context::{Context, ContextParts};
pub use self::frontend::{Frontend, FrontendError};

#[cfg(test)]
mod tests;
