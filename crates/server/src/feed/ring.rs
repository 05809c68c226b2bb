//! The newest changes, in their order, bounded by number and by size. Pure: whoever follows them, and how they are woken, is
//! not known here.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Change;
use super::keeping::Beside;
use crate::registry::Snapshot;

/// What a change is taken to cost beside its texts: the value itself, and the text that it is shown as.
const CHANGE_BYTES: usize = 1_024;

/// How many changes are handed over at once, so that what one stream holds stays near a megabyte.
pub const RUN_MAX: usize = 1_024;

/// The size at which a run ends all the same: only long messages reach it before that number.
const RUN_MAX_BYTES: usize = 4 << 20;

/// The changes after `first - 1`, without a hole.
#[derive(Debug)]
pub struct Ring {
    changes: VecDeque<Arc<Change>>,
    /// The sequence of the oldest one; of the next one, if there is none.
    first: u64,
    bytes: usize,
    beside: Beside,
}

/// Consecutive changes.
#[derive(Debug)]
pub struct Part {
    pub changes: Vec<Arc<Change>>,
    /// It ends because of a bound, so that whoever begins at the same position gets the same.
    pub is_full: bool,
}

/// A position that the ring does not reach back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behind;

impl Default for Ring {
    fn default() -> Self {
        Self { changes: VecDeque::new(), first: 1, bytes: 0, beside: Beside::default() }
    }
}

impl Ring {
    /// The sequence that the next change gets.
    pub fn next(&self) -> u64 {
        self.first + self.changes.len() as u64
    }

    /// What stands in no history.
    pub fn beside(&self) -> Beside {
        self.beside
    }

    /// Notes that the history does not tell of all changes up to the newest.
    pub fn note_lost(&mut self) {
        // All changes up to here may have been written before, and their loss is not mended by that.
        (self.beside.lost, self.beside.covered_by) = (self.next() - 1, self.next());
    }

    /// Adds the next change and drops the oldest that are beyond the bounds.
    pub fn push(&mut self, change: Change, most: usize, most_bytes: usize) {
        debug_assert_eq!(change.sequence, self.next());
        self.bytes += size(&change);
        if !change.in_history {
            self.beside.newest = change.sequence;
        }
        self.changes.push_back(Arc::new(change));
        while self.changes.len() > most.max(1) || (self.bytes > most_bytes && self.changes.len() > 1) {
            let Some(oldest) = self.changes.pop_front() else { break };
            self.first = oldest.sequence + 1;
            self.bytes -= size(&oldest);
            if !oldest.in_history {
                self.beside.lost = oldest.sequence;
                self.beside.covered_by = self.beside.covered_by.max(oldest.sequence);
            }
        }
    }

    /// Whether every change after the position is here.
    pub fn reaches(&self, position: u64) -> bool {
        position + 1 >= self.first && position < self.next()
    }

    /// The changes after a position, oldest first, at most [`RUN_MAX`] and about [`RUN_MAX_BYTES`].
    pub fn after(&self, position: u64) -> Result<Part, Behind> {
        if !self.reaches(position) {
            return Err(Behind);
        }
        // Fits: the difference is less than what is here.
        let skipped = (position + 1 - self.first) as usize;
        let mut bytes = 0;
        let within_bounds = self.changes.iter().skip(skipped).take(RUN_MAX).take_while(|change| {
            let fits = bytes < RUN_MAX_BYTES;
            bytes += size(change);
            fits
        });
        let changes: Vec<_> = within_bounds.cloned().collect();
        let is_full = changes.len() == RUN_MAX || bytes >= RUN_MAX_BYTES;
        Ok(Part { changes, is_full })
    }

    /// The changes after one and up to another that the history does not tell of.
    pub fn beside_the_history(&self, after: u64, up_to: u64) -> Vec<Arc<Change>> {
        let between = self.changes.iter().filter(|change| (after + 1..=up_to).contains(&change.sequence));
        between.filter(|change| !change.in_history).cloned().collect()
    }
}

fn size(change: &Change) -> usize {
    // Shown, a payload takes about four times what it takes packed.
    let Snapshot { device_type, id, statement, .. } = &change.snapshot;
    CHANGE_BYTES + 4 * (device_type.len() + id.len() + statement.payload.packed_len())
}
