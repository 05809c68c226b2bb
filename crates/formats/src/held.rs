//! What the messages that are held say beside the status. They are the IoT platform's own, or the status documents that
//! [`status`] writes for every other source; both use the same words. So code that shows, filters or stores a
//! message reads it here and need not know whose it is.

use crate::catalog::IOT_PLATFORM;
use crate::{Cause, status};
use presence::payload::{Payload, Piece, WordSearch};

pub use crate::iot_platform::{Details, StatusLine, close_code, details, ipv4, summary};

/// The name of the source that a message is from.
pub fn source(message: &Payload) -> &str {
    message.source().unwrap_or(IOT_PLATFORM)
}

/// The client's address, as the message has it.
pub fn address(message: &Payload) -> Option<String> {
    // Most addresses are found without unpacking and reading the whole message.
    if let Some(address) = ipv4(message) {
        return Some(address.to_string());
    }
    let unpacked = message.document();
    let address = summary(&unpacked)?.address;
    (!address.is_empty()).then(|| address.into_owned())
}

/// The key of the cause in a status document. Inside of a text its quotation marks are escaped, so it is found nowhere else.
const CAUSE: Piece = Piece::of(r#","c":""#);
/// The same where no key stands before it. Payloads are packed without such a piece.
const FIRST_CAUSE: &str = r#"","_":{"c":""#;

/// The cause of the end of a session that a message tells of; `None`: it does not say.
pub fn cause(message: &Payload, close_code: u16) -> Option<Cause> {
    if !message.has_source() {
        return close_code::cause(close_code);
    }
    let known = match message.word_behind(CAUSE, FIRST_CAUSE) {
        WordSearch::Word(word) => Cause::of_word(word),
        WordSearch::None => None,
        // Versions that hold messages beside documents know the piece.
        WordSearch::NoneBesideMessage => return None,
    };
    if known.is_some() {
        return known;
    }
    // Unpacked only if it was packed by a version that did not know this piece.
    status::read(&message.unpack())?.cause()
}

/// The word for that cause.
pub fn cause_class(message: &Payload, close_code: u16) -> &'static str {
    cause(message, close_code).map_or(Cause::UNKNOWN, Cause::word)
}
