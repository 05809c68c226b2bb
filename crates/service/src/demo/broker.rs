//! The broker inside the demo: MQTT on a free port of loopback, in this process, nothing on disk. It behaves as the platform's:
//! it takes applications alone (`a:…`), for any topic, and answers a PINGREQ in the middle of a replay.

use std::net::{Ipv4Addr, SocketAddr};

use platform_broker::{Limits, PlatformBroker};

/// A broker that runs until it is dropped, with all its connections.
pub struct EmbeddedBroker {
    pub address: SocketAddr,
    _broker: PlatformBroker,
}

impl EmbeddedBroker {
    /// Returns once it accepts clients.
    pub fn start() -> Self {
        // The fleet is as large as the user says, and no message of it is lost.
        let broker = PlatformBroker::start(Limits {
            buffer_messages: usize::MAX,
            any_topics: true,
            ..Limits::default()
        });
        Self { address: (Ipv4Addr::LOCALHOST, broker.port()).into(), _broker: broker }
    }
}
