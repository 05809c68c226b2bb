//! Errors as text for people.

use std::error::Error;

use crate::tls;

/// An error and everything behind it, as one sentence.
pub fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(explained) = tls::explain(cause) {
            return format!("{text}: {explained}");
        }
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
