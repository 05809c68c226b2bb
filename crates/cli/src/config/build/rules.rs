//! `devstatus rules`: the rules of a settings file, and the settings of a trial on the history.

use super::super::arguments::RulesTestArgs;
use super::super::{ConfigError, RulesTestSettings, rule_tables};
use super::{BuildContext, log};
use alerts::{Kind, Rule, RuleSet};

impl BuildContext {
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
    pub(super) fn rules(&self) -> Result<RuleSet, ConfigError> {
        let rules = rule_tables::read(&self.tables())?;
        if rules.rules.is_empty() {
            return Err(self.origins.expected("config", "a devstatus.toml with [[rule]] tables"));
        }
        Ok(rules)
    }
}
