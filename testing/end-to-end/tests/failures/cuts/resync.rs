//! Resyncs: section 4(g) of the contract.

use lunshadow_control::ResyncState;
use lunshadow_coordinator::Requester;
use lunshadow_vss::{HResult, RecoveryOptions};

use super::cutter::Who;
use super::sequence::{Sequence, Subject, cut_everywhere};
use super::stage::{Boot, Side, Stage};
use crate::rig::SOON;

/// The contents of the LUNs, in the order of the volumes.
type Contents = Vec<Vec<u8>>;

/// Brings the originals back to what they were.
#[derive(Default)]
struct Resyncing {
    /// What is to come.
    copied: Contents,
    /// What is on the shadow LUNs.
    shadows: Contents,
    /// What is there before.
    before: Contents,
    /// Whether shadow LUNs are marked as such, which disks with tables can be.
    has_marks: bool,
}

impl Resyncing {
    fn of_originals(stage: &Stage, subject: &Subject) -> Contents {
        let sources = stage.luns_of(&subject.document, |lun| &lun.source);
        sources.into_iter().map(|lun| stage.content(lun)).collect()
    }

    fn of_shadows(stage: &Stage, subject: &Subject) -> Contents {
        subject.shadows.iter().map(|shadow| stage.content(*shadow)).collect()
    }
}

impl Sequence for Resyncing {
    fn side(&self) -> Side {
        Side::Production
    }

    fn begin(&mut self, stage: &Stage) -> Subject {
        let subject = stage.transportable_set();
        self.copied = Self::of_originals(stage, &subject);
        if self.has_marks {
            stage.mark_as_copies(&subject);
        }
        self.shadows = Self::of_shadows(stage, &subject);
        let originals = stage.luns_of(&subject.document, |lun| &lun.source);
        originals.into_iter().for_each(|lun| stage.overwrite(lun));
        self.before = Self::of_originals(stage, &subject);
        assert!(self.before.iter().zip(&self.copied).all(|(before, copied)| before != copied));
        subject
    }

    fn operate(subject: &Subject, requester: &Requester) -> Result<(), HResult> {
        requester.load_document(subject.document.clone());
        for copy in &subject.document.snapshots {
            requester.add_to_recovery_set(copy.snapshot, None).map_err(|error| error.code())?;
        }
        requester.recover(RecoveryOptions::empty()).map_err(|error| error.code())
    }

    /// A resync has no end after which it could not be done again.
    fn is_done(_code: HResult) -> bool {
        false
    }

    /// All of the originals are as before, or all have the content of the copies, whether they are disks of their own again or not.
    fn check_half_way(&self, stage: &Stage, subject: &Subject, place: &str) {
        let (_, host) = stage.host(Side::Production);
        let resyncs = std::mem::take(&mut *stage.rig.array_script.resyncs.lock().unwrap());
        for resync in resyncs {
            // One that the array has not heard of has not begun.
            let state = stage.rig.array.catalog().resync_state(host, resync, SOON);
            let state = stage.rig.runtime.block_on(state);
            assert!(!matches!(state, Ok(ResyncState::Running)), "{place}: the array does not end");
        }
        let now = Self::of_originals(stage, subject);
        let is_copy = |index: usize| now[index] == self.copied[index] || now[index] == self.shadows[index];
        let is_whole = now == self.before || (0..now.len()).all(is_copy);
        assert!(is_whole, "{place}: the originals are half-way");
        assert!(Self::of_shadows(stage, subject) == self.shadows, "{place}: a shadow LUN has changed");
    }

    fn check(&self, stage: &Stage, _boot: &Boot, subject: &Subject, place: &str) {
        let now = Self::of_originals(stage, subject);
        assert!(now == self.copied, "{place}: the originals are not what they were");
        assert!(Self::of_shadows(stage, subject) == self.shadows, "{place}: a shadow LUN has changed");
    }

    fn clean_up(&self, stage: &Stage, _boot: &Boot, subject: &Subject, _place: &str) {
        stage.rig.delete_as_administrator(&subject.shadows);
    }
}

#[test]
fn anybody_may_break_off_at_any_call_of_a_resync() {
    let stage = Stage::with_blank_volumes();
    for who in [Who::Requester, Who::Provider, Who::Coordinator, Who::Array] {
        let cuts = cut_everywhere(Resyncing::default(), &stage, who, |_| true);
        // OnLoad, AreLunsSupported twice, ResyncLuns, and three calls to follow it.
        assert!(cuts >= 28, "{who:?}: {cuts}");
    }
}

/// Between the end of a resync and the last step that makes ordinary disks of its destinations.
#[test]
fn a_coordinator_may_break_off_while_it_settles_a_disk() {
    let stage = Stage::new();
    let is_of_settling = |place: &str| place == "remove flags" || place == "signature";
    let resyncing = Resyncing { has_marks: true, ..Resyncing::default() };
    let cuts = cut_everywhere(resyncing, &stage, Who::Coordinator, is_of_settling);
    assert_eq!(cuts, 12, "both disks may have flags, and one has a signature");
}
