//! `devstatus.toml`, and `devstatus config`, which checks it and shows its effect.

use super::{Files, INI, TOKEN, YAML, refusal, run, serve};
use crate::config::Stop;
use crate::config::arguments::PlatformArgs;
use crate::config::grammar::{grammar, setting_names};

const TOML: &str = "# The site's settings.\norganization = \"abc123\"\nbroker = \"mqtt://h\"\nport = 0\n\
                    types = [\"pump\", \"tank\"]\nbroker-counters = false\n";

/// A value for each key that can stand beside all the others.
const VALUES: &[(&str, &str)] = &[
    ("organization", "\"abc123\""),
    ("key", "\"a-abc123-x\""),
    ("name", "\"site\""),
    ("source", "\"iot-platform\""),
    ("profiles-file", "\"{dir}/profiles.toml\""),
    ("dry-run", "true"),
    ("dry-run-seconds", "9"),
    ("id", "\"app\""),
    ("token-file", "\"{dir}/names\""),
    ("broker", "\"mqtts://h\""),
    ("ca-file", "\"{dir}/ca.pem\""),
    ("broker-cert", "\"{dir}/client.pem\""),
    ("broker-key", "\"{dir}/client.key\""),
    ("broker-alpn", "[\"x-amzn-mqtt-ca\"]"),
    ("mqtt-version", "5"),
    ("keep-alive", "7"),
    ("clean-session", "false"),
    ("session-expiry", "8"),
    ("listen", "\"::1\""),
    ("port", "0"),
    ("keys-file", "\"k\""),
    ("allow-anonymous", "true"),
    ("tls-cert", "\"{dir}/ca.pem\""),
    ("tls-key", "\"{dir}/ca.pem\""),
    ("tls-client-ca", "\"{dir}/ca.pem\""),
    ("cors-origin", "[\"https://a\", \"https://b:1\"]"),
    ("allowed-host", "[\"a.example\", \"::1\"]"),
    ("trusted-proxy", "[\"10.0.0.1\", \"192.0.2.0/24\"]"),
    ("forwarded-header", "\"Forwarded\""),
    ("proxy-protocol", "true"),
    ("requests-per-second", "1"),
    ("connections-max", "2"),
    ("connections-per-address", "3"),
    ("streams-max", "4"),
    ("stream-lag-max", "100"),
    ("quiet-interval-ms", "5"),
    ("backlog-max-bytes", "65_536"),
    ("types", "[\"pump\", \"tank\"]"),
    ("devices-file", "\"{dir}/names\""),
    ("replay-limits", "[10, 20]"),
    ("ready-on", "\"complete\""),
    ("reconcile-interval", "6"),
    ("population-connections", "7"),
    ("scalable", "\"one\""),
    ("partition", "\"1/2\""),
    ("broker-counters", "true"),
    ("store", "\"postgres://u@h\""),
    ("store-schema", "\"s\""),
    ("store-password-file", "\"{dir}/names\""),
    ("store-ca-file", "\"{dir}/ca.pem\""),
    ("flush-interval-ms", "9"),
    ("history-days", "10"),
    ("history-per-device", "11"),
    ("map-limit", "12"),
    ("log-format", "\"json\""),
    ("verbose", "2"),
];

#[test]
fn every_flag_of_the_service_can_be_a_key() {
    let files = Files::new();
    files.add("ca.pem", "");
    files.add("names", "pump/1\n");
    files.add("profiles.toml", "");
    testkit::private_ca::PrivateCa::issue_for_client(files.0.path());
    let directory = files.0.path().to_str().unwrap().to_owned();
    let (mut toml, mut flags) = (String::new(), String::new());
    for &(setting, value) in VALUES {
        toml += &format!("{setting} = {}\n", value.replace("{dir}", &directory));
        let text: String = value.chars().filter(|c| !matches!(c, '"' | '[' | ']' | ' ' | '_')).collect();
        flags += &match setting {
            "verbose" => "-vv ".to_owned(),
            _ => format!("--{setting}={text} "),
        };
    }
    files.add("devstatus.toml", &toml);
    let from_file = serve(&files, "-c {dir}/devstatus.toml", &[]);
    assert_eq!(from_file, serve(&files, &flags, &[]));
    // What the lists above leave out excludes something in them.
    let left_out = ["config", "token", "types-file", "share", "forget-after", "help", "version"];
    let serve = grammar().find_subcommand("serve").unwrap();
    for setting in setting_names(serve) {
        let is_there = VALUES.iter().any(|(name, _)| *name == setting);
        assert!(is_there || left_out.contains(&setting.as_str()), "{setting}");
    }
}

