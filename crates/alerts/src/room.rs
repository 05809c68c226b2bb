//! Room of what is over is given back: after an outage, most of the devices that were remembered are not any more.

use std::collections::HashMap;
use std::hash::Hash;

/// Entries for which a table may keep room.
pub(crate) const ROOM_KEPT: usize = 1_024;

/// Gives back the room of entries that were removed, once most of it is unused.
pub(crate) fn give_back<K: Eq + Hash, V>(map: &mut HashMap<K, V>) {
    if map.capacity() > 4 * map.len() + ROOM_KEPT {
        map.shrink_to(2 * map.len());
    }
}
