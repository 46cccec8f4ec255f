//! The thread that writes checkpoints, gives back what deleted LUNs had, and puts in order what is scattered.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::budget::Budget;
use crate::checkpoint::{self, Roots};
use crate::clearing;
use crate::defragment::{self, Due, Work};
use crate::record::LunSlot;
use crate::state::Shared;
use crate::views::LeafOf;

/// So many LUNs are given back before a checkpoint makes their slots free again.
const EMPTIED_MAX: usize = 1024;

enum Task {
    Checkpoint,
    GiveBack(LunSlot),
    Defragment(Work),
}

/// What a kind of work has cost since there was nothing of it to do.
#[derive(Default)]
struct Spent {
    steps: u64,
    blocks: usize,
    time: Duration,
}

impl Spent {
    fn time_us(&self) -> u64 {
        u64::try_from(self.time.as_micros()).unwrap_or(u64::MAX)
    }
}

/// What each kind of work may take.
pub(crate) struct Budgets {
    reclaim: Budget,
    defragment: Budget,
}

impl Budgets {
    /// So many per cent of the time for each.
    pub(crate) fn new(percent: u8) -> Self {
        let now = Instant::now();
        Self { reclaim: Budget::new(percent, now), defragment: Budget::new(percent, now) }
    }
}

/// Runs until the pool stops or is poisoned. Work that nobody waits for keeps to its budget; checkpoints do not wait, since others wait
/// for them.
pub(crate) fn run(shared: &Arc<Shared>, mut roots: Roots, mut budgets: Budgets) {
    let (mut spent, mut spent_moving) = (Spent::default(), Spent::default());
    while let Some(task) = next_task(shared, &mut budgets) {
        match task {
            Task::Checkpoint => {
                if let Err(error) = checkpoint::run(shared, &mut roots, None) {
                    return shared.poison(&error);
                }
            }
            Task::GiveBack(slot) => {
                let begin = Instant::now();
                give_back(shared, slot);
                let (now, step) = (Instant::now(), begin.elapsed());
                budgets.reclaim.spend(now, step);
                spent.steps += 1;
                spent.time += step;
                end_step(shared, &mut spent);
            }
            Task::Defragment(work) => {
                let begin = Instant::now();
                let moved = match defragment(shared, &mut roots, work) {
                    Ok(blocks) => blocks,
                    Err(error) => return shared.poison(&error),
                };
                let (now, step) = (Instant::now(), begin.elapsed());
                budgets.defragment.spend(now, step);
                spent_moving.steps += 1;
                spent_moving.blocks += moved;
                spent_moving.time += step;
                end_moving(shared, work, moved, &mut spent_moving);
            }
        }
    }
}

fn next_task(shared: &Shared, budgets: &mut Budgets) -> Option<Task> {
    let mut state = shared.state.lock();
    loop {
        // It lets go of the lock in between, so it comes before all that is looked at here: a wake-up is not missed.
        shared.drain_readers(&mut state);
        if !state.running || state.poisoned {
            return None;
        }
        if state.wanted_generation >= state.generation {
            return Some(Task::Checkpoint);
        }
        let rest = match state.reclaimable() {
            Some(slot) => match budgets.reclaim.wait(Instant::now(), &shared.requests, state.space_wanted) {
                Some(rest) => Some(rest),
                None => return Some(Task::GiveBack(slot)),
            },
            None => match rest_before_defragmenting(shared, &mut budgets.defragment) {
                Some(Duration::ZERO) => match shared.scattered.take() {
                    Some(work) => return Some(Task::Defragment(work)),
                    None => continue,
                },
                rest => rest,
            },
        };
        match rest {
            Some(rest) => {
                shared.house_wake.wait_for(&mut state, rest);
            }
            None => shared.house_wake.wait(&mut state),
        }
    }
}

/// How long to wait before scattered data is put in order: zero if it is time, nothing if there is none.
fn rest_before_defragmenting(shared: &Shared, budget: &mut Budget) -> Option<Duration> {
    let now = Instant::now();
    let (due, is_wanted) = match shared.scattered.due() {
        Due::Never => return None,
        Due::At(due) => (due, false),
        Due::Wanted => (now, true),
    };
    let rest = if due > now { Some(due - now) } else { budget.wait(now, &shared.requests, is_wanted) };
    Some(rest.unwrap_or_default())
}

/// One step: at most a leaf's worth of blocks. It becomes durable with the next checkpoint; until then, recovery takes it again.
fn give_back(shared: &Shared, slot: LunSlot) {
    let step = shared.with_pages(|state, faults| {
        let done = state.give_back(slot, faults)?;
        // One checkpoint brings back the space of many LUNs.
        if done && (state.luns.deleted().next().is_none() || state.luns.emptied_count() >= EMPTIED_MAX) {
            shared.want_checkpoint(state);
        }
        Some(())
    });
    if let Err(error) = step {
        tracing::warn!(slot, error = %error, "a deleted LUN's map cannot be read; its space stays in use");
        shared.state.lock().stuck.insert(slot);
    }
}

/// One step of putting in order what is scattered; how many blocks were moved.
fn defragment(shared: &Arc<Shared>, roots: &mut Roots, work: Work) -> io::Result<usize> {
    match work {
        Work::Order(leaf) => order(shared, roots, leaf),
        Work::Clear(leaf) => Ok(clearing::step(shared, leaf)),
        Work::Cleared => bring_back(shared, roots).map(|()| 0),
    }
}

/// Puts the data of a leaf in order. What was moved before comes back first, if there is no room without, or else there will be room later.
fn order(shared: &Arc<Shared>, roots: &mut Roots, leaf: LeafOf) -> io::Result<usize> {
    let mut moved = defragment::step(shared, leaf);
    if moved.lacked_room && defragment::gets_room(&shared.state.lock()) {
        bring_back(shared, roots)?;
        let more = defragment::step(shared, leaf);
        moved = defragment::Moved { blocks: moved.blocks + more.blocks, ..more };
    }
    if moved.lacked_room {
        clearing::begin(shared, leaf);
    }
    Ok(moved.blocks)
}

/// Lets blocks that were freed be taken again.
fn bring_back(shared: &Arc<Shared>, roots: &mut Roots) -> io::Result<()> {
    checkpoint::run(shared, roots, None)?;
    shared.drain_readers(&mut shared.state.lock());
    Ok(())
}

/// Tells who waits, and what it has cost when there is no more to put in order.
fn end_moving(shared: &Shared, work: Work, moved: usize, spent: &mut Spent) {
    let is_all = shared.scattered.done(work, moved);
    if is_all {
        let Spent { steps, blocks, .. } = *spent;
        tracing::info!(steps, blocks, time_us = spent.time_us(), "what lay scattered is in order");
        *spent = Spent::default();
    }
    let mut state = shared.state.lock();
    if is_all {
        state.pages.space.keep_none_clear();
    }
    shared.publish(&state);
}

/// Tells who waits for space, and what it has cost when there is no more to give back.
fn end_step(shared: &Shared, spent: &mut Spent) {
    let mut state = shared.state.lock();
    // Who still waits says so again.
    state.space_wanted = false;
    shared.publish(&state);
    if state.reclaimable().is_none() {
        let spent = std::mem::take(spent);
        tracing::info!(steps = spent.steps, time_us = spent.time_us(), "what deleted LUNs had is given back");
    }
}
