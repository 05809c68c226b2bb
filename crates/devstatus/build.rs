//! How the program, and the tests of it, are linked in development, after each changed line: what nothing uses stays, and equal
//! texts are not merged. Both take the linker time and save only room.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|given| given == value);
    if is("PROFILE", "debug") && is("CARGO_CFG_TARGET_OS", "linux") {
        println!("cargo:rustc-link-arg=-Wl,--no-gc-sections,-O0");
    }
}
