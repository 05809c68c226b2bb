//! `[[webhook]]` tables.

use super::{Files, refusal, serve};
use presence::Moment;
use presence::contact::{ContactPolicy, Expectation, ExpectationFilter, Patience};
use presence::query::Filter;
use webhooks::settings::{EventType, Format, Mode};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n";
const START: &str = "--broker mqtt://h -o org --store memory: -c {dir}/devstatus.toml";

fn files(text: &str) -> Files {
    let files = Files::new();
    files.add("hook.secret", SECRET);
    let directory = files.0.path().to_str().unwrap().to_owned();
    files.add("devstatus.toml", text.replace("{dir}", &directory));
    files
}

/// A table with these lines besides the ones that every table needs.
fn table(lines: &str) -> String {
    format!(
        "[[webhook]]\nname = \"ops\"\nurl = \"https://ops.example/hook\"\nsecret_file = \"{{dir}}/hook.secret\"\n{lines}\n"
    )
}

#[test]
fn a_table_describes_an_endpoint() {
    let text = table(
        "events = [\"device.connected\", \"device.disconnected\"]\n\
         selector = { type = [\"pump\"], expectation = [\"met\", \"none\"], cause = \"timeout\", close_code = [91, 160], address = \"10.0.0.0/8\" }\n\
         mode = \"latest\"\nsettle = \"90s\"\nallow_private = false\nformat = \"cloudevents\"\nbatch_max = 500\nlinger = \"250ms\"\n\
         headers = { X-Site = \"7\", Authorization = \"Bearer hidden\" }",
    ) + &table("")
        .replace("\"ops\"", "\"other\"")
        .replace("https://ops.example", "http://127.0.0.1:1");
    let policy = "[[contact]]\npolicy = \"ephemeral\"\n";
    let public_url = "public_url = \"https://devstatus.example/\"\n";
    let files = files(&(public_url.to_owned() + &text + "allow_private = true\n" + policy));
    let [first, second] = serve(&files, START, &[]).webhooks.try_into().unwrap();
    assert_eq!(first.name, "ops");
    assert_eq!((first.mode, second.mode), (Mode::Latest, Mode::Every));
    assert_eq!([first.settle, second.settle].map(|settle| settle.as_secs()), [90, 0]);
    assert_eq!((first.format, first.batch_max, second.batch_max), (Format::CloudEvents, 500, 1));
    assert_eq!([first.linger, second.linger].map(|linger| linger.as_millis()), [250, 0]);
    assert_eq!((first.headers.len(), first.headers["x-site"].as_bytes()), (2, b"7".as_slice()));
    assert!(!format!("{first:?}").contains("hidden"), "{first:?}");
    assert_eq!(first.events, [EventType::Connected, EventType::Disconnected]);
    let schemas = "https://devstatus.example/openapi.json#/components/schemas/";
    assert_eq!(first.schemas.as_deref(), Some(schemas));
    let expected = Filter {
        types: vec!["pump".to_owned()],
        causes: vec!["timeout"],
        close_codes: vec![91, 160],
        addresses: vec!["10.0.0.0/8".parse().unwrap()],
        expectation: Some(ExpectationFilter {
            wanted: vec![Expectation::Met, Expectation::None],
            policies: [ContactPolicy { selector: Filter::default(), patience: Patience::Ephemeral }].into(),
            now: Moment::UNKNOWN,
        }),
        ..Filter::default()
    };
    assert_eq!(first.selector, expected);
    assert!(second.allow_private && !first.allow_private && second.selector == Filter::default());
    assert!(!format!("{first:?}").contains("MfKQ9r8GKYqr"));
}

