//! `LocateLuns`, on this host and on another one.

use lunshadow_vss::{Context, HResult, LunInformation};

use super::Group;
use crate::finding::{Checked, Setback, demand, held};
use crate::lab::{Lab, need, serial};

pub(super) const CHECKS: Group = &[
    (67, located_luns_are_there),
    (69, located_luns_take_writes),
    (70, repetitions_are_fine),
    (71, a_fresh_process_elsewhere_locates),
    (72, an_unknown_lun_undoes_the_call),
    (79, imports_survive_a_restart),
    (80, imports_can_be_repeated),
    (126, what_is_written_here_arrives_there),
];

fn located_luns_are_there(lab: &mut Lab<'_>) -> Checked {
    let made = lab.announced(2)?;
    lab.locate(&made.targets)?;
    for target in &made.targets {
        demand!(lab.sees(target)?, "the host does not see {} after LocateLuns", serial(target));
    }
    held("the host saw both shadow LUNs when LocateLuns had returned")
}

fn located_luns_take_writes(lab: &mut Lab<'_>) -> Checked {
    let made = lab.announced(1)?;
    lab.locate(&made.targets)?;
    let target = &made.targets[0];
    lab.disk(target)?;
    let written = lab.mark(target, 0, "signature").and_then(|()| lab.has_mark(target, 0, "signature"));
    demand!(written == Ok(true), "the located LUN cannot be written: {written:?}");
    held("the located LUN took a write and gave it back")
}

fn repetitions_are_fine(lab: &mut Lab<'_>) -> Checked {
    let made = lab.announced(2)?;
    let twice: Vec<LunInformation> = made.targets.iter().chain(&made.targets).cloned().collect();
    let doubled = lab.provider.locate_luns(&twice);
    demand!(doubled.is_ok(), "an array in which each LUN stands twice was answered with {doubled:?}");
    let again = lab.provider.locate_luns(&made.targets);
    demand!(again.is_ok(), "LUNs that are located already were answered with {again:?}");
    held("each LUN twice in one call, and a second call, were answered with S_OK")
}

fn a_fresh_process_elsewhere_locates(lab: &mut Lab<'_>) -> Checked {
    let made = lab.announced_in(Context::TRANSPORTABLE, 2)?;
    let importer = lab.importer()?;
    let located = importer.provider.locate_luns(&made.targets);
    demand!(located.is_ok(), "on another host LocateLuns answered {located:?}");
    for target in &made.targets {
        demand!(importer.sees(target)?, "the other host does not see {}", serial(target));
    }
    held("a process that was started on another host located both LUNs, which arrived there")
}

fn an_unknown_lun_undoes_the_call(lab: &mut Lab<'_>) -> Checked {
    let made = lab.announced(2)?;
    let (known, gone) = (&made.targets[0], &made.targets[1]);
    need("OnLunEmpty", lab.delete(gone))?;
    if lab.ledger()?.shadows.contains(serial(gone)) {
        return Err(Setback("OnLunEmpty did not delete the shadow LUN that was to be unknown".to_owned()));
    }
    let before = lab.ledger()?.mapped;
    let answer = lab.provider.locate_luns(&[known.clone(), gone.clone()]);
    demand!(answer == Err(HResult::VSS_E_PROVIDER_VETO), "a shadow LUN that is gone was answered with {answer:?}");
    let after = lab.ledger()?.mapped;
    demand!(after == before, "the call failed, but {} stayed mapped", serial(known));
    held("a LUN that is gone was vetoed, and the other one of the call was not left mapped")
}

fn imports_survive_a_restart(lab: &mut Lab<'_>) -> Checked {
    let made = lab.announced(1)?;
    let target = made.targets[0].clone();
    lab.restart()?;
    let located = lab.provider.locate_luns(&made.targets);
    demand!(located.is_ok(), "a process that was started after the creation answered LocateLuns with {located:?}");
    let mut seen = lab.host.seen(&target)?.ok_or_else(|| Setback("it did not arrive".to_owned()))?;
    let (code, is_ours) = lab.fill_in(&mut seen);
    demand!(is_ours && code == HResult::S_OK, "after a restart FillInLunInfo answered {code}, {is_ours}");
    demand!(seen.matches_strictly(&target), "announced was {target:?}, after a restart it is {seen:?}");
    held("a restarted process located the LUN and gave the announced identity; nothing else was changed in between")
}

fn imports_can_be_repeated(lab: &mut Lab<'_>) -> Checked {
    let made = lab.announced(1)?;
    lab.locate(&made.targets)?;
    lab.mask(&made.targets)?;
    let again = lab.provider.locate_luns(&made.targets);
    demand!(again.is_ok(), "after a mask LocateLuns answered {again:?}");
    demand!(lab.sees(&made.targets[0])?, "after a mask and LocateLuns the host does not see the LUN");
    held("a LUN was located, masked and located again")
}

fn what_is_written_here_arrives_there(lab: &mut Lab<'_>) -> Checked {
    let made = lab.announced_in(Context::TRANSPORTABLE, 1)?;
    let target = &made.targets[0];
    lab.locate(&made.targets)?;
    lab.mark(target, 0, "written on the creating host")?;
    lab.mask(&made.targets)?;
    let importer = lab.importer()?;
    importer.locate(&made.targets)?;
    let mut seen = importer.host.seen(target)?.ok_or_else(|| Setback("it did not arrive".to_owned()))?;
    demand!(
        importer.has_mark(target, 0, "written on the creating host")?,
        "what was written on the creating host is not there on the importing one"
    );
    let (code, is_ours) = importer.fill_in(&mut seen);
    demand!(
        is_ours && seen.matches_strictly(target),
        "on the importing host FillInLunInfo answered {code}, {is_ours}, with {seen:?}"
    );
    held("what was written before the mask was there on another host, under the same identity")
}
