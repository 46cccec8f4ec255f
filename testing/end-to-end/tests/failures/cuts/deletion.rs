//! Deletions of a set, by the host that has imported it: section 4(e) of the contract.

use lunshadow_coordinator::{Deletion, Requester};
use lunshadow_vss::HResult;

use super::cutter::Who;
use super::sequence::{Sequence, Subject, cut_everywhere};
use super::stage::{Boot, Side, Stage};

struct Deleting;

impl Sequence for Deleting {
    fn side(&self) -> Side {
        Side::Backup
    }

    fn begin(&mut self, stage: &Stage) -> Subject {
        let mut subject = stage.transportable_set();
        stage.import(self.side(), &mut subject);
        subject
    }

    fn operate(subject: &Subject, requester: &Requester) -> Result<(), HResult> {
        requester.delete_snapshots(Deletion::Set(subject.document.set)).map(drop).map_err(|failure| failure.code())
    }

    fn is_done(code: HResult) -> bool {
        code == HResult::VSS_E_OBJECT_NOT_FOUND
    }

    /// Each LUN is there and seen by the host, or is neither.
    fn check_half_way(&self, stage: &Stage, subject: &Subject, place: &str) {
        stage.rig.assert_sources_are_free(place);
        let there = stage.those_of(subject, stage.rig.shadows());
        assert_eq!(stage.those_of(subject, stage.mapped(Side::Backup)), there, "{place}: a LUN is half deleted");
    }

    fn clean_up(&self, stage: &Stage, boot: &Boot, subject: &Subject, place: &str) {
        assert_eq!(stage.those_of(subject, stage.rig.shadows()), [], "{place}: shadow LUNs are left");
        assert_eq!(stage.those_of(subject, stage.mapped(Side::Backup)), [], "{place}: mappings are left");
        assert!(boot.coordinator.query().is_empty(), "{place}: a copy is left that is not there");
    }
}

#[test]
fn anybody_may_break_off_at_any_call_of_a_deletion() {
    let stage = Stage::with_blank_volumes();
    for who in [Who::Requester, Who::Provider, Who::Coordinator, Who::Array] {
        let cuts = cut_everywhere(Deleting, &stage, who, |_| true);
        // For each LUN there are FillInLunInfo and OnLunEmpty.
        assert!(cuts >= 16, "{who:?}: {cuts}");
    }
}
