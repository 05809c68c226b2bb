//! What the messages that are held say beside the status. They are the IoT platform's own, or the status documents that
//! [`status`] writes for every other source; both use the same words. So code that shows, filters or stores a
//! message reads it here and need not know whose it is.

use crate::catalog::IOT_PLATFORM;
use crate::status::details::behind;
use crate::{Cause, status};
use presence::payload::{Operation, Payload, Piece, WordSearch};
use std::net::Ipv4Addr;

use crate::iot_platform::CLIENT_ADDRESS;
pub use crate::iot_platform::{
    Details, StatusLine, UnpackedDetails, close_code, details, ipv4, summary, traffic,
};

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
    if message.has_source() {
        address_and_cause_of_document(message).cause
    } else {
        close_code::cause(close_code)
    }
}

/// What counters and filters look at of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressAndCause {
    /// The client's address, as [`ipv4`] finds it.
    pub address: Option<Ipv4Addr>,
    /// As [`cause`] finds it.
    pub cause: Option<Cause>,
}

/// The client's address and the cause. Each change of a device needs both, so a document is gone over once.
pub fn address_and_cause(message: &Payload, close_code: u16) -> AddressAndCause {
    if message.has_source() {
        address_and_cause_of_document(message)
    } else {
        AddressAndCause { address: ipv4(message), cause: close_code::cause(close_code) }
    }
}

fn address_and_cause_of_document(message: &Payload) -> AddressAndCause {
    in_usual_document(message)
        .unwrap_or_else(|| AddressAndCause { address: ipv4(message), cause: searched_cause(message) })
}

/// The cause in a document of any version.
fn searched_cause(message: &Payload) -> Option<Cause> {
    let known = match message.word_behind(CAUSE, FIRST_CAUSE) {
        WordSearch::Word(word) => Cause::of_word(word),
        WordSearch::None => None,
        // Versions that hold messages beside documents know the piece.
        WordSearch::NoneBesideMessage => return None,
    };
    // Unpacked only if it was packed by a version that did not know this piece.
    known.or_else(|| status::read(&message.unpack())?.cause())
}

/// The address and the cause in a document that is held beside its message, of which each key is there once at most; `None`: it is
/// another one.
fn in_usual_document(message: &Payload) -> Option<AddressAndCause> {
    let (mut address, mut word) = (None, None);
    let mut operations = message.operations();
    while let Some(operation) = operations.next() {
        match operation {
            Operation::Piece(CLIENT_ADDRESS) => match operations.next() {
                Some(Operation::Address(ipv4)) if address.is_none() && operations.are_behind_text() => {
                    address = Some(ipv4);
                }
                _ => return None,
            },
            Operation::Piece(CAUSE) => match operations.next() {
                Some(Operation::Literal(literal)) if word.is_none() => word = Some(literal),
                _ => return None,
            },
            Operation::Literal(literal) if word.is_none() => word = behind(literal, FIRST_CAUSE.as_bytes()),
            Operation::Piece(_)
            | Operation::Literal(_)
            | Operation::Integer(_)
            | Operation::Address(_)
            | Operation::Other => {}
        }
    }
    let cause = |word: &[u8]| {
        let end = word.iter().position(|byte| *byte == b'"').unwrap_or(word.len());
        Cause::of_word(std::str::from_utf8(&word[..end]).ok()?)
    };
    match word.map(cause) {
        None if operations.are_before_message() => Some(AddressAndCause { address, cause: None }),
        Some(Some(cause)) => Some(AddressAndCause { address, cause: Some(cause) }),
        None | Some(None) => None,
    }
}

/// The word for that cause.
pub fn cause_class(message: &Payload, close_code: u16) -> &'static str {
    cause(message, close_code).map_or(Cause::UNKNOWN, Cause::word)
}
