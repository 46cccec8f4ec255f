//! `OnLoad`, `OnUnload`, and processes that end.

use lunshadow_vss::HResult;

use super::Group;
use crate::bed::Condition;
use crate::finding::{Checked, Finding, Setback, demand, held};
use crate::lab::{Lab, Made, Stage, need, serial};

pub(super) const CHECKS: Group = &[
    (117, a_forced_unload_is_obeyed),
    (118, a_busy_provider_asks_to_stay),
    (119, loading_wears_nothing_out),
    (120, a_process_may_end_at_any_call),
    (122, loading_is_optional),
];

fn a_forced_unload_is_obeyed(lab: &mut Lab<'_>) -> Checked {
    let sources = lab.sources(1)?;
    for stage in Stage::UNFINISHED {
        let before = lab.ledger()?;
        lab.set_at(stage, &sources)?;
        let answer = lab.provider.on_unload(true);
        demand!(answer.is_ok(), "OnUnload(TRUE) with a set that was {stage:?} was answered with {answer:?}");
        let after = lab.ledger()?;
        demand!(after == before, "of a set that was {stage:?} there remains {after:?} after OnUnload(TRUE)");
        lab.restart()?;
    }
    held("S_OK, and unfinished sets left nothing")
}

fn a_busy_provider_asks_to_stay(lab: &mut Lab<'_>) -> Checked {
    let idle = lab.provider.on_unload(false);
    demand!(idle.is_ok(), "an idle provider answered OnUnload(FALSE) with {idle:?}");
    let made = lab.announced(1)?;
    let _while = lab.while_array(Condition::Resyncing)?;
    let resync = need("ResyncLuns", lab.provider.resync_luns(&made.targets, &made.sources))?;
    let busy = lab.provider.on_unload(false);
    resync.cancel();
    demand!(busy == Err(HResult::S_FALSE), "while a resync ran OnUnload(FALSE) was answered with {busy:?}");
    held("S_OK when idle, S_FALSE while a resync ran")
}

fn loading_wears_nothing_out(lab: &mut Lab<'_>) -> Checked {
    const CYCLES: usize = 100;
    lab.announced(1)?;
    let before = lab.ledger()?;
    for cycle in 1..=CYCLES {
        let (loaded, unloaded) = (lab.provider.on_load(), lab.provider.on_unload(false));
        demand!(loaded.is_ok() && unloaded.is_ok(), "cycle {cycle}: OnLoad {loaded:?}, OnUnload {unloaded:?}");
    }
    demand!(lab.ledger()? == before, "{CYCLES} cycles changed the array");
    need("OnLoad", lab.provider.on_load())?;
    let made = lab.announced(1);
    demand!(made.is_ok(), "after {CYCLES} cycles a creation fails: {}", made.err().map(|it| it.0).unwrap_or_default());
    held(format!("{CYCLES} cycles left the array as it was, and a set was created afterwards"))
}

fn a_process_may_end_at_any_call(lab: &mut Lab<'_>) -> Checked {
    let sources = lab.sources(1)?;
    let kept = lab.announced(1)?;
    for stage in [Stage::Preparing, Stage::Prepared, Stage::Committed] {
        if let Some(harm) = harm_by_the_end_of(lab, stage, &kept)? {
            return Ok(Finding::Broken(harm));
        }
        let next = lab.set_at(Stage::PostCommitted, &sources);
        demand!(
            next.is_ok(),
            "after a process that ended when {stage:?}: {}",
            next.err().map(|it| it.0).unwrap_or_default()
        );
    }
    lab.restart()?;
    let located = lab.provider.locate_luns(&kept.targets);
    demand!(located.is_ok(), "a copy of an earlier process cannot be imported: {located:?}");
    // Until its deadline the commit of a dead process may still come, and an array may let everything else wait for it; so this is the last.
    if let Some(harm) = harm_by_the_end_of(lab, Stage::Precommitted, &kept)? {
        return Ok(Finding::Broken(harm));
    }
    held("processes that ended at four points harmed no source; older copies were imported, new sets created")
}

/// Ends the process when a set of the first source is at `stage`. Answers with what was harmed.
fn harm_by_the_end_of(lab: &mut Lab<'_>, stage: Stage, kept: &Made) -> Result<Option<String>, Setback> {
    let source = &kept.sources[0];
    lab.mark(source, 0, "in use")?;
    lab.set_at(stage, std::slice::from_ref(source))?;
    lab.restart()?;
    if !lab.has_mark(source, 0, "in use")? {
        return Ok(Some(format!("a process that ended when {stage:?} harmed the source")));
    }
    let is_listed = lab.ledger()?.shadows.contains(serial(&kept.targets[0]));
    Ok((!is_listed).then(|| format!("a process that ended when {stage:?} took an older shadow LUN with it")))
}

fn loading_is_optional(lab: &mut Lab<'_>) -> Checked {
    lab.created(1)?;
    let fresh = lab.start(&lab.host)?;
    let loaded = std::mem::replace(&mut lab.provider, fresh);
    let made = lab.created(1);
    demand!(made.is_ok(), "without OnLoad a creation fails: {}", made.err().map(|it| it.0).unwrap_or_default());
    drop(loaded);
    held("a set was created and imported without OnLoad")
}
