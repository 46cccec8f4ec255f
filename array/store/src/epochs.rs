//! When freed blocks may be taken again: not before those are gone who may have looked them up.

use std::sync::Arc;

use crate::record::LunSlot;
use crate::sync::Mutex;

/// Proof that its holder may read blocks that it looked up afterwards: none of them is taken for something else while it lives.
#[derive(Debug, Default)]
pub(crate) struct ReadEpoch;

/// How many readers can begin at the same time without waiting for each other.
const COPIES: usize = 16;

/// The epoch that readers begin in, to be had without the pool's lock.
///
/// INVARIANT: all copies are of one epoch whenever the pool's lock is free. While they are changed, under that lock, a reader gets the old or the
/// new one; both are right, since nothing is freed meanwhile.
pub(crate) struct Epochs {
    copies: [Mutex<Arc<ReadEpoch>>; COPIES],
}

impl Default for Epochs {
    fn default() -> Self {
        let first = Arc::default();
        Self { copies: std::array::from_fn(|_| Mutex::new(Arc::clone(&first))) }
    }
}

impl Epochs {
    /// What a reader of a LUN holds from before its first look-up to its last read.
    pub(crate) fn enter(&self, slot: LunSlot) -> Arc<ReadEpoch> {
        Arc::clone(&self.copies[slot as usize % COPIES].lock())
    }

    /// Lets readers that come from now on begin another one. Who holds the one before, which is answered, may have looked up what was freed
    /// until now.
    pub(crate) fn renew(&self) -> Arc<ReadEpoch> {
        let next = Arc::default();
        let mut before = Arc::clone(&next);
        for copy in &self.copies {
            before = std::mem::replace(&mut *copy.lock(), Arc::clone(&next));
        }
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_ends_when_the_last_of_its_readers_is_gone() {
        let epochs = Epochs::default();
        let readers: Vec<_> = (0..40).map(|slot| epochs.enter(slot)).collect();
        let before = epochs.renew();
        let later = epochs.enter(3);
        assert_eq!(Arc::strong_count(&before), 41);
        drop(readers);
        assert_eq!(Arc::strong_count(&before), 1);
        assert_eq!(Arc::strong_count(&epochs.renew()), 2, "the later one is still there");
        drop(later);
    }
}
