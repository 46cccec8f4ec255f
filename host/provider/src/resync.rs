//! `ResyncLuns` and its [`Async`]: LUNs get back the content of their shadow LUNs, inside the array (sections 2.3.3 and 2.6).
//!
//! The array does the work. For each resync a thread asks it how that stands, so that its end is noticed, told and logged even if nobody
//! holds the object any more. Whoever learns of the end first, that thread or a cancellation, decides how it ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lunshadow_array_client::{Array, ArrayError};
use lunshadow_control::{LunId, LunRole, ProblemCode, ResyncId, ResyncPair, ResyncState};
use lunshadow_vss::{Async, AsyncStatus, HResult, LunInformation, Method};
use parking_lot::{Condvar, Mutex};
use uuid::Uuid;

use crate::journal::{Journal, Occurrence};
use crate::luns::{Running, named};
use crate::translation::{claimed_lun, describes};
use crate::{Clock, EventId, Provider, codes};

const METHOD: Method = Method::ResyncLuns;

impl Provider {
    /// Everything that can be refused is refused here, before the array has begun (P-105); what fails later is told by the object (P-107).
    pub(crate) fn resync(
        &self,
        shadows: &[LunInformation],
        targets: &[LunInformation],
    ) -> Result<Box<dyn Async>, HResult> {
        let pairs = self.pairs(shadows, targets)?;
        let resync = Resync {
            id: ResyncId(Uuid::new_v4()),
            what: describe(&pairs),
            array: Arc::clone(&self.array),
            journal: Arc::clone(&self.journal),
            progress: Mutex::new(Progress {
                status: AsyncStatus::Pending,
                _running: Some(Running::new(Arc::clone(&self.resyncs))),
            }),
            ended: Condvar::new(),
        };
        let resync = Arc::new(resync);
        // A second attempt does not begin anew, so a lost answer is no reason to give up.
        let begun = match self.array.start_resync(resync.id, &pairs) {
            Err(ArrayError::Unreachable { .. }) => self.array.start_resync(resync.id, &pairs),
            answer => answer,
        };
        match begun.map_err(|error| self.fail(METHOD, None, error))? {
            ResyncState::Failed { code, detail } => {
                return Err(self.fail(METHOD, None, ArrayError::Refused { code, detail }));
            }
            ended @ (ResyncState::Finished | ResyncState::Cancelled) => drop(resync.note(ended)),
            ResyncState::Running => self.watch(&resync)?,
        }
        Ok(Box::new(ResyncHandle(resync)))
    }

    fn watch(&self, resync: &Arc<Resync>) -> Result<(), HResult> {
        let watcher = Watcher {
            resync: Arc::clone(resync),
            clock: Arc::clone(&self.clock),
            slice: self.config().wait_slice,
            lost_at_most: self.config().resync_lost_at_most,
        };
        let started = thread::Builder::new().name("resync".to_owned()).spawn(move || watcher.watch());
        started.map(drop).map_err(|_| {
            // Nobody would notice its end. If the array cannot stop it any more, it ends well or not at all.
            drop(self.array.cancel_resync(resync.id));
            HResult::E_OUTOFMEMORY
        })
    }

    /// The LUNs of a call, element by element, each pair once.
    fn pairs(&self, shadows: &[LunInformation], targets: &[LunInformation]) -> Result<Vec<ResyncPair>, HResult> {
        let refuse = |id, lun: &LunInformation| Err(self.veto(id, METHOD, None, Some(named(lun))));
        // The method's page has no code for a bad argument.
        if shadows.is_empty() || shadows.len() != targets.len() {
            let detail = format!("{} shadow LUNs for {} targets", shadows.len(), targets.len());
            return Err(self.veto(EventId::CallMalformed, METHOD, None, Some(detail)));
        }
        let all: Vec<_> = shadows.iter().chain(targets).cloned().collect();
        let mut records = self.resolve(&all).map_err(|error| self.fail(METHOD, None, error))?;
        let of_targets = records.split_off(shadows.len());
        let mut pairs: BTreeMap<LunId, LunId> = BTreeMap::new();
        for ((shadow, target), (of_shadow, of_target)) in
            shadows.iter().zip(targets).zip(records.into_iter().zip(of_targets))
        {
            for (lun, record) in [(shadow, &of_shadow), (target, &of_target)] {
                if record.is_none() {
                    let gone = claimed_lun(lun).is_some();
                    return refuse(if gone { EventId::UnknownLun } else { EventId::ForeignDisk }, lun);
                }
            }
            let (Some(of_shadow), Some(of_target)) = (of_shadow, of_target) else { continue };
            if !matches!(of_shadow.role, LunRole::Shadow { .. }) {
                return refuse(EventId::NotAShadowLun, shadow);
            }
            // What is overwritten has to be certain, as for a deletion.
            if !describes(target, &of_target.identity) {
                return refuse(EventId::ForeignDisk, target);
            }
            let other = pairs.insert(of_target.lun, of_shadow.lun);
            if other.is_some_and(|other| other != of_shadow.lun) {
                return refuse(EventId::CallMalformed, target);
            }
        }
        Ok(pairs.into_iter().map(|(target, shadow)| ResyncPair { shadow, target }).collect())
    }
}

