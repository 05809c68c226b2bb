//! The subcommands that ask a running service: which service, what is asked, and how the answer is shown. What is asked goes to
//! the client as it was given.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Command, Parser, Subcommand};

use super::super::value;
use super::{CaArgs, ConfigArgs};
use presence::query::Network;
use presence::settle::SETTLE_MAX;
use system::secret::Secret;
use webhooks::settings::OVERLAP_MAX;

/// More devices or changes than anyone looks at.
const LIMIT_MAX: u64 = 1_000_000_000;

const GET_EXIT_CODES: &str = "Exit code: 0 connected, 3 disconnected, 4 never connected, 5 unknown; 1 if the service cannot be \
     asked or refuses, 2 if the arguments or settings are bad.";
const EXIT_CODES: &str = "Exit code: 0 when done, 1 if the service cannot be asked or refuses, 2 if the arguments or settings \
     are bad.";

/// Which service is asked.
#[derive(Args, Debug)]
#[command(next_help_heading = "Service")]
pub(in crate::config) struct ServiceArgs {
    /// The service to ask, http:// or https://; keys revoke fails if the service that is named here does not confirm
    #[arg(long, value_name = "URL", value_parser = value::service_url, default_value = "http://127.0.0.1:5000")]
    pub url: String,
    #[command(flatten)]
    pub ca: CaArgs,
    /// PEM file with the client certificate for the service and its intermediate certificates
    #[arg(long, value_name = "FILE", value_parser = value::path)]
    pub tls_client_cert: Option<PathBuf>,
    /// PEM file with the private key of that certificate
    #[arg(long, value_name = "FILE", value_parser = value::path)]
    pub tls_client_key: Option<PathBuf>,
}

