//! What is between the network and the resources of the HTTP API: connections and their limits (`network`), what is around
//! every resource (`middleware`), and every answer that is not what was asked for (`error`). Knows none of the resources.
//!
//! Which module may name which is in the table of `tools/tree-rules/tests/layers.rs`.

pub mod error;
pub mod middleware;
pub mod network;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

#[cfg(test)]
mod tests;
