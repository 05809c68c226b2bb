//! The codes by which a broker refuses or ends something, by the names that MQTT gives them, and what to do about each. Pure.

use super::property::Properties;
use super::settings::MqttVersion;

/// What the settings of a connection are called, for advice about them.
#[derive(Clone, Copy, Debug)]
pub struct SettingNames {
    pub broker: &'static str,
    pub mqtt_version: &'static str,
    pub client_id: &'static str,
    /// Of the client id, the part that tells instances apart.
    pub own_id: &'static str,
    pub login: &'static str,
    /// What has to be so for a login to be allowed.
    pub authorization: &'static str,
}

impl SettingNames {
    /// Those of a source.
    pub const OF_SOURCE: Self = Self {
        broker: "--broker",
        mqtt_version: "--mqtt-version",
        client_id: "organization and id",
        own_id: "--id",
        login: "key or token is wrong: check both",
        authorization: "check key and token, that the organization exists, and that the key may be used by applications",
    };
}

/// What a refusing CONNACK means and what to check.
pub fn login_refusal(
    version: MqttVersion,
    code: u8,
    properties: &Properties,
    names: &SettingNames,
) -> String {
    let name = match version {
        MqttVersion::V311 => connack_name_3(code),
        MqttVersion::V5 => name_5(code),
    };
    let advice = match (version, code) {
        (MqttVersion::V311, 1) | (MqttVersion::V5, 0x84) => {
            format!("it does not speak this version of MQTT: check {}", names.mqtt_version)
        }
        (MqttVersion::V311, 2) | (MqttVersion::V5, 0x85) => {
            format!("it does not accept the client id: check {}", names.client_id)
        }
        (MqttVersion::V311, 4) | (MqttVersion::V5, 0x86) => names.login.to_owned(),
        (MqttVersion::V311, 5) | (MqttVersion::V5, 0x87) => {
            format!("the login is not authorised: {}", names.authorization)
        }
        (MqttVersion::V5, 0x9c) => {
            format!("for the time being another broker is to be used: check {}", names.broker)
        }
        (MqttVersion::V5, 0x9d) => format!("the broker has moved: change {}", names.broker),
        (MqttVersion::V311 | MqttVersion::V5, _) => fixed_advice(version, code).to_owned(),
    };
    format!(
        "the broker refused the login with code {code} (0x{code:02x}, {name}): {advice}{}",
        said(properties)
    )
}

/// The advice about a refused login that names no setting.
fn fixed_advice(version: MqttVersion, code: u8) -> &'static str {
    match (version, code) {
        (MqttVersion::V311, 3) | (MqttVersion::V5, 0x88 | 0x89) => {
            "it is not available at present: nothing is to be done here if it comes back by itself"
        }
        (MqttVersion::V5, 0x8a) => "this client is banned: ask the broker's administrator",
        (MqttVersion::V5, 0x8c) => {
            "it wants an authentication method other than user name and password, which devstatus does not have"
        }
        (MqttVersion::V5, 0x95) => {
            "it takes no packet as large as our CONNECT: check the broker's packet limit"
        }
        (MqttVersion::V5, 0x97) => "a quota is used up: ask the broker's administrator",
        (MqttVersion::V5, 0x9f) => "too many clients connect at present",
        (MqttVersion::V311 | MqttVersion::V5, _) => "see the broker's log",
    }
}

/// Why the broker does not grant a SUBSCRIBE.
pub fn subscription_refusal(version: MqttVersion, code: u8) -> String {
    match version {
        MqttVersion::V311 => {
            format!("SUBACK code 0x{code:02x} ({})", if code == 0x80 { "failure" } else { "reserved" })
        }
        MqttVersion::V5 => format!("SUBACK code 0x{code:02x} ({})", name_5(code)),
    }
}

/// What to do about a refused SUBSCRIBE.
pub fn subscription_advice(version: MqttVersion, code: u8) -> &'static str {
    match (version, code) {
        (MqttVersion::V5, 0x9e) => "the broker has no shared subscriptions: start without --share",
        (MqttVersion::V5, 0xa2) => {
            "the broker has no subscriptions with wildcards, without which statuses cannot be read"
        }
        (MqttVersion::V5, 0x97) => "a quota is used up: ask the broker's administrator",
        (MqttVersion::V311 | MqttVersion::V5, _) => "check that the key may subscribe to device status",
    }
}

