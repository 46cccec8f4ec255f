//! The calls that create a set, from `BeginPrepareSnapshot` to `PostFinalCommitSnapshots`.

use std::collections::BTreeSet;

use lunshadow_array_client::{ArrayError, CommitChannel, Preparation};
use lunshadow_control::{LunId, ProblemCode};
use lunshadow_vss::{
    Call, Context, DeviceName, HResult, Lifecycle, LunInformation, Method, ShadowLuns, SnapshotId, SnapshotSetId,
    SnapshotState, Transition, Verdict,
};

use crate::journal::Occurrence;
use crate::luns::{kind_of, shape_is_valid};
use crate::provider::shadow_set;
use crate::{EventId, Provider};

/// Whether a set that failed may be removed at the array before the call returns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Removal {
    /// Nothing waits but the requester.
    Now,
    /// Writers are frozen: only if the array has just answered, so that no time-out is waited for.
    IfAnswering,
    /// Writes are held: later, in `AbortSnapshots` or with the next set.
    Later,
    /// The set is kept already, and stays.
    Never,
}

impl Provider {
    /// A set id that is not the current one begins a new sequence, from any state: the old set is dead if it was not finished (P-40). The
    /// failure of one snapshot id leaves the others of the set as they are (P-41).
    pub(crate) fn begin_prepare(
        &self,
        set: SnapshotSetId,
        snapshot: SnapshotId,
        context: Context,
        devices: &[DeviceName],
        luns: &[LunInformation],
    ) -> Result<(), HResult> {
        const METHOD: Method = Method::BeginPrepareSnapshot;
        if !shape_is_valid(devices, luns) {
            return Err(HResult::E_INVALIDARG);
        }
        let transition = self.begin_sequence(set)?;
        self.settle();
        let kind = kind_of(context).ok_or(HResult::VSS_E_UNSUPPORTED_CONTEXT)?;
        if self.is_full_for(snapshot) {
            return Err(HResult::VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED);
        }
        let records = self.resolve(luns).map_err(|error| self.fail(METHOD, Some(set), error))?;
        let members: Option<BTreeSet<LunId>> = records.into_iter().map(|record| Some(record?.lun)).collect();
        let members: Vec<LunId> = members.ok_or(HResult::VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER)?.into_iter().collect();
        let prepared = self.array.prepare_as(kind, shadow_set(set), &members);
        {
            let mut creation = self.creation.lock();
            match &prepared {
                Ok(_) => creation.unanswered.retain(|lun| !members.contains(lun)),
                Err(ArrayError::Unreachable { .. }) if creation.lifecycle.is_at(set, SnapshotState::PREPARING) => {
                    creation.unanswered.extend(&members);
                }
                Err(_) => {}
            }
        }
        prepared.map_err(|error| self.fail(METHOD, Some(set), error))?;
        {
            let mut creation = self.creation.lock();
            if creation.lifecycle.end(set, transition, true) {
                creation.snapshots.insert(snapshot);
                creation.members.extend(members);
                return Ok(());
            }
        }
        // An abort came while the array prepared, perhaps before the array knew the set.
        Err(self.interrupted(METHOD, set, Removal::Now))
    }

    fn is_full_for(&self, snapshot: SnapshotId) -> bool {
        let snapshots = &self.creation.lock().snapshots;
        snapshots.len() >= self.config().volumes_at_most && !snapshots.contains(&snapshot)
    }

    /// Makes `set` the current one and ends the one before.
    fn begin_sequence(&self, set: SnapshotSetId) -> Result<Transition, HResult> {
        let (before, begins, verdict) = {
            let mut creation = self.creation.lock();
            let before = creation.lifecycle;
            let verdict = creation.lifecycle.begin(Call::BeginPrepareSnapshot(set));
            let begins = !matches!(verdict, Verdict::OutOfOrder { .. }) && !before.is_at(set, SnapshotState::PREPARING);
            if begins {
                creation.reset();
            }
            (before, begins, verdict)
        };
        if begins {
            self.journal.resume();
        }
        match verdict {
            Verdict::Proceed(transition) => {
                if before.current().is_none() {
                    self.forget_earlier(set)?;
                }
                Ok(transition)
            }
            Verdict::DiscardFirst { discarded, luns, transition } => {
                self.end_silently(Method::BeginPrepareSnapshot, discarded, before.state(), luns);
                Ok(transition)
            }
            _ => Err(self.out_of_order(Method::BeginPrepareSnapshot, set, verdict, Removal::Now)),
        }
    }

    /// What a process before this one has prepared for the set is not known here, and VSS may have been told that it failed: its shadow LUNs
    /// would have nobody to delete them. A set that survives the process that began it is over.
    fn forget_earlier(&self, set: SnapshotSetId) -> Result<(), HResult> {
        const METHOD: Method = Method::BeginPrepareSnapshot;
        let outcome = if *self.unforgotten.lock() == Some(set) {
            Err(self.veto(EventId::SetAborted, METHOD, Some(set), None))
        } else {
            match self.array.abort(shadow_set(set)) {
                Ok(_) => Ok(()),
                // One that is kept is not prepared either.
                Err(error) if error.code() == Some(ProblemCode::WrongState) => Ok(()),
                Err(error) => {
                    // A request that was not answered may be carried out later, when the set would be committed.
                    *self.unforgotten.lock() = Some(set);
                    Err(self.fail(METHOD, Some(set), error))
                }
            }
        };
        if outcome.is_err() {
            self.creation.lock().lifecycle = Lifecycle::default();
        }
        outcome
    }

