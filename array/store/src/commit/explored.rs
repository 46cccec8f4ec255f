//! The gate and the pool's lock, explored: `shuttle` runs the pool's own threads and requests in many orders, and chooses anew at each lock
//! and at each operation on the medium.
//!
//! `cargo test -p lunshadow-store --features explore explored`. `LUNSHADOW_EXPLORE_ORDERS` is the number of orders that each test tries,
//! `LUNSHADOW_EXPLORE_SEED` the seed.
#![expect(clippy::print_stderr, reason = "a run says its seed")]

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex as Untold, PoisonError};

use bytes::Bytes;
use lunshadow_lun::{BlockCount, LunId, ShadowMember};
use shuttle::future::block_on;
use shuttle::scheduler::RandomScheduler;
use shuttle::thread;

use super::*;
use crate::at_once::Starter;
use crate::gathering;
use crate::housekeeper::Budgets;
use crate::lun::StoreLun;
use crate::media::Media;
use crate::pool::{StoreConfig, StorePool};
use crate::writing::{LeafWrite, Written};
use crate::{defragment, housekeeper, log_writer, recovery};

const BLOCK: usize = 4096;
const WRITERS: u64 = 2;
const NUMBERS: u64 = 4;
const LUNS: u64 = 2;

type Blocks = HashMap<u64, [u8; BLOCK]>;

/// What is on the medium, and what of it would survive a crash.
#[derive(Clone, Default)]
struct Content {
    now: Blocks,
    durable: Blocks,
    len_bytes: u64,
}

/// A medium at each operation of which somebody else may run. Its own lock is nobody's business.
#[derive(Clone)]
struct Medium {
    content: Arc<Untold<Content>>,
    yields: bool,
}

impl Medium {
    fn with(content: Content, yields: bool) -> Self {
        Self { content: Arc::new(Untold::new(content)), yields }
    }

    fn content<T>(&self, work: impl FnOnce(&mut Content) -> T) -> T {
        if self.yields {
            thread::yield_now();
        }
        work(&mut self.content.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What a power cut leaves of it: nothing that was not synced.
    fn after_power_cut(&self) -> Self {
        let content = self.content(|content| Content { now: content.durable.clone(), ..content.clone() });
        Self::with(content, self.yields)
    }
}

impl Media for Medium {
    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.content(|content| {
            for (number, part) in (offset_bytes / BLOCK as u64..).zip(buffer.chunks_mut(BLOCK)) {
                let found = content.now.get(&number);
                part.copy_from_slice(&found.unwrap_or(&[0; BLOCK])[..part.len()]);
            }
        });
        Ok(())
    }

    fn write_at(&self, offset_bytes: u64, data: &[u8]) -> io::Result<()> {
        self.content(|content| {
            for (number, part) in (offset_bytes / BLOCK as u64..).zip(data.chunks_exact(BLOCK)) {
                content.now.insert(number, *part.first_chunk().expect("a whole block"));
            }
        });
        Ok(())
    }

    /// It takes no writes that nobody waits for, but those that are answered before it has them.
    fn is_without_threads(&self) -> bool {
        true
    }

    fn sync(&self) -> io::Result<()> {
        let covered = self.content(|content| content.now.clone());
        self.content(|content| content.durable.extend(covered));
        Ok(())
    }

    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.content(|content| content.len_bytes))
    }

    fn set_len_bytes(&self, len_bytes: u64) -> io::Result<()> {
        self.content(|content| content.len_bytes = len_bytes);
        Ok(())
    }
}

/// The pool with its threads.
struct Explored {
    shared: Arc<Shared>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Explored {
    fn open(medium: &Medium) -> Self {
        let (shared, roots) = recovery::open(Box::new(medium.clone()), (64, 0), None).expect("a pool");
        let shared = Arc::new(shared);
        shared.behind.set_limit(2 * BLOCK as u64, &*shared.media);
        shared.state.lock().running = true;
        let (for_log, for_house) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            thread::spawn(move || log_writer::run(&for_log)),
            thread::spawn(move || housekeeper::run(&for_house, roots, Budgets::new(10))),
        ];
        Self { shared, threads }
    }

    fn stop(self) {
        self.shared.state.lock().running = false;
        self.shared.log_wake.notify_all();
        self.shared.house_wake.notify_all();
        self.threads.into_iter().for_each(|thread| thread.join().expect("it runs until it is stopped"));
    }
}

