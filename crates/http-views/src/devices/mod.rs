//! Devices as the API shows them, and which of them a list shows: its filter, its format and where it goes on.

pub mod cursor;
pub mod event;
pub mod filter;
pub mod format;
pub mod retained;
pub mod view;
pub mod view_json;
