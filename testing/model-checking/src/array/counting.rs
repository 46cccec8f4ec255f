//! Ids that are counted and not drawn, so that the same way leads to the same state in each run.

use std::sync::atomic::{AtomicU64, Ordering};

use lunshadow_catalog::IdSource;

/// The next id is one more than the last.
#[derive(Debug, Default)]
pub(crate) struct Counting(AtomicU64);

impl Counting {
    /// Goes on behind an id.
    pub(crate) const fn after(last: u64) -> Self {
        Self(AtomicU64::new(last))
    }

    /// The last id that was given.
    pub(crate) fn last(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl IdSource for Counting {
    fn draw(&self) -> u128 {
        u128::from(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }
}
