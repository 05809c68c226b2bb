//! Errors as text for people.

use std::error::Error;

use crate::tls;

/// An error and everything behind it, as one sentence. What an error already says of its cause is not said again.
pub fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(explained) = tls::explain(cause) {
            return format!("{text}: {explained}");
        }
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Failure {
        #[error("cannot connect")]
        Connect(#[source] std::io::Error),
        #[error("cannot begin: {0}")]
        Begin(#[source] Box<Failure>),
    }

    #[test]
    fn a_cause_is_said_once() {
        let connect = Failure::Connect(std::io::Error::other("no route"));
        assert_eq!(sentence(&connect), "cannot connect: no route");
        assert_eq!(sentence(&Failure::Begin(Box::new(connect))), "cannot begin: cannot connect: no route");
    }
}
