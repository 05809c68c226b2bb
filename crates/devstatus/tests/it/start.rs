//! How the service starts: where its settings come from, as whom it connects, what stops the start, and that no secret
//! shows.

use serde_json::Value;

use testkit::closing_broker::{ClosingBroker, Script};
use testkit::http::{self, Connection};
use testkit::mosquitto::Mosquitto;
use testkit::packet::{Connect, Subscription};
use testkit::service::{Ended, Launch, mentions};
use testkit::status::{APPLICATION, Device, FILTER, KEY, ORG, TOKEN};

const PUMP: Device<'_> = Device { kind: "pump", id: "1" };

fn application_cfg() -> String {
    format!(
        "[application]\norg = {ORG}\nid = {APPLICATION}\nauth-method = apikey\nauth-key = {KEY}\nauth-token = {TOKEN}\n"
    )
}

/// The CONNECT that the platform wants from this application.
fn wanted_connect(level: u8) -> Connect {
    Connect {
        level,
        client_id: format!("a:{ORG}:{APPLICATION}"),
        user: Some(KEY.to_owned()),
        password: Some(TOKEN.to_owned()),
        keep_alive_secs: 60,
        clean: true,
    }
}

/// Starts against a broker that grants everything and compares what it was asked.
fn assert_connects_as_wanted(level: u8, launch: impl FnOnce(&str) -> Launch) {
    let broker = ClosingBroker::start(Script::default());
    let service = launch(&broker.url()).start();
    service.wait_until_ready();
    let connects = broker.connects();
    assert_eq!(connects[0], wanted_connect(level));
    // Further connections, to read what the broker counts and retains, are of the same application.
    let login = |connect: &Connect| (connect.level, connect.user.clone(), connect.password.clone());
    assert!(connects.iter().all(|connect| login(connect) == login(&connects[0])), "{connects:?}");
    let wanted = Subscription { filter: FILTER.to_owned(), qos: 0 };
    assert_eq!(broker.subscribes()[0].subscriptions, [wanted]);
}

/// Bad settings: exit code 2 and one line on stderr with all the words, and never the token.
fn assert_start_refused(launch: Launch, words: &[&str]) {
    let ended = launch.run();
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(mentions(&ended.stderr, words), "{words:?} in {}", ended.stderr);
    assert_no_secret(&ended);
}

fn assert_no_secret(ended: &Ended) {
    assert!(!ended.stdout.contains(TOKEN), "{}", ended.stdout);
    assert!(!ended.stderr.contains(TOKEN), "{}", ended.stderr);
}

#[test]
fn started_by_flags_it_connects_as_the_platform_wants() {
    assert_connects_as_wanted(4, Launch::to);
}

#[test]
fn started_by_long_flags_and_mqtt_5_it_connects_as_the_platform_wants() {
    assert_connects_as_wanted(5, |url| {
        let flags = ["serve", "--organization", ORG, "--id", APPLICATION, "--key", KEY, "--token", TOKEN];
        Launch::default().arguments(&flags).arguments(&[
            "--port",
            "0",
            "--broker",
            url,
            "--mqtt-version",
            "5",
        ])
    });
}

#[test]
fn started_by_application_cfg_it_connects_as_the_platform_wants() {
    assert_connects_as_wanted(4, |url| {
        let launch = Launch::default().file("application.cfg", &application_cfg());
        launch.arguments(&["-c", "application.cfg", "-p", "0", "--broker", url])
    });
}

#[test]
fn started_by_environment_it_connects_as_the_platform_wants() {
    assert_connects_as_wanted(4, |url| {
        Launch::default()
            .environment("WIOTP_IDENTITY_APPID", APPLICATION)
            .environment("WIOTP_AUTH_KEY", KEY)
            .environment("WIOTP_AUTH_TOKEN", TOKEN)
            .arguments(&["-p", "0", "--broker", url])
    });
}

#[test]
fn started_with_a_token_file_it_connects_as_the_platform_wants() {
    assert_connects_as_wanted(4, |url| {
        let flags =
            ["-o", ORG, "-i", APPLICATION, "-k", KEY, "--token-file", "token", "-p", "0", "--broker", url];
        Launch::default().file("token", &format!("{TOKEN}\n")).arguments(&flags)
    });
}

#[test]
fn a_flag_beats_the_environment_and_the_environment_beats_the_file() {
    assert_connects_as_wanted(4, |url| {
        let file =
            application_cfg().replace(TOKEN, "token-of-the-file").replace("= app", "= app-of-the-file");
        Launch::default()
            .file("application.cfg", &file)
            .environment("WIOTP_AUTH_TOKEN", TOKEN)
            .environment("WIOTP_IDENTITY_APPID", "app-of-the-environment")
            .arguments(&["-c", "application.cfg", "-i", APPLICATION, "-p", "0", "--broker", url])
    });
    assert_connects_as_wanted(4, |url| {
        Launch::to(url).environment("DEVSTATUS_TOKEN", "token-of-the-environment")
    });
    assert_connects_as_wanted(4, |url| {
        Launch::to(url).file("token", "token-of-the-file").environment("DEVSTATUS_TOKEN_FILE", "token")
    });
}

