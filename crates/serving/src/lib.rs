//! What is between the network and the resources of the HTTP API: connections and their limits (`network`), what is around
//! every resource (`middleware`), every answer that is not what was asked for (`error`), and all of it together (`frontend`).
//! Knows the resources by one trait (`api`).
//!
//! Which module may name which is in the table of `tools/tree-rules/tests/layers.rs`.

pub mod api;
pub mod error;
pub mod frontend;
pub mod middleware;
pub mod network;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

#[cfg(test)]
mod tests;
