//! What good settings mean: defaults, every flag and variable, the broker's address, the kind of application.

use std::path::Path;
use std::time::Duration;

use super::{Files, INI, KEY, TOKEN, YAML, refusal, run, serve};
use crate::config::{Command, DemoSettings, LogFormat, LogLevel, LogSettings, SimulateSettings, Stop};
use crate::exchange::settings::ExportFormat;
use mqtt::settings::{Endpoint, Login, MqttVersion, Transport};
use server::sync::settings::ApplicationKind;
use simulator::settings::{Endings, FleetSettings};
use store::settings::{Address, Location, StoreServer, StoreSettings, StoreTls, days};
use system::secret::Secret;

#[test]
fn the_shortest_start_has_the_documented_defaults() {
    let files = Files::new();
    let settings = serve(&files, &format!("-i app -k {KEY} -t {TOKEN}"), &[]);
    let source = settings.source;
    assert_eq!(
        source.endpoint,
        Endpoint {
            transport: Transport::Tls,
            host: "abc123.messaging.internetofthings.ibmcloud.com".into(),
            port: 8883,
            path: "/mqtt".into(),
        }
    );
    assert_eq!(source.identity.client_id(), "a:abc123:app");
    assert_eq!(source.login, Some(Login { key: KEY.into(), token: Secret::new(TOKEN) }));
    assert_eq!((source.tls.ca_file, source.mqtt_version), (None, MqttVersion::V311));
    assert_eq!((source.keep_alive, source.quiet_interval), (Duration::from_secs(60), Duration::from_secs(2)));
    assert_eq!((source.clean_session, source.session_expiry), (true, Duration::ZERO));
    assert_eq!(source.backlog_max_bytes, 1 << 30);
    assert_eq!((settings.http.listen.to_string().as_str(), settings.http.port), ("127.0.0.1", 5000));
    assert_eq!(settings.log, LogSettings { format: LogFormat::Text, level: LogLevel::Info });
}

#[test]
fn every_setting_of_the_service_can_be_a_flag_or_a_variable() {
    let files = Files::new();
    files.add("ca.pem", "");
    files.add("token", TOKEN);
    let flags = format!(
        "--org abc123 --id app --key {KEY} --token-file {{dir}}/token --listen ::1 --port 0 --broker wss://h/x \
         --ca-file {{dir}}/ca.pem --mqtt-version 5 --keep-alive 7 --clean-session false --session-expiry 8 \
         --quiet-interval-ms 9 --backlog-max-bytes 65536 --store sqlite:/a/b.db --store-schema s.1 --store-ca-file {{dir}}/ca.pem --flush-interval-ms 10 \
         --forget-after 11 --history-days 12 --history-per-device 13 --streams-max 14 --stream-lag-max 150 --log-format json --verbose"
    );
    let environment = [
        ("DEVSTATUS_ORGANIZATION", "abc123"),
        ("DEVSTATUS_ID", "app"),
        ("DEVSTATUS_KEY", KEY),
        ("DEVSTATUS_TOKEN_FILE", "{dir}/token"),
        ("DEVSTATUS_LISTEN", "::1"),
        ("DEVSTATUS_PORT", "0"),
        ("DEVSTATUS_BROKER", "wss://h/x"),
        ("DEVSTATUS_CA_FILE", "{dir}/ca.pem"),
        ("DEVSTATUS_MQTT_VERSION", "5"),
        ("DEVSTATUS_KEEP_ALIVE", "7"),
        ("DEVSTATUS_CLEAN_SESSION", "False"),
        ("DEVSTATUS_SESSION_EXPIRY", "8"),
        ("DEVSTATUS_QUIET_INTERVAL_MS", "9"),
        ("DEVSTATUS_BACKLOG_MAX_BYTES", "65536"),
        ("DEVSTATUS_STORE", "sqlite:/a/b.db"),
        ("DEVSTATUS_STORE_SCHEMA", "s.1"),
        ("DEVSTATUS_STORE_CA_FILE", "{dir}/ca.pem"),
        ("DEVSTATUS_FLUSH_INTERVAL_MS", "10"),
        ("DEVSTATUS_FORGET_AFTER", "11"),
        ("DEVSTATUS_HISTORY_DAYS", "12"),
        ("DEVSTATUS_HISTORY_PER_DEVICE", "13"),
        ("DEVSTATUS_STREAMS_MAX", "14"),
        ("DEVSTATUS_STREAM_LAG_MAX", "150"),
        ("DEVSTATUS_LOG_FORMAT", "json"),
        ("DEVSTATUS_VERBOSE", "1"),
    ];
    let settings = serve(&files, &flags, &[]);
    assert_eq!(settings, serve(&files, "serve", &environment));
    assert_eq!(settings, serve(&files, &format!("serve {flags}"), &[]));
    let source = &settings.source;
    assert_eq!((source.endpoint.port, source.endpoint.path.as_str()), (443, "/x"));
    assert_eq!(source.tls.ca_file.as_deref().and_then(Path::file_name), Some("ca.pem".as_ref()));
    assert_eq!((source.mqtt_version, source.keep_alive), (MqttVersion::V5, Duration::from_secs(7)));
    assert_eq!((source.clean_session, source.session_expiry), (false, Duration::from_secs(8)));
    assert_eq!((source.quiet_interval, source.backlog_max_bytes), (Duration::from_millis(9), 65536));
    let store = StoreSettings {
        location: Location::Sqlite("/a/b.db".into()),
        schema: "s.1".to_owned(),
        ca_file: source.tls.ca_file.clone(),
        flush_interval: Duration::from_millis(10),
        forget_after: Some(days(11)),
        history: days(12),
        history_per_device: 13,
        map_limit: None,
    };
    assert_eq!(settings.store, store);
    assert_eq!((settings.http.streams.streams_max, settings.http.streams.stream_lag_max), (14, 150));
    assert_eq!(settings.log, LogSettings { format: LogFormat::Json, level: LogLevel::Debug });
}

