//! The thread that writes checkpoints and gives back what deleted LUNs had.

use std::time::Duration;

use tokio::time::Instant;

use crate::budget::Budget;
use crate::checkpoint::{self, Roots};
use crate::record::LunSlot;
use crate::state::Shared;

/// So many LUNs are given back before a checkpoint makes their slots free again.
const EMPTIED_MAX: usize = 1024;

enum Task {
    Checkpoint,
    GiveBack(LunSlot),
}

/// What giving back has cost since there was nothing to give back.
#[derive(Default)]
struct Spent {
    steps: u64,
    time: Duration,
}

/// Runs until the pool stops or is poisoned. Giving back keeps to its budget; checkpoints do not wait, since others wait for them.
pub(crate) fn run(shared: &Shared, mut roots: Roots, mut budget: Budget) {
    let mut spent = Spent::default();
    while let Some(task) = next_task(shared, &mut budget) {
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
                budget.spend(now, step);
                spent.steps += 1;
                spent.time += step;
                end_step(shared, &mut spent);
            }
        }
    }
}

fn next_task(shared: &Shared, budget: &mut Budget) -> Option<Task> {
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
        match state.reclaimable() {
            Some(slot) => match budget.wait(Instant::now(), &shared.requests, state.space_wanted) {
                Some(rest) => {
                    shared.house_wake.wait_for(&mut state, rest);
                }
                None => return Some(Task::GiveBack(slot)),
            },
            None => shared.house_wake.wait(&mut state),
        }
    }
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

/// Tells who waits for space, and what it has cost when there is no more to give back.
fn end_step(shared: &Shared, spent: &mut Spent) {
    let mut state = shared.state.lock();
    // Who still waits says so again.
    state.space_wanted = false;
    shared.publish(&state);
    if state.reclaimable().is_none() {
        let Spent { steps, time } = std::mem::take(spent);
        let time_us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        tracing::info!(steps, time_us, "what deleted LUNs had is given back");
    }
}
