//! Which device something is about: its type and its id, borrowed or owned.

use std::sync::Arc;

/// Which device a message is about; the text is borrowed from the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device<'a> {
    /// The platform's device type.
    pub device_type: &'a str,
    /// The device id, unique within its type.
    pub id: &'a str,
}

/// The longest type or id that a device can have. The platform allows 36 characters each; databases index some thousand bytes.
pub const NAME_MAX_BYTES: usize = 256;

impl Device<'_> {
    /// Whether there can be such a device: neither type nor id is empty, longer than any, or holds a control character.
    pub fn is_possible(&self) -> bool {
        [self.device_type, self.id]
            .iter()
            .all(|level| !level.is_empty() && level.len() <= NAME_MAX_BYTES && !has_control(level))
    }

    /// Whether a topic can name it with a level for the type and a level for the id.
    pub fn fits_topic_levels(&self) -> bool {
        let is_special = |byte| matches!(byte, b'/' | b'+' | b'#');
        // Without an early end, here and below, so that many bytes are looked at in one go.
        let has_special = |level: &str| level.bytes().fold(false, |found, byte| found | is_special(byte));
        self.is_possible() && !has_special(self.device_type) && !has_special(self.id)
    }
}

/// Whether there is a control character in it. Most names are of printable ASCII characters.
fn has_control(level: &str) -> bool {
    let is_plain = level.bytes().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~'));
    !is_plain && level.chars().any(char::is_control)
}

/// A device's whole name. Ordered by type, then id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceName {
    pub device_type: Arc<str>,
    pub id: Box<str>,
}

impl DeviceName {
    pub fn of(device: Device<'_>) -> Self {
        Self { device_type: device.device_type.into(), id: device.id.into() }
    }

    pub fn device(&self) -> Device<'_> {
        Device { device_type: &self.device_type, id: &self.id }
    }
}