#[test]
fn a_device_limit_needs_a_store_that_holds_the_rest() {
    let files = Files::new();
    let limit = |line: &str, environment: &[_]| serve(&files, line, environment).store.map_limit;
    assert_eq!(limit("--broker mqtt://h -o org", &[]), None);
    assert_eq!(limit("--broker mqtt://h -o org --map-limit 100", &[]), Some(100));
    assert_eq!(
        limit("--broker mqtt://h -o org", &[("DEVSTATUS_MAP_LIMIT", "4000000000")]),
        Some(4_000_000_000)
    );
    assert_eq!(limit("--broker mqtt://h -o org --store postgres://u@h --map-limit 1", &[]), Some(1));
}

#[test]
fn the_default_store_is_one_file_for_each_organization_in_the_directory_for_state() {
    let files = Files::new();
    let all = [("HOME", "/home/u"), ("XDG_STATE_HOME", "/state"), ("STATE_DIRECTORY", "/var/lib/devstatus")];
    for (environment, path) in [
        (&all[..0], "/var/lib/devstatus/org.db"),
        (&all[..1], "/home/u/.local/state/devstatus/org.db"),
        (&all[..2], "/state/devstatus/org.db"),
        (&all[..], "/var/lib/devstatus/org.db"),
        (&[("HOME", "/home/u"), ("XDG_STATE_HOME", "relative")], "/home/u/.local/state/devstatus/org.db"),
    ] {
        let settings = serve(&files, "--broker mqtt://h -o org", environment);
        let schema = "devstatus_org".to_owned();
        let expected = StoreSettings { schema, ..StoreSettings::at(Location::Sqlite(path.into())) };
        assert_eq!(settings.store, expected, "{environment:?}");
    }
    let settings = serve(&files, "--broker mqtt://h -o org --store memory:", &all);
    assert_eq!(settings.store.location, Location::Memory);
}

#[test]
fn the_store_password_can_be_read_from_a_file() {
    let files = Files::new();
    files.add("password", "p/@ 1\n");
    let password = |line: &str, environment: &[(&str, &str)]| {
        let line = format!("--broker mqtt://h -o org {line}");
        match serve(&files, &line, environment).store.location {
            Location::Postgres(server) | Location::Valkey(server) => server.password,
            Location::Memory | Location::Sqlite(_) => None,
        }
    };
    let (in_file, in_url) = (Some(Secret::new("p/@ 1")), Some(Secret::new("q")));
    let file = ("DEVSTATUS_STORE_PASSWORD_FILE", "{dir}/password");
    for scheme in ["postgres", "valkey"] {
        let (without, with) = (format!("{scheme}://u@db"), format!("{scheme}://u:q@db"));
        let flag = "--store-password-file {dir}/password";
        assert_eq!(password(&format!("--store {without} {flag}"), &[]), in_file);
        assert_eq!(password(&format!("--store {without}"), &[file]), in_file);
        assert_eq!(password(&format!("--store {with}"), &[file]), in_url, "the flag is stronger");
        assert_eq!(password(flag, &[("DEVSTATUS_STORE", &with)]), in_file, "the flag is stronger");
    }
    assert_eq!(password("--store memory:", &[file]), None);
}

