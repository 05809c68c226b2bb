//! Any bytes that are packed come back exactly, and packing costs at most a few bytes more than it saves; also from the skeletons
//! that one process holds, and of bytes that no version has packed. How well real messages are packed is tested where they are
//! packed.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use presence::Moment;
use presence::payload::skeleton::{Beside, Skeletons};
use presence::payload::{DocumentPacker, Payload, Piece, SourceMessage};

/// So often everything is seen that it is known, and once more.
const TIMES_SEEN: usize = 17;

/// Tables serve so many runs, because making them takes longer than a run; few enough that they are not full.
const RUNS_OF_TABLES: usize = 50;

thread_local! {
    static TABLES: RefCell<(Skeletons, usize)> = RefCell::default();
}

/// New tables from time to time.
fn with_tables(run: impl FnOnce(&Skeletons)) {
    TABLES.with_borrow_mut(|(skeletons, runs)| {
        if *runs == RUNS_OF_TABLES {
            (*skeletons, *runs) = Default::default();
        }
        *runs += 1;
        run(skeletons);
    });
}

/// What is held in skeletons comes back, whether they are known or not.
fn comes_back_from_skeletons(skeletons: &Skeletons, payload: &Payload) {
    let moment = Moment::from_nanos(1_795_453_201_186_000_000);
    let beside = Beside { device_type: "pump", id: "unit-0042", session: moment, time: moment };
    for _ in 0..TIMES_SEEN {
        let mut held = Vec::new();
        skeletons.pack(payload, &beside, &mut held);
        assert_eq!(skeletons.unpack(&held, &beside).packed(), payload.packed(), "the payload comes back");
    }
}

/// A document that is packed part by part is packed as its text is.
fn value_is_packed_as_in_its_text(value: &str) {
    let mut packer = DocumentPacker::new("a");
    packer.piece(Piece::of(r#"{"ClientID":""#));
    if packer.value(value).is_some() {
        packer.piece(Piece::of(r#"","Action":"Connect"#));
        packer.rest(br#""}"#);
        let text = format!(r#"{{"ClientID":"{value}","Action":"Connect"}}"#);
        assert_eq!(packer.finish().packed(), Payload::pack_of("a", text.as_bytes()).packed());
    }
}

fn any_bytes_come_back(bytes: &[u8], skeletons: &Skeletons) {
    let payload = Payload::pack(bytes);
    assert_eq!(payload.unpack(), bytes, "the bytes come back");
    assert_eq!(payload, Payload::pack(bytes), "the same bytes are packed the same way");
    // A whole and its halves are other messages: equality and order must not confuse them.
    let (start, end) = bytes.split_at(bytes.len() / 2);
    for part in [start, end] {
        let part_payload = Payload::pack(part);
        assert_eq!(part_payload.cmp(&payload), part.cmp(bytes), "the order is that of the bytes");
    }
    comes_back_from_skeletons(skeletons, &payload);
    comes_back_from_skeletons(skeletons, &Payload::from_packed(bytes));
    if let Ok(value) = std::str::from_utf8(start) {
        value_is_packed_as_in_its_text(value);
    }
    let message = SourceMessage { bytes: end, is_cut: bytes.len() % 2 == 1 };
    let payload = Payload::pack_document("a", start, &message);
    comes_back_from_skeletons(skeletons, &payload);
    assert_eq!(payload.document(), start, "the document comes back");
    assert_eq!(payload.message(), Some((end.to_vec(), message.is_cut)), "the message comes back");
    assert_eq!(
        payload,
        Payload::pack_of("a", &payload.unpack()),
        "it is the same as the document with the message in it"
    );
}

fuzz_target!(|bytes: &[u8]| with_tables(|skeletons| any_bytes_come_back(bytes, skeletons)));