#[test]
fn a_flag_and_a_variable_beat_the_file() {
    let files = Files::new();
    files.add("devstatus.toml", TOML);
    let port = |line: &str, environment: &[(&str, &str)]| serve(&files, line, environment).http.port;
    assert_eq!(port("-c {dir}/devstatus.toml", &[]), 0);
    assert_eq!(port("-c {dir}/devstatus.toml", &[("DEVSTATUS_PORT", "1")]), 1);
    assert_eq!(port("-c {dir}/devstatus.toml -p 2", &[("DEVSTATUS_PORT", "1")]), 2);
    assert_eq!(port("", &[("DEVSTATUS_CONFIG", "{dir}/devstatus.toml")]), 0);
}

#[test]
fn an_error_names_file_line_key_and_the_expected_value() {
    let files = Files::new();
    for (text, expected) in [
        ("port = 70000\n", "line 1, port: expected a whole number from 0 to 65535"),
        ("\n\nport = \"x\"\n", "line 3, port: expected a whole number from 0 to 65535"),
        ("broker-counters = \"maybe\"\n", "line 1, broker-counters: expected true or false"),
        ("[[sources]]\nname = \"a\"\n", "line 1: unknown key sources: did you mean source?"),
        ("\n[webhooks]\nname = \"a\"\n", "line 2: unknown key webhooks: did you mean webhook?"),
        ("[webhook]\nname = \"a\"\n", "line 1: expected [[webhook]], once for each"),
        ("[source]\nname = \"a\"\n", "line 1: expected [[source]], once for each"),
        ("[[republish]]\nprefix = \"a\"\n", "line 1: expected [republish]"),
        ("[[port]]\nport = 1\n", "line 1: expected a text, a number, true, false, or a list of these"),
        ("prot = 1\n", "line 1: unknown key prot: did you mean port?"),
        ("zzz = 1\n", "line 1: unknown key zzz; known are the flags of devstatus serve (see --help)"),
        ("port = 1979-05-27\n", "line 1: expected a text, a number, true, false, or a list of these"),
        ("port = 1\nport = 2\n", "line 2: not the TOML that was expected"),
        ("port 1\n", "line 1: not the TOML that was expected"),
    ] {
        files.add("x.toml", text);
        let line = refusal(&files, "--broker mqtt://h -o org -c {dir}/x.toml", &[]);
        assert_eq!(line, format!("{{dir}}/x.toml {expected}"), "{text:?}");
    }
    files.add("both.toml", "organization = \"a\"\nkey = \"a-b-c\"\ntoken = \"t\"\n");
    assert_eq!(
        refusal(&files, "--broker mqtt://h -c {dir}/both.toml", &[]),
        "{dir}/both.toml line 1, organization contradicts {dir}/both.toml line 2, key: the second part of the API key \
         is another organization"
    );
}

#[test]
fn check_says_whether_the_service_would_start() {
    let files = Files::new();
    files.add("devstatus.toml", TOML);
    let Err(Stop::Answer(text)) = run(&files, "config check -c {dir}/devstatus.toml", &[]) else { panic!() };
    assert_eq!(text, "the settings are good\n");
    files.add("devstatus.toml", "port = -1\n");
    let line = refusal(&files, "config check -c {dir}/devstatus.toml", &[]);
    assert_eq!(line, "{dir}/devstatus.toml line 1, port: expected a whole number from 0 to 65535");
}

/// What such a line prints, with `{dir}` for the directory of the files.
fn shown(files: &Files, line: &str, variables: &[(&str, &str)]) -> String {
    let Err(Stop::Answer(text)) = run(files, line, variables) else { panic!("{line} shows nothing") };
    text.replace(files.0.path().to_str().unwrap(), "{dir}")
}