#[test]
fn a_store_that_is_shared_is_named_by_the_usual_url() {
    let files = Files::new();
    let location =
        |url: &str| serve(&files, &format!("--broker mqtt://h -o org --store {url}"), &[]).store.location;
    let address = |host: &str, port| Address { host: host.to_owned(), port };
    let plain = StoreServer {
        addresses: vec![address("db", 5432)],
        user: None,
        password: None,
        database: None,
        tls: StoreTls::Required,
    };
    assert_eq!(location("postgres://db"), Location::Postgres(plain.clone()));
    let tls_of = |url: &str| match location(url) {
        Location::Postgres(server) => server.tls,
        other => panic!("{other:?}"),
    };
    for (hosts, tls) in [
        ("localhost", StoreTls::Offered),
        ("127.0.0.1,[::1]:2,%2Frun%2Fpostgresql", StoreTls::Offered),
        ("localhost,db", StoreTls::Required),
        ("10.0.0.1", StoreTls::Required),
    ] {
        assert_eq!(tls_of(&format!("postgres://{hosts}")), tls, "{hosts}");
        assert_eq!(tls_of(&format!("postgres://{hosts}?sslmode=prefer")), StoreTls::Offered, "{hosts}");
    }
    let full = StoreServer {
        addresses: vec![address("a.example", 1), address("::1", 2), address("/run/postgresql", 5432)],
        user: Some("u@x".to_owned()),
        password: Some(Secret::new("p:/@,?")),
        database: Some("d b".to_owned()),
        tls: StoreTls::Required,
    };
    let url = "postgresql://u%40x:p%3A%2F%40%2C%3F@a.example:1,[::1]:2,%2Frun%2Fpostgresql/d%20b?sslmode=verify-full";
    assert_eq!(location(url), Location::Postgres(full));
    assert_eq!(
        location("postgres://db?sslmode=disable"),
        Location::Postgres(StoreServer { tls: StoreTls::Off, ..plain.clone() })
    );
    let grid =
        StoreServer { addresses: vec![address("a", 6379), address("b", 7)], tls: StoreTls::Off, ..plain };
    assert_eq!(location("valkey://a,b:7"), Location::Valkey(grid.clone()));
    let login = StoreServer { password: Some(Secret::new("p")), database: Some("3".to_owned()), ..grid };
    assert_eq!(location("redis://:p@a,b:7/3"), Location::Valkey(login.clone()));
    let secure = StoreServer { user: Some("u".to_owned()), tls: StoreTls::Required, ..login };
    for url in ["valkeys://u:p@a,b:7/3", "rediss://u:p@a,b:7/3"] {
        assert_eq!(location(url), Location::Valkey(secure.clone()));
    }
}

#[test]
fn a_password_that_others_can_read_on_its_way_is_known_beforehand() {
    let files = Files::new();
    let shows = |url: &str| {
        let settings = serve(&files, &format!("--broker mqtt://h -o org --store {url}"), &[]);
        match settings.store.location {
            Location::Postgres(server) | Location::Valkey(server) => server.shows_password(),
            other => panic!("{other:?}"),
        }
    };
    for (url, expected) in [
        ("postgres://u:p@db", false),
        ("postgres://u:p@db?sslmode=prefer", true),
        ("postgres://u:p@db?sslmode=disable", true),
        ("postgres://u@db?sslmode=disable", false),
        ("postgres://u:p@localhost?sslmode=disable", false),
        ("valkey://:p@cache", true),
        ("valkeys://:p@cache", false),
        ("valkey://:p@[::1]", false),
    ] {
        assert_eq!(shows(url), expected, "{url}");
    }
    let readable = |url: &str| {
        serve(&files, &format!("--broker {url} -o org"), &[]).source.endpoint.is_readable_by_others()
    };
    for (url, expected) in [
        ("mqtt://h", true),
        ("ws://10.0.0.1", true),
        ("mqtts://h", false),
        ("wss://h", false),
        ("mqtt://127.0.0.1", false),
        ("mqtt://localhost", false),
    ] {
        assert_eq!(readable(url), expected, "{url}");
    }
}

