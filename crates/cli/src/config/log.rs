//! How much is logged and in which form. Each place that logs decides what is logged.

/// Form and amount of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    pub format: LogFormat,
    pub level: LogLevel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Columns for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The least important kind of line that is still written.
///
/// Not a number: the platform's `logLevel` also asks for less than the default, which a count of `-v` cannot say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}
