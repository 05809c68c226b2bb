//! The `[republish]` table.

use formats::catalog::infos;
use mqtt::settings::{MqttVersion, Transport};
use presence::query::Filter;

use super::{Files, KEY, TOKEN, refusal, run, serve};

const START: &str = "--broker mqtt://source.example -o org --store memory: -c {dir}/devstatus.toml";

fn files(text: &str) -> Files {
    let files = Files::new();
    files.add("password", "sEcReT\n");
    let directory = files.0.path().to_str().unwrap().to_owned();
    files.add("devstatus.toml", text.replace("{dir}", &directory));
    files
}

fn republish(files: &Files, line: &str) -> republish::settings::RepublishSettings {
    serve(files, line, &[]).republish.expect("there is a table")
}

#[test]
fn without_a_broker_it_is_the_source_s() {
    let start = format!("{START} -k {KEY} -t {TOKEN} --mqtt-version 5").replace("-o org", "-o abc123");
    let settings = republish(&files("[republish]\n"), &start);
    assert_eq!((&*settings.prefix, &*settings.connect.endpoint.host), ("devstatus", "source.example"));
    assert_eq!(settings.connect.mqtt_version, MqttVersion::V5);
    assert_eq!(settings.connect.login.as_ref().map(|login| &*login.key), Some(KEY));
    assert_eq!(settings.client_id, "a:abc123:devstatus-republish");
    assert_eq!((settings.settle.as_secs(), &settings.selector), (0, &Filter::default()));
    assert!(settings.connect.clean_session && settings.home_assistant.is_none());
    assert_eq!(serve(&files(""), START, &[]).republish, None);
}

#[test]
fn a_table_describes_what_is_published_and_where() {
    let text = "[republish]\nprefix = \"site/ds\"\nbroker = \"wss://other.example:444/path\"\nid = \"me\"\nuser = \"u\"\n\
                password_file = \"{dir}/password\"\nmqtt_version = \"5\"\nsettle = \"90s\"\n\
                home_assistant = \"homeassistant\"\nselector = { type = \"pump\", cause = \"timeout\" }\n";
    let settings = republish(&files(text), &format!("{START} -k user -t {TOKEN}"));
    let endpoint = &settings.connect.endpoint;
    assert_eq!((endpoint.transport, &*endpoint.path, endpoint.port), (Transport::Wss, "/path", 444));
    let login = settings.connect.login.as_ref().unwrap();
    assert_eq!((&*login.key, login.token.expose()), ("u", "sEcReT"));
    assert_eq!((&*settings.client_id, settings.settle.as_secs()), ("me", 90));
    let selector = Filter { types: vec!["pump".to_owned()], causes: vec!["timeout"], ..Filter::default() };
    assert_eq!(settings.selector, selector);
    assert_eq!(settings.home_assistant.as_deref(), Some("homeassistant"));
    assert!(!format!("{settings:?}").contains("sEcReT"));
    let shown = run(&files(text), &START.replacen("--broker", "config show --broker", 1), &[]);
    let shown = shown.expect_err("an answer").to_string();
    assert!(shown.contains("\n[republish]\n") && shown.contains("prefix = \"site/ds\"  # "), "{shown}");
    assert!(!shown.contains("sEcReT"), "{shown}");
}

#[test]
fn a_mistake_is_refused_with_line_key_and_what_was_expected() {
    let prefix = "levels of a topic, at most 256 bytes, without wildcards";
    for (lines, expected) in [
        (
            "prefx = \"a\"",
            "line 2: unknown key republish.prefx: did you mean prefix? Known are prefix, home_assistant, broker, id, user, password_file, ca_file, tls_client_cert, tls_client_key, mqtt_version, settle, selector",
        ),
        ("prefix = \"a/#\"", &format!("line 2, republish.prefix: expected {prefix}")),
        ("home_assistant = true", &format!("line 2, republish.home_assistant: expected {prefix}")),
        (
            "broker = \"http://h\"",
            "line 2, republish.broker: expected mqtt://, mqtts://, ws:// or wss:// with a host and, if need be, a port",
        ),
        ("mqtt_version = \"4\"", "line 2, republish.mqtt_version: expected 3.1.1, 3 or 5"),
        ("settle = \"2h\"", "line 2, republish.settle: expected a time from 0 to 1h, like \"5s\""),
        ("user = \"u\"", "line 2, republish.user: expected password_file beside it"),
        (
            "user = \"u\"\npassword_file = \"{dir}/none\"",
            "line 3, republish.password_file: cannot read the file",
        ),
        ("tls_client_key = \"k\"", "line 2, republish.tls_client_key: expected tls_client_cert beside it"),
        (
            "prefix = \"homeassistant/device\"\nhome_assistant = \"homeassistant\"",
            "line 2, republish.prefix: expected a prefix other than that of Home Assistant's topics",
        ),
        ("selector = { status = \"connected\" }", "line 2: unknown key republish.selector.status"),
        ("id = \"a:org:devstatus\"", "line 1, republish: expected an id that no source has at this broker"),
    ] {
        let said = refusal(&files(&format!("[republish]\n{lines}\n")), START, &[]);
        assert!(said.contains(expected), "{lines}\n{said}");
    }
    let limited =
        refusal(&files("[republish]\n"), &START.replace("memory:", "postgres://h/d --map-limit 1000"), &[]);
    assert!(
        limited.contains("republish contradicts --map-limit: to republish needs all devices in memory"),
        "{limited}"
    );
    for text in ["republish = true\n", "[[republish]]\n"] {
        assert!(refusal(&files(text), START, &[]).contains("line 1"), "{text}");
    }
}

