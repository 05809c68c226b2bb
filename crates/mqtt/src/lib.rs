//! An MQTT client of our own, for 3.1.1 and 5: packets as bytes, one connection from CONNECT to its end, and the transports
//! under it. What is published and what it means is not known here.

pub mod connection;
mod deadlines;
pub mod filter;
pub mod idle;
pub mod offer;
pub mod packet;
pub mod property;
pub mod reason;
pub mod settings;
pub mod transport;