#[test]
fn a_mistake_is_refused_with_line_key_and_what_was_expected() {
    for (lines, expected) in [
        (
            "evnts = []",
            "line 5: unknown key webhook.evnts: did you mean events? Known are name, url, allow_private, secret_file, events, mode, settle, format, batch_max, linger, routing_key_file, headers, ca_file, tls_client_cert, tls_client_key, selector",
        ),
        (
            "events = [\"device.gone\"]",
            "line 5, webhook.events: expected a list of device.connected, device.disconnected, device.session_changed, device.refused, device.first_seen",
        ),
        ("mode = \"all\"", "line 5, webhook.mode: expected every or latest"),
        ("settle = \"61m\"", "line 5, webhook.settle: expected a time from 0 to 1h, like \"5s\""),
        ("settle = 5", "line 5, webhook.settle: expected a time from 0 to 1h, like \"5s\""),
        ("allow_private = \"yes\"", "line 5, webhook.allow_private: expected true or false"),
        ("selector = \"pump\"", "line 5, webhook.selector: expected a table, like { type = [\"pump\"] }"),
        (
            "selector = { tpe = \"pump\" }",
            "line 5: unknown key webhook.selector.tpe: did you mean type? Known are expectation, type, id, id_prefix, source, close_code, cause, address",
        ),
        ("selector = { type = [] }", "line 5, webhook.selector.type: expected a text, or a list of texts"),
        (
            "[webhook.selector]\nclose_code = -1",
            "line 6, webhook.selector.close_code: expected a whole number from 0 to 65535, or a list of these",
        ),
        (
            "selector = { address = \"x\" }",
            "line 5, webhook.selector.address: expected an IP address or a block of addresses, or a list of these",
        ),
    ] {
        let files = files(&table(lines));
        assert_eq!(refusal(&files, START, &[]), format!("{{dir}}/devstatus.toml {expected}"), "{lines}");
    }
    for (from, to, expected) in [
        (
            "name = \"ops\"",
            "name = \"a b\"",
            "line 2, webhook.name: expected 1 to 64 letters, digits, '-' or '_'",
        ),
        ("name = \"ops\"", "", "line 1, webhook: expected the key name: 1 to 64 letters, digits, '-' or '_'"),
        ("https://ops", "ftp://ops", "line 3, webhook.url: expected a URL: https://, a host, and no user"),
        (
            "https://ops",
            "http://ops",
            "line 3, webhook.url: expected https://, or allow_private = true beside it",
        ),
        (
            "https://ops.example",
            "https://169.254.169.254",
            "line 3, webhook.url: expected a public address, or allow_private = true beside it",
        ),
    ] {
        let files = files(&table("").replace(from, to));
        assert_eq!(refusal(&files, START, &[]), format!("{{dir}}/devstatus.toml {expected}"), "{to}");
    }
    let twice = files(&(table("") + &table("")));
    assert_eq!(
        refusal(&twice, START, &[]),
        "{dir}/devstatus.toml line 7, webhook.name: expected a name that no other webhook has"
    );
}

#[test]
fn a_form_or_header_that_no_request_can_have_is_refused() {
    for (line, expected) in [
        (
            "format = \"xml\"",
            "line 5, webhook.format: expected standard, cloudevents, alertmanager, slack, teams, ntfy or pagerduty",
        ),
        (
            "batch_max = 10",
            "line 5, webhook.batch_max: expected a whole number from 1 to 500, with format = \"cloudevents\"",
        ),
        (
            "linger = \"1s\"",
            "line 5, webhook.linger: expected a time from 0 to 1s, like \"500ms\", with batch_max above 1",
        ),
        (
            "headers = { Webhook-Id = \"1\" }",
            "line 5, webhook.headers: expected names of headers, and none that the request has itself: content-type, host, user-agent, webhook-…",
        ),
        ("headers = { x-a = 1 }", "line 5, webhook.headers: expected x-a: a text, or { file = \"path\" }"),
        (
            "headers = { x-a = \"a\\nb\" }",
            "line 5, webhook.headers: expected x-a: a line of at most 2048 bytes",
        ),
        ("tls_client_cert = \"c.pem\"", "line 5, webhook.tls_client_cert: expected tls_client_key beside it"),
    ] {
        let files = files(&table(line));
        assert_eq!(refusal(&files, START, &[]), format!("{{dir}}/devstatus.toml {expected}"), "{line}");
    }
}

#[test]
fn a_secret_file_holds_one_or_two_secrets_and_is_never_shown() {
    let files = files(&table(""));
    let two = SECRET.repeat(2);
    files.add("hook.secret", &two);
    assert_eq!(serve(&files, START, &[]).webhooks[0].secrets.len(), 2);
    let expected = "expected whsec_ and the base64 of 24 to 64 bytes; a second line for the secret before it";
    for (text, line) in [("", 1), ("secret-word\n", 1), (&*(two + SECRET), 3), ("whsec_AAAA\n", 1)] {
        files.add("hook.secret", text);
        assert_eq!(
            refusal(&files, START, &[]),
            format!(
                "line {line} of the file of {{dir}}/devstatus.toml line 4, webhook.secret_file: {expected}"
            )
        );
    }
    std::fs::remove_file(files.0.path().join("hook.secret")).unwrap();
    let line = refusal(&files, START, &[]);
    assert!(
        line.starts_with("{dir}/devstatus.toml line 4, webhook.secret_file: cannot read the file"),
        "{line}"
    );
}

#[test]
fn webhooks_need_all_devices_in_memory() {
    let files = files(&table(""));
    let line =
        refusal(&files, &format!("{} --map-limit 100000", START.replace("memory:", "sqlite:{dir}/s")), &[]);
    assert_eq!(
        line,
        "{dir}/devstatus.toml line 1, webhook contradicts --map-limit: webhooks need all devices in memory"
    );
}

#[test]
fn more_endpoints_than_there_may_be_are_refused() {
    let tables: Vec<_> = (0..=100).map(|n| table("").replace("\"ops\"", &format!("\"e{n}\""))).collect();
    assert_eq!(serve(&files(&tables[..100].concat()), START, &[]).webhooks.len(), 100);
    let line = refusal(&files(&tables.concat()), START, &[]);
    assert!(line.ends_with(", webhook: expected at most 100 of these tables"), "{line}");
}
