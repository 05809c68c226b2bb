//! devstatus: which devices of an IoT fleet are connected, since when, and why the others are not. Here are the subcommands
//! and the wiring; the parts are the other crates of the workspace.
//!
//! Which module may name which is in the table of `tests/layers.rs`.

pub mod app;
pub mod client;
pub mod config;
pub mod demo;
pub mod exchange;
pub mod keys;
pub mod memory;
pub mod progress;
pub mod rules;
pub mod simulate;
pub mod sources;
