//! Small writes that come at the same time, made as one.
//!
//! Free blocks are taken in order, so writes to anywhere lie side by side on the medium. While some threads are busy writing, what
//! comes meanwhile waits, and goes together: one search for blocks, one transfer, one hold of the pool's lock to change the maps.
//! With one request at a time there is nothing to wait for, and nobody waits.
//!
//! The threads stay off the pool's lock where they can. Each takes blocks in advance, enough for several batches. Maps are changed by
//! one of them at a time for all: who comes meanwhile leaves its batch to that one and goes on with the next transfer.
//!
//! Where the medium needs no thread for a write, none is there as long as everything goes smoothly: see [`Unthreaded`].

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lunshadow_lun::LunError;
use tokio::sync::oneshot;

use crate::lun::StoreLun;
use crate::media::Parts;
use crate::page::{BLOCK_BYTES, BLOCK_LEN, Entry, FANOUT_LEN, check_of};
use crate::space::{Claimed, Faults, Purpose};
use crate::state::{Shared, State};
use crate::sync::{Condvar, Mutex};
use crate::unthreaded::Unthreaded;
use crate::views::LeafOf;
use crate::writing::{LeafWrite, Mapped, Piece, Written};

/// Longer writes keep the medium busy enough by themselves.
pub(crate) const GATHERED_BYTES_MAX: usize = 256 << 10;
/// How many threads gather at the same time.
const GATHERERS_MAX: usize = 2;
/// How many bytes go together at most, unless a single write is longer. With more, one thread would take all that waits, and the next transfer would
/// begin only when this one has ended; and what is summed and copied would not stay in a processor's own cache.
const BATCH_BYTES_MAX: usize = 128 << 10;
/// How often to look for transfers whose ends nobody else looks for.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// How many blocks a thread takes at a time while there is plenty.
const ADVANCE_BLOCKS: usize = 256;
/// With fewer blocks than that there is never plenty.
const PLENTY_BLOCKS_MIN: u64 = 4096;

/// A write that somebody waits for.
struct Waiting {
    lun: StoreLun,
    write: LeafWrite,
    done: oneshot::Sender<Result<Written, LunError>>,
}

impl Waiting {
    fn leaf(&self) -> LeafOf {
        self.lun.leaf_of(self.write.bytes.start / (FANOUT_LEN * BLOCK_LEN))
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
    mapping: Mutex<Mapping>,
    pub(crate) gatherers: Arc<Gatherers>,
}

/// Batches whose data is on the medium.
#[derive(Default)]
struct Mapping {
    waiting: VecDeque<Stored>,
    /// One of the threads changes maps.
    is_busy: bool,
}

/// One of the threads that gather, counted as such until this is dropped.
pub(crate) struct Gatherer {
    pub(crate) shared: Arc<Shared>,
    is_counted: bool,
    /// Blocks that were taken in advance.
    advance: VecDeque<u64>,
    /// Goes last, behind what it is about.
    _busy: Busy,
}

/// The gatherers of a pool, which somebody may wait for. It does not belong to what they share: they have let go of that when they are gone.
#[derive(Default)]
pub(crate) struct Gatherers {
    count: Mutex<usize>,
    is_fewer: Condvar,
    are_gone: AtomicBool,
}

impl Gatherers {
    /// Waits until those that are there have let go of the pool. What they have begun has to be taken to its end by `settle` again and again: those
    /// who do it otherwise may be waiting here.
    pub(crate) fn wait_until_gone(&self, settle: impl Fn()) {
        loop {
            settle();
            let mut count = self.count.lock();
            if *count == 0 {
                self.are_gone.store(true, Ordering::Relaxed);
                return;
            }
            self.is_fewer.wait_for(&mut count, LOOK_EVERY);
        }
    }
}

/// One of the gatherers, until this is dropped.
pub(crate) struct Busy(Arc<Gatherers>);

impl Busy {
    pub(crate) fn new(gatherers: &Arc<Gatherers>) -> Self {
        *gatherers.count.lock() += 1;
        Self(Arc::clone(gatherers))
    }

