//! Bringing the database and the pool together when a catalog is opened.

use std::collections::BTreeMap;

use lunshadow_control::{LunId, ShadowSetId};
use lunshadow_lun::{LunOrigin, LunSummary, Pool, PoolError};

use crate::internal::{self, CopyDoc};
use crate::mirror;
use crate::records::{Change, Content, LunPhase, SetDoc};
use crate::shadow_set::{AbortReason, SetState, ShadowSet};
use crate::state::{Host, State};
use crate::{OpenError, Settings};

/// Builds the memory from the database's content and the pool's LUNs, deletes in the pool what should not be there, and answers what has
/// to be corrected in the database.
pub(crate) async fn reconcile<P: Pool>(
    pool: &P,
    mut content: Content,
    settings: &Settings,
) -> Result<(State, BTreeMap<LunId, CopyDoc>, Vec<Change>), OpenError> {
    let in_pool: BTreeMap<LunId, LunSummary> = pool.luns().into_iter().map(|summary| (summary.lun, summary)).collect();
    let mut state = State::default();
    let mut changes = Vec::new();
    let work = std::mem::take(&mut content.work);
    let (copies, mirrors) =
        internal::reconcile(pool, &in_pool, work, &mut content.luns, &mut state, &mut changes).await;
    for (lun, doc) in content.luns {
        let exists = in_pool.contains_key(&lun);
        let doc = match doc.phase {
            LunPhase::Live | LunPhase::Filling => doc,
            LunPhase::Creating if exists => {
                let doc = doc.in_phase(LunPhase::Live);
                changes.push(Change::PutLun(lun, doc.clone()));
                doc
            }
            LunPhase::Creating => {
                changes.push(Change::DropLun(lun));
                continue;
            }
            LunPhase::Deleting if delete(pool, lun).await => {
                changes.push(Change::DropLun(lun));
                continue;
            }
            LunPhase::Deleting => doc,
        };
        // A LUN that was reverted has the length of its shadow LUN. The pool is right.
        let doc = match in_pool.get(&lun) {
            Some(summary) if summary.block_count != doc.block_count() => {
                let doc = doc.with_block_count(summary.block_count);
                changes.push(Change::PutLun(lun, doc.clone()));
                doc
            }
            _ => doc,
        };
        if !exists {
            tracing::error!(%lun, name = %doc.name, "a LUN of the catalog is not in the pool");
        }
        state.know_id(lun);
        state.luns.insert(lun, doc);
    }
    let unsplit = mirror::unsplit(&mirrors, |lun| in_pool.contains_key(&lun));
    for (set, doc) in content.sets {
        state.next_ended = state.next_ended.max(doc.ended.map_or(0, |ended| ended + 1));
        let stored = doc.state;
        let entry = revive_set(pool, &in_pool, &mut state, settings, (set, doc, unsplit.contains(&set))).await;
        if entry.state != stored {
            changes.push(Change::PutSet(set, entry.to_doc()));
        }
        for member in &entry.members {
            state.know_id(member.shadow);
            state.set_of_shadow.insert(member.shadow, set);
        }
        state.sets.insert(set, entry);
    }
    mirror::remove_all(pool, mirrors, &state, &mut changes).await;
    for (host, doc) in content.hosts {
        state.hosts.insert(host, Host { doc, mappings: BTreeMap::new() });
    }
    for (host, number, lun) in content.mappings {
        let reachable = state.is_live_source(lun) || is_reachable_shadow(&state, lun);
        match state.hosts.get_mut(&host).filter(|_| reachable) {
            Some(entry) => {
                entry.mappings.insert(number, lun);
            }
            None => changes.push(Change::DropMapping(host, number)),
        }
    }
    open_handles(pool, &mut state)?;
    Ok((state, copies, changes))
}

/// Where a set stands after a restart. The pool forgets preparations, and commits all LUNs of a set or none. A commit that had not come to
/// its end, since the shadow LUNs had no blocks of their own yet, was not answered.
async fn revive_set<P: Pool>(
    pool: &P,
    in_pool: &BTreeMap<LunId, LunSummary>,
    state: &mut State,
    settings: &Settings,
    (set, doc, is_unsplit): (ShadowSetId, SetDoc, bool),
) -> ShadowSet {
    let mut entry = ShadowSet::from_doc(set, doc);
    let origin = |lun: &LunId| in_pool.get(lun).map(|summary| summary.origin);
    let exists = |lun: &LunId| matches!(origin(lun), Some(LunOrigin::Shadow { set: of, .. }) if of == set);
    match entry.state {
        SetState::Kept => {}
        SetState::Prepared | SetState::Armed | SetState::Committing | SetState::Committed => {
            let (left, gone): (Vec<_>, Vec<_>) =
                entry.members.iter().map(|member| member.shadow).partition(|shadow| exists(shadow));
            if !left.is_empty() && gone.is_empty() && !is_unsplit {
                let lease = settings.clock.now().after(settings.leases.committed);
                entry.enter(SetState::Committed, Some(lease));
                tracing::warn!(%set, "a committed shadow set was found that nobody has kept; its lease begins anew");
            } else {
                entry.reason = Some(AbortReason::Restarted);
                entry.ended = Some(state.next_ended);
                state.next_ended += 1;
                entry.enter(SetState::Aborted, None);
                // Before anybody can ask.
                entry.end_is_durable = true;
                entry.cleared = true;
                // Part of it is what a removal has left that the records did not know of yet. Nobody gets to see a part of a set.
                for shadow in left {
                    entry.cleared &= delete(pool, shadow).await;
                }
            }
        }
        SetState::Aborted => {
            entry.cleared = true;
            for member in entry.members.iter().filter(|member| exists(&member.shadow)) {
                tracing::warn!(%set, shadow = %member.shadow, "deleting what an aborted shadow set left in the pool");
                entry.cleared &= delete(pool, member.shadow).await;
            }
        }
    }
    entry
}

fn is_reachable_shadow(state: &State, lun: LunId) -> bool {
    let set = state.set_of_shadow.get(&lun).and_then(|set| state.sets.get(set));
    set.is_some_and(|set| set.check_reachable("mapped").is_ok())
}

fn open_handles<P: Pool>(pool: &P, state: &mut State) -> Result<(), OpenError> {
    let mapped = state.hosts.values().flat_map(|host| host.mappings.values());
    let luns: Vec<LunId> = state.luns.keys().chain(mapped).copied().collect();
    for lun in luns {
        match pool.open(lun) {
            Ok(handle) => {
                state.handles.insert(lun, handle);
            }
            Err(PoolError::UnknownLun(_)) => {}
            Err(source) => return Err(OpenError::Pool { lun, source }),
        }
    }
    Ok(())
}

/// Deletes a LUN that should not be there; a failure leaves it for the next attempt.
pub(crate) async fn delete<P: Pool>(pool: &P, lun: LunId) -> bool {
    match pool.delete(lun).await {
        Ok(_) => true,
        Err(error) => {
            tracing::warn!(%lun, %error, "a LUN that should be gone could not be deleted");
            false
        }
    }
}
