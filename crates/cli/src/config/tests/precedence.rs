//! Which of several places wins, key by key.

use super::{Files, INI, KEY, TOKEN, YAML, refusal, run, serve};
use crate::config::grammar::{grammar, setting_names};
use crate::config::{Command, LogLevel, Origin, platform};

#[test]
fn flag_beats_own_variable_beats_platform_variable_beats_file() {
    let files = Files::new();
    for (name, text) in [("app.cfg", INI), ("app.yaml", YAML)] {
        files.add(name, text);
        let own = ("DEVSTATUS_ID", "own");
        let platform = ("WIOTP_IDENTITY_APPID", "platform");
        let file = &format!("-c {{dir}}/{name}");
        let id = |line: &str, environment: &[(&str, &str)]| {
            let settings = serve(&files, line, environment);
            assert_eq!(settings.source.login.unwrap().key, KEY, "other keys still come from the file");
            settings.source.identity.application
        };
        assert_eq!(id(&format!("{file} -i flag"), &[own, platform]), "flag");
        assert_eq!(id(file, &[own, platform]), "own");
        assert_eq!(id(file, &[platform]), "platform");
        assert_eq!(id(file, &[]), "cfgapp");
    }
}

#[test]
fn a_stronger_token_beats_a_weaker_token_file_and_the_reverse() {
    let files = Files::new();
    files.add("app.cfg", INI);
    files.add("token", "\u{feff}from-file\r\n");
    let token = |line: &str, environment: &[(&str, &str)]| {
        serve(&files, line, environment).source.login.unwrap().token.expose().to_owned()
    };
    let own_file = ("DEVSTATUS_TOKEN_FILE", "{dir}/token");
    assert_eq!(token("-c {dir}/app.cfg", &[]), TOKEN);
    assert_eq!(token("-c {dir}/app.cfg", &[own_file]), "from-file");
    assert_eq!(token("-c {dir}/app.cfg -t flag", &[own_file]), "flag");
    assert_eq!(
        token("-c {dir}/app.cfg --token-file {dir}/token", &[("DEVSTATUS_TOKEN", "own")]),
        "from-file"
    );
}

#[test]
fn the_older_login_variables_count_only_without_the_newer() {
    let files = Files::new();
    let both = [
        ("WIOTP_API_KEY", "a-old-1"),
        ("WIOTP_API_TOKEN", "old"),
        ("WIOTP_AUTH_KEY", "a-new-1"),
        ("WIOTP_AUTH_TOKEN", "new"),
    ];
    let key = |environment: &[(&str, &str)]| serve(&files, "-i app", environment).source.login.unwrap().key;
    assert_eq!(key(&both), "a-new-1");
    assert_eq!(key(&both[..2]), "a-old-1");
    let mixed = super::refusal(&files, "-i app", &[both[1], both[2]]);
    assert!(mixed.starts_with("missing --token"), "{mixed}");
}

#[test]
fn verbose_beats_the_platforms_log_level() {
    let files = Files::new();
    files.add("app.yaml", format!("{YAML}options:\n  logLevel: error\n"));
    let level = |line: &str, environment: &[(&str, &str)]| serve(&files, line, environment).log.level;
    assert_eq!(level("-c {dir}/app.yaml", &[]), LogLevel::Error);
    assert_eq!(level("-c {dir}/app.yaml", &[("WIOTP_OPTIONS_LOGLEVEL", "warning")]), LogLevel::Warn);
    assert_eq!(level("-c {dir}/app.yaml", &[("DEVSTATUS_VERBOSE", "0")]), LogLevel::Info);
    assert_eq!(level("-v -c {dir}/app.yaml", &[("DEVSTATUS_VERBOSE", "0")]), LogLevel::Debug);
    assert_eq!(level("-vv -c {dir}/app.yaml", &[]), LogLevel::Trace);
}

