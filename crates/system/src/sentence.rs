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

/// A count and what is counted: one rule, two rules, two policies.
pub fn counted(count: usize, noun: &str) -> String {
    match (count, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        (_, None) => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_follows_the_count() {
        let counts = [counted(0, "rule"), counted(1, "policy"), counted(2, "policy")];
        assert_eq!(counts, ["0 rules", "1 policy", "2 policies"]);
    }

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
