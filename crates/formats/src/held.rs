//! What the messages that are held say beside the status. They are the IoT platform's own, or the status documents that
//! [`status`](crate::status) writes for every other source; both use the same words. So whoever shows, filters or stores a
//! message reads it here and need not know whose it is.

use crate::catalog::IOT_PLATFORM;
use presence::payload::Payload;

pub use crate::iot_platform::{Details, StatusLine, close_code, details, ipv4, summary};

/// The name of the source that a message is from.
pub fn source(message: &Payload) -> &str {
    message.source().unwrap_or(IOT_PLATFORM)
}