#[test]
fn started_by_application_cfg_it_answers_from_a_real_broker() {
    let broker = Mosquitto::start().retaining([(PUMP, PUMP.connect(1))]);
    let launch = Launch::default().file("application.cfg", &application_cfg());
    let service = launch.arguments(&["-c", "application.cfg", "-p", "0", "--broker", &broker.url()]).start();
    service.wait_for_answer(&PUMP.path(), &PUMP.connect(1));
}

#[test]
fn without_settings_it_exits_2_with_one_line() {
    assert_start_refused(Launch::default(), &["--id", "--key", "--token"]);
}

#[test]
fn a_setting_that_is_missing_unknown_or_contradictory_is_named() {
    let with_file = |text: &str| {
        Launch::default().file("application.cfg", text).arguments(&["-c", "application.cfg", "-p", "0"])
    };
    let good = application_cfg();
    assert_start_refused(Launch::default().arguments(&["-c", "absent.cfg"]), &["absent.cfg"]);
    assert_start_refused(with_file(&good.replace("id =", "idd =")), &["application.cfg", "idd"]);
    assert_start_refused(
        with_file(&good.replace("= apikey", "= token")),
        &["application.cfg", "auth-method", "apikey"],
    );
    assert_start_refused(with_file(&good.replace("org = org", "org = other")), &["org", "other"]);
    assert_start_refused(with_file(&good).arguments(&["--broker", "http://127.0.0.1"]), &["broker", "mqtt"]);
    assert_start_refused(with_file(&good).arguments(&["--broker", "127.0.0.1:1883"]), &["broker", "mqtt"]);
}

#[test]
fn a_port_that_is_taken_stops_the_start_and_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("the kernel gives a port");
    let port = taken.local_addr().expect("a bound socket has an address").port().to_string();
    let broker = ClosingBroker::start(Script::default());
    let flags = ["-c", "application.cfg", "--broker", &broker.url(), "-p", &port];
    let ended = Launch::default().file("application.cfg", &application_cfg()).arguments(&flags).run();
    assert!(matches!(ended.status.code(), Some(1 | 2)), "{ended:?}");
    assert!(ended.stderr.contains(&port), "{}", ended.stderr);
}

#[test]
fn help_and_version_need_no_settings() {
    for (flag, word) in
        [("-h", "--broker"), ("--help", "--broker"), ("-V", "devstatus"), ("--version", "devstatus")]
    {
        let ended = Launch::default().arguments(&[flag]).run();
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        assert!(ended.stdout.contains(word), "{flag}: {}", ended.stdout);
    }
}

#[test]
fn the_token_shows_neither_in_the_output_nor_in_the_arguments_of_the_process() {
    let broker = ClosingBroker::start(Script::default());
    for extra in [&["-v"][..], &["--log-format", "json", "-v"][..]] {
        let service = Launch::to(&broker.url()).arguments(extra).start();
        service.wait_until_ready();
        assert!(!service.command_line().contains(TOKEN), "{}", service.command_line());
        let connects = broker.connects().len();
        broker.cut();
        service.wait_until("it has connected again", || broker.connects().len() > connects);
        assert_no_secret(&service.terminate());
    }
}

#[test]
fn the_log_as_json_has_one_object_a_line() {
    let broker = ClosingBroker::start(Script::default());
    let service = Launch::to(&broker.url()).arguments(&["--log-format", "json"]).start();
    service.wait_until_ready();
    let ended = service.terminate();
    assert!(!ended.stderr.is_empty());
    for line in ended.stderr.lines() {
        let parsed = serde_json::from_str::<Value>(line);
        assert!(parsed.is_ok_and(|value| value.is_object()), "{line}");
    }
}

#[test]
fn the_service_takes_all_the_descriptors_that_it_is_allowed() {
    let broker = ClosingBroker::start(Script::default());
    let service = Launch::to(&broker.url()).limited_to("-Sn 64").start();
    let (may, could) = service.descriptors_allowed();
    assert!(may == could && may != Some(64), "{may:?} of {could:?}");
    // More than there were at first, all at once.
    let mut clients: Vec<_> = (0..200).map(|_| Connection::open(service.address())).collect();
    clients.iter_mut().for_each(|client| client.send(&http::request("GET", "/livez")));
    for client in &mut clients {
        assert_eq!(client.receive("GET").expect("each is answered").status, 200);
    }
}

#[test]
fn more_clients_than_there_are_descriptors_for_are_all_answered_and_the_rest_is_left_alone() {
    let broker = ClosingBroker::start(Script::default());
    let service = Launch::to(&broker.url()).limited_to("-n 300").start();
    service.wait_until_ready();
    assert_eq!(
        service.log_lines(&["WARN", "300", "room for 150", "--connections-max"]).len(),
        1,
        "{}",
        service.log()
    );
    // Those that were answered give way to those that come after them, although they would stay.
    let mut answered = Vec::new();
    for _ in 0..350 {
        let mut client = Connection::open(service.address());
        client.send(&http::request("GET", "/livez"));
        assert_eq!(client.receive("GET").expect("each is answered").status, 200);
        answered.push(client);
    }
    let metrics = service.get("/metrics");
    let open = metrics.text().lines().find_map(|line| line.strip_prefix("devstatus_http_connections "));
    let open: u32 = open.expect("they are counted").parse().unwrap();
    assert!(open <= 150 + 64, "{open} connections");
    service.wait_until_ready();
    assert!(service.log_lines(&["cannot accept"]).is_empty(), "{}", service.log());
}
