//! Compares our reading of the platform's settings files and variables with what its own Python packages read from the
//! same text: `ibmiotf` for the INI file, `wiotp-sdk` for YAML and variables. Every difference that is meant is named in
//! a test; any other fails. Without the packages the tests fail.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use cli::config::{self, ConfigError, LogLevel, Settings, Stop};
use mqtt::settings::Transport;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use serde_json::{Value, json};
use testkit::child::ChildProcess;

/// The Python process with the platform's packages.
struct Peer {
    _child: ChildProcess,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Peer {
    fn start() -> Self {
        let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/peers");
        let setup = Command::new(peers.join("setup.sh")).stderr(Stdio::inherit()).output().unwrap();
        assert!(setup.status.success(), "the peers cannot be installed, see above");
        let python = String::from_utf8(setup.stdout).unwrap();
        let mut command = Command::new(python.trim());
        command.arg(peers.join("read_config.py")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = ChildProcess::start(&mut command);
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { _child: child, stdin, stdout }
    }

    fn ask(&mut self, case: Value) -> Value {
        writeln!(self.stdin, "{case}").unwrap();
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn ini(&mut self, text: &str) -> Value {
        self.ask(json!({"kind": "ini", "text": text}))
    }

    fn yaml(&mut self, text: &str) -> Value {
        self.ask(json!({"kind": "yaml", "text": text}))
    }

    fn env(&mut self, variables: &BTreeMap<String, String>) -> Value {
        self.ask(json!({"kind": "env", "variables": variables}))
    }
}

fn ours_file(name: &str, text: &str) -> Result<Settings, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    ours(&["-c", path.to_str().unwrap()], &BTreeMap::new())
}

fn ours(args: &[&str], variables: &BTreeMap<String, String>) -> Result<Settings, ConfigError> {
    let args = std::iter::once("devstatus").chain(args.iter().copied()).map(Into::into);
    match config::load(args, variables.clone()) {
        Ok(config::Command::Serve(settings)) => Ok(settings),
        Err(Stop::Refused(refusal)) => Err(refusal),
        other => panic!("{other:?}"),
    }
}

/// What both sides know, in the words of `read_config.py`.
fn reading(settings: &Settings) -> Value {
    let source = &settings.source;
    let login = source.login.as_ref().unwrap();
    json!({
        "host": source.endpoint.host,
        "client_id": source.identity.client_id(),
        "key": login.key,
        "token": login.token.expose(),
        "port": source.endpoint.port,
        "transport": match source.endpoint.transport {
            Transport::Tcp | Transport::Tls => "tcp",
            Transport::Ws | Transport::Wss => "websockets",
        },
        "clean": source.clean_session,
        "session_expiry": source.session_expiry.as_secs(),
        "keep_alive": source.keep_alive.as_secs(),
        "ca_file": source.tls.ca_file,
        "log_level": match settings.log.level {
            LogLevel::Error => 40,
            LogLevel::Warn => 30,
            LogLevel::Info => 20,
            LogLevel::Debug | LogLevel::Trace => 10,
        },
    })
}

/// Runs `check` on many cases; it says whether both sides took the case. Enough of them must, else nothing was compared.
fn compare<S: Strategy>(cases: &S, check: impl FnMut(S::Value) -> Result<bool, TestCaseError>) {
    const CASES: u32 = 500;
    const BOTH_AT_LEAST: u32 = 50;
    let config = ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() };
    let (check, both) = (RefCell::new(check), Cell::new(0));
    let outcome = TestRunner::new(config).run(cases, |case| {
        both.set(both.get() + u32::from((check.borrow_mut())(case)?));
        Ok(())
    });
    outcome.unwrap();
    assert!(both.get() >= BOTH_AT_LEAST, "both sides took only {} of {CASES} cases", both.get());
}

/// Asserts that both sides read the same under the names that `theirs` has.
fn assert_same(ours: &Value, theirs: &Value, case: &str) {
    for (name, value) in theirs.as_object().unwrap() {
        if let Some(own) = ours.get(name) {
            assert_eq!(own, value, "{name} in {case}");
        }
    }
}

fn text<'a>(reading: &'a Value, name: &str) -> &'a str {
    reading[name].as_str().unwrap_or_default()
}

