//! The thread that writes checkpoints and gives back what deleted LUNs had.

use crate::checkpoint::{self, Roots};
use crate::record::LunSlot;
use crate::state::Shared;

/// So many LUNs are given back before a checkpoint makes their slots free again.
const EMPTIED_MAX: usize = 1024;

enum Task {
    Checkpoint,
    GiveBack(LunSlot),
}

/// Runs until the pool stops or is poisoned.
pub(crate) fn run(shared: &Shared, mut roots: Roots) {
    while let Some(task) = next_task(shared) {
        match task {
            Task::Checkpoint => {
                if let Err(error) = checkpoint::run(shared, &mut roots, None) {
                    return shared.poison(&error);
                }
            }
            Task::GiveBack(slot) => give_back(shared, slot),
        }
    }
}

fn next_task(shared: &Shared) -> Option<Task> {
    let mut state = shared.state.lock();
    loop {
        if !state.running || state.poisoned {
            return None;
        }
        shared.drain_readers(&mut state);
        if state.wanted_generation >= state.generation {
            return Some(Task::Checkpoint);
        }
        let deleted = state.luns.deleted().map(|(slot, _)| slot).find(|slot| !state.stuck.contains(slot));
        if let Some(slot) = deleted {
            return Some(Task::GiveBack(slot));
        }
        shared.house_wake.wait(&mut state);
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
    shared.publish(&shared.state.lock());
}