/// Which service is asked, with which key, and how the answer is shown. Every subcommand of a [`Question`] has these, too.
#[derive(Debug, Parser)]
#[command(next_help_heading = "Service")]
pub(in crate::config) struct ClientArgs {
    #[command(flatten)]
    pub service: ServiceArgs,
    /// API key to ask with, the id.secret that keys create shows as bearer; --api-key-file is the safer way
    #[arg(long, value_name = "KEY", value_parser = value::api_key)]
    pub api_key: Option<Secret>,
    /// File with the API key to ask with on its only line
    #[arg(long, value_name = "FILE", value_parser = value::path)]
    pub api_key_file: Option<PathBuf>,
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Print JSON instead of aligned text, one line for each device of a list
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// A subcommand that asks, with the settings of how it is asked.
pub(in crate::config) fn with_client_args(question: Command) -> Command {
    if question.has_subcommands() {
        return question.mut_subcommands(with_client_args);
    }
    let about = question.get_about().cloned().unwrap_or_default();
    let exit_codes = if question.get_name() == "get" { GET_EXIT_CODES } else { EXIT_CODES };
    ClientArgs::augment_args(question).about(about).after_help(exit_codes)
}

/// What a running service is asked or told.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Question {
    /// Asks a running service for one device
    Get(NamedDevice),
    /// Deletes a device and its history from a running service; needs a key with the scope admin
    Forget(NamedDevice),
    /// Asks a running service for its devices
    List(ListSelection),
    /// Shows what changes at a running service, until Ctrl-C
    Watch(WatchSelection),
    /// Asks a running service for its totals
    Summary(SummarySelection),
    /// Shows the webhooks of a running service and their deliveries, and tests and repeats them; needs a key with the scope admin
    #[command(subcommand)]
    Webhooks(WebhookQuestion),
    /// Asks a running service for its alerts, or acknowledges some
    #[command(subcommand)]
    Alerts(AlertQuestion),
    /// Shows, makes and ends silences of alerts at a running service
    #[command(subcommand)]
    Silence(SilenceQuestion),
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum WebhookQuestion {
    /// Shows the endpoints, and whether they accept what is sent
    List,
    /// Shows the newest attempts at an endpoint, and the messages that it has rejected for good
    Deliveries(EndpointName),
    /// Sends an endpoint the message webhook.test
    Test(EndpointName),
    /// Enables an endpoint that is disabled; tries one that fails without waiting
    Enable(EndpointName),
    /// Sends an endpoint a message that it has rejected once more, or everything since a time
    Redeliver(Redelivery),
    /// Makes a secret for an endpoint and shows it, once
    Rotate(Rotation),
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum AlertQuestion {
    /// Shows what is pending and what fires
    List(AlertSelection),
    /// Acknowledges a group of alerts: it is announced again only when it changes; needs a key with the scope admin
    Ack(Acknowledgement),
    /// Takes an acknowledgement back; needs a key with the scope admin
    Unack(AlertGroup),
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum SilenceQuestion {
    /// Shows silences and maintenance windows
    List,
    /// Silences alerts of these devices and rules for a while, and shows the id; needs a key with the scope admin
    Add(NewSilence),
    /// Ends a silence; needs a key with the scope admin
    End(SilenceId),
}

/// One device.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct NamedDevice {
    /// The type of the device
    #[arg(value_name = "TYPE", value_parser = value::not_empty)]
    pub device_type: String,
    /// The id of the device
    #[arg(value_name = "ID", value_parser = value::not_empty)]
    pub device_id: String,
}

/// The devices of a list.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct ListSelection {
    #[command(flatten)]
    pub filter: DeviceFilter,
    /// Only devices with a status decided then or later, as in 2026-11-24T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = value::time)]
    pub since: Option<String>,
    /// Only devices with a status decided before
    #[arg(long, value_name = "TIME", value_parser = value::time)]
    pub until: Option<String>,
    /// id (by type, then id) or since (by the time of the status); -id or -since: from the end
    #[arg(long, value_name = "ORDER", value_parser = value::word_of(["id", "-id", "since", "-since"]), allow_hyphen_values = true)]
    pub sort: Option<String>,
}

/// The devices whose changes are shown.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchSelection {
    #[command(flatten)]
    pub filter: DeviceFilter,
    /// Show a disconnect only once it has lasted that long, up to 1h
    #[arg(long, value_name = "TIME", value_parser = value::period_in(..=SETTLE_MAX, "a time from 0 to 1h, as in 5s"))]
    pub settle: Option<Duration>,
    /// Show every device first, then what changes
    #[arg(long)]
    pub snapshot: bool,
}

/// The totals, or what was counted in the time until now.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct SummarySelection {
    /// Draw how many devices were connected, and how many connected and disconnected, in this time until now instead: a number
    /// and s, m, h or d, 730d at most
    #[arg(long, value_name = "TIME", value_parser = value::period)]
    pub last: Option<Duration>,
    /// With --last: only devices of this source
    // As with the filter of the same name, no variable and no file gives it.
    #[arg(long = "source", id = SOURCE_FILTER, value_name = "NAME", value_parser = value::source_filter, requires = "last")]
    pub source: Option<String>,
}

#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct EndpointName {
    /// The name of the endpoint
    #[arg(value_name = "NAME", value_parser = value::not_empty)]
    pub endpoint: String,
}

/// One of the dead letters, or everything since a time.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Redelivery {
    /// The name of the endpoint
    #[arg(value_name = "NAME", value_parser = value::not_empty)]
    pub endpoint: String,
    /// The webhook-id of a message that the endpoint has rejected
    #[arg(value_name = "WEBHOOK-ID", value_parser = value::not_empty, required_unless_present = "since")]
    pub webhook_id: Option<String>,
    /// Everything that was received from then on, as in 2026-11-24T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = value::time, conflicts_with = "webhook_id")]
    pub since: Option<String>,
}

#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The name of the endpoint
    #[arg(value_name = "NAME", value_parser = value::not_empty)]
    pub endpoint: String,
    /// How long messages are signed with the secret before, too, 0 to 7d
    #[arg(long, value_name = "TIME", value_parser = value::period_in(..=OVERLAP_MAX, "a time from 0 to 7d, as in 24h"))]
    pub overlap: Option<Duration>,
}

