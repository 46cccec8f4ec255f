//! An array that does as it is told: the real one, unless it is to be in some trouble.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lunshadow_array_client::{Array, ArrayError, CommitChannel, Preparation};
use lunshadow_conform::Condition;
use lunshadow_control::{
    HostOverview, HostRecord, LunId, LunQuery, LunRecord, Outcome, ProblemCode, ResyncId, ResyncPair, ResyncState,
    ShadowKind, ShadowSetId, ShadowTarget, ShadowUse,
};
use parking_lot::{Condvar, Mutex};

use super::clock::JumpingClock;

/// The trouble that all hosts' arrays are in.
pub(super) struct Trouble {
    clock: Arc<JumpingClock>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    condition: Condition,
    /// Resyncs that the real array knows nothing of.
    resyncs: BTreeMap<ResyncId, ResyncState>,
}

impl Trouble {
    pub(super) fn new(clock: Arc<JumpingClock>) -> Self {
        let state = State { condition: Condition::Sound, resyncs: BTreeMap::new() };
        Self { clock, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Resyncs that ran because they were to run end with the trouble.
    pub(super) fn set(&self, condition: Condition) {
        let mut state = self.state.lock();
        state.condition = condition;
        for resync in state.resyncs.values_mut().filter(|resync| **resync == ResyncState::Running) {
            *resync = ResyncState::Cancelled;
        }
        self.changed.notify_all();
    }

    fn condition(&self) -> Condition {
        self.state.lock().condition
    }

    /// Everything that asks the array something.
    fn reach(&self) -> Result<(), ArrayError> {
        if self.condition() == Condition::Unreachable {
            return Err(ArrayError::Unreachable { detail: "the suite has cut it off".to_owned() });
        }
        Ok(())
    }

    fn reach_with_room(&self) -> Result<(), ArrayError> {
        self.reach()?;
        if self.condition() == Condition::Full { Err(refused(ProblemCode::OutOfSpace)) } else { Ok(()) }
    }
}

fn refused(code: ProblemCode) -> ArrayError {
    ArrayError::Refused { code, detail: "the suite has asked for it".to_owned() }
}

/// The array in trouble, as one host sees it.
#[derive(Clone)]
pub(super) struct TroubledArray {
    pub(super) array: Arc<dyn Array>,
    pub(super) trouble: Arc<Trouble>,
}

impl Array for TroubledArray {
    fn who_am_i(&self) -> Result<HostRecord, ArrayError> {
        self.trouble.reach()?;
        self.array.who_am_i()
    }

    fn resolve(&self, queries: &[LunQuery]) -> Result<Vec<Option<LunRecord>>, ArrayError> {
        self.trouble.reach()?;
        let mut records = self.array.resolve(queries)?;
        if self.trouble.condition() == Condition::Full {
            records.iter_mut().flatten().for_each(|record| record.can_shadow = false);
        }
        Ok(records)
    }

    fn prepare(&self, set: ShadowSetId, luns: &[LunId]) -> Result<Outcome, ArrayError> {
        self.prepare_as(ShadowKind::Sharing, set, luns)
    }

    fn prepare_as(&self, kind: ShadowKind, set: ShadowSetId, luns: &[LunId]) -> Result<Outcome, ArrayError> {
        self.trouble.reach_with_room()?;
        self.array.prepare_as(kind, set, luns)
    }

    fn wait_prepared(&self, set: ShadowSetId, at_most: Duration) -> Result<Preparation, ArrayError> {
        self.trouble.reach_with_room()?;
        let mut state = self.trouble.state.lock();
        if state.condition == Condition::Preparing {
            self.trouble.changed.wait_for(&mut state, at_most);
            return Ok(Preparation::Running);
        }
        drop(state);
        self.array.wait_prepared(set, at_most)
    }

    fn open_commit_channel(&self, set: ShadowSetId) -> Result<Box<dyn CommitChannel>, ArrayError> {
        self.trouble.reach()?;
        let channel = self.array.open_commit_channel(set)?;
        Ok(Box::new(TroubledChannel { channel, trouble: Arc::clone(&self.trouble) }))
    }

    fn keep(&self, set: ShadowSetId) -> Result<Outcome, ArrayError> {
        self.trouble.reach()?;
        self.array.keep(set)
    }

    fn abort(&self, set: ShadowSetId) -> Result<Outcome, ArrayError> {
        self.trouble.reach()?;
        let aborted = self.array.abort(set);
        // The real array ends waits for a set that is aborted.
        self.trouble.changed.notify_all();
        aborted
    }

    fn withdraw(&self, set: ShadowSetId) -> Result<Outcome, ArrayError> {
        self.trouble.reach()?;
        self.array.withdraw(set)
    }

    fn targets(&self, set: ShadowSetId) -> Result<Vec<ShadowTarget>, ArrayError> {
        self.trouble.reach()?;
        self.array.targets(set)
    }

    fn map(&self, luns: &[LunId]) -> Result<Vec<Outcome>, ArrayError> {
        self.trouble.reach()?;
        self.array.map(luns)
    }

    fn unmap(&self, luns: &[LunId]) -> Result<Vec<Outcome>, ArrayError> {
        self.trouble.reach()?;
        self.array.unmap(luns)
    }

    fn release(&self, shadow: LunId) -> Result<Outcome, ArrayError> {
        self.trouble.reach()?;
        let mut state = self.trouble.state.lock();
        if state.condition == Condition::Deleting {
            self.trouble.changed.wait_while(&mut state, |state| state.condition == Condition::Deleting);
            // What was asked for is lost: whoever asked may be gone, and an array that did it all the same would leave nothing to the next process.
            return Err(refused(ProblemCode::Internal));
        }
        drop(state);
        self.array.release(shadow)
    }

    fn note_use(&self, shadows: &[LunId], used: ShadowUse) -> Result<Vec<Outcome>, ArrayError> {
        self.trouble.reach()?;
        self.array.note_use(shadows, used)
    }

    fn start_resync(&self, resync: ResyncId, pairs: &[ResyncPair]) -> Result<ResyncState, ArrayError> {
        self.trouble.reach_with_room()?;
        let mut state = self.trouble.state.lock();
        let is_pretended = matches!(state.condition, Condition::Resyncing | Condition::ResyncFails);
        if is_pretended {
            return Ok(state.resyncs.entry(resync).or_insert(ResyncState::Running).clone());
        }
        drop(state);
        self.array.start_resync(resync, pairs)
    }

    fn resync_state(&self, resync: ResyncId, at_most: Duration) -> Result<ResyncState, ArrayError> {
        self.trouble.reach()?;
        let mut state = self.trouble.state.lock();
        if !state.resyncs.contains_key(&resync) {
            drop(state);
            return self.array.resync_state(resync, at_most);
        }
        if state.condition == Condition::ResyncFails {
            let detail = "the suite has asked for it".to_owned();
            state.resyncs.insert(resync, ResyncState::Failed { code: ProblemCode::Internal, detail });
        } else if state.resyncs.get(&resync) == Some(&ResyncState::Running) {
            self.trouble.changed.wait_for(&mut state, at_most);
        }
        state.resyncs.get(&resync).cloned().ok_or_else(|| refused(ProblemCode::UnknownSet))
    }

    fn cancel_resync(&self, resync: ResyncId) -> Result<ResyncState, ArrayError> {
        self.trouble.reach()?;
        let mut state = self.trouble.state.lock();
        let Some(pretended) = state.resyncs.get_mut(&resync) else {
            drop(state);
            return self.array.cancel_resync(resync);
        };
        if *pretended == ResyncState::Running {
            *pretended = ResyncState::Cancelled;
        }
        let answer = pretended.clone();
        self.trouble.changed.notify_all();
        Ok(answer)
    }

    fn overview(&self) -> Result<HostOverview, ArrayError> {
        self.trouble.reach()?;
        self.array.overview()
    }
}

struct TroubledChannel {
    channel: Box<dyn CommitChannel>,
    trouble: Arc<Trouble>,
}

impl CommitChannel for TroubledChannel {
    fn arm(&mut self, commit_at_most: Duration) -> Result<(), ArrayError> {
        self.trouble.reach()?;
        self.channel.arm(commit_at_most)
    }

    fn commit(&mut self) -> Result<(), ArrayError> {
        self.trouble.reach()?;
        match self.trouble.condition() {
            Condition::CommitFails => return Err(refused(ProblemCode::Internal)),
            Condition::CommitTakes(time) => self.trouble.clock.jump(time),
            _ => {}
        }
        self.channel.commit()
    }
}
