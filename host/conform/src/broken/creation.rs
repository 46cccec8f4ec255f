//! The faults of the calls that create a set, and of those that end it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use lunshadow_vss::{HResult, HardwareProvider, LunInformation, SnapshotSetId};

use super::memory::Step;
use super::{BrokenProvider, Fault};
use crate::bed::{EventSink as _, Gravity};
use crate::lab::serial;

/// From how long on a commit is late.
const LATE: Duration = Duration::from_secs(8);

/// How long a provider that does not wait waits.
const IMPATIENCE: Duration = Duration::from_millis(50);

impl BrokenProvider {
    /// Remembers how far the set is.
    fn reached(&self, set: SnapshotSetId, step: Step, answer: Result<(), HResult>) -> Result<(), HResult> {
        if answer.is_ok() {
            self.memory.lock().steps.insert(set, step);
        }
        answer
    }

    fn step(&self, set: SnapshotSetId) -> Option<Step> {
        self.memory.lock().step(set)
    }

    pub(super) fn begin_prepare(
        &self,
        set: SnapshotSetId,
        luns: &mut [LunInformation],
        begin: impl FnOnce(&dyn HardwareProvider, &mut [LunInformation]) -> Result<(), HResult>,
    ) -> Result<(), HResult> {
        self.change_sets(set);
        let is_shared = luns.iter().any(|lun| self.memory.lock().members.contains(serial(lun)));
        let volumes = self.memory.lock().volumes.get(&set).copied().unwrap_or(0);
        match self.fault {
            Fault::RefusesSharedLuns if is_shared => return self.veto(),
            Fault::EightVolumes if volumes >= 8 => return self.veto(),
            Fault::WearsOut if self.loads.load(Ordering::SeqCst) >= 50 => return self.veto(),
            Fault::NeedsLoading if !self.is_loaded.load(Ordering::SeqCst) => return self.veto(),
            Fault::BeginsSlowly => self.bed.pass(Duration::from_millis(1500)),
            _ => {}
        }
        let inner = self.inner();
        let answer = begin(&*inner, luns);
        match answer {
            Ok(()) if self.is(Fault::PromisesAndFails) => {
                let _ = self.quietly(|inner| inner.abort_snapshots(set));
                return self.veto();
            }
            Ok(()) => {
                let mut memory = self.memory.lock();
                memory.members.extend(luns.iter().map(|lun| serial(lun).to_owned()));
                *memory.volumes.entry(set).or_default() += 1;
            }
            Err(_) if self.is(Fault::OneFailureEndsTheSet) => {
                let _ = inner.abort_snapshots(set);
            }
            Err(HResult::VSS_E_UNSUPPORTED_CONTEXT | HResult::VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER)
                if self.is(Fault::RefusesWithVeto) =>
            {
                return self.veto();
            }
            Err(_) => {}
        }
        self.reached(set, Step::Preparing, answer)
    }

    /// Takes note of a new set.
    fn change_sets(&self, set: SnapshotSetId) {
        let before = {
            let mut memory = self.memory.lock();
            let before = memory.current.replace(set).filter(|before| *before != set);
            if before.is_some() {
                memory.members.clear();
            }
            before
        };
        let Some(before) = before else { return };
        if self.is(Fault::DropsKeptSets) {
            self.delete(&self.memory.lock().shadows_of(before));
        }
        if self.is(Fault::ForgetsTheOldSet)
            && let Ok(fresh) = (self.begin)(Arc::<super::Filter>::clone(&self.events))
        {
            *self.inner.lock() = fresh;
        }
    }

    pub(super) fn end_prepare(&self, set: SnapshotSetId) -> Result<(), HResult> {
        let _alone = self.is(Fault::OneCallAtATime).then(|| self.one_at_a_time.lock());
        let inner = self.inner();
        let answer = if self.is(Fault::DoesNotWait) {
            self.wait_a_little(set, &inner)
        } else {
            inner.end_prepare_snapshots(set)
        };
        let answer = match answer {
            Err(HResult::VSS_E_OBJECT_NOT_FOUND) if self.is(Fault::VetoesUnknownSets) => return self.veto(),
            Err(HResult::VSS_E_INSUFFICIENT_STORAGE) if self.is(Fault::HidesTheShortage) => {
                Err(HResult::VSS_E_PROVIDER_VETO)
            }
            Ok(()) if self.is(Fault::CapturesEarly) => {
                inner.pre_commit_snapshots(set).and_then(|()| inner.commit_snapshots(set))
            }
            answer => answer,
        };
        self.reached(set, Step::Prepared, answer)
    }

    fn wait_a_little(&self, set: SnapshotSetId, inner: &Arc<dyn HardwareProvider>) -> Result<(), HResult> {
        let (answered, answers) = mpsc::channel();
        let inner = Arc::clone(inner);
        let wait = std::thread::spawn(move || {
            let answer = inner.end_prepare_snapshots(set);
            // Nobody listens to a late answer.
            let _ = answered.send(answer);
            answer
        });
        self.memory.lock().waits.insert(set, wait);
        answers.recv_timeout(IMPATIENCE).unwrap_or(Ok(()))
    }

