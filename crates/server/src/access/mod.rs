//! Who may ask for what: API keys, what each is good for, the file they are kept in. Nothing of HTTP is known here.

mod digest;
mod file;
mod key;
mod keyring;
mod scope;
pub mod settings;
mod throttle;

pub use digest::Digest;
pub use file::{FileContent, FileError, KeysFile};
pub use key::{ApiKey, NewKey, is_name};
pub use keyring::{Grant, HeldKey, KeyRefusal, Keyring};
pub use scope::{Scope, Scopes};
pub use throttle::{AddressThrottle, Rate, network};
