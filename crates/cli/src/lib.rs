//! The command line: the settings of every subcommand (`config`), and the subcommands that run no service. What runs one,
//! `serve` and `demo`, is in `devstatus`.
//!
//! Which module may name which is in the table of `tools/tree-rules/tests/layers.rs`.

pub mod client;
pub mod config;
pub mod exchange;
pub mod keys;
pub mod rules;
pub mod simulate;
pub mod sources;
