//! Where the HTTP server listens, for whom and how much. Built and checked by `config`; `http-api` obeys.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use crate::feed::settings::FeedSettings;
use presence::query::Network;

/// Everything about the HTTP server that an operator decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// Loopback unless said otherwise: the answers name every device of the organization.
    pub listen: IpAddr,
    /// 0: any free port.
    pub port: u16,
    /// Where the API keys are; without the file no key is known. `None`: keys are not used at all.
    pub keys_file: Option<PathBuf>,
    /// The operator has named the keys file, so it must be there.
    pub keys_file_is_named: bool,
    /// Requests without a key are answered, wherever they come from.
    pub allow_anonymous: bool,
    /// `None`: plain HTTP.
    pub tls: Option<TlsSettings>,
    /// The web pages that may read the answers, each as the browser writes it: scheme, host and port.
    pub cors_origins: Vec<String>,
    /// Hosts that a request may name, beside those of loopback, while anybody on this machine may ask without a key.
    pub allowed_hosts: Vec<AllowedHost>,
    /// Proxies that are believed when they say whose requests they pass on.
    pub trusted_proxies: Vec<Network>,
    pub forwarded_header: ForwardedHeader,
    /// Trusted proxies begin each connection with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// How often one key may ask, or one address without a key.
    pub requests_per_second: u32,
    /// Open connections of all clients.
    pub connections_max: usize,
    /// Open connections of one address.
    pub connections_per_address: usize,
    pub streams: FeedSettings,
}

/// The header in which proxies say whose requests they pass on. A proxy writes one of them and passes on the other as the
/// client has written it, so only one can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedHeader {
    XForwardedFor,
    Forwarded,
}

impl ForwardedHeader {
    /// As `HeaderMap` has it.
    pub fn name(self) -> &'static str {
        match self {
            ForwardedHeader::XForwardedFor => "x-forwarded-for",
            ForwardedHeader::Forwarded => "forwarded",
        }
    }

    /// The header of this name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        let all = [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded];
        all.into_iter().find(|header| header.name().eq_ignore_ascii_case(name))
    }
}

/// A host as a request names it, without a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedHost {
    /// In lower case, without a dot at the end.
    Name(String),
    Address(IpAddr),
}

/// A DNS name, or an IP address with or without brackets.
impl FromStr for AllowedHost {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(AllowedHost::Address(address.to_canonical()));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let is_label = |label: &str| {
            !label.is_empty()
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        if name.split('.').all(is_label) { Ok(AllowedHost::Name(name)) } else { Err(()) }
    }
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

impl TlsSettings {
    /// All files there are.
    pub fn paths(&self) -> Vec<PathBuf> {
        let TlsSettings { certificate, key, client_ca } = self;
        [certificate, key].into_iter().chain(client_ca).cloned().collect()
    }
}

impl HttpSettings {
    /// More than any application asks that is not a mistake, and little enough that one key leaves room for others.
    const REQUESTS_PER_SECOND: u32 = 10_000;
    /// Each costs some ten kilobytes and a file descriptor; further ones wait in the listen queue.
    pub const CONNECTIONS_MAX: usize = 10_000;
    /// A browser opens six, a busy application with a pool some dozens; forty addresses would be needed to take all.
    const CONNECTIONS_PER_ADDRESS: usize = 256;

    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.listen, self.port)
    }
}

/// On loopback, for everybody on this machine.
impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 5000,
            keys_file: None,
            keys_file_is_named: false,
            allow_anonymous: false,
            tls: None,
            cors_origins: Vec::new(),
            allowed_hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::XForwardedFor,
            proxy_protocol: false,
            requests_per_second: Self::REQUESTS_PER_SECOND,
            connections_max: Self::CONNECTIONS_MAX,
            connections_per_address: Self::CONNECTIONS_PER_ADDRESS,
            streams: FeedSettings::default(),
        }
    }
}