#[test]
fn the_config_file_can_be_named_by_variable() {
    let files = Files::new();
    files.add("app.cfg", INI);
    files.add("other.cfg", INI.replace("cfgapp", "other"));
    let environment = [("DEVSTATUS_CONFIG", "{dir}/app.cfg")];
    assert_eq!(serve(&files, "", &environment).source.identity.application, "cfgapp");
    assert_eq!(serve(&files, "-c {dir}/other.cfg", &environment).source.identity.application, "other");
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let files = Files::new();
    let line = "-i app -k a-abc123-1 -t token";
    let own = setting_names(grammar()).into_iter().map(|setting| Origin::variable_of(&setting));
    let platform = platform::ALL.iter().flat_map(|names| names.variables).map(|name| (*name).to_owned());
    for name in own.chain(platform) {
        assert_eq!(serve(&files, line, &[(&name, "")]), serve(&files, line, &[]), "{name}");
    }
    // Nor does an empty one hide what a weaker place says.
    files.add("app.cfg", INI);
    let environment = [
        ("DEVSTATUS_CONFIG", "{dir}/app.cfg"),
        ("DEVSTATUS_ID", ""),
        ("WIOTP_AUTH_TOKEN", ""),
        ("WIOTP_API_TOKEN", ""),
    ];
    assert_eq!(serve(&files, "", &environment).source.identity.application, "cfgapp");
    let environment = [
        ("WIOTP_AUTH_KEY", ""),
        ("WIOTP_AUTH_TOKEN", ""),
        ("WIOTP_API_KEY", KEY),
        ("WIOTP_API_TOKEN", TOKEN),
    ];
    let login = serve(&files, "-i app", &environment).source.login.expect("the older pair counts");
    assert_eq!(login.key, KEY);
}

/// What Kubernetes and Docker put into the environment for services named `devstatus` and `devstatus-postgres`.
const LINKS: &[(&str, &str)] = &[
    ("DEVSTATUS_SERVICE_HOST", "10.43.0.7"),
    ("DEVSTATUS_SERVICE_PORT", "80"),
    ("DEVSTATUS_SERVICE_PORT_HTTP", "80"),
    ("DEVSTATUS_SERVICE_PORT_COAP_UDP", "5683"),
    ("DEVSTATUS_PORT", "tcp://10.43.0.7:80"),
    ("DEVSTATUS_PORT_80_TCP", "tcp://10.43.0.7:80"),
    ("DEVSTATUS_PORT_80_TCP_PROTO", "tcp"),
    ("DEVSTATUS_PORT_80_TCP_PORT", "80"),
    ("DEVSTATUS_PORT_80_TCP_ADDR", "10.43.0.7"),
    ("DEVSTATUS_PORT_5683_UDP", "udp://[fd00::7]:5683"),
    ("DEVSTATUS_PORT_5683_UDP_ADDR", "fd00::7"),
    ("DEVSTATUS_PORT_9_SCTP_PROTO", "sctp"),
    ("DEVSTATUS_PORT_8000_TCP_START", "tcp://172.17.0.2:8000"),
    ("DEVSTATUS_PORT_8000_TCP_END", "tcp://172.17.0.2:8010"),
    ("DEVSTATUS_NAME", "/web/devstatus"),
    ("DEVSTATUS_ENV_PATH", "/usr/bin:/bin"),
    ("DEVSTATUS_ENV_POSTGRES_PASSWORD", "secret"),
    ("DEVSTATUS_POSTGRES_SERVICE_HOST", "10.43.0.8"),
    ("DEVSTATUS_POSTGRES_SERVICE_PORT_SQL", "5432"),
    ("DEVSTATUS_POSTGRES_PORT", "tcp://10.43.0.8:5432"),
    ("DEVSTATUS_POSTGRES_PORT_5432_TCP_PORT", "5432"),
    ("DEVSTATUS_POSTGRES_NAME", "/web/devstatus-postgres"),
    ("DEVSTATUS_POSTGRES_ENV_LANG", "C.UTF-8"),
];

#[test]
fn links_that_a_container_platform_sets_are_passed_over() {
    let files = Files::new();
    let line = "-i app -k a-abc123-1 -t token";
    assert_eq!(serve(&files, line, LINKS), serve(&files, line, &[]));
    assert!(matches!(run(&files, "summary", LINKS), Ok(Command::Client(_))));
    // Ours all the same: a misspelled setting, and a value that no platform sets.
    for (name, value) in [
        ("DEVSTATUS_SERVICE_HOSTS", "10.43.0.7"),
        ("DEVSTATUS_PORTS", "tcp://10.43.0.7:80"),
        ("DEVSTATUS_PORT", "http://10.43.0.7:80"),
        ("DEVSTATUS_PORT_80", "80"),
        ("DEVSTATUS_PORT_80_TCP_NAME", "x"),
        ("DEVSTATUS_ENVIRONMENT", "x"),
    ] {
        assert!(refusal(&files, line, &[(name, value)]).contains("DEVSTATUS_"), "{name}");
    }
}
