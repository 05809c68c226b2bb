//! How sure the service must be before it counts as ready.

/// How sure the population must be before the service counts as ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadyOn {
    /// Every retained status is known to be here.
    Complete,
    /// Nothing speaks against it, and a further pass added nothing.
    Unproven,
}

impl ReadyOn {
    /// The word for it in settings and answers.
    pub fn word(self) -> &'static str {
        match self {
            ReadyOn::Complete => "complete",
            ReadyOn::Unproven => "unproven",
        }
    }
}
