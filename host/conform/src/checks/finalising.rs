//! `PreFinalCommitSnapshots`, `PostFinalCommitSnapshots`, `OnLunStateChange` and the reserved methods.

use lunshadow_vss::{HResult, LunInformation, LunStateChange};

use super::Group;
use crate::finding::{Checked, Setback, demand, held};
use crate::lab::{Lab, need, new_set, serial};

pub(super) const CHECKS: Group = &[
    (89, nothing_to_do_is_fine),
    (90, recovery_may_write),
    (91, what_was_recovered_stays),
    (93, vss_may_write_afterwards),
    (94, the_source_is_not_touched),
    (95, masked_luns_live_on),
    (96, notifications_do_nothing),
    (97, flags_come_together),
    (98, reserved_methods_do_nothing),
];

fn nothing_to_do_is_fine(lab: &mut Lab<'_>) -> Checked {
    let made = lab.announced(1)?;
    let answers = [
        ("PreFinalCommitSnapshots", lab.provider.pre_final_commit_snapshots(made.set)),
        ("PostFinalCommitSnapshots", lab.provider.post_final_commit_snapshots(made.set)),
        ("PreFinalCommitSnapshots of an unknown set", lab.provider.pre_final_commit_snapshots(new_set())),
    ];
    for (what, answer) in answers {
        demand!(answer.is_ok(), "{what} answered {answer:?}");
    }
    held("S_OK from both, and for a set that the provider does not know")
}

/// Writes to all of the scratch area of a LUN that is in recovery.
fn write_much(lab: &Lab<'_>, lun: &LunInformation, value: u8) -> Result<(), Setback> {
    let (at, len) = lab.host.scratch();
    let disk = lab.disk(lun)?;
    let bytes = vec![value; usize::try_from(len).unwrap_or(1 << 20)];
    let written = disk.write_at(at, &bytes).and_then(|()| disk.flush());
    written.map_err(|error| Setback(format!("the shadow LUN refuses writes: {error}")))
}

fn has_much(lab: &Lab<'_>, lun: &LunInformation, value: u8) -> Result<bool, Setback> {
    let (at, len) = lab.host.scratch();
    let mut found = vec![0; usize::try_from(len).unwrap_or(1 << 20)];
    let read = lab.disk(lun)?.read_at(at, &mut found);
    read.map_err(|error| Setback(format!("the shadow LUN cannot be read: {error}")))?;
    Ok(found.iter().all(|byte| *byte == value))
}

fn recovery_may_write(lab: &mut Lab<'_>) -> Checked {
    let made = lab.in_recovery(1)?;
    let target = &made.targets[0];
    lab.disk(target)?;
    let written = write_much(lab, target, 0x5a);
    demand!(written.is_ok(), "between PreFinal and PostFinal: {}", written.err().map(|it| it.0).unwrap_or_default());
    need("PostFinalCommitSnapshots", lab.provider.post_final_commit_snapshots(made.set))?;
    if !lab.sees(target)? {
        return Err(Setback("the shadow LUN went away with PostFinalCommitSnapshots".to_owned()));
    }
    demand!(has_much(lab, target, 0x5a)?, "what was written during recovery is not there after PostFinal");
    held(format!("{} MiB were written during recovery, and there afterwards", lab.host.scratch().1 >> 20))
}

fn what_was_recovered_stays(lab: &mut Lab<'_>) -> Checked {
    let made = lab.in_recovery(1)?;
    let target = &made.targets[0];
    lab.mark(target, 0, "recovered")?;
    need("PostFinalCommitSnapshots", lab.provider.post_final_commit_snapshots(made.set))?;
    lab.mask(&made.targets)?;
    lab.locate(&made.targets)?;
    demand!(lab.has_mark(target, 0, "recovered")?, "what was recovered is gone after a mask and LocateLuns");
    let resync = need("ResyncLuns", lab.provider.resync_luns(&made.targets, &made.sources))?;
    resync.wait(None);
    demand!(lab.has_mark(&made.sources[0], 0, "recovered")?, "what was recovered did not come with a resync");
    if lab.bed.importer().is_none() {
        return held("what was recovered was there after a mask and in a resync; there is no second host to look on");
    }
    lab.mask(&made.targets)?;
    let importer = lab.importer()?;
    importer.locate(&made.targets)?;
    demand!(importer.has_mark(target, 0, "recovered")?, "what was recovered is not there on another host");
    held("what was recovered was there after a mask, in a resync, and on another host")
}