/// Why the broker ended the connection with a DISCONNECT, which only MQTT 5 has.
pub fn disconnect(code: u8, properties: &Properties, names: &SettingNames) -> String {
    let SettingNames { broker, own_id, .. } = names;
    let advice = match code {
        0x8d => ": it received nothing from this client for longer than the keep-alive".to_owned(),
        0x8e => {
            format!(": another client has connected with the same client id: give each its own {own_id}")
        }
        0x9c => format!(": for the time being another broker is to be used: check {broker}"),
        0x9d => format!(": the broker has moved: change {broker}"),
        _ => String::new(),
    };
    format!(
        "the broker ended the connection with reason 0x{code:02x} ({}){advice}{}",
        name_5(code),
        said(properties)
    )
}

/// What the broker adds in its own words.
pub fn said(properties: &Properties) -> String {
    let mut text = String::new();
    if let Some(server) = &properties.server_reference {
        text.push_str(&format!("; it names the server {server}"));
    }
    if let Some(reason) = properties.reason.as_ref().filter(|reason| !reason.is_empty()) {
        text.push_str(&format!("; it says \"{reason}\""));
    }
    text
}

fn connack_name_3(code: u8) -> &'static str {
    match code {
        0 => "connection accepted",
        1 => "unacceptable protocol version",
        2 => "identifier rejected",
        3 => "server unavailable",
        4 => "bad user name or password",
        5 => "not authorized",
        _ => "reserved",
    }
}

/// The names of MQTT 5, section 2.4.
pub fn name_5(code: u8) -> &'static str {
    match code {
        0x00 => "normal disconnection",
        0x04 => "disconnect with will message",
        0x80 => "unspecified error",
        0x81 => "malformed packet",
        0x82 => "protocol error",
        0x83 => "implementation specific error",
        0x84 => "unsupported protocol version",
        0x85 => "client identifier not valid",
        0x86 => "bad user name or password",
        0x87 => "not authorized",
        0x88 => "server unavailable",
        0x89 => "server busy",
        0x8a => "banned",
        0x8b => "server shutting down",
        0x8c => "bad authentication method",
        0x8d => "keep alive timeout",
        0x8e => "session taken over",
        0x8f => "topic filter invalid",
        0x90 => "topic name invalid",
        0x91 => "packet identifier in use",
        0x92 => "packet identifier not found",
        0x93 => "receive maximum exceeded",
        0x94 => "topic alias invalid",
        0x95 => "packet too large",
        0x96 => "message rate too high",
        0x97 => "quota exceeded",
        0x98 => "administrative action",
        0x99 => "payload format invalid",
        0x9a => "retain not supported",
        0x9b => "QoS not supported",
        0x9c => "use another server",
        0x9d => "server moved",
        0x9e => "shared subscriptions not supported",
        0x9f => "connection rate exceeded",
        0xa0 => "maximum connect time",
        0xa1 => "subscription identifiers not supported",
        0xa2 => "wildcard subscriptions not supported",
        _ => "reserved",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refused_login_of_mqtt_3_has_its_name_and_advice() {
        for (code, name, advice) in [
            (1, "unacceptable protocol version", "--mqtt-version"),
            (2, "identifier rejected", "check organization and id"),
            (3, "server unavailable", "not available at present"),
            (4, "bad user name or password", "key or token"),
            (5, "not authorized", "key may be used by applications"),
            (6, "reserved", "broker's log"),
        ] {
            let text =
                login_refusal(MqttVersion::V311, code, &Properties::default(), &SettingNames::OF_SOURCE);
            assert!(text.contains(name) && text.contains(advice), "{text}");
        }
    }

    #[test]
    fn every_code_of_mqtt_5_has_a_name() {
        for code in 0x80..=0xa2 {
            assert_ne!(name_5(code), "reserved", "{code:#x}");
        }
    }

    #[test]
    fn the_brokers_reason_and_server_reference_are_reported() {
        let properties = Properties {
            server_reference: Some("b2.example:1883".to_owned()),
            reason: Some("maintenance".to_owned()),
            ..Properties::default()
        };
        let login = login_refusal(MqttVersion::V5, 0x9c, &properties, &SettingNames::OF_SOURCE);
        for text in [login, disconnect(0x9d, &properties, &SettingNames::OF_SOURCE)] {
            assert!(text.contains("--broker"), "{text}");
            assert!(text.contains("the server b2.example:1883; it says \"maintenance\""), "{text}");
        }
    }
}
