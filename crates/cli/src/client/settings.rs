//! Which service is asked, and for what. Built and checked by `config`.

use std::path::PathBuf;
use std::time::Duration;

use system::secret::Secret;

/// What the client needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSettings {
    pub service: ServiceSettings,
    pub question: Question,
    /// JSON instead of text for a person.
    pub json: bool,
}

/// A running service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSettings {
    /// `http://` or `https://`, without a slash at the end.
    pub url: String,
    /// Sent as Bearer.
    pub key: Option<Secret>,
    /// PEM file with the certificates to trust; `None`: the system's trust store.
    pub ca_file: Option<PathBuf>,
    /// What the client shows if the service asks who it is.
    pub certificate: Option<ClientCertificate>,
}

/// The files of a client's certificate, PEM both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The client's certificate first, then those that vouch for it.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    Device {
        device_type: String,
        id: String,
    },
    /// Not asked but told: the service is to forget the device.
    Forget {
        device_type: String,
        id: String,
    },
    Devices(Selection),
    Changes(Selection),
    Summary,
    Webhooks(WebhookQuestion),
    Alerts(AlertQuestion),
    /// What was counted in the time until now.
    Series {
        last: Duration,
        /// `None`: of the whole fleet.
        source: Option<String>,
    },
}

/// What is asked about the endpoints of webhooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebhookQuestion {
    List,
    Deliveries(String),
    /// Not asked but told.
    Test(String),
    Enable(String),
    /// One of the dead letters.
    Redeliver {
        endpoint: String,
        id: String,
    },
    RedeliverSince {
        endpoint: String,
        since: String,
    },
    /// `None`: the overlap that the service chooses.
    Rotate {
        endpoint: String,
        overlap: Option<Duration>,
    },
}

/// What is asked about alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlertQuestion {
    List {
        rules: Vec<String>,
        is_firing: bool,
    },
    /// Not asked but told, as are the others besides the list of silences.
    Acknowledge {
        group: AlertGroup,
        length: Duration,
    },
    EndAcknowledgement(AlertGroup),
    Silences,
    Silence(NewSilence),
    EndSilence(String),
}

/// A group of alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertGroup {
    pub rule: String,
    pub group: String,
}

/// A silence that is to be made; the names are those of the API's query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSilence {
    pub length: Duration,
    pub rules: Vec<String>,
    pub types: Vec<String>,
    pub ids: Vec<String>,
    pub id_prefixes: Vec<String>,
    pub sources: Vec<String>,
    pub author: Option<String>,
    pub comment: Option<String>,
}

/// Which devices are meant; the names are those of the API's query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    pub types: Vec<String>,
    /// Empty: of any.
    pub sources: Vec<String>,
    pub id_prefixes: Vec<String>,
    pub status: Option<String>,
    pub close_codes: Vec<u16>,
    pub causes: Vec<String>,
    pub addresses: Vec<String>,
    /// Whether they are as their contact policies expect.
    pub expectations: Vec<String>,
    /// Of lists alone.
    pub since: Option<String>,
    pub until: Option<String>,
    pub sort: Option<String>,
    /// Of changes alone: how long a disconnect must have lasted.
    pub settle: Option<Duration>,
    /// Of changes alone: every device first.
    pub snapshot: bool,
    /// How many devices or changes are shown at most.
    pub limit: Option<u64>,
}
