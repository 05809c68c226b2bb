//! The MQTT side: connect as an application, subscribe, and hand every status message over as it came.

pub mod packet;
pub mod settings;
