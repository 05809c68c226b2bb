//! `devstatus rules check`: the alert rules as they were understood.

use std::fmt::Write as _;
use std::time::Duration;

use alerts::{GroupBy, Kind, Rule, RuleSet};
use system::{counted, period};

/// What there is, and a line for each rule.
pub fn description(set: &RuleSet) -> String {
    let RuleSet { startup_grace, rules, contacts, silences, windows, .. } = set;
    let mut text = format!(
        "the rules are good: {}, {}, {}, {}, startup_grace {}\n",
        counted(rules.len(), "rule"),
        counted(contacts.len(), "contact policy"),
        counted(silences.len(), "silence"),
        counted(windows.len(), "window"),
        period::text(*startup_grace)
    );
    for rule in rules {
        let _ = writeln!(text, "{}: {}", rule.name, of_rule(rule));
    }
    text
}

fn of_rule(rule: &Rule) -> String {
    let mut text = rule.kind.word().to_owned();
    let mut add = |name: &str, time: Duration| {
        if !time.is_zero() {
            let _ = write!(text, ", {name} {}", period::text(time));
        }
    };
    match &rule.kind {
        Kind::Flapping(threshold) | Kind::DuplicateIdentity(threshold) | Kind::Refusals(threshold) => {
            add(&format!("from {} down to {} within", threshold.start, threshold.stop), threshold.window);
        }
        Kind::FleetDrop(threshold) => {
            let (percent, devices) = (threshold.min_percent, threshold.min_devices);
            add(&format!("{percent} % and {devices} devices within"), threshold.window);
        }
        Kind::OfflineFor | Kind::NeverConnected(_) => {}
    }
    add("for", rule.hold);
    add("keep_firing_for", rule.keep_firing_for);
    add("group_wait", rule.group_wait);
    add("group_interval", rule.group_interval);
    add("repeat_interval", rule.repeat_interval.unwrap_or_default());
    if rule.group_by != GroupBy::Rule {
        let _ = write!(text, ", by {}", rule.group_by.word());
    }
    let webhooks: Vec<_> = rule.webhooks.iter().map(|name| &**name).collect();
    let _ = write!(
        text,
        ", to {}",
        if webhooks.is_empty() { "no webhook".to_owned() } else { webhooks.join(" ") }
    );
    text
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::config::{self, Command};

    #[test]
    fn a_check_lists_what_was_understood() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("devstatus.toml");
        let webhook = "[[webhook]]\nname = \"ops\"\n";
        let rule = "[[rule]]\nname = \"offline\"\nkind = \"offline_for\"\nfor = \"10m\"\nselector = { type = [\"pump\"] }\n\
                    group_by = \"type\"\ngroup_wait = \"30s\"\nwebhooks = [\"ops\"]\n";
        std::fs::write(&file, format!("startup_grace = \"5m\"\n{webhook}{rule}")).unwrap();
        let args = ["devstatus", "rules", "check", "-c"].map(OsString::from).into_iter();
        let loaded = config::load(args.chain([file.into()]), Vec::<(OsString, OsString)>::new());
        let Ok(Command::CheckRules(rules)) = loaded else { panic!("refused") };
        assert_eq!(
            description(&rules),
            "the rules are good: 1 rule, 0 contact policies, 0 silences, 0 windows, startup_grace 5m\n\
             offline: offline_for, for 10m, group_wait 30s, group_interval 5m, repeat_interval 4h, by type, to ops\n"
        );
    }
}