/// For events: which LUNs.
fn describe(pairs: &[ResyncPair]) -> String {
    let one = |pair: &ResyncPair| format!("LUN {} from shadow LUN {}", pair.target, pair.shadow);
    pairs.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// One resync, as far as it is known here.
struct Resync {
    id: ResyncId,
    what: String,
    array: Arc<dyn Array>,
    journal: Arc<Journal>,
    progress: Mutex<Progress>,
    ended: Condvar,
}

struct Progress {
    status: AsyncStatus,
    /// Until it has ended, the provider wants to stay loaded.
    _running: Option<Running>,
}

impl Progress {
    fn runs(&mut self) -> bool {
        self.status == AsyncStatus::Pending
    }
}

impl Resync {
    /// Takes what the array says; answers how the resync stands. The first end counts.
    fn note(&self, state: ResyncState) -> AsyncStatus {
        match state {
            ResyncState::Running => self.status(),
            ResyncState::Finished => self.end(AsyncStatus::Finished, EventId::ResyncFinished, None),
            ResyncState::Cancelled => self.end(AsyncStatus::Cancelled, EventId::ResyncCancelled, None),
            ResyncState::Failed { code, detail } => self.fail(ArrayError::Refused { code, detail }),
        }
    }

    fn fail(&self, error: ArrayError) -> AsyncStatus {
        let (code, id) = (codes::code_of(METHOD, &error), codes::event_of(&error));
        self.end(AsyncStatus::Failed(code), id, Some(codes::detail_of(error)))
    }

    /// The event is written before anybody is told, so that whoever waits for the end finds it in the log.
    fn end(&self, ended: AsyncStatus, id: EventId, reason: Option<String>) -> AsyncStatus {
        let mut progress = self.progress.lock();
        if progress.runs() {
            self.record(id, reason);
            *progress = Progress { status: ended, _running: None };
            self.ended.notify_all();
        }
        progress.status
    }

    fn status(&self) -> AsyncStatus {
        self.progress.lock().status
    }

    fn record(&self, id: EventId, reason: Option<String>) {
        let reason = reason.map(|reason| format!("; {reason}")).unwrap_or_default();
        let detail = Some(format!("{}{reason}", self.what));
        self.journal.record(Occurrence { id, method: METHOD, set: None, detail });
    }
}

/// The thread that follows a resync to its end.
struct Watcher {
    resync: Arc<Resync>,
    clock: Arc<dyn Clock>,
    slice: Duration,
    lost_at_most: Duration,
}

impl Watcher {
    fn watch(self) {
        let resync = &*self.resync;
        let mut lost_since = None;
        while resync.status() == AsyncStatus::Pending {
            match resync.array.resync_state(resync.id, self.slice) {
                Ok(state) => {
                    lost_since = None;
                    resync.note(state);
                }
                // The array goes on without us: it is asked again for as long as it may take to come back.
                Err(ArrayError::Unreachable { detail }) => {
                    let now = self.clock.now();
                    if now.saturating_sub(*lost_since.get_or_insert(now)) >= self.lost_at_most {
                        self.give_up(detail);
                    } else {
                        self.pause();
                    }
                }
                // It was restarted, and does not remember.
                Err(error) if error.code() == Some(ProblemCode::UnknownSet) => self.give_up(codes::detail_of(error)),
                Err(error) => drop(resync.fail(error)),
            }
        }
    }

    fn give_up(&self, detail: String) {
        self.resync.end(AsyncStatus::Failed(HResult::VSS_E_PROVIDER_VETO), EventId::ResyncLost, Some(detail));
    }

    /// An array that cannot be reached may say so at once.
    fn pause(&self) {
        let mut progress = self.resync.progress.lock();
        self.resync.ended.wait_while_for(&mut progress, Progress::runs, self.slice);
    }
}

/// What VSS holds. Letting go of it stops nothing.
struct ResyncHandle(Arc<Resync>);

impl Async for ResyncHandle {
    fn query_status(&self) -> AsyncStatus {
        self.0.status()
    }

    /// The array is asked without a lock, since others may wait or ask meanwhile. An array that does not answer stops nothing.
    fn cancel(&self) -> AsyncStatus {
        let status = self.query_status();
        if status != AsyncStatus::Pending {
            return status;
        }
        match self.0.array.cancel_resync(self.0.id) {
            Ok(state) => self.0.note(state),
            Err(_) => self.query_status(),
        }
    }

    fn wait(&self, at_most: Option<Duration>) -> AsyncStatus {
        let mut progress = self.0.progress.lock();
        match at_most {
            Some(at_most) => drop(self.0.ended.wait_while_for(&mut progress, Progress::runs, at_most)),
            None => self.0.ended.wait_while(&mut progress, Progress::runs),
        }
        progress.status
    }
}

impl Drop for ResyncHandle {
    fn drop(&mut self) {
        if self.query_status() == AsyncStatus::Pending {
            self.0.record(EventId::ResyncUnobserved, None);
        }
    }
}
