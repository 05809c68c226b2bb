//! `devstatus rules`: what a settings file says of alerts, as text, and the settings of a trial on the history.

use std::fmt::Write as _;
use std::time::Duration;

use super::super::arguments::RulesTestArgs;
use super::super::{ConfigError, RulesTestSettings, rule_tables};
use super::{BuildContext, log};
use alerts::{GroupBy, Kind, Rule, RuleSet};
use system::{counted, period};

impl BuildContext {
    /// The rules as they were understood.
    pub(super) fn rules_description(&self) -> Result<String, ConfigError> {
        let RuleSet { startup_grace, rules, contacts, silences, windows, .. } = self.rules()?;
        let mut text = format!(
            "the rules are good: {}, {}, {}, {}, startup_grace {}\n",
            counted(rules.len(), "rule"),
            counted(contacts.len(), "contact policy"),
            counted(silences.len(), "silence"),
            counted(windows.len(), "window"),
            period::text(startup_grace)
        );
        for rule in &rules {
            let _ = writeln!(text, "{}: {}", rule.name, description(rule));
        }
        Ok(text)
    }

    pub(super) fn rules_test(&self, args: RulesTestArgs) -> Result<RulesTestSettings, ConfigError> {
        let mut rules = self.rules()?;
        if let Some(name) = args.rule {
            // Drops and flapping hold others back, so they are tried with it.
            let is_needed = |rule: &Rule| matches!(rule.kind, Kind::FleetDrop(_) | Kind::Flapping(_));
            if !rules.rules.iter().any(|rule| *rule.name == *name) {
                return Err(self.origins.expected("rule", "the name of a rule of the settings file"));
            }
            rules.rules.retain(|rule| *rule.name == *name || is_needed(rule));
        }
        let store = self.kept_store(args.organization, args.store)?;
        Ok(RulesTestSettings { rules, store, since: args.since, json: args.output.json, log: log(&args.log) })
    }

    /// The rules of the settings file.
    fn rules(&self) -> Result<RuleSet, ConfigError> {
        let rules = rule_tables::read(&self.tables())?;
        if rules.rules.is_empty() {
            return Err(self.origins.expected("config", "a devstatus.toml with [[rule]] tables"));
        }
        Ok(rules)
    }
}

fn description(rule: &Rule) -> String {
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
