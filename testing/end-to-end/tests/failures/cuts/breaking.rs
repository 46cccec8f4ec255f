//! Breaks of an imported set: section 4(f) of the contract.

use lunshadow_catalog::LunDeletion;
use lunshadow_control::LunId;
use lunshadow_coordinator::{Platform as _, Requester};
use lunshadow_provider::EventId;
use lunshadow_vss::{BreakOptions, HResult};

use super::cutter::{Cut, Who};
use super::sequence::{Sequence, Subject, cut_everywhere};
use super::stage::{Boot, Side, Stage};

/// On a host that does not have the originals. What it imports has an identity of its own, since another copy of the same LUN is there.
struct Breaking {
    options: BreakOptions,
    other: Subject,
}

impl Breaking {
    fn new(stage: &Stage, options: BreakOptions) -> Self {
        let mut other = stage.transportable_set();
        stage.import(Side::Backup, &mut other);
        Self { options, other }
    }
}

/// What tells a disk from others: the sectors of its partition table.
fn table(stage: &Stage, lun: LunId) -> Vec<u8> {
    stage.content(lun)[..34 * 512].to_vec()
}

impl Sequence for Breaking {
    fn side(&self) -> Side {
        Side::Backup
    }

    fn begin(&mut self, stage: &Stage) -> Subject {
        let mut subject = stage.transportable_set();
        stage.import(Side::Backup, &mut subject);
        subject.options = self.options;
        subject
    }

    fn operate(subject: &Subject, requester: &Requester) -> Result<(), HResult> {
        requester.break_set(subject.document.set, subject.options).map_err(|error| error.code())
    }

    fn is_done(code: HResult) -> bool {
        code == HResult::VSS_E_OBJECT_NOT_FOUND
    }

    /// The LUNs are there, and the host sees all of them or none.
    fn check_half_way(&self, stage: &Stage, subject: &Subject, place: &str) {
        let luns = stage.rig.array.catalog().luns();
        assert!(subject.shadows.iter().all(|shadow| luns.iter().any(|lun| lun.lun == *shadow)), "{place}");
        let mapped = stage.those_of(subject, stage.mapped(Side::Backup)).len();
        let is_masked = self.options.contains(BreakOptions::MASK_LUNS) && mapped == 0;
        assert!(is_masked || mapped == 2, "{place}: the host sees {mapped} of the LUNs");
    }

    fn check(&self, stage: &Stage, _boot: &Boot, subject: &Subject, place: &str) {
        if self.options.contains(BreakOptions::REVERT_IDENTITY_ALL) {
            // The first disk is the one that has a table.
            let (now, original) = (table(stage, subject.shadows[0]), table(stage, self.other.shadows[0]));
            assert!(now == original, "{place}: the disk is not as its original was");
        }
    }

    fn clean_up(&self, stage: &Stage, _boot: &Boot, subject: &Subject, _place: &str) {
        let catalog = stage.rig.array.catalog();
        for shadow in &subject.shadows {
            if catalog.luns().iter().any(|lun| lun.lun == *shadow && lun.name.is_some()) {
                let deletion = LunDeletion { unmap: true, keep_shadows: true };
                stage.rig.runtime.block_on(catalog.delete_lun(*shadow, deletion)).unwrap();
            } else {
                stage.rig.delete_as_administrator(&[*shadow]);
            }
        }
    }
}

fn cut_breaks(options: BreakOptions, who: Who, stage: &Stage, is_wanted: impl Fn(&str) -> bool) -> usize {
    let breaking = Breaking::new(stage, options);
    let other = breaking.other.shadows.clone();
    let cuts = cut_everywhere(breaking, stage, who, is_wanted);
    stage.rig.delete_as_administrator(&other);
    stage.host(Side::Backup).0.rescan().unwrap();
    cuts
}

#[test]
fn anybody_may_break_off_at_any_call_of_a_break() {
    let stage = Stage::with_blank_volumes();
    for who in [Who::Requester, Who::Provider, Who::Coordinator, Who::Array] {
        let cuts = cut_breaks(BreakOptions::MASK_LUNS, who, &stage, |_| true);
        assert!(cuts >= 4, "{who:?}: {cuts}");
    }
    for who in [Who::Requester, Who::Provider, Who::Coordinator] {
        let cuts = cut_breaks(BreakOptions::MAKE_READ_WRITE, who, &stage, |_| true);
        assert!(cuts >= 4, "{who:?}: {cuts}");
    }
}

/// That LUNs are read-write is the array's own good to know and fails no break (P-96). So nobody repeats it, and the log tells an
/// administrator what to do.
#[test]
fn an_array_that_is_not_told_of_a_break_keeps_the_shadow_luns_until_they_are_detached() {
    let stage = Stage::with_blank_volumes();
    let subject = Breaking::new(&stage, BreakOptions::MAKE_READ_WRITE).begin(&stage);
    let boot = stage.boot(Side::Backup, subject.known.clone());
    let (set, options) = (subject.document.set, subject.options);
    let cut = Cut { who: Who::Array, call: 0, is_after: false };
    let attempt =
        stage.attempt(&boot, Some(cut), boot.coordinator.requester(), move |it| it.break_set(set, options).is_ok());
    assert!(matches!(attempt.answer, Some((_, true))));
    assert!(stage.rig.events.has(EventId::UseNotNoted));
    let catalog = stage.rig.array.catalog();
    for shadow in subject.shadows {
        let is_shadow = || catalog.luns().iter().any(|lun| lun.lun == shadow && lun.name.is_none());
        assert!(is_shadow());
        stage.rig.runtime.block_on(catalog.detach(shadow)).unwrap();
        assert!(!is_shadow());
    }
}

#[test]
fn a_coordinator_may_break_off_while_it_reverts_identities() {
    let stage = Stage::new();
    let options = BreakOptions::REVERT_IDENTITY_ALL | BreakOptions::MASK_LUNS;
    let cuts = cut_breaks(options, Who::Coordinator, &stage, |place| place == "identity");
    assert_eq!(cuts, 8, "for both disks");
}

#[test]
fn a_provider_may_break_off_when_identities_are_reverted() {
    let stage = Stage::new();
    for also in [BreakOptions::MAKE_READ_WRITE, BreakOptions::MASK_LUNS] {
        let cuts = cut_breaks(BreakOptions::REVERT_IDENTITY_ALL | also, Who::Provider, &stage, |_| true);
        assert_eq!(cuts, 4, "{also:?}");
    }
}

/// VSS says in one call that the LUNs are read-write, and has them masked by the next.
#[test]
fn what_is_made_read_write_is_masked_all_the_same() {
    let stage = Stage::with_blank_volumes();
    let options = BreakOptions::MAKE_READ_WRITE | BreakOptions::MASK_LUNS;
    let subject = Breaking::new(&stage, options).begin(&stage);
    let boot = stage.boot(Side::Backup, subject.known.clone());
    boot.coordinator.requester().break_set(subject.document.set, options).unwrap();
    assert!(stage.those_of(&subject, stage.mapped(Side::Backup)).is_empty());
    let catalog = stage.rig.array.catalog();
    assert!(subject.shadows.iter().all(|shadow| catalog.luns().iter().any(|lun| lun.lun == *shadow)));
}