    /// `None` if somebody has waited until all were gone.
    pub(crate) fn unless_gone(gatherers: &Arc<Gatherers>) -> Option<Self> {
        let mut count = gatherers.count.lock();
        if gatherers.are_gone.load(Ordering::Relaxed) {
            return None;
        }
        *count += 1;
        Some(Self(Arc::clone(gatherers)))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        *self.0.count.lock() -= 1;
        self.0.is_fewer.notify_all();
    }
}

/// Writes whole blocks, together with what others write at the same time.
pub(crate) async fn write(lun: StoreLun, write: LeafWrite) -> Result<Written, LunError> {
    let (written, gatherer) = begin(lun, write);
    if let Some(gatherer) = gatherer {
        Unthreaded::new(gatherer).go_on();
    }
    written.await.map_err(|_| LunError::Io(io::Error::other("a thread of the pool panicked")))?
}

/// Lets a write wait for a gatherer: the one that is answered, if more of them are wanted, which is to run then.
pub(crate) fn begin(
    lun: StoreLun,
    write: LeafWrite,
) -> (oneshot::Receiver<Result<Written, LunError>>, Option<Gatherer>) {
    let shared = Arc::clone(&lun.shared);
    let (done, written) = oneshot::channel();
    let mut queue = shared.gathering.queue.lock();
    queue.waiting.push_back(Waiting { lun, write, done });
    let is_wanted = queue.gatherers < GATHERERS_MAX;
    queue.gatherers += usize::from(is_wanted);
    (written, is_wanted.then(|| Gatherer::new(&shared)))
}

impl Gatherer {
    fn new(shared: &Arc<Shared>) -> Self {
        let busy = Busy::new(&shared.gathering.gatherers);
        Self { shared: Arc::clone(shared), is_counted: true, advance: VecDeque::new(), _busy: busy }
    }

    /// Writes what waits until nothing does.
    pub(crate) fn run(mut self) {
        while let Some(members) = self.next_members() {
            if members.len() == 1 {
                members.into_iter().for_each(|member| alone(member.waiting));
            } else {
                self.run_batch(members);
            }
        }
    }

    /// What waits now, to be written by [`run_batch`](Self::run_batch) or otherwise.
    pub(crate) fn next_members(&mut self) -> Option<Vec<Member>> {
        let batch = self.next_batch()?;
        self.shared.note_scattered(batch.iter().map(Waiting::leaf));
        Some(batch.into_iter().map(Member::new).collect())
    }

    /// Writes a batch. Whatever does not go smoothly is done again write by write, which tells each what became of it.
    pub(crate) fn run_batch(&mut self, members: Vec<Member>) {
        let Some(claimed) = self.claim(&members, claim) else {
            return members.into_iter().for_each(|member| alone(member.waiting));
        };
        match store(&self.shared, &members, &claimed) {
            Some(entries) => map_in_turn(&self.shared, Stored { members, entries, claimed }),
            None => {
                unhold(&self.shared, claimed.into_iter());
                members.into_iter().for_each(|member| alone(member.waiting));
            }
        }
    }

    /// [`claim`](Self::claim), if no page has to be read for it.
    pub(crate) fn claim_now(&mut self, members: &[Member]) -> Option<Vec<u64>> {
        self.claim(members, claim_now)
    }

    /// Takes blocks for all members of a batch. `None` if there are not so many now, or anything is wrong.
    fn claim(&mut self, members: &[Member], claim: fn(&Shared, usize, bool) -> Option<Claimed>) -> Option<Vec<u64>> {
        let want = members.iter().map(|member| member.want).sum();
        if self.advance.len() < want {
            let missing = want - self.advance.len();
            // A single write is no sign that more will come.
            let in_advance = if members.len() > 1 { ADVANCE_BLOCKS } else { 0 };
            let many = claim(&self.shared, missing + in_advance, true);
            self.advance.extend(many.or_else(|| claim(&self.shared, missing, false))?);
        }
        Some(self.advance.drain(..want).collect())
    }

    /// What waits now. If nothing does, this is no gatherer any more, which those who come later see.
    fn next_batch(&mut self) -> Option<Vec<Waiting>> {
        let mut queue = self.shared.gathering.queue.lock();
        let mut bytes = 0;
        let fits = |waiting: &&Waiting| {
            let is_first = bytes == 0;
            bytes += waiting.write.data.len();
            is_first || bytes <= BATCH_BYTES_MAX
        };
        let count = queue.waiting.iter().take_while(fits).count();
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
        if !self.advance.is_empty() {
            unhold(&self.shared, self.advance.drain(..));
        }
        // It panicked, or the runtime ended before it began. The next write brings another one.
        if self.is_counted {
            self.shared.gathering.queue.lock().gatherers -= 1;
        }
    }
}

/// A write of a batch, with what its blocks are to hold.
pub(crate) struct Member {
    waiting: Waiting,
    pieces: Vec<Piece>,
    /// How many blocks it takes.
    want: usize,
}

impl Member {
    fn new(waiting: Waiting) -> Self {
        let pieces = waiting.write.whole_pieces();
        let want = pieces.iter().filter(|piece| piece.takes_a_block()).count();
        Self { waiting, pieces, want }
    }

