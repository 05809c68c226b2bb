//! Which names a device may have.

use presence::NAME_MAX_BYTES;

/// Whether a text can be a device's type or id.
pub(crate) fn is_valid_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= NAME_MAX_BYTES && !text.chars().any(char::is_control)
}
