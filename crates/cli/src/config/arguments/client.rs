//! The settings of the subcommands that ask a running service.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::super::value;
use super::{CaArgs, ConfigArgs};
use presence::settle::SETTLE_MAX;
use system::secret::Secret;
use webhooks::settings::OVERLAP_MAX;

/// More devices or changes than anyone looks at.
const LIMIT_MAX: u64 = 1_000_000_000;

pub(super) const GET_EXIT_CODES: &str = "Exit code: 0 connected, 3 disconnected, 4 never connected, 5 unknown; 1 if the service cannot be \
     asked or refuses, 2 if the arguments or settings are bad.";
pub(super) const EXIT_CODES: &str = "Exit code: 0 when done, 1 if the service cannot be asked or refuses, 2 if the arguments or settings \
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

/// Which service is asked, and with which key.
#[derive(Args, Debug)]
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
}

/// How an answer is shown.
#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
pub(in crate::config) struct OutputArgs {
    /// Print JSON instead of aligned text, one line for each device of a list
    #[arg(long, value_name = "BOOL", value_parser = value::boolean, action = clap::ArgAction::Set, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub(in crate::config) struct ForgetArgs {
    /// The type of the device
    #[arg(value_name = "TYPE", value_parser = value::not_empty)]
    pub device_type: String,
    /// The id of the device
    #[arg(value_name = "ID", value_parser = value::not_empty)]
    pub device_id: String,
    #[command(flatten)]
    pub client: ClientArgs,
}

#[derive(Args, Debug)]
pub(in crate::config) struct GetArgs {
    /// The type of the device
    #[arg(value_name = "TYPE", value_parser = value::not_empty)]
    pub device_type: String,
    /// The id of the device
    #[arg(value_name = "ID", value_parser = value::not_empty)]
    pub device_id: String,
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args, Debug)]
pub(in crate::config) struct ListArgs {
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Only devices with a status decided then or later, as in 2026-11-24T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = value::time)]
    pub since: Option<String>,
    /// Only devices with a status decided before
    #[arg(long, value_name = "TIME", value_parser = value::time)]
    pub until: Option<String>,
    /// id (by type, then id) or since (by the time of the status); -id or -since: from the end
    #[arg(long, value_name = "ORDER", value_parser = value::sort_order, allow_hyphen_values = true)]
    pub sort: Option<String>,
}

#[derive(Args, Debug)]
pub(in crate::config) struct WatchArgs {
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Show a disconnect only once it has lasted that long, up to 1h
    #[arg(long, value_name = "TIME", value_parser = value::period_up_to(SETTLE_MAX, "a time from 0 to 1h, as in 5s"))]
    pub settle: Option<Duration>,
    /// Show every device first, then what changes
    #[arg(long, value_name = "BOOL", value_parser = value::boolean, action = clap::ArgAction::Set, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true)]
    pub snapshot: bool,
}

#[derive(Args, Debug)]
pub(in crate::config) struct SummaryArgs {
    /// Draw how many devices were connected, and how many connected and disconnected, in this time until now instead: a number
    /// and s, m, h or d, 730d at most
    #[arg(long, value_name = "TIME", value_parser = value::period)]
    pub last: Option<Duration>,
    /// With --last: only devices of this source
    // As with the filter of the same name, no variable and no file gives it.
    #[arg(long = "source", id = SOURCE_FILTER, value_name = "NAME", value_parser = value::source_filter, requires = "last")]
    pub source: Option<String>,
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args, Debug)]
pub(in crate::config) struct WebhookListArgs {
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args, Debug)]
pub(in crate::config) struct WebhookArgs {
    /// The name of the endpoint
    #[arg(value_name = "NAME", value_parser = value::not_empty)]
    pub endpoint: String,
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args, Debug)]
pub(in crate::config) struct RedeliverArgs {
    /// The name of the endpoint
    #[arg(value_name = "NAME", value_parser = value::not_empty)]
    pub endpoint: String,
    /// The webhook-id of a message that the endpoint has rejected
    #[arg(value_name = "WEBHOOK-ID", value_parser = value::not_empty, required_unless_present = "since")]
    pub webhook_id: Option<String>,
    /// Everything that was received from then on, as in 2026-11-24T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = value::time, conflicts_with = "webhook_id")]
    pub since: Option<String>,
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args, Debug)]
pub(in crate::config) struct RotateArgs {
    /// The name of the endpoint
    #[arg(value_name = "NAME", value_parser = value::not_empty)]
    pub endpoint: String,
    /// How long messages are signed with the secret before, too, 0 to 7d
    #[arg(long, value_name = "TIME", value_parser = value::period_up_to(OVERLAP_MAX, "a time from 0 to 7d, as in 24h"))]
    pub overlap: Option<Duration>,
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The id of the filter by source.
pub(in crate::config) const SOURCE_FILTER: &str = "source_filter";

/// Which devices are shown; the names are those of the API's query.
#[derive(Args, Debug)]
#[command(next_help_heading = "Which devices")]
pub(in crate::config) struct FilterArgs {
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
    #[arg(long, value_name = "STATUS", value_parser = value::status_filter)]
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
    #[arg(long = "address", id = "address", value_name = "ADDR", value_parser = value::address_filter, value_delimiter = ',')]
    pub addresses: Vec<String>,
    /// Only devices that are met, overdue or none by their contact policy; may be given more than once, or as a list separated by commas
    #[arg(long = "expectation", id = "expectation", value_name = "WORD", value_parser = value::expectation_filter, value_delimiter = ',')]
    pub expectations: Vec<String>,
    /// End after that many devices or changes, 1 to 1000000000
    #[arg(long, value_name = "N", value_parser = value::whole(1..=LIMIT_MAX, ""))]
    pub limit: Option<u64>,
}
