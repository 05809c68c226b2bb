//! `/api/v1/devices…`: what is known of one device, or of many.

#[allow(dead_code, reason = "the resources that show many devices come next")]
pub mod filter;
mod one;
pub mod view;

pub use one::__path_one;
pub use one::one;
