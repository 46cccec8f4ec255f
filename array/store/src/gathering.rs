//! Small writes that come at the same time, made as one.
//!
//! Free blocks are taken in order, so writes to anywhere lie side by side on the medium. While some threads are busy writing, what
//! comes meanwhile waits, and goes together: one search for blocks, one transfer, one hold of the pool's lock to change the maps.
//! With one request at a time there is nothing to wait for, and nobody waits.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use lunshadow_lun::LunError;
use tokio::sync::oneshot;

use crate::defragment::LeafOf;
use crate::lun::StoreLun;
use crate::media::WritePart;
use crate::page::{BLOCK_BYTES, BLOCK_LEN, Entry, FANOUT_LEN, check_of};
use crate::space::Purpose;
use crate::state::{Shared, State};
use crate::sync::Mutex;
use crate::writing::{LeafWrite, Mapped, Piece, Written};

/// Longer writes keep the medium busy enough by themselves.
pub(crate) const GATHERED_BYTES_MAX: usize = 256 << 10;
/// How many threads gather at the same time.
const GATHERERS_MAX: usize = 2;
/// How many writes go together at most, and how many bytes.
const BATCH_WRITES_MAX: usize = 64;
const BATCH_BYTES_MAX: usize = 1 << 20;

/// A write that somebody waits for.
struct Waiting {
    lun: StoreLun,
    write: LeafWrite,
    done: oneshot::Sender<Result<Written, LunError>>,
}

impl Waiting {
    fn leaf(&self) -> LeafOf {
        let StoreLun { slot, birth, .. } = self.lun;
        LeafOf { slot, birth, leaf: self.write.bytes.start / (FANOUT_LEN * BLOCK_LEN) }
    }
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    gatherers: usize,
}

/// The writes of a pool that are waiting.
#[derive(Default)]
pub(crate) struct Gathering {
    queue: Mutex<Queue>,
}

/// One of the threads that gather, counted as such until this is dropped.
struct Gatherer {
    shared: Arc<Shared>,
    is_counted: bool,
}

/// Writes whole blocks, together with what others write at the same time.
pub(crate) async fn write(lun: StoreLun, write: LeafWrite) -> Result<Written, LunError> {
    let shared = Arc::clone(&lun.shared);
    let (done, written) = oneshot::channel();
    let gatherer = {
        let mut queue = shared.gathering.queue.lock();
        queue.waiting.push_back(Waiting { lun, write, done });
        let is_wanted = queue.gatherers < GATHERERS_MAX;
        queue.gatherers += usize::from(is_wanted);
        is_wanted.then(|| Gatherer { shared: Arc::clone(&shared), is_counted: true })
    };
    if let Some(gatherer) = gatherer {
        tokio::task::spawn_blocking(move || gatherer.run());
    }
    written.await.map_err(|_| LunError::Io(io::Error::other("a thread of the pool panicked")))?
}

impl Gatherer {
    fn run(mut self) {
        while let Some(batch) = self.next_batch() {
            self.shared.note_scattered(batch.iter().map(Waiting::leaf));
            run_batch(&self.shared, batch);
        }
    }

    /// What waits now. If nothing does, this is no gatherer any more, which those who come later see.
    fn next_batch(&mut self) -> Option<Vec<Waiting>> {
        let mut queue = self.shared.gathering.queue.lock();
        let mut bytes = 0;
        let fits = |waiting: &&Waiting| {
            bytes += waiting.write.data.len();
            bytes <= BATCH_BYTES_MAX
        };
        let count = queue.waiting.iter().take(BATCH_WRITES_MAX).take_while(fits).count();
        if count == 0 {
            queue.gatherers -= 1;
            self.is_counted = false;
            return None;
        }
        Some(queue.waiting.drain(..count).collect())
    }
}

impl Drop for Gatherer {
    fn drop(&mut self) {
        // It panicked, or the runtime ended before it began. The next write brings another one.
        if self.is_counted {
            self.shared.gathering.queue.lock().gatherers -= 1;
        }
    }
}

/// A write of a batch, with what its blocks are to hold.
struct Member {
    waiting: Waiting,
    pieces: Vec<Piece>,
    /// How many blocks it takes.
    want: usize,
}

