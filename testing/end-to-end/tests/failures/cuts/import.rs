//! Imports of a transportable set by its document, beside its originals and on another host: section 4(c) of the contract.

use lunshadow_catalog::SetState;
use lunshadow_coordinator::{Deletion, Requester};
use lunshadow_vss::HResult;

use super::cutter::Who;
use super::sequence::{Sequence, Subject, cut_everywhere};
use super::stage::{Boot, Side, Stage};

struct Importing(Side);

impl Sequence for Importing {
    fn side(&self) -> Side {
        self.0
    }

    fn begin(&mut self, stage: &Stage) -> Subject {
        stage.transportable_set()
    }

    fn operate(subject: &Subject, requester: &Requester) -> Result<(), HResult> {
        requester.load_document(subject.document.clone());
        let imported = requester.import_snapshots().map_err(|error| error.code())?;
        if imported.missing.is_empty() { Ok(()) } else { Err(imported.code()) }
    }

    fn is_done(code: HResult) -> bool {
        code == HResult::VSS_E_OBJECT_ALREADY_EXISTS
    }

    /// The shadow LUNs are there, and the importing host sees all of them or none.
    fn check_half_way(&self, stage: &Stage, subject: &Subject, place: &str) {
        stage.rig.assert_sources_are_free(place);
        assert_eq!(stage.rig.set_state(subject.document.set), Some(SetState::Kept), "{place}");
        assert_eq!(stage.those_of(subject, stage.rig.shadows()).len(), 2, "{place}: shadow LUNs are gone");
        for side in [Side::Production, Side::Backup] {
            let mapped = stage.those_of(subject, stage.mapped(side)).len();
            assert!(mapped == 0 || mapped == 2 && side == self.0, "{place}: {side:?} sees {mapped} shadow LUNs");
        }
    }

    /// What was imported can be deleted, and nothing is left of it.
    fn clean_up(&self, stage: &Stage, boot: &Boot, subject: &Subject, place: &str) {
        let deleted = boot.coordinator.requester().delete_snapshots(Deletion::Set(subject.document.set));
        assert_eq!(deleted.unwrap_or_else(|failure| panic!("{place}: {failure}")), 2, "{place}");
        assert_eq!(stage.those_of(subject, stage.rig.shadows()), [], "{place}: shadow LUNs are left");
    }
}

fn cut_imports_on(side: Side, cuts_at_least: usize) {
    let stage = Stage::with_blank_volumes();
    for who in [Who::Requester, Who::Provider, Who::Coordinator, Who::Array] {
        let cuts = cut_everywhere(Importing(side), &stage, who, |_| true);
        assert!(cuts >= cuts_at_least, "{who:?}: {cuts}");
    }
}

/// OnLoad, LocateLuns, and FillInLunInfo for each disk.
#[test]
fn anybody_may_break_off_at_any_call_of_an_import_beside_the_originals() {
    cut_imports_on(Side::Production, 24);
}

#[test]
fn anybody_may_break_off_at_any_call_of_an_import_on_another_host() {
    cut_imports_on(Side::Backup, 16);
}

#[test]
fn a_coordinator_may_break_off_while_it_tells_copies_from_their_originals() {
    let stage = Stage::new();
    let cuts = cut_everywhere(Importing(Side::Production), &stage, Who::Coordinator, |place| place == "new identity");
    assert_eq!(cuts, 4, "one disk has an identity that could be another's");
}