fn lun(shared: &Arc<Shared>, id: LunId) -> StoreLun {
    let state = shared.state.lock();
    let (slot, entry) = state.luns.find(id).expect("it was made before");
    let (birth, length) = (entry.birth, Arc::clone(&entry.shown_length));
    StoreLun { shared: Arc::clone(shared), slot, birth, id, length }
}

fn create(shared: &Shared, id: LunId) {
    let mut state = shared.state.lock();
    assert!(state.luns.free_count() > 0, "the table has a page");
    let slot = state.luns.take_slot().expect("a free slot");
    assert!(state.create_lun(slot, id, BlockCount(8 * 2000)), "the length is possible");
    state.log.append(&Record::Create { lun: slot, id, length: 8 * 2000 });
}

/// Writers have their blocks in different leaves.
fn place(writer: u64) -> u64 {
    writer * 600
}

fn write_of(block: u64, number: u64) -> LeafWrite {
    let data = Bytes::from(number.to_le_bytes().repeat(BLOCK / 8));
    LeafWrite { bytes: block * BLOCK as u64..(block + 1) * BLOCK as u64, data }
}

fn write(lun: &StoreLun, writer: u64, number: u64) {
    assert!(matches!(write_of(place(writer), number).run(lun), Ok(Written::Done)), "there is space");
}

/// How many writes were answered before the medium had them.
static EARLY: AtomicU64 = AtomicU64::new(0);

/// Writes as a connection does where no thread is needed: the answer may come before the medium has it.
fn write_early(lun: &StoreLun, writer: u64, number: u64) {
    let (shared, LeafWrite { bytes, data }) = (&lun.shared, write_of(place(writer), number));
    if !lun.write_at_once(&bytes, &data) {
        return write(lun, writer, number);
    }
    EARLY.fetch_add(1, Ordering::Relaxed);
    // The medium hears of every other write at once. Who makes something durable sees to the rest.
    if number.is_multiple_of(2) && !shared.behind.begin(&*shared.media, Arc::<Starter>::clone(shared.starter())) {
        shared.behind.write_refused(&*shared.media).expect("nothing fails");
    }
}

fn read(lun: &StoreLun, writer: u64) -> u64 {
    let bytes = place(writer) * BLOCK as u64..(place(writer) + 1) * BLOCK as u64;
    let found = lun.read_blocking(&bytes).expect("whole data");
    let number = *found.first_chunk().expect("a block");
    assert!(found.chunks_exact(8).all(|word| word == number), "a torn block");
    u64::from_le_bytes(number)
}

/// Expects LUNs to hold a moment of all chains of writes; how far each is.
fn expect_moment(shared: &Arc<Shared>, luns: &[LunId]) -> Vec<u64> {
    let chain = |writer| {
        let found: Vec<u64> = luns.iter().map(|id| read(&lun(shared, *id), writer)).collect();
        let last = found.iter().copied().max().unwrap_or(0);
        for (at, number) in (0..LUNS).zip(&found) {
            let expected = (0..=last).rev().find(|number| number % LUNS == at).unwrap_or(0);
            assert_eq!(*number, expected, "writer {writer} is at {last}: {found:?}");
        }
        last
    };
    (0..WRITERS).map(chain).collect()
}

fn flush(shared: &Shared) {
    let sequence = shared.want_durable(&mut shared.state.lock());
    block_on(shared.durable(sequence)).expect("nothing fails");
}

/// Prepares and commits a set with the functions that requests use.
fn snapshot(shared: &Arc<Shared>, sources: &[LunId], number: u128) -> Vec<LunId> {
    let set = ShadowSetId(uuid::Uuid::from_u128(number));
    let shadows = (1..).map(|at| LunId::from_u128(number * 100 + at));
    let members: Vec<_> =
        sources.iter().zip(shadows).map(|(source, shadow)| ShadowMember { source: *source, shadow }).collect();
    let attempt = {
        let mut guard = shared.state.lock();
        let state = &mut *guard;
        let fresh = state.sets.plan(&state.luns, set, &members).expect("it can be prepared");
        assert!(
            fresh.len() == members.len() && state.luns.free_count() >= fresh.len(),
            "it is new, and the table has slots"
        );
        state.sets.add(&mut state.luns, set, fresh);
        state.sets.begin_commit(set).expect("nobody else commits it")
    };
    block_on(capture(shared, set, attempt)).expect("nothing fails");
    publish_shadows(&mut shared.state.lock(), set);
    members.into_iter().map(|member| member.shadow).collect()
}

