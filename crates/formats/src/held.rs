//! What the messages that are held say beside the status. They are the IoT platform's own, or the status documents that
//! [`status`] writes for every other source; both use the same words. So whoever shows, filters or stores a
//! message reads it here and need not know whose it is.

use crate::catalog::IOT_PLATFORM;
use crate::{Cause, status};
use presence::payload::Payload;

pub use crate::iot_platform::{Details, StatusLine, close_code, details, ipv4, summary};

/// The name of the source that a message is from.
pub fn source(message: &Payload) -> &str {
    message.source().unwrap_or(IOT_PLATFORM)
}

/// The word for the cause of the end of a session that a message tells of. Only a message of another source than the IoT
/// platform's is read for it; of the platform's the close code says it.
pub fn cause_class(message: &Payload, close_code: u16) -> &'static str {
    if message.source().is_none() {
        return close_code::cause_class(close_code);
    }
    let unpacked = message.unpack();
    status::read(&unpacked).and_then(|document| document.cause()).map_or(Cause::UNKNOWN, Cause::word)
}
