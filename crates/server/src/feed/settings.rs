//! How many may follow the changes, and how far behind. Built and checked by `config`.

/// The bounds of the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedSettings {
    /// Streams that may be open at once; a further one is refused.
    pub streams_max: u32,
    /// How many changes a stream may be behind; one that is farther behind is ended.
    pub stream_lag_max: u32,
}

impl Default for FeedSettings {
    fn default() -> Self {
        Self { streams_max: 2_000, stream_lag_max: 65_536 }
    }
}