    pub(super) fn pre_commit(&self, set: SnapshotSetId) -> Result<(), HResult> {
        let wait = self.memory.lock().waits.remove(&set);
        if let Some(wait) = wait {
            // How it ended is known to the sound provider, which answers next.
            drop(wait.join());
        }
        if self.is(Fault::SlowPreCommit) {
            self.bed.pass(Duration::from_millis(2500));
        }
        let is_early = self.is(Fault::CapturesEarly) && self.step(set) == Some(Step::Prepared);
        let answer = if is_early { Ok(()) } else { self.inner().pre_commit_snapshots(set) };
        let answer = self.forgiving_unknown(answer);
        self.reached(set, Step::Precommitted, answer)
    }

    pub(super) fn commit(&self, set: SnapshotSetId) -> Result<(), HResult> {
        let (inner, step, clock) = (self.inner(), self.step(set), self.bed.clock());
        let entered = clock.now();
        match self.fault {
            Fault::EventInCommit => {
                self.events.event(Gravity::Information, "The commit has begun. Nothing is to be done.")
            }
            Fault::SlowCommit => self.bed.pass(Duration::from_millis(1500)),
            Fault::RepairsDisorder if step == Some(Step::Prepared) => {
                let _ = inner.pre_commit_snapshots(set);
            }
            Fault::CapturesEarly | Fault::CapturesLate if step == Some(Step::Precommitted) => {
                return self.reached(set, Step::Committed, Ok(()));
            }
            _ => {}
        }
        let answer = inner.commit_snapshots(set);
        let is_late = clock.now().saturating_sub(entered) >= LATE;
        let is_due = step == Some(Step::Precommitted);
        let answer = match answer {
            Err(_) if self.is(Fault::BelievesLateCommits) && is_due && is_late => Ok(()),
            Err(_) if self.is(Fault::HidesCommitFailures) && is_due && !is_late => Ok(()),
            answer => self.forgiving_unknown(answer),
        };
        self.reached(set, Step::Committed, answer)
    }

    pub(super) fn post_commit(&self, set: SnapshotSetId, count: i32) -> Result<(), HResult> {
        let (inner, step) = (self.inner(), self.step(set));
        let volumes = self.memory.lock().volumes.get(&set).copied();
        let is_due = step == Some(Step::Committed);
        match self.fault {
            Fault::CountsVolumes if is_due && volumes.is_some_and(|volumes| usize::try_from(count) != Ok(volumes)) => {
                return self.veto();
            }
            Fault::CapturesLate if is_due => inner.commit_snapshots(set)?,
            // The sound provider is a step ahead, and would not see the disorder.
            Fault::CapturesEarly if step == Some(Step::Precommitted) => return inner.commit_snapshots(set),
            _ => {}
        }
        let answer = self.forgiving_unknown(inner.post_commit_snapshots(set, count));
        self.reached(set, Step::PostCommitted, answer)
    }

    fn forgiving_unknown(&self, answer: Result<(), HResult>) -> Result<(), HResult> {
        match answer {
            Err(HResult::VSS_E_OBJECT_NOT_FOUND) if self.is(Fault::UnknownSetsAreFine) => Ok(()),
            answer => answer,
        }
    }

    pub(super) fn post_final_commit(&self, set: SnapshotSetId) -> Result<(), HResult> {
        let inner = self.inner();
        inner.post_final_commit_snapshots(set)?;
        let announced: Vec<_> =
            self.memory.lock().announced.iter().filter(|announced| announced.set == Some(set)).cloned().collect();
        let shadows: Vec<_> = announced.iter().map(|announced| announced.genuine.clone()).collect();
        let sources: Vec<_> = announced.iter().map(|announced| announced.source.clone()).collect();
        match self.fault {
            Fault::AlarmingSuccess => self.events.event(Gravity::Error, "The set is complete. Nothing is to be done."),
            Fault::FinalCommitMasks => self.mask(&shadows),
            Fault::RevertsTheSource => {
                if let Ok(resync) = self.quietly(|inner| inner.resync_luns(&shadows, &sources)) {
                    resync.wait(None);
                }
            }
            _ => {}
        }
        self.reached(set, Step::Created, Ok(()))
    }

    pub(super) fn abort(&self, set: SnapshotSetId) -> Result<(), HResult> {
        let _alone = self.is(Fault::OneCallAtATime).then(|| self.one_at_a_time.lock());
        let (inner, step, current) = (self.inner(), self.step(set), self.memory.lock().current);
        match self.fault {
            Fault::AbortForgets if step == Some(Step::Committed) => return Ok(()),
            Fault::UnknownAbortsAreVetoed if step.is_none() => return self.veto(),
            Fault::AbortsTheCurrent => return current.map_or(Ok(()), |current| inner.abort_snapshots(current)),
            Fault::AbortDeletesComplete if step >= Some(Step::PostCommitted) => {
                self.delete(&self.memory.lock().shadows_of(set));
                return Ok(());
            }
            _ => {}
        }
        self.memory.lock().steps.remove(&set);
        inner.abort_snapshots(set)
    }
}
