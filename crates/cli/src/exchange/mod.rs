//! What a store keeps, as text: `devstatus export` writes it to a file or a pipe, `devstatus import` merges it into a store.
//! What one device looks like as a line is in `line` and `csv`; what is kept, and how it is merged, is the store's affair.

mod csv;
mod export;
mod import;
mod line;
pub mod settings;

use std::io;
use std::path::PathBuf;

use store::StoreError;

pub use export::export;
pub use import::import;

/// Devices that are on their way between the store and the text: a few megabytes.
const AT_ONCE: usize = 4_096;

/// Why an export or an import ended early.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot read {0}")]
    Read(String, #[source] io::Error),
    #[error("cannot write {0}")]
    Write(String, #[source] io::Error),
    #[error("line {number}: {why}; the lines before it are imported")]
    Line { number: u64, why: String },
    #[error(
        "the store refuses {refused} of the devices, the first of them {first}; the other {imported} are imported"
    )]
    Refused { imported: u64, refused: u64, first: String },
    /// Only a store that somebody else has written holds such a message.
    #[error("a message about {0} is no text, so no line can hold it")]
    NotText(String),
    #[error("interrupted")]
    Interrupted,
    #[error("internal error: the thread that reads or writes the text ended unexpectedly")]
    Internal,
}

/// The file as an error names it.
fn shown(file: Option<&PathBuf>, otherwise: &str) -> String {
    file.map_or_else(|| otherwise.to_owned(), |path| path.display().to_string())
}
