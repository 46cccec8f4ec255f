//! The ways in which a set ends before it is complete, and what is still owed to the array then.

use std::sync::atomic::Ordering;

use lunshadow_array_client::ArrayError;
use lunshadow_control::{Outcome, ProblemCode};
use lunshadow_vss::{Call, HResult, Method, SnapshotSetId, Verdict};

use crate::journal::Occurrence;
use crate::provider::shadow_set;
use crate::{EventId, Provider};

/// How many sets are remembered for a later removal. The array's leases remove those that are forgotten.
pub(crate) const OWED_AT_MOST: usize = 64;

impl Provider {
    /// Any set, at any time, any number of times, from any thread.
    pub(crate) fn abort(&self, set: SnapshotSetId) -> Result<(), HResult> {
        const METHOD: Method = Method::AbortSnapshots;
        let verdict = {
            let mut creation = self.creation.lock();
            let verdict = creation.lifecycle.begin(Call::AbortSnapshots(set));
            if matches!(verdict, Verdict::Proceed(_)) {
                creation.channel = None;
            }
            verdict
        };
        match verdict {
            Verdict::Proceed(_) => {
                let removed = self.remove(set);
                self.journal.resume();
                removed.map_err(|error| self.fail(METHOD, Some(set), error))
            }
            Verdict::Review => self.review(set),
            _ => {
                // Not the current set: an old one, or one of a process that ended. The array removes it if it is not kept; its lease does the
                // same if the array cannot be asked.
                if self.is_owed(set) {
                    drop(self.remove(set));
                } else {
                    drop(self.array.abort(shadow_set(set)));
                }
                Ok(())
            }
        }
    }

    /// An abort of a set that is kept (section 2.1.7). It may be the echo of a requester that is done, while the set is somebody's backup:
    /// it is withdrawn only if this provider itself failed it and nobody has seen its LUNs.
    fn review(&self, set: SnapshotSetId) -> Result<(), HResult> {
        const METHOD: Method = Method::AbortSnapshots;
        self.journal.resume();
        let withdraw = {
            let creation = self.creation.lock();
            creation.lifecycle.current() == Some(set) && creation.failed_later && !creation.located
        };
        if withdraw {
            match self.array.withdraw(shadow_set(set)) {
                Ok(_) => {
                    self.creation.lock().lifecycle.withdrawn(set);
                    return Ok(());
                }
                Err(error) if error.code() == Some(ProblemCode::WrongState) => {}
                Err(error) => return Err(self.fail(METHOD, Some(set), error)),
            }
        }
        let listed = std::mem::replace(&mut self.creation.lock().listed, true);
        if !listed {
            let id = EventId::OrphanCandidate;
            self.journal.record(Occurrence { id, method: METHOD, set: Some(set), detail: None });
        }
        Ok(())
    }

    /// Opens nothing that is not opened later too: without the array, `AreLunsSupported` declines and backups go on in software, which a
    /// failure to load would prevent.
    pub(crate) fn load(&self) {
        self.settle();
        if let Err(error) = self.array.who_am_i() {
            let detail = Some(error.to_string());
            self.journal.record(Occurrence { id: EventId::ArrayNotReady, method: Method::OnLoad, set: None, detail });
        }
    }

    /// Asks to stay while LUNs are being deleted or resyncs followed, unless it is forced. An unfinished set is aborted.
    pub(crate) fn unload(&self, forced: bool) -> Result<(), HResult> {
        let is_busy = [&self.deletions, &self.resyncs].iter().any(|count| count.load(Ordering::SeqCst) > 0);
        if !forced && is_busy {
            return Err(HResult::S_FALSE);
        }
        let (state, verdict) = {
            let mut creation = self.creation.lock();
            let state = creation.lifecycle.state();
            let verdict = creation.lifecycle.begin(Call::OnUnload);
            creation.reset();
            (state, verdict)
        };
        if let Verdict::DiscardFirst { discarded, luns, .. } = verdict {
            self.end_silently(Method::OnUnload, discarded, state, luns);
        }
        self.settle();
        self.journal.resume();
        Ok(())
    }

    /// Removes a set that failed, unless the array has kept it. If the array cannot do that now, the set is owed.
    ///
    /// A failed `PostCommitSnapshots` may have kept the set although the answer was lost. VSS was told that the set failed, so it is
    /// withdrawn then; the array refuses that if anybody has seen its LUNs.
    pub(crate) fn remove(&self, set: SnapshotSetId) -> Result<(), ArrayError> {
        let removed = match self.array.abort(shadow_set(set)) {
            Err(error) if error.code() == Some(ProblemCode::WrongState) => {
                let doubtful = self.doubtful.lock().contains(&set);
                if doubtful { self.array.withdraw(shadow_set(set)) } else { Ok(Outcome::AlreadySo) }
            }
            answer => answer,
        };
        match removed {
            Ok(_) => {
                self.owed.lock().retain(|owed| *owed != set);
                self.doubtful.lock().remove(&set);
                Ok(())
            }
            Err(error) => {
                self.owe(set);
                Err(error)
            }
        }
    }

    /// Remembers a set that the array still has to remove.
    pub(crate) fn owe(&self, set: SnapshotSetId) {
        let mut owed = self.owed.lock();
        if !owed.contains(&set) {
            if owed.len() == OWED_AT_MOST {
                let forgotten = owed.pop_front();
                self.doubtful.lock().retain(|set| Some(*set) != forgotten);
            }
            owed.push_back(set);
        }
    }

    fn is_owed(&self, set: SnapshotSetId) -> bool {
        self.owed.lock().contains(&set)
    }

    /// Removes what is owed, as far as the array answers: a time-out is waited for once, not for every set.
    pub(crate) fn settle(&self) {
        let owed: Vec<SnapshotSetId> = self.owed.lock().iter().copied().collect();
        for set in owed {
            if matches!(self.remove(set), Err(ArrayError::Unreachable { .. })) {
                break;
            }
        }
    }
}