#[test]
fn an_explicit_broker_needs_only_the_organization() {
    let files = Files::new();
    let source = serve(&files, "--broker mqtt://127.0.0.1 -o org", &[]).source;
    assert_eq!((source.identity.client_id().as_str(), source.login), ("a:org:devstatus", None));
    let source = serve(&files, "--broker mqtt://h -o org -k user -t -dash", &[]).source;
    assert_eq!(source.login, Some(Login { key: "user".into(), token: Secret::new("-dash") }));
}

#[test]
fn urls() {
    let files = Files::new();
    for (url, transport, host, port, path) in [
        ("mqtt://h", Transport::Tcp, "h", 1883, "/mqtt"),
        ("mqtts://H.example.:1", Transport::Tls, "H.example.", 1, "/mqtt"),
        ("ws://h", Transport::Ws, "h", 80, "/mqtt"),
        ("wss://h:443/a/b", Transport::Wss, "h", 443, "/a/b"),
        ("mqtt://[::1]:1883", Transport::Tcp, "::1", 1883, "/mqtt"),
        ("ws://127.0.0.1:9001/", Transport::Ws, "127.0.0.1", 9001, "/mqtt"),
    ] {
        let endpoint = serve(&files, &format!("-o org --broker {url}"), &[]).source.endpoint;
        assert_eq!(endpoint, Endpoint { transport, host: host.into(), port, path: path.into() }, "{url}");
    }
}

#[test]
fn ports_and_transports_of_the_platform() {
    let files = Files::new();
    for (port, transport, expected) in [
        ("8883", "tcp", (Transport::Tls, 8883)),
        ("443", "tcp", (Transport::Tls, 443)),
        ("1883", "tcp", (Transport::Tcp, 1883)),
        ("443", "websockets", (Transport::Wss, 443)),
        ("80", "websockets", (Transport::Ws, 80)),
        ("~", "websockets", (Transport::Wss, 8883)),
    ] {
        let options =
            format!("options:\n  domain: example.com\n  mqtt: {{port: {port}, transport: {transport}}}\n");
        files.add("app.yaml", format!("{YAML}{options}"));
        let endpoint = serve(&files, "-c {dir}/app.yaml", &[]).source.endpoint;
        assert_eq!((endpoint.transport, endpoint.port), expected, "{port} {transport}");
        assert_eq!(endpoint.host, "abc123.messaging.example.com");
        let explicit = serve(&files, "-c {dir}/app.yaml --broker mqtt://h:9", &[]).source.endpoint;
        assert_eq!(
            (explicit.host.as_str(), explicit.port),
            ("h", 9),
            "an explicit broker replaces all of it"
        );
    }
}

#[test]
fn kinds_of_application() {
    let files = Files::new();
    files.add("shared.cfg", format!("{INI}type = shared\n"));
    files.add("instance.yaml", format!("{YAML}options:\n  mqtt:\n    instanceId: one\n"));
    let identity = |line: &str| serve(&files, line, &[]).source.identity;
    assert_eq!(identity("-c {dir}/shared.cfg").kind, ApplicationKind::Scalable { instance: None });
    assert_eq!(identity("-c {dir}/instance.yaml").client_id(), "A:abc123:cfgapp:one");
}

#[test]
fn a_file_without_a_known_extension_is_recognized_by_its_content() {
    let files = Files::new();
    let noted = |text: &str| format!("\u{feff}# a comment\n\n{text}");
    for text in [INI.to_owned(), YAML.to_owned(), noted(INI), noted(YAML), format!("---\n{YAML}")] {
        files.add("settings", &text);
        let source = serve(&files, "-c {dir}/settings", &[]).source;
        assert_eq!(source.login, Some(Login { key: KEY.into(), token: Secret::new(TOKEN) }), "{text}");
    }
}

