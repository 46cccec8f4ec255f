//! `AbortSnapshots`.

use lunshadow_vss::HResult;

use super::Group;
use crate::finding::{Checked, demand, held};
use crate::lab::{Lab, Stage, need, new_set, serial};

pub(super) const CHECKS: Group = &[
    (113, an_abort_leaves_nothing),
    (114, aborts_can_be_repeated),
    (115, other_sets_are_not_disturbed),
    (116, complete_sets_stay),
    (124, older_sets_are_served),
];

fn an_abort_leaves_nothing(lab: &mut Lab<'_>) -> Checked {
    let sources = lab.sources(2)?;
    for stage in Stage::UNFINISHED {
        let before = lab.ledger()?;
        let set = lab.set_at(stage, &sources)?;
        let answer = lab.provider.abort_snapshots(set);
        demand!(answer.is_ok(), "the abort of a set that was {stage:?} was answered with {answer:?}");
        let after = lab.ledger()?;
        demand!(after == before, "of a set that was aborted when {stage:?} there remains {after:?}");
    }
    held("sets that were preparing, prepared, precommitted and committed left nothing")
}

fn aborts_can_be_repeated(lab: &mut Lab<'_>) -> Checked {
    let sources = lab.sources(1)?;
    let set = lab.set_at(Stage::Prepared, &sources)?;
    need("AbortSnapshots", lab.provider.abort_snapshots(set))?;
    let before = lab.ledger()?;
    for (what, set) in [("a second abort", set), ("an unknown set", new_set())] {
        let answer = lab.provider.abort_snapshots(set);
        demand!(matches!(answer, Ok(()) | Err(HResult::VSS_E_OBJECT_NOT_FOUND)), "{what} was answered with {answer:?}");
    }
    demand!(lab.ledger()? == before, "aborts of sets that do not exist changed the array");
    held("a second abort and one of an unknown set changed nothing")
}

fn other_sets_are_not_disturbed(lab: &mut Lab<'_>) -> Checked {
    let sources = lab.sources(1)?;
    lab.set_at(Stage::PostCommitted, &sources)?;
    let first = lab.set_at(Stage::Prepared, &sources)?;
    let second = lab.set_at(Stage::Prepared, &sources)?;
    let _ = lab.provider.abort_snapshots(first);
    let went = lab.advance(second, Stage::Prepared, Stage::PostCommitted, 1);
    demand!(
        went.is_ok(),
        "the abort of another set ended the current one: {}",
        went.err().map(|it| it.0).unwrap_or_default()
    );
    held("the current set was completed after an abort of the one before")
}

fn complete_sets_stay(lab: &mut Lab<'_>) -> Checked {
    let made = lab.announced(1)?;
    let answer = lab.provider.abort_snapshots(made.set);
    demand!(answer.is_ok(), "the abort of a set that was POSTCOMMITTED was answered with {answer:?}");
    let left = lab.ledger()?.shadows.contains(serial(&made.targets[0]));
    demand!(left, "the abort of a set that was POSTCOMMITTED removed its shadow LUN");
    held("S_OK, and the shadow LUN of the complete set stayed")
}

fn older_sets_are_served(lab: &mut Lab<'_>) -> Checked {
    let old = lab.announced(2)?;
    let target = &old.targets[0];
    let new = lab.set_at(Stage::Prepared, &old.sources)?;
    let located = lab.provider.locate_luns(&old.targets[..1]);
    demand!(located.is_ok(), "LocateLuns of an older set was answered with {located:?} while a new one was prepared");
    let mut seen = target.clone();
    let filled = lab.fill_in(&mut seen);
    demand!(filled == (HResult::S_OK, true), "FillInLunInfo of an older set was answered with {filled:?}");
    lab.advance(new, Stage::Prepared, Stage::Committed, 2)?;
    let deleted = lab.delete(target);
    demand!(deleted.is_ok(), "OnLunEmpty of an older set was answered with {deleted:?} while a new one was committed");
    let went = lab.advance(new, Stage::Committed, Stage::PostCommitted, 2);
    demand!(went.is_ok(), "the new set could not be completed: {}", went.err().map(|it| it.0).unwrap_or_default());
    held("a LUN of an older set was located, recognised and deleted while a new set was created")
}
