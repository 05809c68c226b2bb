//! `/api/v1/devices…`: what is known of one device, or of many.

mod one;
pub mod view;

pub use one::__path_one;
pub use one::one;
