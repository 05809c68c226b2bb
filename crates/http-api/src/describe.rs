//! The macros by which resources and answers describe themselves for the OpenAPI document. Only tests make the document, so
//! otherwise macros stand in for utoipa's that leave the code as it is, and a change of a resource is built sooner.

#[cfg(not(test))]
pub use openapi_stubs::{IntoParams, ToSchema, path};
#[cfg(test)]
pub use utoipa::{IntoParams, ToSchema, path};
