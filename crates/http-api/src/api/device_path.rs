//! Which device a path names: read alike, and described alike, by every resource of one device.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::Deserialize;

use crate::describe::IntoParams;
use http_views::context::Context;
use presence::Device;
use serving::error::Error;

/// The device that `{type}/{id}` in a path names, or could if a topic could.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct DevicePath {
    /// The device's type
    #[serde(rename = "type")]
    pub device_type: String,
    /// The device's id
    pub id: String,
}

impl DevicePath {
    /// The device, if there can be such a one.
    pub fn possible_device(&self, context: &Context) -> Result<Device<'_>, Error> {
        let device = Device { device_type: &self.device_type, id: &self.id };
        if context.is_possible(device) { Ok(device) } else { Err(Error::NotFound) }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for DevicePath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let Path(path) = Path::from_request_parts(parts, state).await.map_err(|_not_utf_8| Error::BadPath)?;
        Ok(path)
    }
}
