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
        self.is_possible() && ![self.device_type, self.id].iter().any(|level| level.bytes().any(is_special))
    }
}

/// Whether there is a control character in it. Most names are ASCII, whose characters are bytes.
fn has_control(level: &str) -> bool {
    if level.is_ascii() {
        level.bytes().any(|byte| byte.is_ascii_control())
    } else {
        level.chars().any(char::is_control)
    }
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
