//! The client on a terminal, in a pipe, and in one that nobody reads any more.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::{BINARY, FAN, PUMP, service, url, wait_for_streams};
use testkit::service::Service;
use testkit::status::Device;

/// Runs the client on a terminal of its own; what it showed there, and how it ended.
fn on_a_terminal(service: &Service, arguments: &str, variables: &[(&str, &str)]) -> (String, Option<i32>) {
    let command = format!("{BINARY} {arguments} --url {}", url(service));
    let mut terminal = Command::new("script");
    // Nothing of it is written to a file.
    terminal.args(["--quiet", "--return", "--command", &command, "/dev/null"]).env_remove("NO_COLOR");
    terminal.env("TERM", "xterm").envs(variables.iter().copied()).stdin(Stdio::null());
    let shown = terminal.output().expect("there is a terminal");
    (String::from_utf8(shown.stdout).expect("it is text"), shown.status.code())
}

#[test]
fn there_is_colour_on_a_terminal_unless_it_is_not_wanted() {
    let (_broker, service) = service();
    let (shown, exit_code) = on_a_terminal(&service, "list", &[]);
    assert_eq!(exit_code, Some(0), "{shown}");
    assert!(shown.contains("\u{1b}[32mconnected\u{1b}[0m"), "{shown:?}");
    assert!(shown.contains("\u{1b}[31mdisconnected\u{1b}[0m"), "{shown:?}");
    let (plain, _) = on_a_terminal(&service, "list", &[("NO_COLOR", "1")]);
    assert!(plain.contains("disconnected") && !plain.contains('\u{1b}'), "{plain:?}");
    let (dumb, _) = on_a_terminal(&service, "list", &[("TERM", "dumb")]);
    assert!(dumb.contains("disconnected") && !dumb.contains('\u{1b}'), "{dumb:?}");
    // As https://no-color.org has it.
    let (empty, _) = on_a_terminal(&service, "list", &[("NO_COLOR", "")]);
    assert!(empty.contains('\u{1b}'), "{empty:?}");
    let (json, _) = on_a_terminal(&service, "list --json", &[]);
    assert!(json.contains("\"disconnected\"") && !json.contains('\u{1b}'), "{json:?}");
    let (shown, exit_code) = on_a_terminal(&service, &format!("get {} '{}'", FAN.kind, FAN.id), &[]);
    assert_eq!(exit_code, Some(3), "{shown}");
    assert!(shown.contains('\u{1b}'), "{shown:?}");
}

/// The client in a pipe.
fn piped(service: &Service, arguments: &[&str]) -> Child {
    let mut command = Command::new(BINARY);
    command.args(arguments).args(["--url", &url(service)]).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary can be started")
}

/// Reads one line and closes the pipe.
fn read_enough(client: &mut Child) -> String {
    let mut line = String::new();
    let mut pipe = BufReader::new(client.stdout.take().expect("stdout is a pipe"));
    pipe.read_line(&mut line).expect("a line comes");
    line
}

#[test]
fn a_reader_of_a_list_may_close_the_pipe() {
    let (broker, service) = service();
    // More than a pipe holds.
    let mut publisher = broker.publisher();
    let ids: Vec<_> = (0..1_000).map(|number| format!("device-{number}")).collect();
    for id in &ids {
        let device = Device { kind: "sensor", id };
        publisher.publish(&device.topic(), device.connect(1));
    }
    publisher.flush();
    service.wait_until("all are there", || service.get("/api/v1/summary").json()["total"] == 1_002);
    for arguments in [&["list", "--json"][..], &["list"]] {
        let mut client = piped(&service, arguments);
        assert!(!read_enough(&mut client).contains('\u{1b}'), "no colour in a pipe");
        let ended = client.wait_with_output().expect("it ends");
        assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(0), &b""[..]), "{arguments:?}");
    }
}

#[test]
fn a_reader_of_changes_may_close_the_pipe() {
    let (broker, service) = service();
    let mut client = piped(&service, &["watch"]);
    wait_for_streams(&service, 1);
    assert!(read_enough(&mut client).contains("STATUS"));
    let mut publisher = broker.publisher();
    publisher.publish(&PUMP.topic(), PUMP.disconnect(1, 5));
    publisher.flush();
    let ended = client.wait_with_output().expect("it ends with the next change");
    assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(0), &b""[..]));
    wait_for_streams(&service, 0);
}