/// Writes a batch. Whatever does not go smoothly is done again write by write, which tells each what became of it.
fn run_batch(shared: &Shared, batch: Vec<Waiting>) {
    if batch.len() == 1 {
        return batch.into_iter().for_each(alone);
    }
    let members: Vec<Member> = batch
        .into_iter()
        .map(|waiting| {
            let pieces = waiting.write.whole_pieces();
            let want = pieces.iter().filter(|piece| piece.takes_a_block()).count();
            Member { waiting, pieces, want }
        })
        .collect();
    let Some(claimed) = claim(shared, members.iter().map(|member| member.want).sum()) else {
        return members.into_iter().for_each(|member| alone(member.waiting));
    };
    let entries = store(shared, &members, &claimed);
    let mapped = if entries.is_some() { map(shared, &members, &entries.unwrap_or_default()) } else { Vec::new() };
    let is_mapped = |at: usize| matches!(mapped.get(at), Some(Ok(Mapped::Done)));
    if (0..members.len()).any(|at| !is_mapped(at)) {
        let mut state = shared.state.lock();
        let mut rest = claimed.as_slice();
        for (at, member) in members.iter().enumerate() {
            let (own, others) = rest.split_at(member.want);
            rest = others;
            if !is_mapped(at) {
                own.iter().for_each(|block| state.pages.space.unhold(*block));
            }
        }
    }
    let mut mapped = mapped.into_iter();
    for member in members {
        match mapped.next() {
            Some(Ok(Mapped::Done)) => answer(member.waiting.done, Ok(Written::Done)),
            Some(Ok(Mapped::Full)) => answer(member.waiting.done, Ok(Written::Full)),
            Some(Err(error)) => answer(member.waiting.done, Err(error)),
            Some(Ok(Mapped::Overtaken)) | None => alone(member.waiting),
        }
    }
}

fn alone(waiting: Waiting) {
    let written = waiting.write.run(&waiting.lun);
    answer(waiting.done, written);
}

/// Whoever asked may have gone.
fn answer(done: oneshot::Sender<Result<Written, LunError>>, written: Result<Written, LunError>) {
    drop(done.send(written));
}

/// Takes blocks for all. `None` if there are not so many now, or anything is wrong.
fn claim(shared: &Shared, want: usize) -> Option<Vec<u64>> {
    let claimed = shared.with_pages(|state, faults| {
        let needed = state.limits.reserve_blocks + u64::try_from(want).unwrap_or(u64::MAX);
        if state.poisoned || (want > 0 && state.pages.space.free_count() < needed) {
            return Some(None);
        }
        let pages = &mut state.pages;
        let claimed = pages.space.claim(&mut pages.cache, Purpose::Data, want, faults)?;
        Some((claimed.len() == want).then_some(claimed))
    });
    claimed.ok().flatten()
}

/// Writes all data at once; the entries of all blocks, member by member. `None` if that failed.
fn store(shared: &Shared, members: &[Member], claimed: &[u64]) -> Option<Vec<Vec<Entry>>> {
    let mut claimed = claimed.iter();
    let mut parts = Vec::with_capacity(claimed.len());
    let mut entries = Vec::with_capacity(members.len());
    for member in members {
        let mut of_member = Vec::with_capacity(member.pieces.len());
        for piece in &member.pieces {
            let Some(content) = member.waiting.write.content(piece) else {
                of_member.push(Entry::UNMAPPED);
                continue;
            };
            let block = *claimed.next().expect("as many are claimed as are needed");
            parts.push(WritePart { offset_bytes: block * BLOCK_LEN, data: content });
            of_member.push(Entry::new(block, check_of(content)));
        }
        entries.push(of_member);
    }
    debug_assert!(parts.iter().all(|part| part.data.len() == BLOCK_BYTES), "only whole blocks are gathered");
    shared.media.write_many(&parts).ok().map(|()| entries)
}

/// Changes the maps of all members under one hold of the lock, as long as all pages are there; what became of each. Members that are missing in
/// the answer were not tried.
fn map(shared: &Shared, members: &[Member], entries: &[Vec<Entry>]) -> Vec<Result<Mapped, LunError>> {
    let mut mapped = Vec::with_capacity(members.len());
    // If a page is missing, this begins again behind what is done.
    let done = shared.with_pages(|state: &mut State, faults| {
        while let Some(member) = members.get(mapped.len()) {
            let Waiting { lun, write, .. } = &member.waiting;
            mapped.push(write.map_locked(lun, state, &member.pieces, &entries[mapped.len()], faults)?);
        }
        Some(())
    });
    if let (Err(error), Some(member)) = (done, members.get(mapped.len())) {
        // The page that cannot be read is this member's. The rest is tried one by one.
        mapped.push(Err(StoreLun::damaged_at(member.waiting.write.bytes.start)(error)));
    }
    mapped
}
