//! Which hosts are this machine.

use std::net::IpAddr;

/// Whether nothing that goes to the host leaves this machine.
pub fn is_loopback(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_name) => host == "localhost" || host.ends_with(".localhost"),
    }
}
