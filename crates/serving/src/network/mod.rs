//! Between the network and the resources: accepting, TLS, slow clients, how many connections and how much memory.

pub mod connection;
pub mod cut;
pub mod direct;
pub mod follow;
pub mod framing;
mod http2;
pub mod path;
pub mod places;
pub mod plain_request;
pub mod proxy;
pub mod requests;
pub mod room;
pub mod server;
pub mod signals;
pub mod stream;
pub mod tls;
mod turns;
