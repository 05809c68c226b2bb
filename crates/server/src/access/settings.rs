//! What `config` has to know of a key before it is made.

pub use super::key::{NAME_EXPECTED as KEY_NAME_EXPECTED, is_name as is_key_name};
pub use super::scope::Scopes;
