//! `devstatus alerts` and `devstatus silence`: what is asked of the alerts of a running service.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::client::{ClientArgs, EXIT_CODES, OutputArgs, SOURCE_FILTER};
use crate::config::value;

#[derive(Debug, Subcommand)]
pub(in crate::config) enum AlertsVerb {
    /// Shows what is pending and what fires
    #[command(after_help = EXIT_CODES)]
    List(AlertListArgs),
    /// Acknowledges a group of alerts: it is announced again only when it changes; needs a key with the scope admin
    #[command(after_help = EXIT_CODES)]
    Ack(AcknowledgeArgs),
    /// Takes an acknowledgement back; needs a key with the scope admin
    #[command(after_help = EXIT_CODES)]
    Unack(AlertGroupArgs),
}

#[derive(Debug, Subcommand)]
pub(in crate::config) enum SilenceVerb {
    /// Shows silences and maintenance windows
    #[command(after_help = EXIT_CODES)]
    List(SilenceListArgs),
    /// Silences alerts of these devices and rules for a while, and shows the id; needs a key with the scope admin
    #[command(after_help = EXIT_CODES)]
    Add(Box<SilenceAddArgs>),
    /// Ends a silence; needs a key with the scope admin
    #[command(after_help = EXIT_CODES)]
    End(SilenceEndArgs),
}

#[derive(Args, Debug)]
pub(in crate::config) struct AlertListArgs {
    /// Only alerts of this rule; may be given more than once, or as a list separated by commas
    #[arg(long = "rule", id = "alert_rule", value_name = "NAME", value_parser = value::not_empty, value_delimiter = ',')]
    pub rules: Vec<String>,
    /// Only alerts that fire, not those that are pending
    #[arg(long, value_name = "BOOL", value_parser = value::boolean, action = clap::ArgAction::Set, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true)]
    pub firing: bool,
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args, Debug)]
pub(in crate::config) struct AlertGroupArgs {
    /// The name of the rule
    #[arg(value_name = "RULE", value_parser = value::not_empty)]
    pub rule_name: String,
    /// The group, as the list shows it; a rule without groups has one
    #[arg(value_name = "GROUP")]
    pub alert_group: Option<String>,
    #[command(flatten)]
    pub client: ClientArgs,
}

#[derive(Args, Debug)]
pub(in crate::config) struct AcknowledgeArgs {
    #[command(flatten)]
    pub group: AlertGroupArgs,
    /// How long: a number and s, m, h or d, 90d at most
    #[arg(long = "for", id = "for", value_name = "TIME", value_parser = value::period, default_value = "4h")]
    pub length: Duration,
}

#[derive(Args, Debug)]
pub(in crate::config) struct SilenceListArgs {
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args, Debug)]
pub(in crate::config) struct SilenceAddArgs {
    /// How long: a number and s, m, h or d, 730d at most
    #[arg(long = "for", id = "for", value_name = "TIME", value_parser = value::period)]
    pub length: Duration,
    /// Only alerts of this rule; may be given more than once, as may the other selections
    #[arg(long = "rule", id = "alert_rule", value_name = "NAME", value_parser = value::not_empty)]
    pub rules: Vec<String>,
    /// Only devices of this type
    #[arg(long = "type", id = "type", value_name = "TYPE", value_parser = value::type_filter)]
    pub types: Vec<String>,
    /// Only devices with this id
    #[arg(long = "device-id", id = "device_id", value_name = "ID", value_parser = value::not_empty)]
    pub ids: Vec<String>,
    /// Only devices whose id begins so
    #[arg(long = "id-prefix", id = "id_prefix", value_name = "TEXT", value_parser = value::not_empty)]
    pub id_prefixes: Vec<String>,
    /// Only devices of this source
    #[arg(long = "source", id = SOURCE_FILTER, value_name = "NAME", value_parser = value::source_filter)]
    pub sources: Vec<String>,
    /// Who wants it
    #[arg(long, value_name = "TEXT")]
    pub author: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub comment: Option<String>,
    #[command(flatten)]
    pub client: ClientArgs,
}

#[derive(Args, Debug)]
pub(in crate::config) struct SilenceEndArgs {
    /// The id, as the list shows it
    #[arg(value_name = "ID", value_parser = value::not_empty)]
    pub silence_id: String,
    #[command(flatten)]
    pub client: ClientArgs,
}
