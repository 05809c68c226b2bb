//! Under which names the IoT platform's own variables and files hold a setting. The settings themselves are in `arguments`.

use super::Origin;

/// The names of one setting.
pub(super) struct PlatformNames {
    /// Long flag, or the name in `PlatformArgs` of what has no flag.
    pub setting: &'static str,
    /// The platform's variables, the stronger first.
    pub variables: &'static [&'static str],
    /// Key in the section `[application]` of an `application.cfg`.
    pub ini: Option<&'static str>,
    /// Dotted path in the YAML file.
    pub yaml: Option<&'static str>,
}

const fn names(
    setting: &'static str,
    variables: &'static [&'static str],
    ini: Option<&'static str>,
    yaml: Option<&'static str>,
) -> PlatformNames {
    PlatformNames { setting, variables, ini, yaml }
}

pub(super) const ALL: &[PlatformNames] = &[
    names("organization", &[], Some("org"), None),
    names("id", &["WIOTP_IDENTITY_APPID"], Some("id"), Some("identity.appId")),
    names("key", &["WIOTP_AUTH_KEY", "WIOTP_API_KEY"], Some("auth-key"), Some("auth.key")),
    names("token", &["WIOTP_AUTH_TOKEN", "WIOTP_API_TOKEN"], Some("auth-token"), Some("auth.token")),
    names("ca-file", &["WIOTP_OPTIONS_MQTT_CAFILE"], None, Some("options.mqtt.caFile")),
    names("keep-alive", &["WIOTP_OPTIONS_MQTT_KEEPALIVE"], None, Some("options.mqtt.keepAlive")),
    names(
        "clean-session",
        &["WIOTP_OPTIONS_MQTT_CLEANSTART"],
        Some("clean-session"),
        Some("options.mqtt.cleanStart"),
    ),
    names("session-expiry", &["WIOTP_OPTIONS_MQTT_SESSIONEXPIRY"], None, Some("options.mqtt.sessionExpiry")),
    names("platform-domain", &["WIOTP_OPTIONS_DOMAIN"], Some("domain"), Some("options.domain")),
    names("platform-port", &["WIOTP_OPTIONS_MQTT_PORT"], Some("port"), Some("options.mqtt.port")),
    names("platform-transport", &["WIOTP_OPTIONS_MQTT_TRANSPORT"], None, Some("options.mqtt.transport")),
    names("platform-type", &[], Some("type"), None),
    names("platform-instance", &["WIOTP_OPTIONS_MQTT_INSTANCEID"], None, Some("options.mqtt.instanceId")),
    names("platform-auth-method", &[], Some("auth-method"), None),
    names("platform-http-verify", &["WIOTP_OPTIONS_HTTP_VERIFY"], None, Some("options.http.verify")),
    names("url", &[], Some("devstatus-url"), Some("devstatus.url")),
    names("api-key", &[], Some("devstatus-api-key"), Some("devstatus.apiKey")),
    names("api-key-file", &[], Some("devstatus-api-key-file"), Some("devstatus.apiKeyFile")),
    names("tls-client-cert", &[], Some("devstatus-tls-client-cert"), Some("devstatus.tlsClientCert")),
    names("tls-client-key", &[], Some("devstatus-tls-client-key"), Some("devstatus.tlsClientKey")),
    names("platform-log-level", &["WIOTP_OPTIONS_LOGLEVEL"], None, Some("options.logLevel")),
];

/// Every place where a setting can be given, the strongest first, for the error that it is missing.
pub(super) fn places(setting: &str) -> Vec<String> {
    let mut places = vec![format!("--{setting}"), Origin::variable_of(setting)];
    if let Some(names) = ALL.iter().find(|names| names.setting == setting) {
        places.extend(names.variables.iter().map(|name| (*name).to_owned()));
        places.extend(names.ini.map(|key| format!("{key} in an application.cfg")));
        places.extend(names.yaml.map(|key| format!("{key} in a YAML file")));
    }
    if setting == "token" {
        places.extend(self::places("token-file"));
    }
    places
}
