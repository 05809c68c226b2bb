//! The rig: real brokers, brokers of ours with scripted faults, a breakable link, and the real binary between them.
//! No assertion about the product lives here.

pub mod closing_broker;
pub mod http;
pub mod link;
pub mod listener;
pub mod mosquitto;
pub mod packet;
pub mod platform_broker;
pub mod port;
pub mod private_ca;
pub mod publisher;
pub mod service;
pub mod status;
pub mod subscriber;
mod waiting;

pub use waiting::{PATIENCE, pause, poll, wait_until};