    /// Ends a set that VSS has dropped without a word.
    pub(crate) fn end_silently(&self, method: Method, set: SnapshotSetId, state: SnapshotState, luns: ShadowLuns) {
        let event = match luns {
            ShadowLuns::Discard => self.remove(set).is_err().then_some(EventId::RemovalPending),
            ShadowLuns::Keep => (state != SnapshotState::CREATED).then_some(EventId::OrphanCandidate),
        };
        if let Some(id) = event {
            self.journal.record(Occurrence { id, method, set: Some(set), detail: None });
        }
    }

    /// Waits until the array has prepared the set, in slices, so that an abort ends the wait even if the array does not notice it (P-44).
    pub(crate) fn end_prepare(&self, set: SnapshotSetId) -> Result<(), HResult> {
        const METHOD: Method = Method::EndPrepareSnapshots;
        let Some(transition) = self.enter(METHOD, Call::EndPrepareSnapshots(set), Removal::Now)? else {
            return Ok(());
        };
        let opened = self
            .every_lun_has_a_volume()
            .and_then(|()| self.wait_prepared(set, transition))
            .and_then(|()| self.array.open_commit_channel(shadow_set(set)));
        let outcome = opened.map(|channel| {
            let mut creation = self.creation.lock();
            if creation.lifecycle.is_at(set, transition.during) {
                creation.channel = Some(channel);
            }
        });
        self.conclude(METHOD, set, transition, outcome, Removal::Now)
    }

    /// A LUN whose preparation was not answered may be in the array's set although its volume is not in VSS's: its shadow LUN would
    /// have nobody to delete it. Such a set is not committed.
    fn every_lun_has_a_volume(&self) -> Result<(), ArrayError> {
        match self.creation.lock().unanswered.first() {
            None => Ok(()),
            Some(lun) => Err(ArrayError::Unreachable {
                detail: format!("whether LUN {lun} is in the set is unknown, since the array did not answer in time"),
            }),
        }
    }

    fn wait_prepared(&self, set: SnapshotSetId, transition: Transition) -> Result<(), ArrayError> {
        while self.creation.lock().lifecycle.is_at(set, transition.during) {
            if self.array.wait_prepared(shadow_set(set), self.config().wait_slice)? == Preparation::Ready {
                return Ok(());
            }
        }
        Err(ArrayError::Refused { code: ProblemCode::SetAborted, detail: "it was aborted by VSS".to_owned() })
    }

    /// One cheap round trip. From here on the event log is left alone.
    pub(crate) fn pre_commit(&self, set: SnapshotSetId) -> Result<(), HResult> {
        const METHOD: Method = Method::PreCommitSnapshots;
        let Some(transition) = self.enter(METHOD, Call::PreCommitSnapshots(set), Removal::IfAnswering)? else {
            return Ok(());
        };
        self.journal.hush();
        let outcome = self.on_channel(set, |channel| channel.arm(self.config().commit_at_most));
        self.conclude(METHOD, set, transition, outcome, Removal::IfAnswering)
    }

    /// One request on the open channel, and nothing else: writes are held (P-50). What is to be told or removed waits for
    /// `PostCommitSnapshots` or `AbortSnapshots`.
    pub(crate) fn commit(&self, set: SnapshotSetId) -> Result<(), HResult> {
        const METHOD: Method = Method::CommitSnapshots;
        let entered = self.clock.now();
        let Some(transition) = self.enter(METHOD, Call::CommitSnapshots(set), Removal::Later)? else {
            return Ok(());
        };
        let outcome = self.on_channel(set, |channel| channel.commit()).and_then(|()| {
            let took = self.clock.now().saturating_sub(entered);
            self.creation.lock().commit_took = took;
            let late = took > self.config().veto_commit_after;
            // An empty text allocates nothing.
            let too_late = ArrayError::Refused { code: ProblemCode::DeadlinePassed, detail: String::new() };
            if late { Err(too_late) } else { Ok(()) }
        });
        self.conclude(METHOD, set, transition, outcome, Removal::Later)
    }

    /// Ends the lease: from here on the set lives until its LUNs are released.
    pub(crate) fn post_commit(&self, set: SnapshotSetId) -> Result<(), HResult> {
        const METHOD: Method = Method::PostCommitSnapshots;
        let Some(transition) = self.enter(METHOD, Call::PostCommitSnapshots(set), Removal::IfAnswering)? else {
            return Ok(());
        };
        self.journal.resume();
        self.doubtful.lock().insert(set);
        let outcome = self.array.keep(shadow_set(set)).map(drop);
        self.creation.lock().channel = None;
        self.conclude(METHOD, set, transition, outcome, Removal::IfAnswering)?;
        self.doubtful.lock().remove(&set);
        if self.creation.lock().commit_took > self.config().commit_alarm {
            let detail = Some(self.commit_in_words());
            self.journal.record(Occurrence { id: EventId::CommitSlow, method: METHOD, set: Some(set), detail });
        }
        Ok(())
    }