#[test]
fn show_names_every_setting_its_value_and_its_place_and_no_secret() {
    let files = Files::new();
    files.add("devstatus.toml", TOML);
    let line = format!(
        "config show -c {{dir}}/devstatus.toml -k user -t {TOKEN} --store postgres://u:secret-word@h/d"
    );
    let text = shown(&files, &line, &[("DEVSTATUS_ID", "app")]);
    for expected in [
        "organization = \"abc123\"  # {dir}/devstatus.toml line 2, organization",
        "id = \"app\"  # DEVSTATUS_ID",
        "token = \"(hidden)\"  # --token",
        "store = \"postgres://u:(hidden)@h/d\"  # --store",
        "types = \"pump,tank\"  # {dir}/devstatus.toml line 5, types",
        "port = 0  # {dir}/devstatus.toml line 4, port",
        "keep-alive = 60  # default",
        "# forget-after is not set",
    ] {
        assert!(text.lines().any(|line| line == expected), "{expected} is not in:\n{text}");
    }
    assert!(!text.contains(TOKEN) && !text.contains("secret-word"), "{text}");
    let serve = grammar().find_subcommand("serve").unwrap();
    for setting in setting_names(serve) {
        assert!(text.contains(&setting) || setting == "config", "{setting}");
    }
    assert!(!text.contains("config ="), "a file of settings cannot name itself: {text}");
}

#[test]
fn show_has_the_tables_as_they_are_written() {
    let files = Files::new();
    files.add("hook.secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n");
    let text = r#"
        public_url = "https://status.example"
        broker = "mqtt://h"
        organization = "abc123"

        [[webhook]]
        name = "ops"
        url = "https://chat.example/secret-word"
        secret_file = "{dir}/hook.secret"
        headers = { X-Key = "secret-word" }
        events = [
            "device.connected",
        ]

        [webhook.selector]
        type = ["pump"]

        [republish]
        prefix = "site/ds"
        selector = { source = "tasmota" }

        [[rule]]
        name = "offline"
        kind = "offline_for"
        for = "10m"
        "#;
    let directory = files.0.path().to_str().unwrap();
    files.add("devstatus.toml", text.replace("{dir}", directory));
    let shown = shown(&files, "config show -c {dir}/devstatus.toml", &[]);
    for expected in [
        "public_url = \"https://status.example\"  # {dir}/devstatus.toml line 2, public_url\n",
        "\n[[webhook]]\nname = \"ops\"  # {dir}/devstatus.toml line 7, webhook.name\n",
        "url = \"(hidden)\"  # ",
        "headers = \"(hidden)\"  # ",
        "            \"device.connected\",\n        ]  # {dir}/devstatus.toml line 11, webhook.events\n",
        "selector.type = [\"pump\"]  # {dir}/devstatus.toml line 16, webhook.selector.type\n",
        "\n[republish]\nprefix = \"site/ds\"  # {dir}/devstatus.toml line 19, republish.prefix\n",
        "selector = { source = \"tasmota\" }  # {dir}/devstatus.toml line 20, republish.selector\n",
        "\n[[rule]]\nname = \"offline\"  # {dir}/devstatus.toml line 23, rule.name\n",
    ] {
        assert!(shown.contains(expected), "{expected} is not in:\n{shown}");
    }
    assert!(!shown.contains("secret-word"), "{shown}");
}

#[test]
fn show_includes_settings_from_the_platforms_files() {
    let files = Files::new();
    files.add("app.yaml", format!("{YAML}options:\n  domain: example.com\n"));
    let text = shown(&files, "config show -c {dir}/app.yaml", &[]);
    assert!(text.contains("# platform-domain is example.com, from "), "{text}");
    files.add("app.cfg", INI);
    let text = shown(&files, "config show -c {dir}/app.cfg", &[]);
    let platform = <PlatformArgs as clap::CommandFactory>::command();
    for arg in platform.get_arguments() {
        assert!(text.contains(arg.get_long().unwrap()), "{arg:?}: {text}");
    }
}

#[test]
fn what_only_a_source_of_flags_has_is_refused_beside_tables() {
    let files = Files::new();
    let table = "[[source]]\nname = \"a\"\nformat = \"iot-platform\"\nbroker = \"mqtt://h\"\n";
    files.add("devstatus.toml", table);
    let start = "--name n --store postgres://h/d -c {dir}/devstatus.toml";
    assert_eq!(serve(&files, start, &[]).source.name.as_deref(), Some("a"));
    for setting in ["types", "types-file", "devices-file", "scalable", "partition", "share"] {
        let value = if setting == "partition" { "1/2" } else { "pump" };
        let said = refusal(&files, &format!("{start} --{setting}={value}"), &[]);
        let expected = format!(
            "--{setting} contradicts {{dir}}/devstatus.toml line 1, source: with [[source]] tables, each source is \
             what its table says"
        );
        assert_eq!(said, expected);
    }
}
