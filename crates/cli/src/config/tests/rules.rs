//! `[[rule]]`, `[[contact]]`, `[[silence]]` and `[[window]]` tables.

use std::time::Duration;

use alerts::{GroupBy, Kind, Patience, Schedule};

use super::{Files, refusal, run};
use crate::config::Command;

const TEST: &str = "rules test --store sqlite:{dir}/one.db -c {dir}/devstatus.toml";
const CHECK: &str = "rules check -c {dir}/devstatus.toml";
const ISSUED: &str = r#"startup_grace = "5m"

[[webhook]]
name = "ops"

[[rule]]
name = "offline"
kind = "offline_for"
for = "10m"
selector = { type = ["pump"] }
group_by = "type"
group_wait = "30s"
webhooks = ["ops"]
"#;

fn files(text: &str) -> Files {
    let files = Files::new();
    files.add("devstatus.toml", text);
    files
}

#[test]
fn tables_describe_rules_policies_silences_and_windows() {
    let text = ISSUED.to_owned()
        + r#"
[[rule]]
name = "site"
kind = "fleet_drop"
min_percent = 30
group_by = "type"
repeat_interval = "0s"
exclude_causes = []
[[contact]]
policy = "periodic"
every = "1h"
grace = "10m"
selector = { id_prefix = "meter-" }
[[silence]]
from = 2026-12-01T08:00:00+01:00
until = "2026-12-01T08:00:00Z"
rules = ["site"]
author = "ops"
[[window]]
name = "updates"
days = ["sun"]
start = "02:00"
duration = "3h"
zone = "Europe/Berlin"
"#;
    let Ok(Command::TestRules(settings)) = run(&files(&text), TEST, &[]) else { panic!("refused") };
    let rules = settings.rules;
    assert_eq!(
        (rules.startup_grace, settings.since),
        (Duration::from_secs(300), Duration::from_secs(30 * 86_400))
    );
    let [offline, site] = <[_; 2]>::try_from(rules.rules).unwrap();
    assert_eq!((&*offline.name, &offline.kind, offline.hold.as_secs()), ("offline", &Kind::OfflineFor, 600));
    assert_eq!((offline.group_by, offline.group_wait.as_secs()), (GroupBy::Type, 30));
    assert_eq!((offline.group_interval.as_secs(), offline.repeat_interval.unwrap().as_secs()), (300, 14_400));
    assert_eq!((offline.excluded_causes, offline.webhooks.len()), (vec!["asleep".to_owned()], 1));
    assert!(matches!(site.kind, Kind::FleetDrop(drop) if drop.min_percent == 30 && drop.min_devices == 10));
    assert!(site.repeat_interval.is_none() && site.excluded_causes.is_empty());
    let every = Duration::from_secs(3_600);
    assert_eq!(rules.contacts[0].patience, Patience::Periodic { every, grace: Duration::from_secs(600) });
    assert_eq!(rules.silences[0].span.until.0 - rules.silences[0].span.from.0, 3_600_000);
    assert!(matches!(rules.windows[0].schedule, Schedule::Weekly { .. }));
}

/// A rule with these lines besides those that every rule needs.
fn of(lines: &str) -> String {
    format!("[[rule]]\nname = \"a\"\nkind = \"offline_for\"\nfor = \"1m\"\n{lines}\n")
}

/// Both commands refuse the text with a line that has what is expected in it.
fn refuses(text: &str, expected: &str) {
    let files = files(text);
    for line in [CHECK, TEST] {
        let refused = refusal(&files, line, &[]);
        assert!(refused.contains(expected), "{text}\n{refused}\n{expected}");
    }
}

