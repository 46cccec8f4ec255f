//! The calls about LUNs. But for `GetTargetLuns` they know nothing of the current set: a fresh process on any host answers the same.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lunshadow_array_client::ArrayError;
use lunshadow_control::{LunId, LunRecord, LunRole, ProblemCode, ShadowKind, ShadowUse};
use lunshadow_vss::{
    Call, Context, DeviceName, HResult, LunInformation, LunStateChange, Method, SnapshotSetId, Verdict,
};

use crate::journal::Occurrence;
use crate::provider::shadow_set;
use crate::translation::{canonicalise, claimed_lun, describes, lun_information, query};
use crate::{EventId, Provider, codes};

/// Whether the arrays of a call fit together: at least one LUN, and as many device names, or none where VSS passed NULL.
pub(crate) fn shape_is_valid(devices: &[DeviceName], luns: &[LunInformation]) -> bool {
    !luns.is_empty() && (devices.is_empty() || devices.len() == luns.len())
}

/// What kind of shadow LUNs a context asks for: copies that share with their source unless it says that they must not (P-29, P-30). `None` for
/// what cannot be: both at once, and client-accessible and file-share copies, which are not for hardware providers (P-32). Bits that are not
/// known are ignored.
pub(crate) fn kind_of(context: Context) -> Option<ShadowKind> {
    if context.intersects(Context::CLIENT_ACCESSIBLE | Context::FILE_SHARE) {
        return None;
    }
    match (context.contains(Context::PLEX), context.contains(Context::DIFFERENTIAL)) {
        (true, true) => None,
        (true, false) => Some(ShadowKind::FullCopy),
        (false, _) => Some(ShadowKind::Sharing),
    }
}

/// What the LUNs of a call are to the array.
enum Named {
    /// A shadow LUN.
    Shadow(LunRecord),
    /// A LUN that must not be touched.
    Source(LunId),
    /// It was a LUN of the array once, by its texts, and is not there any more; or this host may not see it.
    Gone(LunId),
    /// None of ours.
    Foreign,
}

impl Provider {
    /// Asks the array; leaves no trace. Everything that does not work now is a "no", which lets VSS fall back to a copy in software (P-28).
    pub(crate) fn supports(
        &self,
        context: Context,
        devices: &[DeviceName],
        luns: &[LunInformation],
    ) -> Result<bool, HResult> {
        if !shape_is_valid(devices, luns) {
            return Err(HResult::E_INVALIDARG);
        }
        let Some(kind) = kind_of(context) else { return Ok(false) };
        let records = self.resolve(luns).unwrap_or_default();
        let supported = |record: &Option<LunRecord>| match record {
            // For a shadow LUN the question is whose it is (P-35).
            Some(LunRecord { role: LunRole::Shadow { .. }, .. }) => true,
            Some(LunRecord { role: LunRole::Source, can_shadow, can_copy, .. }) => match kind {
                ShadowKind::Sharing => *can_shadow,
                ShadowKind::FullCopy => *can_shadow && *can_copy,
            },
            None => false,
        };
        // A volume on two arrays would be refused later, when VSS cannot fall back any more.
        let together = || {
            let luns: Vec<LunId> = records.iter().flatten().map(|record| record.lun).collect();
            self.array.can_share_a_set(&luns)
        };
        Ok(!records.is_empty() && records.iter().all(supported) && together())
    }

    /// Completes a LUN of ours to what `GetTargetLuns` answers for it, however the host's storage stack spelt it.
    pub(crate) fn identify(&self, lun: &mut LunInformation) -> (HResult, bool) {
        match self.resolve(std::slice::from_ref(lun)).map(|records| records.into_iter().next().flatten()) {
            Ok(Some(record)) => {
                canonicalise(lun, &record.identity);
                (HResult::S_OK, true)
            }
            Ok(None) => (HResult::S_OK, false),
            Err(error) => (self.fail(Method::FillInLunInfo, None, error), false),
        }
    }

    /// Answers from the array's record of the current set, so the same question gets the same bytes (P-63).
    pub(crate) fn targets(
        &self,
        devices: &[DeviceName],
        sources: &[LunInformation],
    ) -> Result<Vec<LunInformation>, HResult> {
        if !shape_is_valid(devices, sources) {
            return Err(HResult::E_INVALIDARG);
        }
        let current = {
            let mut creation = self.creation.lock();
            let verdict = creation.lifecycle.begin(Call::GetTargetLuns);
            creation.lifecycle.current().filter(|_| matches!(verdict, Verdict::Proceed(_)))
        };
        let Some(set) = current else {
            return Err(self.veto(EventId::CallOutOfOrder, Method::GetTargetLuns, None, None));
        };
        self.targets_in(set, sources).inspect_err(|_| self.failed_later(set))
    }

