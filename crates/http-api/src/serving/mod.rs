//! Between the network and the resources: accepting, TLS, slow clients, how many connections and how much memory.

pub(crate) mod connection;
pub(crate) mod cut;
pub(crate) mod direct;
pub(crate) mod follow;
pub(crate) mod framing;
mod http2;
pub(crate) mod log_limit;
pub(crate) mod path;
pub(crate) mod places;
pub(crate) mod plain_request;
pub(crate) mod proxy;
pub(crate) mod requests;
pub(crate) mod room;
pub(crate) mod server;
pub(crate) mod signals;
pub(crate) mod stream;
pub(crate) mod tls;
mod turns;