#[test]
fn yaml_scalars_are_taken_as_written() {
    let files = Files::new();
    for token in
        ["007", "0x1F", "1e3", "12:30:00", "2001-01-01", "true", "'~'", "\"a\\u0062\"", "no", "1_000"]
    {
        files.add("app.yaml", YAML.replace(TOKEN, token));
        let login = serve(&files, "-c {dir}/app.yaml", &[]).source.login.unwrap();
        let expected = token.trim_matches(['\'', '"']).replace("\\u0062", "b");
        assert_eq!(login.token.expose(), expected);
    }
}

#[test]
fn demo_and_simulate() {
    let files = Files::new();
    let fleet = |organization: &str| FleetSettings {
        organization: organization.into(),
        devices: 1_000,
        types: 5,
        events_per_second: 20.0,
        endings: Endings { clean: 5.0, dropped: 2.0, timed_out: 2.0, takeover: 1.0, refused: 1.0 },
        seed: 1,
    };
    let log = LogSettings { format: LogFormat::Text, level: LogLevel::Info };
    let demo = run(&files, "demo", &[("DEVSTATUS_KEY", "unused"), ("DEVSTATUS_PORT", "0")]).unwrap();
    assert_eq!(
        demo,
        Command::Demo(DemoSettings {
            port: 0,
            source: "iot-platform".to_owned(),
            formats: std::sync::Arc::default(),
            fleet: fleet("demo"),
            log
        })
    );

    let line = "simulate --broker mqtt://h -o org --devices 2 --events-per-second 0.5 --seed 7 --duration 8";
    let Command::Simulate(SimulateSettings { source, fleet: changed, duration, .. }) =
        run(&files, line, &[]).unwrap()
    else {
        panic!("not a simulation")
    };
    assert_eq!(source.identity.client_id(), "a:org:devstatus-simulate");
    let expected = FleetSettings { devices: 2, types: 2, events_per_second: 0.5, seed: 7, ..fleet("org") };
    assert_eq!((changed, duration), (expected, Some(Duration::from_secs(8))));
}

#[test]
fn help_and_version_are_answers() {
    let files = Files::new();
    for line in ["-h", "--help", "-V", "--version", "demo -h", "simulate --help", "serve -h", "help demo"] {
        let stop = run(&files, line, &[]).unwrap_err();
        assert!(matches!(stop, Stop::Answer(_)) && stop.exit_code() == 0, "{line}: {stop}");
    }
    let help = run(&files, "-h", &[]).unwrap_err().to_string();
    assert!(
        help.contains("--token-file") && help.contains("demo") && help.contains("DEVSTATUS_BROKER"),
        "{help}"
    );
}

#[test]
fn an_export_needs_no_login_but_a_store_that_outlives_the_process() {
    let files = Files::new();
    let ini = files.add("application.cfg", INI);
    let line = format!("export -c {} --format csv --file out.csv", ini.display());
    let Ok(Command::Export(settings, format)) = run(&files, &line, &[("HOME", "/home/u")]) else {
        panic!("{line}")
    };
    assert_eq!(settings.store.location, Location::Sqlite("/home/u/.local/state/devstatus/abc123.db".into()));
    assert_eq!((format, settings.file), (ExportFormat::Csv, Some("out.csv".into())));
    let Ok(Command::Import(settings)) = run(&files, "import --store sqlite:x --file -", &[]) else {
        panic!()
    };
    assert_eq!((settings.store.location, settings.file), (Location::Sqlite("x".into()), None));
    assert!(refusal(&files, "export", &[]).contains("--organization"));
    assert!(refusal(&files, "export -o abc --store memory:", &[]).contains("outlives"));
    assert!(refusal(&files, "export -o abc --format xml", &[]).contains("jsonl, csv or csv-spreadsheet"));
    assert!(refusal(&files, "import -o abc --format csv", &[]).contains("no flag --format"));
}

#[test]
fn a_service_without_an_organization_has_keys_in_a_file_of_its_name() {
    let files = Files::new();
    let home = [("HOME", "/home/u")];
    let file = Path::new("/home/u/.local/state/devstatus/plant.keys");
    let made = run(&files, "keys create ops --name plant", &home);
    let Ok(Command::Keys(keys)) = made else { panic!("{made:?}") };
    assert_eq!(keys.file, file.to_path_buf());
    let service = serve(&files, "--broker mqtt://h --source tasmota --name plant", &home);
    assert_eq!(service.http.keys_file, Some(file.to_path_buf()));
    assert!(refusal(&files, "keys create ops", &home).contains("--organization"));
}
