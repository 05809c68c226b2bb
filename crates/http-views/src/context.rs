//! What the answers are made from.

use std::ops::Deref;
use std::sync::Arc;

use presence::Device;
use serving::api::ApiParts;

/// What the answers are made from. It is cloned for each request, so it is one pointer.
#[derive(Clone)]
pub struct Context(Arc<ApiParts>);

impl Context {
    pub fn new(parts: ApiParts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for Context {
    type Target = ApiParts;

    fn deref(&self) -> &ApiParts {
        &self.0
    }
}

impl Context {
    /// Whether there can be such a device. A device of the IoT platform has a name that a topic can carry; other sources also
    /// have names with `/`, `+` and `#`.
    // Every lookup asks, from another crate.
    #[inline]
    pub fn is_possible(&self, device: Device<'_>) -> bool {
        if self.reads_platform_only() { device.fits_topic_levels() } else { device.is_possible() }
    }

    /// The client id of a device that was never heard of: the IoT platform's form, or the device's id.
    pub fn client_id(&self, Device { device_type, id }: Device<'_>) -> String {
        if self.reads_platform_only() {
            format!("d:{}:{device_type}:{id}", self.organization)
        } else {
            id.to_owned()
        }
    }

    #[inline]
    fn reads_platform_only(&self) -> bool {
        self.formats.iter().all(|formats| formats.are_platform_only())
    }

    /// Whether a device of this type that no message was about may be connected nevertheless: its source would not have said so.
    pub fn may_be_unreported(&self, device: Device<'_>) -> bool {
        self.formats.iter().any(|formats| formats.may_be_unreported(device.device_type))
    }
}
