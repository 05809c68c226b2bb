//! Several instances that share a database: one of them republishes, and another goes on when it dies.

use testkit::keys::{Keys, text};
use testkit::mosquitto::Mosquitto;
use testkit::postgres::PostgresServer;
use testkit::service::{Service, Signal};

use super::{PUMP, VALVE, is_online, launch, statuses, text_of, wait_until_online};

#[test]
fn one_instance_republishes_and_another_goes_on_when_it_is_killed() {
    let (source, target, database) = (Mosquitto::start(), Mosquitto::start(), PostgresServer::start());
    source.retain(&[(PUMP, PUMP.connect(1)), (VALVE, VALVE.connect(1))]);
    let keys = Keys::new();
    let admin = keys.create("admin,read");
    let start = |application: &str| {
        let launch = launch(&source, &format!("broker = \"{}\"", target.url())).application(application);
        launch
            .arguments(&["--store", &database.url(), "--flush-interval-ms", "50"])
            .arguments(&["--keys-file", text(&keys.path())])
            .start_ready()
    };
    let [one, other] = ["one", "two"].map(start);
    wait_until_online(&one, &target);
    let republishes = |service: &Service| {
        let metrics = service.request_with("GET", "/metrics", &[("authorization", &admin.bearer())]);
        metrics.text().contains("\ndevstatus_republish_link_up 1")
    };
    one.wait_until("one of them republishes", || republishes(&one) != republishes(&other));
    let [first, second] = if republishes(&one) { [one, other] } else { [other, one] };

    // It dies; what happens until another has taken over is published by that one.
    first.signal(Signal::KILL);
    let gone = testkit::poll(testkit::PATIENCE, || (!is_online(&target)).then_some(()));
    assert!(gone.is_some(), "the will is published");
    source.retain(&[(PUMP, PUMP.disconnect(1, 2))]);
    let mut publisher = source.publisher();
    publisher.retain(&VALVE.topic(), "");
    publisher.flush();
    assert!(admin.ask(&second, &["forget", "valve", "v-2"]).status.success());
    wait_until_online(&second, &target);
    second.wait_until("all is right", || {
        statuses(&target) == [("devstatus/pump/p-1".to_owned(), "disconnected".to_owned())].into()
    });
    // One that stops in order hands over at once, and nobody says offline in the end.
    let third = start("three");
    second.terminate();
    wait_until_online(&third, &target);
    source.retain(&[(PUMP, PUMP.connect(3))]);
    third.wait_until("the third publishes", || {
        text_of(&target, "devstatus/pump/p-1").is_some_and(|text| text.contains("\"connected\""))
    });
}