fn empty_pool() -> Content {
    let medium = Medium::with(Content::default(), false);
    let config = StoreConfig { log_bytes: 64 << 12, capacity_bytes: 24 << 20, ..StoreConfig::default() };
    StorePool::format_on(&medium, &config).expect("an empty pool");
    medium.content(|content| content.clone())
}

/// Runs a scene in many orders.
fn explore(scene: impl Fn(Medium) + Send + Sync + 'static) {
    let number = |name: &str, default| std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default);
    let (orders, seed) = (number("LUNSHADOW_EXPLORE_ORDERS", 300), number("LUNSHADOW_EXPLORE_SEED", 7));
    eprintln!("{orders} orders from seed {seed}");
    let content = empty_pool();
    let mut config = shuttle::Config::new();
    config.stack_size = 1 << 20;
    let orders = usize::try_from(orders).expect("a number of orders");
    let scheduler = RandomScheduler::new_from_seed(seed, orders);
    shuttle::Runner::new(scheduler, config).run(move || scene(Medium::with(content.clone(), true)));
}

/// Writers whose writes depend on each other, beside whatever else goes on.
fn write_chains(shared: &Arc<Shared>, luns: &[LunId]) -> Vec<thread::JoinHandle<()>> {
    let chain = |writer| {
        let luns: Vec<StoreLun> = luns.iter().map(|id| lun(shared, *id)).collect();
        thread::spawn(move || {
            for number in 1..=NUMBERS {
                let write = if writer == 0 { write } else { write_early };
                write(&luns[usize::try_from(number % LUNS).expect("a small number")], writer, number);
            }
        })
    };
    (0..WRITERS).map(chain).collect()
}

#[test]
fn a_snapshot_is_a_moment_in_every_order() {
    explore(|medium| {
        let pool = Explored::open(&medium);
        let luns: Vec<LunId> = (1..=u128::from(LUNS)).map(LunId::from_u128).collect();
        luns.iter().for_each(|id| create(&pool.shared, *id));
        let mut tasks = write_chains(&pool.shared, &luns);
        let shared = Arc::clone(&pool.shared);
        tasks.push(thread::spawn(move || {
            let generation = shared.want_checkpoint(&mut shared.state.lock());
            block_on(shared.checkpointed(generation)).expect("nothing fails");
        }));
        let shadows = snapshot(&pool.shared, &luns, 7);
        let captured = expect_moment(&pool.shared, &shadows);
        // It was durable when the commit was answered.
        let left = Explored::open(&medium.after_power_cut());
        assert_eq!(expect_moment(&left.shared, &shadows), captured);
        let prefix = expect_moment(&left.shared, &luns);
        assert!(prefix.iter().zip(&captured).all(|(now, before)| now >= before), "{prefix:?} after {captured:?}");
        left.stop();
        tasks.into_iter().for_each(|task| task.join().expect("it ends"));
        assert_eq!(expect_moment(&pool.shared, &shadows), captured, "writes came into the snapshot later");
        assert_eq!(expect_moment(&pool.shared, &luns), vec![NUMBERS; usize::try_from(WRITERS).expect("few")]);
        pool.stop();
    });
    assert!(EARLY.load(Ordering::Relaxed) > 0, "no write was answered early");
}

#[test]
fn what_was_flushed_is_durable_in_every_order() {
    explore(|medium| {
        let pool = Explored::open(&medium);
        let luns: Vec<LunId> = (1..=u128::from(LUNS)).map(LunId::from_u128).collect();
        luns.iter().for_each(|id| create(&pool.shared, *id));
        let tasks = write_chains(&pool.shared, &luns);
        let shared = Arc::clone(&pool.shared);
        let extra = lun(&shared, luns[1]);
        let shadows = snapshot(&shared, &luns[..1], 8);
        write(&extra, 3, 42);
        // What a deleted LUN has is given back meanwhile.
        {
            let mut state = shared.state.lock();
            let slot = state.luns.find(shadows[0]).map(|(slot, _)| slot).expect("the shadow LUN");
            state.luns.delete(slot);
            state.log.append(&Record::Delete { lun: slot });
            shared.house_wake.notify_one();
        }
        flush(&shared);
        let left = Explored::open(&medium.after_power_cut());
        assert_eq!(read(&lun(&left.shared, luns[1]), 3), 42, "a flushed write is lost");
        assert!(left.shared.state.lock().luns.find(shadows[0]).is_none(), "a flushed deletion is lost");
        expect_moment(&left.shared, &luns);
        left.stop();
        tasks.into_iter().for_each(|task| task.join().expect("it ends"));
        expect_moment(&pool.shared, &luns);
        pool.stop();
    });
    assert!(EARLY.load(Ordering::Relaxed) > 0, "no write was answered early");
}

