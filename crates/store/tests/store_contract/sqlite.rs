//! What holds for a file of SQLite alone: its views, which people read.

use presence::payload::Payload;
use presence::{EventKind, PresenceEvent};

use crate::fixture::{Fixture, device, devices, event, events, history_event};
use crate::places::Sqlite;

/// The view of devices or events, as `id source reason`.
fn rows(place: &Sqlite, store: &str, view: &str) -> Vec<String> {
    let file = rusqlite::Connection::open(place.path(store)).unwrap();
    let sql = format!("SELECT id || ' ' || source || ' ' || coalesce(reason, '-') FROM {view} ORDER BY id");
    let mut select = file.prepare(&sql).unwrap();
    select.query_map((), |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// Other sources than the IoT platform have no close codes, so no reason is found by the code.
pub fn the_views_of_a_file_show_each_end_with_its_own_reason(place: &Sqlite) {
    let fixture = Fixture::new(place);
    let of_source = |document: &str| PresenceEvent {
        payload: Payload::pack_of("tasmota", document.as_bytes()),
        ..event(EventKind::Disconnect, 1, 1)
    };
    let ended = [
        ("a", of_source(r#"{"Action":"Disconnect","Reason":"removed"}"#)),
        ("b", of_source(r#"{"Action":"Disconnect"}"#)),
        ("c", of_source(r#"{"Action":"Disconnect","Reason":"parent_offline"}"#)),
        ("d", event(EventKind::Disconnect, 1, 1)),
        ("e", event(EventKind::Connect, 1, 1)),
    ];
    // The reason of another source comes first.
    for (id, event) in ended {
        fixture.put(devices(vec![device(id, [event.clone()], 1)]));
        fixture.put(events(vec![history_event(id, event, 1)]));
    }
    let expected = [
        "a tasmota removed",
        "b tasmota -",
        "c tasmota parent_offline",
        "d iot-platform r",
        "e iot-platform -",
    ];
    for view in ["devices", "events"] {
        assert_eq!(rows(place, fixture.name(), view), expected, "{view}");
    }
    fixture.put(devices(vec![device("a", [of_source("{}"), event(EventKind::Connect, 2, 2)], 2)]));
    assert_eq!(rows(place, fixture.name(), "devices")[0], "a iot-platform -", "it is connected again");
}