const INI: &str =
    "[application]\norg=abc123\nid=app\nauth-method=apikey\nauth-key=a-abc123-x1\nauth-token=T*k)n&1\n";

#[test]
fn ini_by_table() {
    let mut peer = Peer::start();
    for case in [
        INI.to_owned(),
        INI.replace('=', ":"),
        INI.replace('=', " \t= "),
        INI.replace('\n', "\r\n"),
        INI.replace('\n', "\r"),
        INI.to_uppercase()
            .replace("[APPLICATION]", "[application]")
            .replace("=A-", "=a-")
            .replace("APIKEY", "apikey"),
        format!("# a\n; b\n\n{INI}\n  # c\n"),
        format!("{INI}type=shared\nport=443\ndomain=example.com\nclean-session=false\n"),
        INI.replace("T*k)n&1", "a=b:c ; d # e"),
        INI.replace("T*k)n&1", "100%%"),
        INI.replace("a-abc123-x1", "a-%(ORG)s-x1"),
        INI.replace("id=app", "id=%(type)s-%(port)s"),
        INI.replace("[application]", "[application] ; note"),
        INI.replace("T*k)n&1", "[application]"),
        format!(
            "[DEFAULT]\nname=n\nport=1883\n[application]\n{}",
            INI.replace("=app", "=%(name)s").replace("[application]\n", "")
        ),
        INI.replace("org=", "  org="),
        INI.lines().map(|line| format!("   {line}\n")).collect(),
    ] {
        let theirs = peer.ini(&case);
        assert!(theirs.get("error").is_none(), "{theirs}: {case}");
        let ours = ours_file("application.cfg", &case).unwrap_or_else(|refusal| panic!("{refusal}: {case}"));
        assert_same(&comparable(reading(&ours), &theirs), &theirs, &case);
    }
}

/// Truth values are texts in `ibmiotf`; the difference in other spellings has a test of its own.
fn comparable(mut ours: Value, theirs: &Value) -> Value {
    if let (Some(own), true) = (ours["clean"].as_bool(), theirs["clean"].is_string()) {
        ours["clean"] = json!(own.to_string());
    }
    ours
}

#[test]
fn ini_that_both_refuse() {
    let mut peer = Peer::start();
    for case in [
        String::new(),
        INI.replace("[application]\n", ""),
        INI.replace("[application]", "[]"),
        INI.replace("[application]", "[application] ]"),
        INI.replace("org=", "org "),
        INI.replace("org", ""),
        INI.replace("auth-token=", "other="),
        format!("{INI}ORG=abc123\n"),
        format!("{INI}[application]\n"),
        INI.replace("T*k)n&1", "100%"),
        INI.replace("T*k)n&1", "%(x"),
        INI.replace("T*k)n&1", "%(nobody)s"),
        INI.replace("T*k)n&1", "%(org)d"),
        INI.replace("T*k)n&1", "%(auth-token)s"),
        format!("{INI}port=many\n"),
    ] {
        assert!(peer.ini(&case).get("error").is_some(), "{case}");
        assert!(ours_file("application.cfg", &case).is_err(), "{case}");
    }
}

#[test]
fn ini_that_only_we_refuse() {
    let mut peer = Peer::start();
    for (case, why) in [
        (INI.replace("id=app\n", ""), "an application id by chance is another client after each restart"),
        (format!("{INI}typo=1\n"), "an unknown key is a setting that would not work"),
        (format!("{INI}[other]\n"), "so is an unknown section"),
        (format!("{INI}type=sharde\n"), "an unknown type"),
        (format!("{INI}clean-session=maybe\n"), "an unknown truth value"),
        (INI.replace("=apikey", "=cert"), "another method"),
        (INI.replace("org=abc123", "org=other"), "the organization of another key"),
        (INI.replace("id=app", "id=a:b"), "an id that ends its field of the client id"),
        (format!("{INI}  more\n"), "a token of two lines"),
        (format!("{INI}port=1884\n"), "a port that its client refuses when it connects"),
    ] {
        assert!(peer.ini(&case).get("error").is_none(), "{why}");
        assert!(ours_file("application.cfg", &case).is_err(), "{why}");
    }
    let missing_organization = INI.replace("org=abc123\n", "");
    assert!(peer.ini(&missing_organization).get("error").is_some());
    assert!(ours_file("application.cfg", &missing_organization).is_ok(), "the key says it");
    // `False` is true for ibmiotf, as it is not the text `false`.
    let clean =
        ours_file("application.cfg", &format!("{INI}clean-session=False\n")).unwrap().source.clean_session;
    assert!(!clean);
}

