//! `devstatus alerts` and `devstatus silence`.

use super::super::arguments::{AlertGroupArgs, AlertsVerb, SilenceVerb};
use super::super::{ClientSettings, ConfigError};
use super::BuildContext;
use crate::client::settings::{AlertGroup, AlertQuestion, NewSilence, Question};

impl BuildContext {
    pub(super) fn alerts_client(&self, verb: AlertsVerb) -> Result<ClientSettings, ConfigError> {
        let group = |args: &AlertGroupArgs| AlertGroup {
            rule: args.rule_name.clone(),
            group: args.alert_group.clone().unwrap_or_default(),
        };
        let (question, client, json) = match verb {
            AlertsVerb::List(args) => {
                let (rules, is_firing) = (args.rules, args.firing);
                (AlertQuestion::List { rules, is_firing }, args.client, args.output.json)
            }
            AlertsVerb::Ack(args) => {
                let question = AlertQuestion::Acknowledge { group: group(&args.group), length: args.length };
                (question, args.group.client, false)
            }
            AlertsVerb::Unack(args) => (AlertQuestion::EndAcknowledgement(group(&args)), args.client, false),
        };
        self.client(client, Question::Alerts(question), json)
    }

    pub(super) fn silence_client(&self, verb: SilenceVerb) -> Result<ClientSettings, ConfigError> {
        let (question, client, json) = match verb {
            SilenceVerb::List(args) => (AlertQuestion::Silences, args.client, args.output.json),
            SilenceVerb::Add(args) => {
                let args = *args;
                let silence = NewSilence {
                    length: args.length,
                    rules: args.rules,
                    types: args.types,
                    ids: args.ids,
                    id_prefixes: args.id_prefixes,
                    sources: args.sources,
                    author: args.author,
                    comment: args.comment,
                };
                (AlertQuestion::Silence(silence), args.client, false)
            }
            SilenceVerb::End(args) => (AlertQuestion::EndSilence(args.silence_id), args.client, false),
        };
        self.client(client, Question::Alerts(question), json)
    }
}
