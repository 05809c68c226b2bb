//! Every refusal: what is wrong, and the line that says so.

use super::{Files, INI, YAML, refusal, serve};

/// Arguments, environment, and the whole line.
type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str);

fn check(files: &Files, cases: &[Case]) {
    for (line, environment, expected) in cases {
        assert_eq!(&refusal(files, line, environment), expected, "devstatus {line} {environment:?}");
    }
}

const LOGIN: &[(&str, &str)] =
    &[("DEVSTATUS_ID", "app"), ("DEVSTATUS_KEY", "a-abc123-1234567890"), ("DEVSTATUS_TOKEN", "Tk0*(x)?&9")];

#[test]
fn arguments() {
    check(
        &Files::new(),
        &[
            ("--confg x", &[], "unknown flag --confg: did you mean --config? (see --help)"),
            ("--zzz", &[], "unknown flag --zzz (see --help)"),
            ("--hlep", &[], "unknown flag --hlep: did you mean --help? (see --help)"),
            ("demo --version", &[], "this subcommand has no flag --version (see --help)"),
            ("-x", &[], "unknown flag -x: an operand that begins with - goes behind -- (see --help)"),
            ("demo --broker mqtt://h", &[], "this subcommand has no flag --broker (see --help)"),
            ("simulate -p 1", &[], "this subcommand has no flag -p (see --help)"),
            ("sevre", &[], "an argument is neither a flag nor a subcommand (see --help)"),
            ("serve now", &[], "an argument is neither a flag nor a subcommand (see --help)"),
            ("--port", &[], "--port: a value is missing (see --help)"),
            ("-p", &[], "--port: a value is missing (see --help)"),
            ("--verbose=1", &[], "--verbose takes no value (see --help)"),
            ("-p 1 -p 2", &[], "--port is given twice (see --help)"),
            (
                "get pump -- -1 --url http://h",
                &[],
                "--url is behind --, where everything is an operand: flags go before -- (see --help)",
            ),
            (
                "webhooks redeliver crm msg_1 --since 2026-11-24T12:00:00Z",
                &[],
                "[WEBHOOK-ID] and --since <TIME> exclude each other (see --help)",
            ),
            ("-p 1 demo", &[], "flags belong after the subcommand, not before it (see --help)"),
        ],
    );
}

#[test]
fn missing() {
    let token = "missing --token or DEVSTATUS_TOKEN or WIOTP_AUTH_TOKEN or WIOTP_API_TOKEN or auth-token in an \
                 application.cfg or auth.token in a YAML file or --token-file or DEVSTATUS_TOKEN_FILE";
    let key = "missing --key or DEVSTATUS_KEY or WIOTP_AUTH_KEY or WIOTP_API_KEY or auth-key in an application.cfg or \
               auth.key in a YAML file";
    let id = "missing --id or DEVSTATUS_ID or WIOTP_IDENTITY_APPID or id in an application.cfg or identity.appId in a \
              YAML file";
    let organization = "missing --organization or DEVSTATUS_ORGANIZATION or org in an application.cfg; or --source for \
                        messages other than the IoT platform's, as `devstatus sources` lists them";
    let name = "missing --organization or DEVSTATUS_ORGANIZATION or org in an application.cfg; or --name for a service \
                without an organization, whose name is devstatus by default";
    let broker = "missing --broker or DEVSTATUS_BROKER";
    let files = Files::new();
    assert_eq!(refusal(&files, "", &[]), format!("{id}; {key}; {token}"));
    assert_eq!(refusal(&files, "-i app -k a-b-c", &[]), token);
    assert_eq!(refusal(&files, "-i app -t tt", &[]), key);
    assert_eq!(refusal(&files, "-t tt --broker mqtt://h -o org", &[]), key);
    assert_eq!(refusal(&files, "-k a-b-c -t tt", &[]), id);
    assert_eq!(refusal(&files, "--broker mqtt://h", &[]), organization);
    assert_eq!(refusal(&files, "--broker mqtt://h -k user -t tt", &[]), organization);
    for line in ["keys create app", "keys list", "export", "import"] {
        assert_eq!(refusal(&files, line, &[]), name, "{line}");
    }
    assert_eq!(refusal(&files, "simulate -i app -k a-b-c -t tt", &[]), broker);
}

