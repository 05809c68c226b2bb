//! The newest changes, in their order, bounded by number and by size. Pure: who follows them, and how they are woken, is
//! not known here.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Change;
use super::resume::UnloggedChanges;
use crate::registry::Snapshot;

/// What a change is taken to cost beside its texts: the value itself, and the text that it is shown as.
const CHANGE_BYTES: usize = 1_024;

/// How many changes are handed over at once, so that what one stream holds stays near a megabyte.
pub const BATCH_MAX: usize = 1_024;

/// The size at which a batch ends all the same: only long messages reach it before that number.
const BATCH_MAX_BYTES: usize = 4 << 20;

/// Changes that one new change may push out. The device's shard is locked meanwhile, so a buffer whose bound has become
/// lower, because the last stream ended, shrinks over the next changes. Sixty-four of the smallest take more than the largest
/// one, so the bound in bytes holds.
const DROPPED_AT_ONCE: usize = 64;

/// The changes after `first - 1`, without a hole.
#[derive(Debug)]
pub struct ChangeBuffer {
    changes: VecDeque<Arc<Change>>,
    /// The sequence of the oldest one; of the next one, if there is none.
    first: u64,
    bytes: usize,
    unlogged: UnloggedChanges,
}

/// Consecutive changes.
#[derive(Debug)]
pub struct BufferPart {
    pub changes: Vec<Arc<Change>>,
    /// It ends because of a bound, so that every reader at the same position gets the same.
    pub is_full: bool,
}

/// A position that the buffer does not reach back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behind;

impl Default for ChangeBuffer {
    fn default() -> Self {
        Self { changes: VecDeque::new(), first: 1, bytes: 0, unlogged: UnloggedChanges::default() }
    }
}

impl ChangeBuffer {
    /// The sequence that the next change gets.
    pub fn next(&self) -> u64 {
        self.first + self.changes.len() as u64
    }

    /// The changes that are in no history.
    pub fn unlogged(&self) -> UnloggedChanges {
        self.unlogged
    }

    /// Notes that the history does not tell of all changes up to the newest.
    pub fn note_lost(&mut self) {
        // All changes up to here may have been written before, and their loss is not mended by that.
        (self.unlogged.lost, self.unlogged.committed_by) = (self.next() - 1, self.next());
    }

    /// Adds the next change and drops the oldest that are beyond the bounds.
    pub fn push(&mut self, change: Change, most: usize, most_bytes: usize) {
        debug_assert_eq!(change.sequence, self.next());
        self.bytes += size(&change);
        if !change.in_history {
            self.unlogged.newest = change.sequence;
        }
        self.changes.push_back(Arc::new(change));
        for _ in 0..DROPPED_AT_ONCE {
            if self.changes.len() <= most.max(1) && (self.bytes <= most_bytes || self.changes.len() <= 1) {
                break;
            }
            let Some(oldest) = self.changes.pop_front() else { break };
            self.first = oldest.sequence + 1;
            self.bytes -= size(&oldest);
            if !oldest.in_history {
                self.unlogged.lost = oldest.sequence;
                self.unlogged.committed_by = self.unlogged.committed_by.max(oldest.sequence);
            }
        }
    }

    /// Counts the next change, which is in no history, without holding it or one before it; `false`: too many are held to drop them at once.
    pub fn leave_out(&mut self) -> bool {
        if self.changes.len() > DROPPED_AT_ONCE {
            return false;
        }
        let sequence = self.next();
        self.changes.clear();
        (self.first, self.bytes) = (sequence + 1, 0);
        self.unlogged.newest = sequence;
        self.unlogged.lost = sequence;
        self.unlogged.committed_by = self.unlogged.committed_by.max(sequence);
        true
    }

    /// Whether every change after the position is here.
    pub fn reaches(&self, position: u64) -> bool {
        position + 1 >= self.first && position < self.next()
    }

    /// The changes after a position, oldest first, at most so many and about [`BATCH_MAX_BYTES`].
    pub fn after(&self, position: u64, most: usize) -> Result<BufferPart, Behind> {
        if !self.reaches(position) {
            return Err(Behind);
        }
        // Fits: the difference is less than what is here.
        let skipped = (position + 1 - self.first) as usize;
        let mut bytes = 0;
        let within_bounds = self.changes.iter().skip(skipped).take(most).take_while(|change| {
            let fits = bytes < BATCH_MAX_BYTES;
            bytes += size(change);
            fits
        });
        let changes: Vec<_> = within_bounds.cloned().collect();
        let is_full = changes.len() == most || bytes >= BATCH_MAX_BYTES;
        Ok(BufferPart { changes, is_full })
    }

    /// The changes after one and up to another that the history does not tell of, as far as [`BATCH_MAX`] changes reach, and
    /// the change up to which it has looked.
    pub fn unlogged_changes(&self, after: u64, up_to: u64) -> (Vec<Arc<Change>>, u64) {
        let after = after.max(self.first - 1);
        let up_to = up_to.min(self.next() - 1);
        // Fits: the difference is less than what is here.
        let skipped = (after + 1 - self.first).min(self.changes.len() as u64) as usize;
        let examined = (up_to.saturating_sub(after) as usize).min(BATCH_MAX);
        let found = self.changes.iter().skip(skipped).take(examined);
        (found.filter(|change| !change.in_history).cloned().collect(), after + examined as u64)
    }

    /// The memory that the changes take, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The oldest position that is reached.
    pub fn reached(&self) -> u64 {
        self.first - 1
    }
}

fn size(change: &Change) -> usize {
    // Shown, a payload takes about four times what it takes packed.
    let Snapshot { device_type, id, event, .. } = &change.snapshot;
    CHANGE_BYTES + 4 * (device_type.len() + id.len() + event.payload.packed_len())
}
