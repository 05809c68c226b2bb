//! Who a simulated device is and how it connects: names, addresses, protocol. What happens to it is in `platform`.

use rand::{RngExt, rngs::ChaCha8Rng};

/// One device of an organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulatedDevice {
    pub organization: String,
    pub device_type: String,
    pub device_id: String,
    pub kind: DeviceKind,
    pub profile: Profile,
}

/// A gateway has a client id of its own form and uses the same topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    Device,
    Gateway,
}

/// How a device connects; it stays the same for all its sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    pub address: String,
    pub port: u16,
    pub secure: bool,
    /// As in `Protocol`: `mqtt3`, `mqtt4`, `mqtt5`, with `-ws` over websockets.
    pub protocol: &'static str,
    /// `None` for a device that logs in with a token, as nearly all do.
    pub user: Option<String>,
    /// The name in the client certificate, if it has one.
    pub certificate: Option<String>,
}

impl SimulatedDevice {
    /// The topic of its status messages.
    pub fn topic(&self) -> String {
        format!("iot-2/type/{}/id/{}/mon", self.device_type, self.device_id)
    }

    /// Its MQTT client id.
    pub fn client_id(&self) -> String {
        let prefix = match self.kind {
            DeviceKind::Device => 'd',
            DeviceKind::Gateway => 'g',
        };
        format!("{prefix}:{}:{}:{}", self.organization, self.device_type, self.device_id)
    }
}

impl Profile {
    /// A profile as an organisation's devices have them: mostly TLS and MQTT 3.1.1, a few of everything else. The
    /// addresses are those reserved for documentation.
    pub fn random(device_id: &str, rng: &mut ChaCha8Rng) -> Self {
        let secure = rng.random_bool(0.8);
        let websocket = rng.random_bool(0.05);
        let protocol = match (rng.random_range(0..100), websocket) {
            (0..5, false) => "mqtt3",
            (0..5, true) => "mqtt3-ws",
            (5..75, false) => "mqtt4",
            (5..75, true) => "mqtt4-ws",
            (_, false) => "mqtt5",
            (_, true) => "mqtt5-ws",
        };
        let address = match rng.random_range(0..20) {
            0 => format!("2001:db8::{:x}:{:x}", rng.random::<u16>(), rng.random_range(1..=u16::MAX)),
            1..7 => format!("192.0.2.{}", rng.random_range(1..255)),
            7..13 => format!("198.51.100.{}", rng.random_range(1..255)),
            _ => format!("203.0.113.{}", rng.random_range(1..255)),
        };
        let port = match (secure, websocket) {
            (false, _) => 1883,
            (true, true) => 443,
            (true, false) => 8883,
        };
        let user = rng.random_bool(0.05).then(|| format!("user-{device_id}"));
        let certificate = (secure && rng.random_bool(0.1)).then(|| device_id.to_owned());
        Self { address, port, secure, protocol, user, certificate }
    }
}