    fn targets_in(&self, set: SnapshotSetId, sources: &[LunInformation]) -> Result<Vec<LunInformation>, HResult> {
        const METHOD: Method = Method::GetTargetLuns;
        let records = self.resolve(sources).map_err(|error| self.fail(METHOD, Some(set), error))?;
        let targets = self.array.targets(shadow_set(set)).map_err(|error| self.fail(METHOD, Some(set), error))?;
        {
            let mut creation = self.creation.lock();
            if creation.lifecycle.current() == Some(set) {
                creation.targets = targets.iter().map(|target| target.shadow).collect();
            }
        }
        let target_of = |(record, source): (Option<LunRecord>, &LunInformation)| {
            let lun = record.map(|record| record.lun);
            match targets.iter().find(|target| Some(target.source) == lun) {
                Some(target) => Ok(lun_information(&target.identity)),
                None => Err(self.veto(EventId::SourceNotInSet, METHOD, Some(set), Some(named(source)))),
            }
        };
        records.into_iter().zip(sources).map(target_of).collect()
    }

    /// Maps shadow LUNs to this host. The array maps all or none, and tells apart what was mapped before, so there is nothing to undo when it
    /// refuses; everything that can be refused here is refused before it is asked (P-72). There is no rescan: that is for VSS (P-68).
    pub(crate) fn locate(&self, shadows: &[LunInformation]) -> Result<(), HResult> {
        let claimed = shadows.iter().filter_map(claimed_lun).collect();
        match self.map(shadows) {
            Ok(located) => {
                self.note_located(&located);
                Ok(())
            }
            Err(code) => {
                self.note_not_located(&claimed);
                Err(code)
            }
        }
    }

    fn map(&self, shadows: &[LunInformation]) -> Result<Vec<LunRecord>, HResult> {
        const METHOD: Method = Method::LocateLuns;
        if shadows.is_empty() {
            return Err(HResult::E_INVALIDARG);
        }
        let mut located: Vec<LunRecord> = Vec::with_capacity(shadows.len());
        for (who, shadow) in self.name(METHOD, shadows)?.into_iter().zip(shadows) {
            match who {
                Named::Shadow(record) if located.iter().any(|other| other.lun == record.lun) => {}
                Named::Shadow(record) => located.push(record),
                Named::Source(_) => return Err(self.refuse(METHOD, EventId::NotAShadowLun, shadow)),
                Named::Gone(_) => return Err(self.refuse(METHOD, EventId::UnknownLun, shadow)),
                Named::Foreign => return Err(self.refuse(METHOD, EventId::ForeignDisk, shadow)),
            }
        }
        let luns: Vec<LunId> = located.iter().map(|record| record.lun).collect();
        self.array.map(&luns).map_err(|error| self.fail(METHOD, None, error))?;
        Ok(located)
    }

    /// Deletes a shadow LUN. Everything else is refused: a source LUN, a disk of somebody else, and a description that does not fit the LUN
    /// that was found by it (P-85). One that is gone is a success (P-84).
    pub(crate) fn delete(&self, lun: Option<&LunInformation>) -> Result<(), HResult> {
        const METHOD: Method = Method::OnLunEmpty;
        let lun = lun.ok_or(HResult::E_INVALIDARG)?;
        let _running = Running::new(Arc::clone(&self.deletions));
        let shadow = match self.name(METHOD, std::slice::from_ref(lun))?.pop() {
            Some(Named::Shadow(record)) if describes(lun, &record.identity) => record.lun,
            Some(Named::Gone(lun)) => lun,
            Some(Named::Shadow(_) | Named::Source(_)) => return Err(self.refuse(METHOD, EventId::NotAShadowLun, lun)),
            Some(Named::Foreign) | None => return Err(self.refuse(METHOD, EventId::ForeignDisk, lun)),
        };
        match self.array.release(shadow) {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some(ProblemCode::UnknownLun) => Ok(()),
            Err(error) => Err(self.fail(METHOD, None, error)),
        }
    }

    /// Masks shadow LUNs if that is asked for, and tells the array what they are used for. The latter is for the array's own good and
    /// fails nothing (P-96). Masking comes first, since LUNs that are read-write are no shadow LUNs any more (P-97).
    pub(crate) fn change_state(&self, shadows: &[LunInformation], change: LunStateChange) -> Result<(), HResult> {
        let masked = if change.contains(LunStateChange::DO_MASK_LUNS) { Some(self.mask(shadows)?) } else { None };
        let mut luns = masked.map(Ok);
        for used in uses_of(change) {
            let luns = luns.get_or_insert_with(|| self.shadows_among(shadows));
            let told = match luns {
                Ok(luns) if luns.is_empty() => continue,
                Ok(luns) => {
                    let told = self.array.note_use(luns, used).map(drop);
                    if told.is_ok() && used == ShadowUse::ReadWrite {
                        self.made_read_write.lock().extend(luns.iter().copied());
                    }
                    told
                }
                Err(error) => Err(error.clone()),
            };
            // Only this one has consequences later: a shadow LUN can be deleted.
            if let (Err(error), ShadowUse::ReadWrite) = (told, used) {
                let names: Vec<_> = shadows.iter().map(named).collect();
                let detail = Some(format!("{}; {}", names.join(", "), codes::detail_of(error)));
                let method = Method::OnLunStateChange;
                self.journal.record(Occurrence { id: EventId::UseNotNoted, method, set: None, detail });
            }
        }
        Ok(())
    }

