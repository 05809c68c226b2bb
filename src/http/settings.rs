//! Where the HTTP server listens. Built and checked by `config`.

use std::net::{IpAddr, Ipv4Addr};

use crate::feed::settings::FeedSettings;

/// The address the HTTP server binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// Loopback unless said otherwise: the answers name every device of the organization.
    pub listen: IpAddr,
    /// 0: any free port.
    pub port: u16,
    pub streams: FeedSettings,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self { listen: IpAddr::V4(Ipv4Addr::LOCALHOST), port: 5000, streams: FeedSettings::default() }
    }
}