/// Lines of an INI file whose values are good; what may be wrong is their form and order.
fn ini_lines() -> impl Strategy<Value = String> {
    let pool = prop_oneof![
        Just(("org", "abc123")),
        Just(("id", "app")),
        Just(("id", "%(org)s")),
        Just(("id", "%(NAME)s.%(type)s")),
        Just(("name", "n%(port)s")),
        Just(("auth-key", "a-abc123-x1")),
        Just(("auth-key", "a-%(org)s-%(id)s")),
        Just(("auth-token", "T*k)n&1")),
        Just(("auth-token", "5%%=a:b")),
        Just(("auth-token", "%(id)s%(auth-key)s")),
        Just(("type", "shared")),
        Just(("port", "443")),
        Just(("domain", "example.com")),
        Just(("clean-session", "false")),
    ];
    let key = (pool, "[ \t]{0,2}", "[:=]", "[ \t]{0,2}", any::<bool>()).prop_map(
        |((key, value), a, sign, b, upper)| {
            let key = if upper { key.to_uppercase() } else { key.to_owned() };
            format!("{key}{a}{sign}{b}{value}")
        },
    );
    let line = prop_oneof![
        40 => key,
        1 => Just(String::new()),
        1 => Just("# id = no".to_owned()),
        1 => Just("; org: no".to_owned()),
        1 => Just("[DEFAULT]".to_owned()),
        1 => Just("[application]".to_owned()),
        1 => Just("nothing".to_owned()),
        1 => Just("=".to_owned()),
        1 => Just("auth-token = 1%".to_owned()),
        1 => Just("auth-token = %(x)s".to_owned()),
    ];
    let indented = (
        prop_oneof![30 => Just(""), 1 => Just(" "), 1 => Just("\t ")],
        line,
        prop_oneof![9 => Just("\n"), 1 => Just("\r\n")],
    );
    proptest::collection::vec(indented, 0..5).prop_map(|lines| {
        lines.into_iter().map(|(indent, line, end)| format!("{indent}{line}{end}")).collect()
    })
}

/// Whether what `ibmiotf` read is what we take too: good values on one line, and the organization of the key.
fn is_good(theirs: &Value) -> bool {
    let names = ["org", "client_id", "key", "token", "host", "type", "clean"];
    let one_line = names.iter().all(|name| !text(theirs, name).contains('\n'));
    let organization = text(theirs, "key").strip_prefix("a-").and_then(|rest| rest.split_once('-'));
    one_line
        && organization
            .is_some_and(|(organization, random)| organization == text(theirs, "org") && !random.is_empty())
}

/// Whether `ibmiotf` found no id in the file and made one, a UUID.
fn has_id_by_chance(theirs: &Value) -> bool {
    const UUID_CHARS: usize = 36;
    text(theirs, "client_id").rsplit(':').next().is_some_and(|id| id.len() == UUID_CHARS)
}

