//! HTTP: the network side (`serving`), what is around every resource (`middleware`), the resources (`api`) and the
//! platform's own API (`platform`). Reads the registry, never writes it.
//!
//! Which module may name which is in the table of `tools/tree-rules/tests/layers.rs`.

mod api;
mod context;
mod error;
mod fast_lookup;
mod frontend;
mod middleware;
mod openapi;
mod platform;
mod router;
mod serving;

pub use self::api::devices::retained::retained_device;
pub use self::api::events::change_data;
pub use self::api::gauges::Gauges;
pub use self::api::summary::summary_text;
pub use self::context::{Context, ContextParts};
pub use self::frontend::{Frontend, FrontendError};

#[cfg(test)]
mod tests;