fn vss_may_write_afterwards(lab: &mut Lab<'_>) -> Checked {
    let made = lab.in_recovery(1)?;
    let target = &made.targets[0];
    lab.disk(target)?;
    need("PostFinalCommitSnapshots", lab.provider.post_final_commit_snapshots(made.set))?;
    let written = lab.mark(target, 0, "metadata").and_then(|()| lab.has_mark(target, 0, "metadata"));
    demand!(written == Ok(true), "after PostFinalCommitSnapshots the shadow LUN cannot be written: {written:?}");
    held("the shadow LUN took a write after PostFinalCommitSnapshots")
}

fn the_source_is_not_touched(lab: &mut Lab<'_>) -> Checked {
    let sources = lab.sources(1)?;
    lab.mark(&sources[0], 0, "source")?;
    let made = lab.in_recovery(1)?;
    lab.mark(&made.targets[0], 0, "shadow")?;
    demand!(lab.has_mark(&sources[0], 0, "source")?, "a write to the shadow LUN changed the source");
    need("PostFinalCommitSnapshots", lab.provider.post_final_commit_snapshots(made.set))?;
    demand!(lab.has_mark(&sources[0], 0, "source")?, "PostFinalCommitSnapshots changed the source");
    held("the source kept its content while its shadow LUN was written")
}

fn masked_luns_live_on(lab: &mut Lab<'_>) -> Checked {
    let made = lab.announced(1)?;
    let target = &made.targets[0];
    lab.locate(&made.targets)?;
    lab.disk(target)?;
    let before = lab.ledger()?.shadows;
    lab.mask(&made.targets)?;
    demand!(!lab.sees(target)?, "the host still sees the LUN after DO_MASK_LUNS");
    demand!(lab.ledger()?.shadows == before, "a mask changed which shadow LUNs exist");
    let again = lab.provider.locate_luns(&made.targets);
    demand!(again.is_ok(), "a masked LUN cannot be located: {again:?}");
    held("the masked LUN was not seen any more, existed, and was located again")
}

fn notifications_do_nothing(lab: &mut Lab<'_>) -> Checked {
    let made = lab.announced(1)?;
    lab.locate(&made.targets)?;
    let before = lab.ledger()?;
    for change in [
        LunStateChange::NOTIFY_LUN_PRE_RECOVERY,
        LunStateChange::NOTIFY_LUN_POST_RECOVERY,
        LunStateChange::NOTIFY_READ_WRITE,
    ] {
        let answer = lab.provider.on_lun_state_change(&made.targets, &made.sources, change);
        demand!(answer.is_ok(), "{change:?} was answered with {answer:?}");
        let after = lab.ledger()?;
        demand!(after.mapped == before.mapped, "{change:?} changed what is mapped");
        demand!(after.shadows == before.shadows, "{change:?} changed which shadow LUNs exist");
    }
    held("three notifications succeeded and changed neither LUNs nor mappings")
}

fn flags_come_together(lab: &mut Lab<'_>) -> Checked {
    let made = lab.announced(1)?;
    lab.locate(&made.targets)?;
    if !lab.ledger()?.mapped.contains(serial(&made.targets[0])) {
        return Err(Setback("LocateLuns did not map the LUN that was to be masked".to_owned()));
    }
    let calls = [
        ("mask and read-write", LunStateChange::DO_MASK_LUNS | LunStateChange::NOTIFY_READ_WRITE, true),
        ("the same again", LunStateChange::DO_MASK_LUNS | LunStateChange::NOTIFY_READ_WRITE, true),
        ("an unknown bit", LunStateChange::from_bits_retain(0x4000_0000), true),
        ("no original LUNs", LunStateChange::DO_MASK_LUNS, false),
    ];
    for (what, change, with_originals) in calls {
        let originals = if with_originals { &made.sources[..] } else { &[] };
        let answer = lab.provider.on_lun_state_change(&made.targets, originals, change);
        demand!(answer.is_ok(), "{what} was answered with {answer:?}");
        let is_mapped = lab.ledger()?.mapped.contains(serial(&made.targets[0]));
        demand!(!is_mapped, "with {what} the LUN is still mapped");
    }
    held("0x900 masked, also twice; an unknown bit and missing originals were accepted")
}

fn reserved_methods_do_nothing(lab: &mut Lab<'_>) -> Checked {
    let made = lab.announced(1)?;
    let before = lab.ledger()?;
    let capabilities = lab.provider.get_provider_capabilities().map(drop);
    let reuse = lab.provider.on_reuse_luns(&made.targets, &made.sources);
    for (what, answer) in [("GetProviderCapabilities", capabilities), ("OnReuseLuns", reuse)] {
        demand!(matches!(answer, Ok(()) | Err(HResult::E_NOTIMPL)), "{what} answered {answer:?}");
    }
    let after = lab.ledger()?;
    demand!(after == before, "the reserved methods changed the array from {before:?} to {after:?}");
    held("GetProviderCapabilities and OnReuseLuns answered without any effect")
}
