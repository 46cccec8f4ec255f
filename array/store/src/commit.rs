//! Commit: the point in time of a shadow set.

#[cfg(all(test, feature = "explore"))]
mod explored;

use std::sync::Arc;
use std::time::Duration;

use lunshadow_lun::{CommitError, Outcome, ShadowSetId};
use tokio::time::timeout;

use crate::lun_table::{FAMILY_MAX, Life};
use crate::record::{Record, SnapshotMember};
use crate::sets::{FAMILY, Phase, Prepared};
use crate::space::Faults;
use crate::state::{Refusal, Shared, State};

/// Captures a set and waits until that is durable, but not longer than `at_most`.
pub(crate) async fn run(shared: Arc<Shared>, set: ShadowSetId, at_most: Duration) -> Result<Outcome, CommitError> {
    let attempt = match timeout(at_most, begin(&shared, set)).await {
        Ok(begun) => match begun? {
            Some(attempt) => attempt,
            None => return Ok(Outcome::AlreadySo),
        },
        Err(_) => return Err(CommitError::DeadlinePassed(at_most)),
    };
    let result = timeout(at_most, capture(&shared, set, attempt)).await;
    let mut state = shared.state.lock();
    let ours = state.sets.get(set).is_some_and(|prepared| prepared.phase == Phase::Captured(attempt));
    let result = match result {
        Ok(Ok(())) if ours => {
            publish_shadows(&mut state, set);
            Ok(Outcome::Done)
        }
        Ok(Ok(())) => Err(CommitError::UnknownSet(set)),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(CommitError::DeadlinePassed(at_most)),
    };
    if result.is_err() {
        forget(&shared, &mut state, set, attempt);
    }
    shared.publish(&state);
    result
}

/// Begins a commit, after another one of the same set has ended. `None` if the set is committed.
async fn begin(shared: &Shared, set: ShadowSetId) -> Result<Option<u64>, CommitError> {
    let mut watch = shared.watch();
    loop {
        {
            let mut state = shared.state.lock();
            if state.luns.has_set(set) {
                return Ok(None);
            }
            if state.sets.get(set).is_none() {
                return Err(CommitError::UnknownSet(set));
            }
            if let Some(attempt) = state.sets.begin_commit(set) {
                return Ok(Some(attempt));
            }
        }
        watch.changed().await.map_err(|_| CommitError::Poisoned)?;
    }
}

/// The gate. It is the pool's lock: every write that was answered has changed its map under it, and so will those that come.
async fn capture(shared: &Arc<Shared>, set: ShadowSetId, attempt: u64) -> Result<(), CommitError> {
    // The pages of counts of the roots are nearly always in memory, and then this is a matter of microseconds.
    let mut faults = Faults::new();
    let at_once = {
        let mut state = shared.state.lock();
        let captured = capture_locked(shared, &mut state, set, attempt, &mut faults);
        shared.changed(&mut state);
        captured
    };
    let captured = match at_once {
        Some(captured) => captured,
        None => {
            let shared = Arc::clone(shared);
            let slowly =
                move || shared.with_pages(|state, faults| capture_locked(&shared, state, set, attempt, faults));
            let joined = tokio::task::spawn_blocking(slowly).await;
            let read = joined.map_err(|error| CommitError::Io(std::io::Error::other(error)))?;
            read.map_err(|error| CommitError::Io(error.into()))?
        }
    };
    shared.durable(captured?).await.map_err(|refusal| match refusal {
        Refusal::Poisoned => CommitError::Poisoned,
        Refusal::MediumFull => CommitError::Io(std::io::ErrorKind::StorageFull.into()),
    })
}

/// Captures all members with one record; the sequence number of its batch. `None` if pages are missing.
fn capture_locked(
    shared: &Shared,
    state: &mut State,
    set: ShadowSetId,
    attempt: u64,
    faults: &mut Faults,
) -> Option<Result<u64, CommitError>> {
    if state.poisoned {
        return Some(Err(CommitError::Poisoned));
    }
    let prepared = state.sets.get(set).filter(|prepared| prepared.phase == Phase::Committing(attempt));
    let Some(prepared) = prepared else { return Some(Err(CommitError::UnknownSet(set))) };
    let mut members = Vec::with_capacity(prepared.members.len());
    let mut families = Vec::with_capacity(prepared.members.len());
    for known in &prepared.members {
        match state.luns.find(known.member.source) {
            Some((source, lun)) if lun.is_live() => {
                let (shadow, shadow_id) = (known.slot, known.member.shadow);
                members.push(SnapshotMember { source, shadow, shadow_id });
                families.push(lun.family);
            }
            _ => return Some(Err(CommitError::UnknownLun(known.member.source))),
        }
    }
    if !state.luns.can_share(&families) {
        return Some(Err(CommitError::LimitReached { what: FAMILY, limit: FAMILY_MAX }));
    }
    state.touch_capture(members.iter().map(|member| member.source), faults);
    if !faults.is_empty() {
        return None;
    }
    state.capture(set, &members, Life::Hidden);
    state.sets.captured(set, attempt);
    state.log.append(&Record::Snapshot { set, members });
    Some(Ok(shared.want_durable(state)))
}

fn publish_shadows(state: &mut State, set: ShadowSetId) {
    let Some(prepared) = state.sets.remove(set) else { return };
    for member in prepared.members {
        state.luns.show(member.slot);
    }
}

/// Forgets a set whose commit failed, unless somebody else did or it is another one by now.
fn forget(shared: &Shared, state: &mut State, set: ShadowSetId, attempt: u64) {
    let phase = state.sets.get(set).map(|prepared| prepared.phase);
    if phase == Some(Phase::Committing(attempt)) || phase == Some(Phase::Captured(attempt)) {
        abort(shared, state, set);
    }
}

/// Forgets a set. What was captured of it was never visible, and is deleted.
pub(crate) fn abort(shared: &Shared, state: &mut State, set: ShadowSetId) -> Option<()> {
    let Prepared { members, phase } = state.sets.remove(set)?;
    for member in members {
        if matches!(phase, Phase::Captured(_)) {
            state.luns.delete(member.slot);
            state.log.append(&Record::Delete { lun: member.slot });
        } else {
            state.luns.return_slot(member.slot);
        }
    }
    if matches!(phase, Phase::Captured(_)) {
        shared.want_durable(state);
        shared.house_wake.notify_one();
    }
    Some(())
}