#[test]
fn values_of_the_source() {
    let name = "1 to 36 letters, digits, '-', '_' or '.'";
    let login = "1 to 65535 bytes of text on one line";
    let url = "mqtt://, mqtts://, ws:// or wss:// with a host and, if need be, a port";
    let files = Files::new();
    for (line, expected) in [
        ("-i a:b", format!("--id: expected {name}")),
        ("-i= ", format!("--id: expected {name}")),
        ("-i aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", format!("--id: expected {name}")),
        ("-o a/b", "--organization: expected 1 to 63 letters, digits, '-', '_' or '.'".into()),
        ("-t=", format!("--token: expected {login}")),
        ("-k=", format!("--key: expected {login}")),
        ("-k user", "--key: expected an API key of the form a-{organization}-{random}".into()),
        ("-k a-abc123-", "--key: expected an API key of the form a-{organization}-{random}".into()),
        ("-k a--x", "--key: expected an API key of the form a-{organization}-{random}".into()),
        ("-k d-abc123-x", "--key: expected an API key of the form a-{organization}-{random}".into()),
        ("--broker localhost:1883", format!("--broker: expected {url}")),
        ("--broker localhost", format!("--broker: expected {url}")),
        ("--broker http://h", format!("--broker: expected {url}")),
        ("--broker mqtt://", format!("--broker: expected {url}")),
        ("--broker mqtt://h:99999", format!("--broker: expected {url}")),
        ("--broker mqtt://a%20b", format!("--broker: expected {url}")),
        ("--broker mqtt://h:0", "--broker: expected a port from 1 to 65535 in the URL".into()),
        ("--broker mqtt://h?x=1", "--broker: expected no query in the URL".into()),
        ("--broker wss://h#x", "--broker: expected no fragment in the URL".into()),
        (
            "--broker mqtts://h/x",
            "--broker: expected no path in the URL: only ws:// and wss:// have one".into(),
        ),
        ("--mqtt-version 4", "--mqtt-version: expected 3.1.1, 3 or 5".into()),
        ("--keep-alive 0", "--keep-alive: expected a whole number of seconds from 1 to 65535".into()),
        ("--keep-alive 60s", "--keep-alive: expected a whole number of seconds from 1 to 65535".into()),
        ("--clean-session maybe", "--clean-session: expected true or false".into()),
        (
            "--session-expiry -1",
            "--session-expiry: expected a whole number of seconds from 0 to 4294967295".into(),
        ),
        (
            "--quiet-interval-ms 0",
            "--quiet-interval-ms: expected a whole number of milliseconds from 1 to 3600000".into(),
        ),
        (
            "--backlog-max-bytes 1",
            "--backlog-max-bytes: expected a whole number of bytes, at least 65536".into(),
        ),
    ] {
        assert_eq!(refusal(&files, line, LOGIN), expected, "devstatus {line}");
    }
    let user_info = "--broker: expected no user info in the URL: the login belongs in --key and --token-file";
    for url in ["mqtt://me:hunter2@h", "mqtts://me@h", "wss://:hunter2@h", "ws://me:hun/ter2@h"] {
        let line = refusal(&files, &format!("--broker {url}"), LOGIN);
        assert!(!line.contains("ter2"), "{line}");
        assert!(line == user_info || line.starts_with("--broker: expected mqtt://"), "{url}: {line}");
    }
}

#[test]
fn references_that_multiply_are_refused_in_time() {
    let files = Files::new();
    // Each of eight steps refers sixteen times to the next: four thousand million references in all, to nothing.
    let keys: String =
        (0..8).map(|step| format!("x{step}={}\n", format!("%(x{})s", step + 1).repeat(16))).collect();
    files.add("app.cfg", format!("[application]\norg=%(x0)s\n{keys}x8=\n"));
    let line = refusal(&files, "-c {dir}/app.cfg", &[]);
    assert!(line.contains("lead to too much") && line.contains("line 2"), "{line}");
}

