//! The macro by which views describe themselves for the OpenAPI document, which the tests of `http-api` make. Otherwise a macro
//! stands in for utoipa's that leaves the code as it is.

#[cfg(not(feature = "testing"))]
pub use openapi_stubs::ToSchema;
#[cfg(feature = "testing")]
pub use utoipa::ToSchema;
