//! The parts of the answers that are shown to a person. What else an answer has, of a later version too, is passed over.

use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub struct DeviceName {
    #[serde(rename = "type")]
    pub device_type: String,
    pub id: String,
}

#[derive(Debug, Deserialize)]
pub struct DeviceView {
    #[serde(rename = "type")]
    pub device_type: String,
    pub id: String,
    pub status: String,
    pub expectation: Option<String>,
    pub client_id: Option<String>,
    pub source: Option<String>,
    pub since: Option<String>,
    pub address: Option<String>,
    pub close_code: Option<u16>,
    pub reason: Option<String>,
    pub cause: Option<String>,
    pub cause_class: Option<String>,
    pub session: Option<SessionView>,
    pub last_event: Option<LastEventView>,
    pub provenance: Option<String>,
    pub confirmed_at: Option<String>,
    #[serde(default)]
    pub dated_ahead: bool,
    #[serde(default)]
    pub stale: bool,
}

#[derive(Debug, Deserialize)]
pub struct ReadinessView {
    pub keys_file_sha256: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct SessionView {
    pub connect_time: Option<String>,
    pub protocol: Option<String>,
    pub secure: Option<bool>,
}

#[derive(Debug, Deserialize)]
pub struct LastEventView {
    pub event: String,
    pub time: Option<String>,
    pub close_code: Option<u16>,
}

/// The data of the event `change`.
#[derive(Debug, Deserialize)]
pub struct ChangeView {
    #[serde(flatten)]
    pub device: DeviceView,
    pub previous_status: Option<String>,
}

/// The data of the event `snapshot_complete`.
#[derive(Debug, Deserialize)]
pub struct SnapshotCompleteView {
    pub devices: u64,
}

/// The data of the event `forgotten`.
#[derive(Debug, Deserialize)]
pub struct ForgottenView {
    #[serde(rename = "type")]
    pub device_type: String,
    pub id: String,
}

/// The data of the event `gap`.
#[derive(Debug, Deserialize)]
pub struct GapView {
    pub reason: String,
}

#[derive(Debug, Deserialize)]
pub struct SummaryView {
    pub total: u64,
    pub connected: u64,
    pub disconnected: u64,
    pub population: String,
    pub broker: String,
    pub store: String,
    #[serde(default)]
    pub stale: bool,
    pub per_minute: PerMinuteView,
    pub top_close_codes: Vec<CloseCodeView>,
    pub types_total: usize,
    pub types: Vec<TypeView>,
    #[serde(default)]
    pub causes: Vec<CauseView>,
    #[serde(default)]
    pub sources: Vec<SourceView>,
}

#[derive(Debug, Deserialize)]
pub struct CauseView {
    pub cause_class: String,
    pub devices: u64,
}

#[derive(Debug, Deserialize)]
pub struct SourceView {
    pub source: String,
    pub total: u64,
    pub connected: u64,
    pub disconnected: u64,
}

#[derive(Debug, Deserialize)]
pub struct PerMinuteView {
    pub connects: u64,
    pub disconnects: u64,
}

#[derive(Debug, Deserialize)]
pub struct CloseCodeView {
    pub close_code: u16,
    pub cause: Option<String>,
    pub devices: u64,
}

#[derive(Debug, Deserialize)]
pub struct TypeView {
    #[serde(rename = "type")]
    pub device_type: String,
    pub total: u64,
    pub connected: u64,
    pub disconnected: u64,
}