    /// What goes to its blocks, in their order.
    fn contents(&self) -> impl Iterator<Item = Bytes> {
        self.pieces.iter().filter_map(|piece| self.waiting.write.whole_content(piece))
    }
}

/// A batch whose data is on the medium.
pub(crate) struct Stored {
    pub(crate) members: Vec<Member>,
    /// Of all blocks, member by member.
    entries: Vec<Vec<Entry>>,
    claimed: Vec<u64>,
}

impl Stored {
    /// What is to be on the medium, and what maps say of it then.
    pub(crate) fn to_be(members: Vec<Member>, claimed: Vec<u64>) -> Self {
        let entries = entries_of(&members, &claimed);
        Self { members, entries, claimed }
    }

    /// What goes where.
    pub(crate) fn parts(&self) -> Parts {
        blocks_of(&self.members, &self.claimed)
    }

    /// Gives the blocks back.
    pub(crate) fn undo(self, shared: &Shared) -> Vec<Member> {
        unhold(shared, self.claimed.into_iter());
        self.members
    }

    /// Changes the maps as far as their pages are in memory, and answers. What is left takes somebody who may wait.
    pub(crate) fn map_now(mut self, shared: &Shared) -> Left {
        let mut mapped = Vec::with_capacity(self.members.len());
        shared.with_pages_now(|state, faults| {
            map_locked(&self.members, &self.entries, &mut mapped, state, faults);
            Some(())
        });
        let done: usize = self.members[..mapped.len()].iter().map(|member| member.want).sum();
        let rest = Self {
            members: self.members.split_off(mapped.len()),
            entries: self.entries.split_off(mapped.len()),
            claimed: self.claimed.split_off(done),
        };
        Left { alone: conclude(shared, self, mapped), rest }
    }
}

/// What is left of a batch.
pub(crate) struct Left {
    /// These have no blocks any more.
    alone: Vec<Waiting>,
    rest: Stored,
}

impl Left {
    pub(crate) fn is_nothing(&self) -> bool {
        self.alone.is_empty() && self.rest.members.is_empty()
    }

    /// Does it, and waits for what it takes.
    pub(crate) fn finish(self, shared: &Shared) {
        if !self.rest.members.is_empty() {
            map_in_turn(shared, self.rest);
        }
        self.alone.into_iter().for_each(alone);
    }
}

/// Changes the maps for a batch, and for those that come meanwhile; or leaves it to the thread that is busy with that.
fn map_in_turn(shared: &Shared, stored: Stored) {
    {
        let mut mapping = shared.gathering.mapping.lock();
        mapping.waiting.push_back(stored);
        if std::mem::replace(&mut mapping.is_busy, true) {
            return;
        }
    }
    let turn = Turn(shared);
    while let Some(stored) = turn.next() {
        map_batch(shared, stored);
    }
}

/// The turn of the thread that changes maps.
struct Turn<'a>(&'a Shared);

impl Turn<'_> {
    /// The next batch. If there is none, the turn is over, which those who come later see.
    fn next(&self) -> Option<Stored> {
        let mut mapping = self.0.gathering.mapping.lock();
        let next = mapping.waiting.pop_front();
        mapping.is_busy = next.is_some();
        next
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Whoever waits for these hears that nobody answers.
            let mut mapping = self.0.gathering.mapping.lock();
            mapping.waiting.clear();
            mapping.is_busy = false;
        }
    }
}

fn map_batch(shared: &Shared, stored: Stored) {
    let mapped = map(shared, &stored.members, &stored.entries);
    conclude(shared, stored, mapped).into_iter().for_each(alone);
}

/// Answers those whose maps are changed, and gives back the blocks of the others. Those who are to be written alone are left.
fn conclude(shared: &Shared, stored: Stored, mapped: Vec<Result<Mapped, LunError>>) -> Vec<Waiting> {
    let Stored { members, claimed, .. } = stored;
    let is_mapped = |at: usize| matches!(mapped.get(at), Some(Ok(Mapped::Done)));
    if (0..members.len()).any(|at| !is_mapped(at)) {
        let mut rest = claimed.as_slice();
        let mut unused = Vec::new();
        for (at, member) in members.iter().enumerate() {
            let (own, others) = rest.split_at(member.want);
            rest = others;
            if !is_mapped(at) {
                unused.extend(own);
            }
        }
        unhold(shared, unused.into_iter());
    }
    let mut mapped = mapped.into_iter();
    let mut left = Vec::new();
    for Member { waiting, .. } in members {
        match mapped.next() {
            Some(Ok(Mapped::Done)) => answer(waiting.done, Ok(Written::Done)),
            Some(Ok(Mapped::Full)) => answer(waiting.done, Ok(Written::Full)),
            Some(Err(error)) => answer(waiting.done, Err(error)),
            Some(Ok(Mapped::Overtaken)) | None => left.push(waiting),
        }
    }
    left
}