#[test]
fn ini_by_property() {
    let mut peer = Peer::start();
    let required = [("org", "abc123"), ("id", "app"), ("auth-key", "a-abc123-x1"), ("auth-token", "tok")];
    let case = (ini_lines(), ini_lines(), proptest::bool::weighted(0.9)).prop_map(
        move |(first, second, default)| {
            // What is required is in [DEFAULT], so that nearly every order of the rest is a complete file.
            let keys: String = required.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
            let (default, keys) = if default { ("[DEFAULT]\n", keys) } else { ("", String::new()) };
            format!("{default}{keys}{first}[application]\n{second}")
        },
    );
    compare(&case, |case| {
        let theirs = peer.ini(&case);
        match (ours_file("application.cfg", &case), theirs.get("error")) {
            (Ok(ours), None) => {
                assert_same(&comparable(reading(&ours), &theirs), &theirs, &case);
                return Ok(true);
            }
            (Err(_), Some(_)) => {}
            (Ok(_), Some(error)) => {
                prop_assert_eq!(error, "NoOptionError", "only a missing organization is known: {}", case)
            }
            // A name for references is known in [DEFAULT] only, and an id by chance is refused.
            (Err(ConfigError::UnknownKey { .. }), None) => {
                prop_assert!(case.to_lowercase().contains("name"), "{}", case)
            }
            (Err(ConfigError::Missing(_)), None) => prop_assert!(has_id_by_chance(&theirs), "{}", case),
            (Err(refusal), None) => {
                prop_assert!(!is_good(&theirs) || has_id_by_chance(&theirs), "{}: {}", refusal, case)
            }
        }
        Ok(false)
    });
}

const YAML: &str = "identity:\n  appId: app\nauth:\n  key: a-abc123-x1\n  token: T*k)n&1\n";

#[test]
fn yaml_by_table() {
    let mut peer = Peer::start();
    let options = "options:\n  domain: example.com\n  logLevel: debug\n  mqtt:\n    instanceId: one\n    port: 443\n    \
                   transport: websockets\n    cleanStart: false\n    sessionExpiry: 3600\n    keepAlive: 30\n    caFile: \
                   CA\n  http:\n    verify: true\n";
    let ca = tempfile::NamedTempFile::new().unwrap();
    for case in [
        format!("{YAML}options: {{mqtt: {{port: 8883, cleanStart: true, sessionExpiry: 0}}}}\n"),
        format!("{YAML}{options}").replace("CA", ca.path().to_str().unwrap()),
        format!("# note\n---\n{YAML}{options}...\n")
            .replace("CA", ca.path().to_str().unwrap())
            .replace("debug", "warning"),
        format!("{YAML}{options}").replace('\n', "\r\n").replace("CA", ca.path().to_str().unwrap()),
    ] {
        let theirs = peer.yaml(&case);
        assert!(theirs.get("error").is_none(), "{theirs}: {case}");
        let ours = ours_file("app.yaml", &case).unwrap_or_else(|refusal| panic!("{refusal}: {case}"));
        let mut theirs = theirs;
        // What the file does not say follows from each side's own defaults.
        for (name, key) in
            [("keep_alive", "keepAlive"), ("port", "port"), ("session_expiry", "sessionExpiry")]
        {
            assert!(case.contains(key) || theirs.as_object_mut().unwrap().remove(name).is_some());
        }
        assert_same(&reading(&ours), &theirs, &case);
    }
    let system = format!("{YAML}options:\n  mqtt:\n    caFile: _os_\n");
    assert_eq!(peer.yaml(&system)["ca_file"], "_os_");
    assert_eq!(ours_file("app.yaml", &system).unwrap().source.tls.ca_file, None, "the system's trust store");
}

#[test]
fn yaml_that_both_refuse() {
    let mut peer = Peer::start();
    for case in [
        String::new(),
        "auth: {}\n".to_owned(),
        YAML.replace("  token: T*k)n&1\n", ""),
        YAML.replace("T*k)n&1", "~"),
        YAML.replace("T*k)n&1", "'"),
        format!("{YAML}options:\n  logLevel: loud\n"),
        format!("{YAML}options:\n  mqtt:\n    port: many\n"),
        YAML.replace("  key", "\tkey"),
    ] {
        assert!(peer.yaml(&case).get("error").is_some(), "{case}");
        assert!(ours_file("app.yaml", &case).is_err(), "{case}");
    }
}

