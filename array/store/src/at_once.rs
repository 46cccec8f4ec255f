//! Small writes that whoever asks makes alone: blocks are taken, their content is kept, the map is changed, all under one hold of the pool's lock and
//! without anybody else. Where that is allowed, [`Behind`](crate::behind::Behind) says.
//!
//! It takes no memory but for what it keeps.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use lunshadow_lun::Submit;
use smallvec::SmallVec;
use tokio::runtime::Handle;

use crate::behind::Behind;
use crate::gathering::{Busy, GATHERED_BYTES_MAX, Gatherers, claim_locked};
use crate::lun::StoreLun;
use crate::media::{Listener, Parts};
use crate::page::{BLOCK_BYTES, BLOCK_LEN, Entry, FANOUT_LEN, check_of};
use crate::space::Faults;
use crate::state::{Shared, State};
use crate::unthreaded::REQUESTS_MAX;
use crate::writing::{Mapped, ZEROS};

const LEAF_BYTES: u64 = FANOUT_LEN * BLOCK_LEN;

/// Each block of a write: its content and that one's check value, unless it holds nothing but zeros and takes none.
type Contents = SmallVec<[Option<(Bytes, u32)>; 1]>;

/// Lets the medium begin with what was answered without it, and with what has come meanwhile when it is done with some.
pub(crate) struct Starter {
    behind: Arc<Behind>,
    gatherers: Arc<Gatherers>,
    shared: Weak<Shared>,
    this: Weak<Self>,
}

impl Shared {
    /// Who begins what is kept, once those are told who wait for it.
    pub(crate) fn starter(self: &Arc<Self>) -> &Arc<Starter> {
        self.starter.get_or_init(|| {
            Arc::new_cyclic(|this| Starter {
                behind: Arc::clone(&self.behind),
                gatherers: Arc::clone(&self.gathering.gatherers),
                shared: Arc::downgrade(self),
                this: Weak::clone(this),
            })
        })
    }
}

impl Listener for Starter {
    fn ended(&self, flight: u64, result: io::Result<()>) {
        self.behind.landed(flight, result.is_ok());
        if result.is_ok() {
            self.submit();
        }
    }
}

impl Submit for Starter {
    fn submit(&self) {
        // Outlives what it is about.
        let Some(busy) = Busy::unless_gone(&self.gatherers) else { return };
        let (Some(this), Some(shared)) = (self.this.upgrade(), self.shared.upgrade()) else { return };
        if shared.behind.begin(&*shared.media, this) {
            return;
        }
        // What is refused again, or nobody can wait for here, is tried by whoever syncs, who also says what is wrong.
        if let Ok(runtime) = Handle::try_current() {
            drop(runtime.spawn_blocking(move || {
                let (_busy, shared) = (busy, shared);
                drop(shared.behind.write_refused(&*shared.media));
            }));
        }
    }
}

impl StoreLun {
    /// Writes, if it is allowed. False, and nothing has happened, if that takes anybody else, or if anything is not as it should be. If true, somebody should
    /// have the [`Starter`] begin.
    pub(crate) fn write_at_once(&self, bytes: &Range<u64>, data: &Bytes) -> bool {
        let shared = &self.shared;
        let is_whole = bytes.start.is_multiple_of(BLOCK_LEN) && bytes.end.is_multiple_of(BLOCK_LEN);
        let is_small = data.len() <= GATHERED_BYTES_MAX && bytes.end <= (bytes.start / LEAF_BYTES + 1) * LEAF_BYTES;
        // With many who wait already, threads are the better way: one hold of the lock changes the maps for all of them.
        let is_alone = shared.media.is_without_threads() && shared.requests.under_way() <= REQUESTS_MAX;
        if !(is_whole && is_small && is_alone && shared.is_admitting() && shared.behind.takes(data.len())) {
            return false;
        }
        // Before anything is kept: whoever syncs looks for it.
        shared.starter();
        shared.note_scattered(std::iter::once(self.leaf_of(bytes.start / LEAF_BYTES)));
        let blocks = (0..data.len()).step_by(BLOCK_BYTES).map(|start| data.slice(start..start + BLOCK_BYTES));
        let content =
            |block: Bytes| (block != ZEROS[..]).then(|| (shared.read_cache.to_keep(&block), check_of(&block)));
        let contents: Contents = blocks.map(content).collect();
        shared.with_pages_now(|state, faults| self.keep_locked(state, bytes, contents, faults)).is_some()
    }

    /// `None`, and nothing has happened, if pages are missing or anything is wrong.
    fn keep_locked(
        &self,
        state: &mut State,
        bytes: &Range<u64>,
        contents: Contents,
        faults: &mut Faults,
    ) -> Option<()> {
        let claimed = claim_locked(state, faults, contents.iter().flatten().count(), false)??;
        let mut blocks = claimed.iter();
        let mut entries: SmallVec<[Entry; 4]> = SmallVec::new();
        let mut parts = Parts::new();
        for content in contents {
            let Some((content, check)) = content else {
                entries.push(Entry::UNMAPPED);
                continue;
            };
            let block = *blocks.next().expect("as many are claimed as are needed");
            entries.push(Entry::new(block, check));
            parts.push((block * BLOCK_LEN, content));
        }
        // Before a map refers to it, as if it were written.
        self.shared.read_cache.written_blocks(&parts);
        let outliving = self.shared.behind.outlive(&parts);
        if let Some(Ok(Mapped::Done)) = self.map_locked(state, bytes, |_| None, &entries, faults) {
            self.shared.behind.enter(parts, outliving);
            return Some(());
        }
        self.shared.behind.forget(&outliving);
        claimed.iter().for_each(|block| state.pages.space.unhold(*block));
        None
    }
}
