//! The rig: real brokers, brokers of ours with scripted faults, a breakable link, and the real binary between them.
//! No assertion about the product lives here.

pub mod alertmanager;
mod broker_client;
pub mod browser;
pub mod child;
pub mod closing_broker;
pub mod device_process;
pub mod events;
pub mod further_broker;
pub mod haproxy;
pub mod http;
pub mod keys;
pub mod link;
pub mod mosquitto;
pub mod peers;
pub mod pgbouncer;
pub mod port;
pub mod postgres;
pub mod private_ca;
pub mod publisher;
pub mod rabbitmq;
pub mod recovery;
pub mod redis;
pub mod service;
pub mod status;
pub mod subscriber;
pub mod tls_client;
mod waiting;
pub mod wall_clock;

// The stand-in for the platform's broker is shared with the measurements.
pub use ::platform_broker::{self, listener, packet};

pub use waiting::{PATIENCE, pause, poll, wait_until};