#[test]
fn values_of_the_rest() {
    check(
        &Files::new(),
        &[
            ("--map-limit 0", LOGIN, "--map-limit: expected a whole number of devices from 1 to 4000000000"),
            ("-p 70000", LOGIN, "--port: expected a whole number from 0 to 65535"),
            ("", &[("DEVSTATUS_PORT", "x")], "DEVSTATUS_PORT: expected a whole number from 0 to 65535"),
            ("--listen localhost", LOGIN, "--listen: expected an IP address"),
            ("--config=", LOGIN, "--config: expected the path of a file"),
            ("demo --log-format xml", &[], "--log-format: expected text or json"),
            (
                "demo",
                &[("DEVSTATUS_VERBOSE", "yes")],
                "DEVSTATUS_VERBOSE: expected a whole number from 0 to 255",
            ),
            ("demo --devices 0", &[], "--devices: expected a whole number from 1 to 100000000"),
            ("demo --events-per-second -1", &[], "--events-per-second: expected a number from 0 to 10000000"),
            (
                "demo --events-per-second NaN",
                &[],
                "--events-per-second: expected a number from 0 to 10000000",
            ),
            ("demo --seed 0x1", &[], "--seed: expected a whole number from 0 to 18446744073709551615"),
            ("demo --duration 1", &[], "this subcommand has no flag --duration (see --help)"),
            (
                "simulate -o org --broker mqtt://h --duration 0",
                &[],
                "--duration: expected a whole number of seconds from 1 to 4294967295",
            ),
        ],
    );
}

#[test]
fn variables() {
    check(
        &Files::new(),
        &[
            (
                "",
                &[("DEVSTATUS_TOKN", "x")],
                "unknown variable DEVSTATUS_TOKN: did you mean DEVSTATUS_TOKEN? (see --help)",
            ),
            (
                "demo",
                &[("DEVSTATUS_XYZ", "x")],
                "unknown variable DEVSTATUS_XYZ: no setting of this name exists (see --help)",
            ),
            (
                "",
                &[("DEVSTATUS_1 2", "x")],
                "an unknown variable begins with DEVSTATUS_: no setting of its name exists (see --help)",
            ),
            (
                "-i app -k a-b-c -t tt",
                &[("WIOTP_OPTIONS_MQTT_PORT", "1884")],
                "WIOTP_OPTIONS_MQTT_PORT: expected 8883, 443, 1883 or 80, the platform's ports; for another broker use \
                 --broker",
            ),
            (
                "-i app -k a-b-c -t tt",
                &[("WIOTP_OPTIONS_LOGLEVEL", "loud")],
                "WIOTP_OPTIONS_LOGLEVEL: expected error, warning, info or debug",
            ),
        ],
    );
}

#[test]
fn contradictions() {
    let files = Files::new();
    files.add("token", TOKEN_LINE);
    files.add("both.cfg", INI.replace("org=abc123", "org=other"));
    check(
        &files,
        &[
            (
                "-o other",
                LOGIN,
                "--organization contradicts DEVSTATUS_KEY: the second part of the API key is another organization",
            ),
            (
                "-c {dir}/both.cfg",
                &[],
                "{dir}/both.cfg line 2, org contradicts {dir}/both.cfg line 5, auth-key: the second part of the API key \
                 is another organization",
            ),
            (
                "-i app -k a-b-c -t tt --token-file {dir}/token",
                &[],
                "--token contradicts --token-file: give the token or the file it is in, not both",
            ),
            (
                "-i app -k a-b-c",
                &[("DEVSTATUS_TOKEN", "x"), ("DEVSTATUS_TOKEN_FILE", "{dir}/token")],
                "DEVSTATUS_TOKEN contradicts DEVSTATUS_TOKEN_FILE: give the token or the file it is in, not both",
            ),
            (
                "-o org --broker mqtt://h --ca-file {dir}/token",
                &[],
                "--ca-file contradicts --broker: mqtt:// and ws:// use no certificates",
            ),
            (
                "-o org --broker mqtt://h --store postgres://u:p@h --store-password-file {dir}/token",
                &[],
                "--store contradicts --store-password-file: give the password in the URL or the file it is in, not both",
            ),
            (
                "-o org --broker mqtt://h --store memory: --store-password-file {dir}/token",
                &[],
                "--store-password-file contradicts --store: this store asks for no password",
            ),
            (
                "-o org --broker mqtt://h --map-limit 10 --store memory:",
                &[],
                "--map-limit contradicts --store: devices beyond the limit need a store that outlives the process",
            ),
            (
                "-o org --broker mqtt://h --map-limit 10",
                &[("DEVSTATUS_FORGET_AFTER", "9")],
                "--map-limit contradicts DEVSTATUS_FORGET_AFTER: only devices that are held can be found to be too old",
            ),
        ],
    );
}