fn unhold(shared: &Shared, blocks: impl Iterator<Item = u64>) {
    let mut state = shared.state.lock();
    blocks.for_each(|block| state.pages.space.unhold(block));
}

fn alone(waiting: Waiting) {
    let written = waiting.write.run(&waiting.lun);
    answer(waiting.done, written);
}

/// Whoever asked may have gone.
fn answer(done: oneshot::Sender<Result<Written, LunError>>, written: Result<Written, LunError>) {
    drop(done.send(written));
}

/// Takes blocks. `None` if there are not so many now, or not plenty if that is asked for, or anything is wrong.
fn claim(shared: &Shared, want: usize, is_plenty: bool) -> Option<Claimed> {
    shared.with_pages(|state, faults| claim_locked(state, faults, want, is_plenty)).ok().flatten()
}

/// [`claim`], and also `None` if that takes a page that is not in memory.
fn claim_now(shared: &Shared, want: usize, is_plenty: bool) -> Option<Claimed> {
    shared.with_pages_now(|state, faults| claim_locked(state, faults, want, is_plenty)).flatten()
}

/// `None` if pages are missing.
pub(crate) fn claim_locked(
    state: &mut State,
    faults: &mut Faults,
    want: usize,
    is_plenty: bool,
) -> Option<Option<Claimed>> {
    let floor = if is_plenty { state.limits.low_blocks.max(PLENTY_BLOCKS_MIN) } else { 0 };
    let needed = state.limits.reserve_blocks + floor + u64::try_from(want).unwrap_or(u64::MAX);
    if state.poisoned || (want > 0 && state.pages.space.free_count() < needed) {
        return Some(None);
    }
    let pages = &mut state.pages;
    let claimed = pages.space.claim(&mut pages.cache, Purpose::Data, want, faults)?;
    Some((claimed.len() == want).then_some(claimed))
}

/// Writes all data at once; the entries of all blocks, member by member. `None` if that failed.
fn store(shared: &Shared, members: &[Member], claimed: &[u64]) -> Option<Vec<Vec<Entry>>> {
    let blocks = blocks_of(members, claimed);
    debug_assert!(blocks.iter().all(|(_, data)| data.len() == BLOCK_BYTES), "only whole blocks are gathered");
    shared.write_blocks(&blocks).ok().map(|()| entries_of(members, claimed))
}

/// What goes to the medium: the content of each claimed block at its offset.
fn blocks_of(members: &[Member], claimed: &[u64]) -> Parts {
    let offsets = claimed.iter().map(|block| block * BLOCK_LEN);
    offsets.zip(members.iter().flat_map(Member::contents)).collect()
}

/// What maps will say of all blocks, member by member.
fn entries_of(members: &[Member], claimed: &[u64]) -> Vec<Vec<Entry>> {
    let mut claimed = claimed.iter();
    let mut entries = Vec::with_capacity(members.len());
    for member in members {
        let mut of_member = Vec::with_capacity(member.pieces.len());
        for piece in &member.pieces {
            let Some(content) = member.waiting.write.content(piece) else {
                of_member.push(Entry::UNMAPPED);
                continue;
            };
            let block = *claimed.next().expect("as many are claimed as are needed");
            of_member.push(Entry::new(block, check_of(content)));
        }
        entries.push(of_member);
    }
    entries
}

/// Changes the maps of all members under one hold of the lock, as long as all pages are there; what became of each. Members that are missing in
/// the answer were not tried.
fn map(shared: &Shared, members: &[Member], entries: &[Vec<Entry>]) -> Vec<Result<Mapped, LunError>> {
    let mut mapped = Vec::with_capacity(members.len());
    // If a page is missing, this begins again behind what is done.
    let done = shared.with_pages(|state, faults| map_locked(members, entries, &mut mapped, state, faults));
    if let (Err(error), Some(member)) = (done, members.get(mapped.len())) {
        // The page that cannot be read is this member's. The rest is tried one by one.
        mapped.push(Err(StoreLun::damaged_at(member.waiting.write.bytes.start)(error)));
    }
    mapped
}

/// Goes on behind what is mapped. `None` at the first page that is missing.
fn map_locked(
    members: &[Member],
    entries: &[Vec<Entry>],
    mapped: &mut Vec<Result<Mapped, LunError>>,
    state: &mut State,
    faults: &mut Faults,
) -> Option<()> {
    while let Some(member) = members.get(mapped.len()) {
        let Waiting { lun, write, .. } = &member.waiting;
        mapped.push(write.map_locked(lun, state, &member.pieces, &entries[mapped.len()], faults)?);
    }
    Some(())
}