#[test]
fn a_mistake_refuses_the_file_with_line_key_and_what_was_expected() {
    let time = "expected a time from 0 to 730d, like \"10m\"";
    for (text, expected) in [
        (of("fro = 1"), "line 5: unknown key rule.fro; known are name, kind, for, "),
        (
            of("group_by = \"site\""),
            "line 5, rule.group_by: expected rule, type, source, address_block or device",
        ),
        (of("keep_firing_for = 5"), &*format!("line 5, rule.keep_firing_for: {time}")),
        (
            of("webhooks = [\"ops\"]"),
            "line 5, rule.webhooks: expected a list of names of [[webhook]] tables of this file",
        ),
        (
            of("repeat_interval = \"1m\""),
            "line 5, rule.repeat_interval: expected a time from 5m, or \"0s\" for never",
        ),
        (of("exclude_causes = [\"tired\"]"), "line 5, rule.exclude_causes: expected a list of ended, "),
        (
            of("selector = { cause = \"timeout\" }"),
            "line 5, rule.selector.cause: expected type, id, id_prefix and source alone, which a device keeps while an alert fires; exclude_causes of a rule leaves causes out",
        ),
        (
            of("selector = { kind = \"a\" }"),
            "line 5: unknown key rule.selector.kind; known are type, id, id_prefix, source",
        ),
        (of("") + &of(""), "line 7, rule.name: expected a name that no other rule has"),
        (of("").replace("1m", "1 minute"), &*format!("line 4, rule.for: {time}")),
        (
            of("").replace("for = \"1m\"", ""),
            &*format!("line 1, rule: expected the key for: {time}").replacen("expected a", "a", 1),
        ),
        (
            of("").replace("\"a\"", "\"unobserved\""),
            "line 2, rule.name: expected another name: this one is the service's own alert",
        ),
        (of("").replace("offline_for", "offline"), "line 3, rule.kind: expected offline_for, flapping, "),
        (
            of("start = 3\nstop = 3").replace("offline_for", "flapping"),
            "line 6, rule.stop: expected a whole number below that of start, 3",
        ),
        (
            of("group_by = \"device\"").replace("offline_for", "fleet_drop"),
            "line 5, rule.group_by: expected rule, type or source, for a fleet_drop",
        ),
        (
            of("devices = [\"pump\"]").replace("offline_for", "never_connected"),
            "line 5, rule.devices: expected a list of 1 to 10000 devices, like \"pump/p-1\"",
        ),
    ] {
        refuses(&text, expected);
    }
}

#[test]
fn a_mistake_in_what_belongs_to_rules_is_refused_too() {
    for (text, expected) in [
        (of("[[contact]]\npolicy = \"periodic\""), "line 5, contact: expected the key every: a time from 1s"),
        (
            of("[[window]]\nname = \"n\"\nstart = \"02:00\"\nduration = \"1h\"\nzone = \"Mars\""),
            "line 9, window.zone: expected a time zone by its IANA name",
        ),
        (
            of("[[window]]\nname = \"n\"\nstart = \"02:00\"\nduration = \"25h\"\nzone = \"UTC\""),
            "line 8, window.duration: expected a time from 1s to 24h",
        ),
        (
            of("[[silence]]\nfrom = 2026-12-01T08:00:00Z\nuntil = 2026-12-01T07:00:00Z"),
            "line 7, silence.until: expected a time after that of from",
        ),
        (
            of("[[silence]]\nfrom = 2026-12-01T08:00:00\nuntil = 2026-12-01T09:00:00Z"),
            "line 6, silence.from: expected a time with its offset",
        ),
        ("rule = 3\n".to_owned(), "line 1: expected [[rule]], once for each"),
        ("[window]\nname = \"a\"\n".to_owned() + &of(""), "line 1: expected [[window]], once for each"),
        (
            "public_url = \"devstatus.example\"\n".to_owned() + &of(""),
            "line 1, public_url: expected http:// or https:// with a host, without login, query and fragment",
        ),
        (
            "startup_grace = 5\n".to_owned() + &of(""),
            "line 1, startup_grace: expected a time from 0 to 730d, like \"5m\"",
        ),
        (String::new(), "--config: expected a devstatus.toml with [[rule]] tables"),
    ] {
        refuses(&text, expected);
    }
}

#[test]
fn rules_that_are_bad_stop_the_start() {
    let line = "--broker mqtt://h -o org --store memory: -c {dir}/devstatus.toml";
    let refused = refusal(&files("[[rule]]\nname = \"a\"\n"), line, &[]);
    assert!(refused.contains("line 1, rule: expected the key kind"), "{refused}");
}

#[test]
fn one_rule_can_be_tried_by_its_name() {
    let files = files(ISSUED);
    assert!(matches!(
        run(&files, &format!("{TEST} --rule offline --since 7d"), &[]),
        Ok(Command::TestRules(_))
    ));
    let refused = refusal(&files, &format!("{TEST} --rule other"), &[]);
    assert_eq!(refused, "--rule: expected the name of a rule of the settings file");
}