#[test]
fn several_sources_have_no_broker_in_common() {
    let sources = "[[source]]\nname = \"a\"\nformat = \"tasmota\"\nbroker = \"mqtt://a.example\"\n\
                   [[source]]\nname = \"b\"\nformat = \"esphome\"\nbroker = \"mqtt://b.example\"\n";
    let start = "--name n --store memory: -c {dir}/devstatus.toml";
    let said = refusal(&files(&format!("{sources}[republish]\n")), start, &[]);
    assert!(said.contains("line 9, republish: expected the key broker in this table"), "{said}");
    let table = "[republish]\nbroker = \"mqtt://b.example\"\n";
    let settings = republish(&files(&format!("{sources}{table}")), start);
    assert_eq!(settings.client_id, "n-republish");
    // A prefix of one level under which the second source would find devices.
    let text = format!("{sources}{table}home_assistant = \"x\"\nprefix = \"y\"\n");
    assert!(serve(&files(&text), start, &[]).republish.is_some());
}

/// The first levels of a filter, without wildcards, as somebody would choose them as a prefix.
fn prefixes(filter: &str) -> Vec<String> {
    let levels: Vec<&str> =
        filter.split('/').map(|level| if ["+", "#"].contains(&level) { "x" } else { level }).collect();
    (1..=levels.len()).map(|length| levels[..length].join("/")).collect()
}

fn levels(filter: &str) -> Vec<&str> {
    filter.split('/').collect()
}

/// Whether some topic matches both.
fn overlap(one: &[&str], other: &[&str]) -> bool {
    match (one, other) {
        (["#"], _) | (_, ["#"]) => true,
        ([one, one_rest @ ..], [other, other_rest @ ..]) => {
            (one == other || *one == "+" || *other == "+") && overlap(one_rest, other_rest)
        }
        ([], []) => true,
        ([], [_, ..]) | ([_, ..], []) => false,
    }
}

#[test]
fn no_source_reads_what_is_republished_on_its_broker() {
    let mut refused = 0;
    for info in infos() {
        let base = |broker: &str| {
            format!(
                "--source {} --broker {broker} -o org --store memory: -c {{dir}}/devstatus.toml",
                info.name
            )
        };
        let filters = match run(&files(""), &base("mqtt://h"), &[]) {
            Ok(super::Command::Serve(settings)) => settings.source.formats.filters(),
            other => panic!("{}: {other:?}", info.name),
        };
        for prefix in
            filters.iter().flat_map(|filter| prefixes(filter)).filter(|prefix| !prefix.starts_with('$'))
        {
            let files = files(&format!("[republish]\nprefix = \"{prefix}\"\nbroker = \"mqtt://h:1884\"\n"));
            let published =
                [format!("{prefix}/+/+"), format!("{prefix}/summary"), format!("{prefix}/service")];
            let reads =
                |filter: &String| published.iter().any(|topic| overlap(&levels(topic), &levels(filter)));
            match run(&files, &base("mqtt://h"), &[]) {
                Ok(_) => assert!(!filters.iter().any(reads), "{}: {prefix}", info.name),
                Err(stop) => {
                    assert!(filters.iter().any(reads), "{}: {prefix}: {stop}", info.name);
                    assert!(
                        stop.to_string()
                            .contains("line 2, republish.prefix: expected topics that no source reads"),
                        "{stop}"
                    );
                    refused += 1;
                }
            }
            // On another broker it may be so.
            assert!(run(&files, &base("mqtt://another"), &[]).is_ok(), "{}: {prefix}", info.name);
        }
        let files = files("[republish]\nhome_assistant = \"homeassistant\"\n");
        assert!(run(&files, &base("mqtt://h"), &[]).is_ok(), "{}: the prefix that is the default", info.name);
    }
    assert!(refused >= 10, "{refused}");
}