/// Reads a block as requests do whose map pages are in memory: without the pool's lock if that can be.
fn read_now(lun: &StoreLun, block: u64) -> u64 {
    let _reader = lun.shared.reader(lun.slot);
    let blocks = block..block + 1;
    let bytes = block * BLOCK as u64..(block + 1) * BLOCK as u64;
    let entries = lun.entries_now(&bytes, &blocks).expect("the map is in memory");
    let mut found = [0; BLOCK];
    lun.fetch(&entries, &mut found).expect("what was looked up stays what it is");
    u64::from_le_bytes(*found.first_chunk().expect("a block"))
}

#[test]
fn what_is_read_without_the_lock_is_never_stale_in_any_order() {
    explore(|medium| {
        let pool = Explored::open(&medium);
        let id = LunId::from_u128(1);
        create(&pool.shared, id);
        let lun = lun(&pool.shared, id);
        // Scattered in one leaf, so that they can be moved.
        for block in [0, 2, 4, 6, 7, 5, 3, 1] {
            assert!(matches!(write_of(block, 1).run(&lun), Ok(Written::Done)), "there is space");
        }
        let answered = Arc::new(Untold::new(1));
        let (writer, known) = (lun.clone(), Arc::clone(&answered));
        let mut tasks = vec![thread::spawn(move || {
            for number in 2..=NUMBERS {
                assert!(matches!(write_of(3, number).run(&writer), Ok(Written::Done)), "there is space");
                *known.lock().unwrap_or_else(PoisonError::into_inner) = number;
            }
        })];
        let shared = Arc::clone(&pool.shared);
        tasks.push(thread::spawn(move || {
            for _ in 0..2 {
                let generation = shared.want_checkpoint(&mut shared.state.lock());
                block_on(shared.checkpointed(generation)).expect("nothing fails");
            }
        }));
        let mover = lun.clone();
        tasks.push(thread::spawn(move || {
            defragment::step(&mover.shared, mover.leaf_of(0));
        }));
        for _ in 0..4 {
            let at_least = *answered.lock().unwrap_or_else(PoisonError::into_inner);
            let found = read_now(&lun, 3);
            assert!(found >= at_least, "{found} is read, {at_least} was answered before");
            assert_eq!(read_now(&lun, 4), 1);
        }
        tasks.into_iter().for_each(|task| task.join().expect("it ends"));
        assert_eq!(read_now(&lun, 3), NUMBERS);
        pool.stop();
    });
}

#[test]
fn writes_that_are_gathered_are_all_there_in_every_order() {
    explore(|medium| {
        let pool = Explored::open(&medium);
        let id = LunId::from_u128(1);
        create(&pool.shared, id);
        let tasks: Vec<_> = (0..3)
            .map(|writer| {
                let lun = lun(&pool.shared, id);
                thread::spawn(move || {
                    let blocks = (0..3).map(|at| 3 * at + writer);
                    let begun: Vec<_> =
                        blocks.map(|block| gathering::begin(lun.clone(), write_of(block, block + 1))).collect();
                    let (answers, gatherers): (Vec<_>, Vec<_>) = begun.into_iter().unzip();
                    gatherers.into_iter().flatten().for_each(gathering::Gatherer::run);
                    answers
                })
            })
            .collect();
        let answers: Vec<_> = tasks.into_iter().flat_map(|task| task.join().expect("it ends")).collect();
        for mut answer in answers {
            assert!(matches!(answer.try_recv(), Ok(Ok(Written::Done))), "somebody is not answered");
        }
        let lun = lun(&pool.shared, id);
        (0..9).for_each(|block| assert_eq!(read_now(&lun, block), block + 1));
        pool.stop();
    });
}