#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct AlertSelection {
    /// Only alerts of this rule; may be given more than once, or as a list separated by commas
    #[arg(long = "rule", id = "alert_rule", value_name = "NAME", value_parser = value::not_empty, value_delimiter = ',')]
    pub rules: Vec<String>,
    /// Only alerts that fire, not those that are pending
    #[arg(long)]
    pub firing: bool,
}

#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct AlertGroup {
    /// The name of the rule
    #[arg(value_name = "RULE", value_parser = value::not_empty)]
    pub rule_name: String,
    /// The group, as the list shows it; a rule without groups has one
    #[arg(value_name = "GROUP", default_value = "", hide_default_value = true)]
    pub alert_group: String,
}

#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    #[command(flatten)]
    pub group: AlertGroup,
    /// How long: a number and s, m, h or d, 90d at most
    #[arg(long = "for", id = "for", value_name = "TIME", value_parser = value::period, default_value = "4h")]
    pub length: Duration,
}

/// A silence that is to be made; the names are those of the API's query.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct NewSilence {
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
}

#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct SilenceId {
    /// The id, as the list shows it
    #[arg(value_name = "ID", value_parser = value::not_empty)]
    pub silence_id: String,
}

/// The id of the filter by source.
pub(in crate::config) const SOURCE_FILTER: &str = "source_filter";

/// Which devices are shown; the names are those of the API's query.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Which devices")]
pub struct DeviceFilter {
    /// Only devices of this type; may be given more than once, or as a list separated by commas
    #[arg(long = "type", id = "type", value_name = "TYPE", value_parser = value::type_filter, value_delimiter = ',')]
    pub types: Vec<String>,
    /// Only devices of this source; may be given more than once, or as a list separated by commas
    // Another setting than the `source` of the service, so no variable and no file gives it.
    #[arg(long = "source", id = SOURCE_FILTER, value_name = "NAME", value_parser = value::source_filter, value_delimiter = ',')]
    pub sources: Vec<String>,
    /// Only devices whose id begins so; may be given more than once
    #[arg(long = "id-prefix", id = "id_prefix", value_name = "TEXT")]
    pub id_prefixes: Vec<String>,
    /// Only devices that are connected, or disconnected
    #[arg(long, value_name = "STATUS", value_parser = value::word_of(["connected", "disconnected"]))]
    pub status: Option<String>,
    /// Only devices that are disconnected for this reason, 0 to 65535; may be given more than once, or as a list separated by commas
    #[arg(long = "close-code", id = "close_code", value_name = "N", value_parser = value::whole(0..=u16::MAX, ""), value_delimiter = ',')]
    pub close_codes: Vec<u16>,
    /// Only devices that are disconnected for a cause of this class, such as timeout; may be given more than once, or as a list
    /// separated by commas
    #[arg(long = "cause", id = "cause", value_name = "CLASS", value_parser = value::cause_filter, value_delimiter = ',')]
    pub causes: Vec<String>,
    /// Only devices that connected from this address or block, as in 192.0.2.0/24; may be given more than once, or as a list
    /// separated by commas
    #[arg(long = "address", id = "address", value_name = "ADDR", value_parser = value::text_that(|text| text.parse::<Network>().is_ok(), "an IP address or a block of them, as in 192.0.2.0/24"), value_delimiter = ',')]
    pub addresses: Vec<String>,
    /// Only devices that are met, overdue or none by their contact policy; may be given more than once, or as a list separated by commas
    #[arg(long = "expectation", id = "expectation", value_name = "WORD", value_parser = value::word_of(["met", "overdue", "none"]), value_delimiter = ',')]
    pub expectations: Vec<String>,
    /// End after that many devices or changes, 1 to 1000000000
    #[arg(long, value_name = "N", value_parser = value::whole(1..=LIMIT_MAX, ""))]
    pub limit: Option<u64>,
}
