//! What every store promises of the rows of the fleet's series.

use presence::UnixSeconds;
use store::{IfExists, SeriesRange, SeriesRow};

use crate::fixture::{Fixture, wait};
use crate::places::Place;

fn row(step_seconds: u32, start: u32, figures: &[u8]) -> SeriesRow {
    SeriesRow { step_seconds, start: UnixSeconds(start), figures: figures.to_vec() }
}

fn write(fixture: &Fixture<'_>, row: SeriesRow, if_exists: IfExists, rows_max: u32) -> bool {
    wait(fixture.store().write_series(row, if_exists, rows_max)).unwrap()
}

fn rows(fixture: &Fixture<'_>, step_seconds: u32, from: u32, to: u32) -> Vec<SeriesRow> {
    let range = SeriesRange { step_seconds, from: UnixSeconds(from), to: UnixSeconds(to) };
    wait(fixture.store().series(range)).unwrap()
}

pub fn a_row_of_the_series_is_written_once_or_replaced(place: &dyn Place) {
    let mut fixture = Fixture::new(place);
    assert_eq!(rows(&fixture, 10, 0, u32::MAX), [], "{place:?}");
    assert!(write(&fixture, row(10, 20, b"\0first\xff"), IfExists::Keep, 9), "{place:?}");
    assert!(!write(&fixture, row(10, 20, b"second"), IfExists::Keep, 9), "{place:?}");
    assert!(write(&fixture, row(60, 20, b"of another step"), IfExists::Replace, 9), "{place:?}");
    assert!(write(&fixture, row(10, 10, b"earlier"), IfExists::Keep, 9), "{place:?}");
    assert!(write(&fixture, row(10, 30, b""), IfExists::Keep, 9), "{place:?}");
    fixture.reopen();
    let (earlier, first, last) = (row(10, 10, b"earlier"), row(10, 20, b"\0first\xff"), row(10, 30, b""));
    assert_eq!(rows(&fixture, 10, 0, u32::MAX), [earlier.clone(), first, last], "{place:?}");
    assert!(write(&fixture, row(10, 20, b"third"), IfExists::Replace, 9), "{place:?}");
    assert_eq!(rows(&fixture, 10, 10, 30), [earlier, row(10, 20, b"third")], "{place:?}");
    assert_eq!(rows(&fixture, 60, 0, 100), [row(60, 20, b"of another step")], "{place:?}");
}

pub fn rows_of_the_series_are_dropped_in_the_order_of_writing(place: &dyn Place) {
    let fixture = Fixture::new(place);
    let starts = |step| rows(&fixture, step, 0, u32::MAX).iter().map(|row| row.start.0).collect::<Vec<_>>();
    write(&fixture, row(60, 60, b""), IfExists::Replace, 9);
    // The clock is far ahead for a moment, and then right again.
    for start in [100, 4_000_000_000, 110, 120] {
        write(&fixture, row(10, start, b""), IfExists::Keep, 3);
    }
    assert_eq!(starts(10), [110, 120, 4_000_000_000], "{place:?}");
    // A row that is replaced stays where it was.
    write(&fixture, row(10, 4_000_000_000, b"again"), IfExists::Replace, 3);
    write(&fixture, row(10, 130, b""), IfExists::Keep, 3);
    assert_eq!(starts(10), [110, 120, 130], "{place:?}");
    assert_eq!(starts(60), [60], "{place:?}");
}
