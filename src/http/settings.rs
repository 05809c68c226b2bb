//! Where the HTTP server listens, for whom and how much. Built and checked by `config`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::feed::settings::FeedSettings;

/// Everything about the HTTP server that an operator decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// Loopback unless said otherwise: the answers name every device of the organization.
    pub listen: IpAddr,
    /// 0: any free port.
    pub port: u16,
    /// Where the API keys are; without the file no key is known. `None`: keys are not used at all.
    pub keys_file: Option<PathBuf>,
    /// Requests without a key are answered, wherever they come from.
    pub allow_anonymous: bool,
    /// `None`: plain HTTP.
    pub tls: Option<TlsSettings>,
    /// The web pages that may read the answers, each as the browser writes it: scheme, host and port.
    pub cors_origins: Vec<String>,
    /// How often one key may ask, or one address without a key.
    pub requests_per_second: u32,
    /// Open connections of all clients.
    pub connections_max: usize,
    /// Open connections of one address.
    pub connections_per_address: usize,
    pub streams: FeedSettings,
}

/// The files for TLS, PEM each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// The server's certificate first, then those that vouch for it.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Who vouches for the clients' certificates; `None`: they need none.
    pub client_ca: Option<PathBuf>,
}

impl HttpSettings {
    /// More than any application asks that is not a mistake, and little enough that one key leaves room for others.
    pub const REQUESTS_PER_SECOND: u32 = 10_000;
    /// Each costs some ten kilobytes and a file descriptor; further ones wait in the listen queue.
    pub const CONNECTIONS_MAX: usize = 10_000;
    /// A browser opens six, a busy application with a pool some dozens; forty addresses would be needed to take all.
    pub const CONNECTIONS_PER_ADDRESS: usize = 256;

    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.listen, self.port)
    }
}

/// On loopback, for whoever is on this machine.
impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 5000,
            keys_file: None,
            allow_anonymous: false,
            tls: None,
            cors_origins: Vec::new(),
            requests_per_second: Self::REQUESTS_PER_SECOND,
            connections_max: Self::CONNECTIONS_MAX,
            connections_per_address: Self::CONNECTIONS_PER_ADDRESS,
            streams: FeedSettings::default(),
        }
    }
}
