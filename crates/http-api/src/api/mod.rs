//! `/api/v1` and what is served beside it, one resource in each file.

pub(crate) mod alerts;
#[cfg(test)]
pub(crate) mod described;
pub(crate) mod device;
pub(crate) mod device_path;
pub(crate) mod devices;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod metrics;
pub(crate) mod page;
pub(crate) mod population;
pub(crate) mod rules;
pub(crate) mod series;
pub(crate) mod session;
pub(crate) mod silences;
pub(crate) mod summary;
pub(crate) mod types;
pub(crate) mod webhooks;