    fn commit_in_words(&self) -> String {
        let creation = self.creation.lock();
        let (luns, took_ms) = (creation.members.len(), creation.commit_took.as_millis());
        format!("{luns} LUNs, committed in {took_ms} ms")
    }

    /// Shadow LUNs are writable at all times, so there is nothing to do but to keep the order. A set that is not known here is harmless:
    /// the process may have been restarted in between.
    pub(crate) fn pre_final_commit(&self, set: SnapshotSetId) -> Result<(), HResult> {
        const METHOD: Method = Method::PreFinalCommitSnapshots;
        match self.enter(METHOD, Call::PreFinalCommitSnapshots(set), Removal::Now)? {
            Some(transition) => self.conclude(METHOD, set, transition, Ok(()), Removal::Never),
            None => Ok(()),
        }
    }

    /// The shadow LUNs stay writable: "read-only" is the volume's flag, which VSS keeps (P-93).
    pub(crate) fn post_final_commit(&self, set: SnapshotSetId) -> Result<(), HResult> {
        const METHOD: Method = Method::PostFinalCommitSnapshots;
        let Some(transition) = self.enter(METHOD, Call::PostFinalCommitSnapshots(set), Removal::Now)? else {
            return Ok(());
        };
        self.conclude(METHOD, set, transition, Ok(()), Removal::Never)?;
        let detail = Some(self.commit_in_words());
        self.journal.record(Occurrence { id: EventId::SetCreated, method: METHOD, set: Some(set), detail });
        Ok(())
    }

    /// Puts a call to the life cycle. `None` is a call that is to succeed without doing anything.
    fn enter(&self, method: Method, call: Call, removal: Removal) -> Result<Option<Transition>, HResult> {
        let Some(set) = call.set() else { return Ok(None) };
        let verdict = self.creation.lock().lifecycle.begin(call);
        match verdict {
            Verdict::Proceed(transition) => Ok(Some(transition)),
            Verdict::NotCurrent | Verdict::Review | Verdict::DiscardFirst { .. } => Ok(None),
            Verdict::ObjectNotFound => Err(HResult::VSS_E_OBJECT_NOT_FOUND),
            Verdict::OutOfOrder { .. } => Err(self.out_of_order(method, set, verdict, removal)),
        }
    }

    fn out_of_order(&self, method: Method, set: SnapshotSetId, verdict: Verdict, removal: Removal) -> HResult {
        if matches!(method, Method::PreCommitSnapshots | Method::CommitSnapshots) {
            self.journal.hush();
        }
        if matches!(verdict, Verdict::OutOfOrder { luns: ShadowLuns::Discard, .. }) {
            self.give_up(set, removal, true);
        }
        self.veto(EventId::CallOutOfOrder, method, Some(set), None)
    }

    /// Lends the set's channel to a request. It is out of reach meanwhile, not locked, so an abort does not wait for it.
    fn on_channel(
        &self,
        set: SnapshotSetId,
        request: impl FnOnce(&mut dyn CommitChannel) -> Result<(), ArrayError>,
    ) -> Result<(), ArrayError> {
        let Some(mut channel) = self.creation.lock().channel.take() else {
            return Err(ArrayError::Refused { code: ProblemCode::SetAborted, detail: String::new() });
        };
        let outcome = request(&mut *channel);
        let mut creation = self.creation.lock();
        if creation.lifecycle.current() == Some(set) {
            creation.channel = Some(channel);
        }
        outcome
    }

    /// Ends a step of the creation. A step that fails, or that an abort overtook, gives the set up at the array.
    fn conclude(
        &self,
        method: Method,
        set: SnapshotSetId,
        transition: Transition,
        outcome: Result<(), ArrayError>,
        removal: Removal,
    ) -> Result<(), HResult> {
        let counts = self.creation.lock().lifecycle.end(set, transition, outcome.is_ok());
        match outcome {
            Ok(()) if counts => Ok(()),
            Ok(()) => Err(self.interrupted(method, set, removal)),
            Err(error) => {
                self.give_up(set, removal, matches!(error, ArrayError::Refused { .. }));
                Err(self.fail(method, Some(set), error))
            }
        }
    }

    /// The answer of a step that an abort or a new set overtook.
    fn interrupted(&self, method: Method, set: SnapshotSetId, removal: Removal) -> HResult {
        self.give_up(set, removal, true);
        self.veto(EventId::SetAborted, method, Some(set), None)
    }

    fn give_up(&self, set: SnapshotSetId, removal: Removal, answering: bool) {
        match removal {
            // If this fails the set is owed, and the caller's own event says that the array has a problem.
            Removal::Now => drop(self.remove(set)),
            Removal::IfAnswering if answering => drop(self.remove(set)),
            Removal::IfAnswering | Removal::Later => self.owe(set),
            Removal::Never => {}
        }
    }
}