#[test]
fn yaml_scalars_by_property() {
    let mut peer = Peer::start();
    let token = prop_oneof!["[ -~]{1,12}", "'[ -~]{1,8}'", "\"[ -~]{1,8}\"", "[0-9_.:e+x-]{1,6}"];
    // Where YAML 1.1, the package's, and 1.2, ours, part: where the name of an anchor ends, and whether a comment may
    // touch a quote. Neither is how anybody writes a token.
    let token = token.prop_filter("an anchor, or a comment that touches a quote", |token| {
        !token.trim_start().starts_with('&') && !token.contains("\"#") && !token.contains("'#")
    });
    compare(&token, |token| {
        let case = YAML.replace("T*k)n&1", &token);
        let theirs = peer.yaml(&case);
        let ours = ours_file("app.yaml", &case).ok().and_then(|settings| settings.source.login);
        match (ours, theirs["token"].as_str()) {
            (Some(login), Some(token)) => {
                prop_assert_eq!(login.token.expose(), token);
                return Ok(true);
            }
            // A number, date or truth value, of which the package keeps the value and we the text; or an error there.
            (_, None) => {}
            (None, Some(token)) => {
                prop_assert!(token.is_empty() || token.contains(char::is_control), "{:?}", case)
            }
        }
        Ok(false)
    });
}

#[test]
fn variables_by_property() {
    let mut peer = Peer::start();
    let maybe = |name: &'static str, values: &'static [&'static str]| {
        proptest::option::weighted(0.6, proptest::sample::select(values))
            .prop_map(move |value| Some((name, value?)))
    };
    let variables = (
        (maybe("WIOTP_AUTH_KEY", &["a-abc123-x1"]), maybe("WIOTP_AUTH_TOKEN", &["T*k)n&1"])),
        (maybe("WIOTP_API_KEY", &["a-old456-x1"]), maybe("WIOTP_API_TOKEN", &["old"])),
        (
            maybe("WIOTP_OPTIONS_MQTT_PORT", &["443", "8883", "1883", "x"]),
            maybe("WIOTP_OPTIONS_DOMAIN", &["example.com"]),
        ),
        (
            maybe("WIOTP_OPTIONS_LOGLEVEL", &["error", "info", "debug", "INFO"]),
            maybe("WIOTP_OPTIONS_MQTT_INSTANCEID", &["one"]),
        ),
        (
            maybe("WIOTP_OPTIONS_MQTT_CLEANSTART", &["True", "true", "1", "False", "false", "0"]),
            maybe("WIOTP_OPTIONS_MQTT_TRANSPORT", &["tcp", "websockets"]),
        ),
        (
            maybe("WIOTP_OPTIONS_MQTT_SESSIONEXPIRY", &["0", "60", "x"]),
            maybe("WIOTP_OPTIONS_MQTT_KEEPALIVE", &["1", "60", "x"]),
        ),
        (maybe("WIOTP_OPTIONS_HTTP_VERIFY", &["True", "False"]), Just(Some(("WIOTP_IDENTITY_APPID", "app")))),
    );
    compare(&variables, |(a, b, c, d, e, f, g)| {
        let all = [a.0, a.1, b.0, b.1, c.0, c.1, d.0, d.1, e.0, e.1, f.0, f.1, g.0, g.1];
        let variables: BTreeMap<String, String> =
            all.into_iter().flatten().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let mut theirs = peer.env(&variables);
        match (ours(&[], &variables), theirs.get("error").is_some()) {
            (Ok(ours), false) => {
                let theirs = theirs.as_object_mut().unwrap();
                for (name, variable) in [("port", "PORT"), ("session_expiry", "SESSIONEXPIRY")] {
                    if !variables.contains_key(&format!("WIOTP_OPTIONS_MQTT_{variable}")) {
                        theirs.remove(name);
                    }
                }
                assert_same(&reading(&ours), &Value::Object(theirs.clone()), &format!("{variables:?}"));
                return Ok(true);
            }
            (Err(_), true) => {}
            (Ok(_), true) => prop_assert!(false, "only we take {:?}", variables),
            (Err(refusal), false) => prop_assert!(false, "only we refuse {:?}: {}", variables, refusal),
        }
        Ok(false)
    });
}
