//! `/api/v1/devices…`: what is known of one device, or of many.

pub mod cursor;
pub mod filter;
mod format;
pub mod history;
pub mod list;
pub mod lookup;
pub mod one;
pub mod retained;
pub mod view;
pub mod view_json;