#[test]
fn the_source_aedes_shares_no_connection() {
    let refused_beside = |clients: &str, other: &str| {
        format!(
            "{clients} and {other} cannot share a connection, on which the broker aedes would drop retained last wills: give \
             {clients} a [[source]] table of its own, with the same broker (docs/sources/brokers.md)"
        )
    };
    let refused = |other: &str| refused_beside("aedes", other);
    let files = Files::new();
    let start = "--broker mqtt://h -o org --store memory:";
    for (sources, other) in [
        ("--source aedes --source tasmota", "tasmota"),
        ("--source esphome,aedes", "esphome"),
        ("--source iot-platform,aedes", "iot-platform"),
    ] {
        let said = refusal(&files, &format!("{start} {sources}"), &[]);
        assert_eq!(said, format!("--source: {}", refused(other)));
    }
    serve(&files, &format!("{start} --source aedes"), &[]);
    serve(&files, &format!("{start} --source tasmota,esphome"), &[]);
    // Its topics decide, and not its name.
    let own = "name = \"leaving\"\ntype = \"mqtt\"\nid_at = \"\"\nretained = false\n";
    let topics = "topics = [{ topic = \"$SYS/+/disconnect/clients\", event = \"disconnect\" }]\n";
    files.add("own.toml", format!("[[profile]]\n{own}{topics}"));
    let beside = format!("{start} --profiles-file {{dir}}/own.toml --source tasmota,leaving");
    let said = refusal(&files, &beside, &[]);
    assert_eq!(said, format!("--source: {}", refused_beside("leaving", "tasmota")));
    let together = "[[source]]\nname = \"a\"\nbroker = \"mqtt://h\"\nformat = [\"tasmota\", \"aedes\"]\n";
    files.add("devstatus.toml", together);
    let start = "--name n --store memory: -c {dir}/devstatus.toml";
    let said = refusal(&files, start, &[]);
    assert_eq!(said, format!("{{dir}}/devstatus.toml line 4, source.format: {}", refused("tasmota")));
    let tables = ["tasmota", "aedes"].map(|format| {
        format!("[[source]]\nname = \"{format}\"\nbroker = \"mqtt://h\"\nformat = \"{format}\"\n")
    });
    files.add("devstatus.toml", tables.concat());
    let settings = serve(&files, start, &[]);
    assert_eq!(settings.source.identity.client_id(), "n-tasmota");
    let further: Vec<_> = settings.further.iter().map(|source| source.identity.client_id()).collect();
    assert_eq!(further, ["n-aedes"]);
}

const TOKEN_LINE: &str = "Tk0*(x)?&9\n";

#[test]
fn files_that_cannot_be_read() {
    let files = Files::new();
    files.add("latin1.cfg", b"[application]\nid=\xe9");
    files.add("large.cfg", vec![b'#'; (1 << 20) + 1]);
    files.add("empty", "");
    files.add("two-lines", "a\nb\n");
    check(
        &files,
        &[
            (
                "-c {dir}/none",
                &[],
                "--config: cannot read {dir}/none: No such file or directory (os error 2)",
            ),
            ("", &[("DEVSTATUS_CONFIG", "{dir}")], "DEVSTATUS_CONFIG: cannot read {dir}: is a directory"),
            ("-c {dir}/latin1.cfg", &[], "--config: cannot read {dir}/latin1.cfg: it is not UTF-8 text"),
            ("-c {dir}/large.cfg", &[], "--config: cannot read {dir}/large.cfg: it is larger than 1 MiB"),
            (
                "--ca-file {dir}/none",
                LOGIN,
                "--ca-file: cannot read the file: No such file or directory (os error 2)",
            ),
            ("--ca-file {dir}", LOGIN, "--ca-file: cannot read the file: is a directory"),
            (
                "-i app -k a-b-c --token-file {dir}/none",
                &[],
                "--token-file: cannot read the file: No such file or directory (os error 2)",
            ),
            (
                "-i app -k a-b-c --token-file {dir}/empty",
                &[],
                "--token-file: expected a file that holds the token, 1 to 65535 bytes of text on one line",
            ),
            (
                "-i app -k a-b-c --token-file {dir}/two-lines",
                &[],
                "--token-file: expected a file that holds the token, 1 to 65535 bytes of text on one line",
            ),
        ],
    );
}

