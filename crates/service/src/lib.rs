//! devstatus: which devices of an IoT fleet are connected, since when, and why the others are not. Here is the wiring of the
//! service and of the demo; the settings and the other subcommands are in `cli`, the parts in the other crates of the workspace.
//!
//! Which module may name which is in the table of `tools/tree-rules/tests/layers.rs`.

pub mod app;
pub mod command;
pub mod demo;
pub mod hide_secrets;
pub mod log;
pub mod memory;
pub mod progress;
