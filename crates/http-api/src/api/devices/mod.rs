//! `/api/v1/devices…`: what is known of one device, or of many.

pub mod history;
pub mod list;
pub mod lookup;
pub mod one;
