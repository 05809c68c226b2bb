//! Any bytes that are packed come back exactly, and packing costs at most a few bytes more than it saves. How well real
//! messages are packed is tested where they are packed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use presence::payload::{Payload, SourceMessage};

fuzz_target!(|bytes: &[u8]| {
    let payload = Payload::pack(bytes);
    assert_eq!(payload.unpack(), bytes, "the bytes come back");
    assert_eq!(payload, Payload::pack(bytes), "the same bytes are packed the same way");
    // A whole and its halves are other messages: equality and order must not confuse them.
    let (start, end) = bytes.split_at(bytes.len() / 2);
    for part in [start, end] {
        let part_payload = Payload::pack(part);
        assert_eq!(part_payload.cmp(&payload), part.cmp(bytes), "the order is that of the bytes");
    }
    let message = SourceMessage { bytes: end, is_cut: bytes.len() % 2 == 1 };
    let payload = Payload::pack_document("a", start, &message);
    assert_eq!(payload.document(), start, "the document comes back");
    assert_eq!(payload.message(), Some((end.to_vec(), message.is_cut)), "the message comes back");
    assert_eq!(
        payload,
        Payload::pack_of("a", &payload.unpack()),
        "it is the same as the document with the message in it"
    );
});
