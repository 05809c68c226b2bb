//! The binary: the service and its API brought together. All that can be tested is in the crates of both, and a change of the
//! API builds and links nothing else.

use std::process::ExitCode;

/// Millions of small values live side by side for long: they take less room with it, and what a population needed for a moment
/// goes back to the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    service::command::run_given(http_api::api)
}
