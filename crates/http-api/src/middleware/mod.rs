//! What is around every resource: keys, hosts and web pages, sizes, the time that a request takes.

pub(crate) mod cors;
pub(crate) mod credentials;
pub(crate) mod guard;
pub(crate) mod origin;
pub(crate) mod platform_form;
pub(crate) mod sessions;
pub(crate) mod timing;
