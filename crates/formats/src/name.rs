//! Which names a device may have.

use presence::NAME_MAX_BYTES;

/// Whether a text can be a device's type or id.
pub(crate) fn is_valid_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= NAME_MAX_BYTES && !has_control(text)
}

/// Nearly all names are ASCII, of which no character need be decoded.
fn has_control(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_control()) || !text.is_ascii() && text.chars().any(char::is_control)
}