#[test]
fn errors_in_an_ini_file() {
    let files = Files::new();
    let known = "org, id, auth-key, auth-token, clean-session, domain, port, type, auth-method, devstatus-url, \
                 devstatus-api-key, devstatus-api-key-file, \
                 devstatus-tls-client-cert, devstatus-tls-client-key";
    for (text, expected) in [
        ("[application]\norg abc\n", "line 2: expected 'key = value'".to_owned()),
        ("[application]\n= abc\n", "line 2: expected a key before the '=' or ':'".to_owned()),
        ("# c\norg = abc\n", "line 2: expected [application] before the first key".to_owned()),
        ("[device]\norg=abc\n", "line 1: expected the section [application], or [DEFAULT]".to_owned()),
        ("[application]\n\n[application]\n", "line 3: the section [application] occurs twice".to_owned()),
        ("[application]\nid=a\nID=b\n", "line 3: the key of this line occurs twice".to_owned()),
        ("[application]\nid=a%b\n", "line 2: a '%' in a value must be written '%%', or be a reference '%(name)s'".to_owned()),
        ("[application]\nid=%(org)d\n", "line 2: a reference in a value must be written '%(name)s'".to_owned()),
        ("[application]\nid=%(who)s\n", "line 2: a reference '%(name)s' in the value names a key that is not in the file".to_owned()),
        ("[application]\nid=%(id)s\n", "line 2: the value's %(name)s references go in a circle".to_owned()),
        ("[application]\nauth-tokn=x\n", format!("line 2: unknown key auth-tokn: did you mean auth-token? Known are {known}")),
        ("[application]\nauth-token Tk0=\n", format!("line 2: unknown key: did you mean auth-token? Known are {known}")),
        ("[application]\ntype=gateway\n", "line 2, type: expected standalone or shared".to_owned()),
        ("[application]\nport=80a\n", "line 2, port: expected 8883, 443, 1883 or 80, the platform's ports; for another broker use --broker".to_owned()),
        ("[application]\nauth-method=cert\n", "line 2, auth-method: expected apikey, the only method an application has".to_owned()),
        ("[application]\ndomain=a b\n", "line 2, domain: expected a host name".to_owned()),
    ] {
        files.add("x.cfg", text);
        let line = refusal(&files, "-c {dir}/x.cfg", LOGIN);
        assert_eq!(line, format!("{{dir}}/x.cfg {expected}"), "{text:?}");
    }
}

#[test]
fn errors_in_a_yaml_file() {
    let files = Files::new();
    let known = "identity.appId, auth.key, auth.token, options.mqtt.caFile, options.mqtt.keepAlive, \
                 options.mqtt.cleanStart, options.mqtt.sessionExpiry, options.domain, options.mqtt.port, \
                 options.mqtt.transport, options.mqtt.instanceId, options.http.verify, devstatus.url, devstatus.apiKey, \
                 devstatus.apiKeyFile, devstatus.tlsClientCert, devstatus.tlsClientKey, options.logLevel";
    for (text, expected) in [
        ("auth:\n  tokn: x\n", format!("line 2: unknown key auth.tokn: did you mean auth.token? Known are {known}")),
        ("auth:\n  key: k\n  Tk0: x\n", format!("line 3: unknown key: did you mean auth.key? Known are {known}")),
        ("auth.key: k\n", format!("line 1: unknown key auth.key: did you mean auth.key? Known are {known}")),
        ("options:\n  mqtt:\n    port: x\n", "line 3, options.mqtt.port: expected 8883, 443, 1883 or 80, the platform's ports; for another broker use --broker".to_owned()),
        ("options:\n  mqtt:\n    transport: udp\n", "line 3, options.mqtt.transport: expected tcp or websockets".to_owned()),
        ("options:\n  http:\n    verify: perhaps\n", "line 3, options.http.verify: expected true or false".to_owned()),
        ("options:\n  logLevel: loud\n", "line 2, options.logLevel: expected error, warning, info or debug".to_owned()),
    ] {
        files.add("x.yaml", text);
        let line = refusal(&files, "-c {dir}/x.yaml", LOGIN);
        assert_eq!(line, format!("{{dir}}/x.yaml {expected}"), "{text:?}");
    }
    for text in [
        "auth: [Tk0]\n",
        "auth: Tk0\n",
        "auth:\n  token: [Tk0]\n",
        "auth:\n  token: {Tk0: 1}\n",
        "auth:\n  token: \"Tk0\n",
        "auth:\n  token: Tk0\n  token: Tk0\n",
        "Tk0\n",
        "- Tk0\n",
        "a: b: Tk0\n",
        "auth:\n\ttoken: Tk0\n",
        "--- {}\n--- {}\n",
    ] {
        files.add("x.yml", text);
        let line = refusal(&files, "-c {dir}/x.yml", LOGIN);
        assert!(
            line.starts_with("{dir}/x.yml line ")
                && line.contains("not the YAML that was expected, at column "),
            "{text:?}: {line}"
        );
    }
    assert!(YAML.contains("auth:"));
}
