//! `/api/v1/devices…`: what is known of one device, or of many.

pub mod cursor;
pub mod filter;
mod format;
pub mod history;
mod list;
mod lookup;
pub mod one;
pub mod retained;
pub mod view;
pub mod view_json;

pub use history::{__path_history, history};
pub use list::{__path_list, list};
pub use lookup::{__path_lookup, lookup};
pub use one::{__path_forget, __path_one, forget, one};
