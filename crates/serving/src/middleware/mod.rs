//! What is around every resource: keys, hosts and web pages, sizes, the time that a request takes.

pub mod cors;
pub mod credentials;
pub mod guard;
pub mod origin;
pub mod platform_form;
pub mod sessions;
pub mod surround;
pub mod timing;
