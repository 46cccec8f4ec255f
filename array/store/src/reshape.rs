//! LUNs that get another length, another content, or another name for what they are.

use std::io;
use std::sync::Arc;

use lunshadow_lun::{BlockCount, LunId, Outcome, PoolError, RevertPair};

use crate::changes::Updated;
use crate::lun_record::tree_for;
use crate::lun_table::{FAMILY_MAX, LunEntry};
use crate::pool::refused;
use crate::record::{LunSlot, Record, RevertedPair};
use crate::sets::{FAMILY, MEMBERS_MAX};
use crate::space::Faults;
use crate::state::{Shared, State};

/// See [`Pool::revert`](lunshadow_lun::Pool::revert).
pub(crate) async fn revert(shared: &Arc<Shared>, pairs: &[RevertPair]) -> Result<(), PoolError> {
    let pairs = pairs.to_vec();
    let sequence = changed(shared, move |shared, state, faults| revert_locked(shared, state, &pairs, faults)).await?;
    shared.durable(sequence).await.map_err(refused)
}

/// See [`Pool::grow`](lunshadow_lun::Pool::grow).
pub(crate) async fn grow(shared: &Arc<Shared>, lun: LunId, length: BlockCount) -> Result<Outcome, PoolError> {
    if tree_for(length).is_none() {
        return Err(PoolError::UnsupportedSize(length));
    }
    let grown = move |shared: &Shared, state: &mut State, faults: &mut Faults| {
        let slot = match live(state, lun) {
            Ok((_, found)) if found.length > length => return Some(Err(PoolError::UnsupportedSize(length))),
            Ok((slot, _)) => slot,
            Err(error) => return Some(Err(error)),
        };
        let outcome = match state.grow_lun(slot, length, faults)? {
            Updated::Full => return Some(Err(PoolError::OutOfSpace)),
            Updated::Unchanged => Outcome::AlreadySo,
            Updated::Changed => {
                state.log.append(&Record::Grow { lun: slot, length: length.0 });
                Outcome::Done
            }
        };
        Some(Ok((shared.want_durable(state), outcome)))
    };
    let (sequence, outcome) = changed(shared, grown).await?;
    shared.durable(sequence).await.map_err(refused)?;
    Ok(outcome)
}

/// See [`Pool::promote`](lunshadow_lun::Pool::promote).
pub(crate) async fn promote(shared: &Arc<Shared>, lun: LunId) -> Result<Outcome, PoolError> {
    let promoted = move |shared: &Shared, state: &mut State, _: &mut Faults| {
        let slot = match live(state, lun) {
            Ok((slot, _)) => slot,
            Err(error) => return Some(Err(error)),
        };
        let outcome = if state.luns.promote(slot) { Outcome::Done } else { Outcome::AlreadySo };
        if outcome == Outcome::Done {
            state.log.append(&Record::Promote { lun: slot });
        }
        Some(Ok((shared.want_durable(state), outcome)))
    };
    let (sequence, outcome) = changed(shared, promoted).await?;
    shared.durable(sequence).await.map_err(refused)?;
    Ok(outcome)
}

/// Makes a change that may need pages, unless the pool refuses changes.
pub(crate) async fn changed<T: Send + 'static>(
    shared: &Arc<Shared>,
    change: impl Fn(&Shared, &mut State, &mut Faults) -> Option<Result<T, PoolError>> + Send + 'static,
) -> Result<T, PoolError> {
    let shared = Arc::clone(shared);
    let work = move || {
        shared.with_pages(|state, faults| {
            if state.poisoned {
                return Some(Err(PoolError::Poisoned));
            }
            change(&shared, state, faults)
        })
    };
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| PoolError::Io(io::Error::other(error)))?;
    done.map_err(|error| PoolError::Io(error.into()))?
}

fn live(state: &State, lun: LunId) -> Result<(LunSlot, &LunEntry), PoolError> {
    state.luns.find(lun).filter(|(_, entry)| entry.is_live()).ok_or(PoolError::UnknownLun(lun))
}

/// Reverts all pairs with one record; the sequence number of its batch. `None` if pages are missing.
fn revert_locked(
    shared: &Shared,
    state: &mut State,
    pairs: &[RevertPair],
    faults: &mut Faults,
) -> Option<Result<u64, PoolError>> {
    if pairs.len() > MEMBERS_MAX {
        return Some(Err(PoolError::LimitReached { what: "LUNs in a revert", limit: MEMBERS_MAX }));
    }
    let mut found: Vec<(LunSlot, LunSlot)> = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let (from, to) = match (live(state, pair.from), live(state, pair.to)) {
            (Ok((from, _)), Ok((to, _))) => (from, to),
            (Err(error), _) | (_, Err(error)) => return Some(Err(error)),
        };
        if found.iter().any(|(_, other)| *other == to) {
            return Some(Err(PoolError::LunExists(pair.to)));
        }
        found.push((from, to));
    }
    found.retain(|(from, to)| from != to);
    let families: Vec<LunId> =
        found.iter().filter_map(|(from, _)| state.luns.get(*from).map(|lun| lun.family)).collect();
    if !state.luns.can_share(&families) {
        return Some(Err(PoolError::LimitReached { what: FAMILY, limit: FAMILY_MAX }));
    }
    if let Err(refusal) = state.provide_slots(found.len(), faults)?.as_result() {
        return Some(Err(refusal));
    }
    state.touch_capture(found.iter().map(|(from, _)| *from), faults);
    if !faults.is_empty() {
        return None;
    }
    if !found.is_empty() {
        let with_slot = |(from, to)| state.luns.take_slot().map(|old| RevertedPair { from, to, old });
        let pairs: Vec<RevertedPair> = found.into_iter().filter_map(with_slot).collect();
        state.revert(&pairs);
        state.log.append(&Record::Revert { pairs });
        shared.house_wake.notify_one();
    }
    Some(Ok(shared.want_durable(state)))
}
