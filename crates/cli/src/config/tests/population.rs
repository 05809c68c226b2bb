//! The settings of the population: what the lists and files mean, and what is refused about them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Files, INI, KEY, TOKEN, YAML, refusal, serve};
use server::health::ReadyOn;
use server::sync::settings::{ApplicationKind, PopulationSettings};

const BROKER: &str = "-o org --broker mqtt://h";

fn devices(list: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
    let owned = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
    list.iter().map(|(device_type, ids)| ((*device_type).to_owned(), owned(ids))).collect()
}

#[test]
fn the_defaults_depend_on_whose_broker_it_is() {
    let files = Files::new();
    let expected = PopulationSettings {
        types: Vec::new(),
        devices: BTreeMap::new(),
        replay_limits: vec![1_000, 5_000, 50_000],
        reconcile_interval: Duration::from_secs(3_600),
        connections: 4,
        ready_on: ReadyOn::Unproven,
        broker_counters: true,
    };
    assert_eq!(serve(&files, BROKER, &[]).source.population, expected);
    let platform = serve(&files, &format!("-i app -k {KEY} -t {TOKEN}"), &[]).source.population;
    assert_eq!(
        platform,
        PopulationSettings { replay_limits: vec![5_000, 50_000], broker_counters: false, ..expected }
    );
}

#[test]
fn every_one_can_be_a_flag_or_a_variable() {
    let files = Files::new();
    files.add("types", "\u{feff}# all of them\n\npump # the old ones\r\n valve \n");
    files.add("devices", "pump/1\npump,2\npump/1\nvalve / a b,c\n");
    let flags = "--types tank,pump --types-file {dir}/types --devices-file {dir}/devices --replay-limits 10,20 \
                 --ready-on complete --reconcile-interval 7 --population-connections 64 --broker-counters false \
                 --scalable one";
    let environment = [
        ("DEVSTATUS_TYPES", "tank,pump"),
        ("DEVSTATUS_TYPES_FILE", "{dir}/types"),
        ("DEVSTATUS_DEVICES_FILE", "{dir}/devices"),
        ("DEVSTATUS_REPLAY_LIMITS", "10, 20"),
        ("DEVSTATUS_READY_ON", "complete"),
        ("DEVSTATUS_RECONCILE_INTERVAL", "7"),
        ("DEVSTATUS_POPULATION_CONNECTIONS", "64"),
        ("DEVSTATUS_BROKER_COUNTERS", "false"),
        ("DEVSTATUS_SCALABLE", "one"),
    ];
    let settings = serve(&files, &format!("{BROKER} {flags}"), &[]);
    assert_eq!(settings, serve(&files, BROKER, &environment));
    let expected = PopulationSettings {
        types: ["pump", "tank", "valve"].map(str::to_owned).to_vec(),
        devices: devices(&[("pump", &["1", "2"]), ("valve", &["a b,c"])]),
        replay_limits: vec![10, 20],
        reconcile_interval: Duration::from_secs(7),
        connections: 64,
        ready_on: ReadyOn::Complete,
        broker_counters: false,
    };
    assert_eq!(settings.source.population, expected);
    assert_eq!(settings.source.identity.client_id(), "A:org:devstatus:one");
}

#[test]
fn the_counters_of_the_platforms_host_are_read_only_if_asked_for() {
    let files = Files::new();
    let line = format!("-i app -k {KEY} -t {TOKEN} --broker-counters true");
    assert!(serve(&files, &line, &[]).source.population.broker_counters);
}

#[test]
fn scalable_follows_the_platforms_settings() {
    let files = Files::new();
    files.add("standalone.cfg", format!("{INI}type = standalone\n"));
    files.add("instance.yaml", format!("{YAML}options:\n  mqtt:\n    instanceId: one\n"));
    let kind =
        |line: &str, environment: &[(&str, &str)]| serve(&files, line, environment).source.identity.kind;
    let scalable =
        |instance: Option<&str>| ApplicationKind::Scalable { instance: instance.map(str::to_owned) };
    assert_eq!(kind(&format!("{BROKER} --scalable"), &[]), scalable(None));
    assert_eq!(kind(&format!("--scalable {BROKER}"), &[]), scalable(None));
    assert_eq!(kind(BROKER, &[("DEVSTATUS_SCALABLE", "true")]), scalable(None));
    assert_eq!(kind(BROKER, &[("DEVSTATUS_SCALABLE", "false")]), ApplicationKind::Standalone);
    assert_eq!(kind("-c {dir}/standalone.cfg --scalable two", &[]), scalable(Some("two")));
    assert_eq!(kind("-c {dir}/instance.yaml --scalable", &[]), scalable(Some("one")));
    assert_eq!(kind("-c {dir}/instance.yaml --scalable two", &[]), scalable(Some("two")));
    assert_eq!(kind(BROKER, &[]), ApplicationKind::Standalone);
}

#[test]
fn refusals() {
    let files = Files::new();
    files.add("plus", "pump\n\nval+ve\n");
    files.add("slash", "pump/1\n/1\n");
    files.add("one-name", "pump/1\n# next\npump\n");
    files.add("latin1", b"pump/\xe9");
    let name = "1 to 256 bytes without '/', '+', '#', spaces around them or control characters";
    let types = format!("--types: expected device types separated by commas, each {name}");
    let limits = "--replay-limits: expected ascending whole numbers above 0, separated by commas".to_owned();
    let connections = "--population-connections: expected a whole number from 1 to 64".to_owned();
    let device = format!("of the file of --devices-file: expected type/id or type,id, each {name}");
    for (line, expected) in [
        ("--types pump,", types.clone()),
        ("--types=", types.clone()),
        ("--types a/b", types.clone()),
        ("--types +", types.clone()),
        ("--types a#", types),
        (
            "--types-file {dir}/plus",
            format!("line 3 of the file of --types-file: expected a device type, {name}"),
        ),
        ("--devices-file {dir}/slash", format!("line 2 {device}")),
        ("--devices-file {dir}/one-name", format!("line 3 {device}")),
        (
            "--devices-file {dir}/latin1",
            "--devices-file: cannot read the file: it is not UTF-8 text".to_owned(),
        ),
        (
            "--types-file {dir}/none",
            "--types-file: cannot read the file: No such file or directory (os error 2)".to_owned(),
        ),
        ("--replay-limits 0,1", limits.clone()),
        ("--replay-limits 5,5", limits.clone()),
        ("--replay-limits 5,4", limits.clone()),
        ("--replay-limits=", limits.clone()),
        ("--replay-limits 1k", limits),
        ("--ready-on sure", "--ready-on: expected complete or unproven".to_owned()),
        (
            "--reconcile-interval 0",
            "--reconcile-interval: expected a whole number of seconds from 1 to 31536000".to_owned(),
        ),
        ("--population-connections 0", connections.clone()),
        ("--population-connections 65", connections),
        ("--broker-counters maybe", "--broker-counters: expected true or false".to_owned()),
        (
            "--scalable a:b",
            "--scalable: expected nothing, true, false, or an instance of 1 to 36 letters, digits, '-', '_' or '.'"
                .to_owned(),
        ),
        ("demo --ready-on complete", "this subcommand has no flag --ready-on (see --help)".to_owned()),
    ] {
        let line = if line.starts_with("demo") { line.to_owned() } else { format!("{BROKER} {line}") };
        assert_eq!(refusal(&files, &line, &[]), expected, "devstatus {line}");
    }
}