    fn mask(&self, shadows: &[LunInformation]) -> Result<Vec<LunId>, HResult> {
        const METHOD: Method = Method::OnLunStateChange;
        let mut luns = BTreeSet::new();
        for (who, shadow) in self.name(METHOD, shadows)?.into_iter().zip(shadows) {
            match who {
                Named::Shadow(record) => drop(luns.insert(record.lun)),
                Named::Gone(_) => {}
                // VSS may say in one call that it is read-write, and mask it in the next.
                Named::Source(lun) if self.made_read_write.lock().contains(&lun) => drop(luns.insert(lun)),
                Named::Source(_) => return Err(self.refuse(METHOD, EventId::NotAShadowLun, shadow)),
                Named::Foreign => return Err(self.refuse(METHOD, EventId::ForeignDisk, shadow)),
            }
        }
        let luns: Vec<LunId> = luns.into_iter().collect();
        if !luns.is_empty() {
            self.array.unmap(&luns).map_err(|error| self.fail(METHOD, None, error))?;
        }
        Ok(luns)
    }

    /// Those of the LUNs that are shadow LUNs of this array.
    fn shadows_among(&self, luns: &[LunInformation]) -> Result<Vec<LunId>, ArrayError> {
        if luns.is_empty() {
            return Ok(Vec::new());
        }
        let is_shadow = |record: &LunRecord| matches!(record.role, LunRole::Shadow { .. });
        let shadows: BTreeSet<LunId> =
            self.resolve(luns)?.into_iter().flatten().filter(is_shadow).map(|record| record.lun).collect();
        Ok(shadows.into_iter().collect())
    }

    /// The array's records of the LUNs of a call, element by element.
    pub(crate) fn resolve(&self, luns: &[LunInformation]) -> Result<Vec<Option<LunRecord>>, ArrayError> {
        let queries: Vec<_> = luns.iter().map(query).collect();
        let records = self.array.resolve(&queries)?;
        if records.len() == queries.len() {
            return Ok(records);
        }
        let detail = format!("it answered {} of {} questions about LUNs", records.len(), queries.len());
        Err(ArrayError::Refused { code: ProblemCode::Internal, detail })
    }

    fn name(&self, method: Method, luns: &[LunInformation]) -> Result<Vec<Named>, HResult> {
        if luns.is_empty() {
            return Ok(Vec::new());
        }
        let records = self.resolve(luns).map_err(|error| self.fail(method, None, error))?;
        let name = |(record, lun): (Option<LunRecord>, &LunInformation)| match record {
            Some(record) if matches!(record.role, LunRole::Shadow { .. }) => Named::Shadow(record),
            Some(record) => Named::Source(record.lun),
            None => claimed_lun(lun).map_or(Named::Foreign, Named::Gone),
        };
        Ok(records.into_iter().zip(luns).map(name).collect())
    }

    fn refuse(&self, method: Method, id: EventId, lun: &LunInformation) -> HResult {
        self.veto(id, method, None, Some(named(lun)))
    }

    fn failed_later(&self, set: SnapshotSetId) {
        let mut creation = self.creation.lock();
        if creation.lifecycle.current() == Some(set) {
            creation.failed_later = true;
        }
    }

    fn note_located(&self, located: &[LunRecord]) {
        let mut creation = self.creation.lock();
        let current = creation.lifecycle.current().map(shadow_set);
        let of_current = |record: &LunRecord| match record.role {
            LunRole::Shadow { set, .. } => Some(set) == current,
            LunRole::Source => false,
        };
        if located.iter().any(of_current) {
            creation.located = true;
        }
    }

    fn note_not_located(&self, claimed: &BTreeSet<LunId>) {
        let mut creation = self.creation.lock();
        if !creation.targets.is_disjoint(claimed) {
            creation.failed_later = true;
        }
    }
}

/// What the array is told about a change, in the order in which it is told.
fn uses_of(change: LunStateChange) -> impl Iterator<Item = ShadowUse> {
    let uses = [
        (LunStateChange::NOTIFY_LUN_PRE_RECOVERY, ShadowUse::Recovering),
        (LunStateChange::NOTIFY_LUN_POST_RECOVERY, ShadowUse::Recovered),
        (LunStateChange::NOTIFY_READ_WRITE, ShadowUse::ReadWrite),
    ];
    uses.into_iter().filter(move |(bit, _)| change.contains(*bit)).map(|(_, used)| used)
}

/// A LUN in the text of an event: by its serial number, the one thing that administrators see on both sides.
pub(crate) fn named(lun: &LunInformation) -> String {
    match query(lun).serial {
        Some(serial) => format!("disk with serial number {serial}"),
        None => "disk without a serial number".to_owned(),
    }
}

/// Counts something while it runs.
pub(crate) struct Running(Arc<AtomicUsize>);

impl Running {
    pub(crate) fn new(count: Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
