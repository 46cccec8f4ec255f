//! `BeginPrepareSnapshot`, and the codes of `EndPrepareSnapshots`.

use std::time::Duration;

use lunshadow_vss::{Context, HResult, LunInformation, Method};

use super::Group;
use crate::bed::Condition;
use crate::finding::{Checked, Setback, demand, held};
use crate::lab::{Lab, Stage, foreign, need, new_set};

pub(super) const CHECKS: Group = &[
    (37, beginning_is_quick),
    (39, shared_luns_are_copied_once),
    (40, a_new_set_ends_the_old_one),
    (41, one_volume_fails_alone),
    (42, an_unknown_set_is_not_prepared),
    (43, a_shortage_is_told),
    (45, sets_of_64_volumes),
    (46, nothing_is_captured_early),
    (47, refusals_have_their_codes),
];

/// How long `BeginPrepareSnapshot` may take.
const QUICK: Duration = Duration::from_secs(1);

fn beginning_is_quick(lab: &mut Lab<'_>) -> Checked {
    let luns = lab.sources(1)?;
    // An array whose preparations never end, where the bed has one, so that waiting for them is seen.
    let _while = lab.while_array(Condition::Preparing).ok();
    need("BeginPrepareSnapshot", lab.begin(new_set(), &luns))?;
    let took_us = lab.recorder.sequence().longest_us(Method::BeginPrepareSnapshot);
    demand!(u128::from(took_us) < QUICK.as_micros(), "it took {} ms", took_us / 1000);
    held(format!("it took {took_us} µs"))
}

fn shared_luns_are_copied_once(lab: &mut Lab<'_>) -> Checked {
    let luns = lab.sources(1)?;
    let before = lab.ledger()?.shadows.len();
    let set = new_set();
    need("BeginPrepareSnapshot", lab.begin(set, &luns))?;
    let second = lab.begin(set, &luns);
    demand!(second.is_ok(), "a second volume on the same LUN was answered with {second:?}");
    lab.advance(set, Stage::Preparing, Stage::PostCommitted, 2)?;
    let made = lab.ledger()?.shadows.len() - before;
    demand!(made == 1, "two volumes on one LUN have {made} shadow LUNs");
    held("two volumes on one LUN have one shadow LUN")
}

fn a_new_set_ends_the_old_one(lab: &mut Lab<'_>) -> Checked {
    let sources = lab.sources(1)?;
    for stage in Stage::UNFINISHED {
        let before = lab.ledger()?;
        lab.set_at(stage, &sources)?;
        let next = new_set();
        let begun = lab.begin(next, &sources);
        demand!(begun.is_ok(), "a new set after one that was {stage:?} was answered with {begun:?}");
        need("AbortSnapshots", lab.provider.abort_snapshots(next))?;
        let after = lab.ledger()?;
        demand!(after == before, "of a set that was {stage:?} there remains {after:?}; before there was {before:?}");
    }
    lab.announced(1)?;
    let kept = lab.ledger()?.shadows;
    let begun = lab.begin(new_set(), &sources);
    demand!(begun.is_ok(), "a new set after a complete one was answered with {begun:?}");
    let left = lab.ledger()?.shadows;
    demand!(kept.is_subset(&left), "a new set removed a shadow LUN of a set that was POSTCOMMITTED");
    held("sets up to COMMITTED gave way to a new one without a trace, one that was POSTCOMMITTED stayed")
}

fn one_volume_fails_alone(lab: &mut Lab<'_>) -> Checked {
    let sources = lab.sources(2)?;
    lab.set_at(Stage::Committed, &sources)?;
    let set = new_set();
    need("BeginPrepareSnapshot", lab.begin(set, &sources[..1]))?;
    demand!(lab.begin(set, &[foreign(1)]).is_err(), "a foreign LUN was taken into a set");
    let third = lab.begin(set, &sources[1..]);
    demand!(third.is_ok(), "after a volume that failed the next one was answered with {third:?}");
    let went = lab.advance(set, Stage::Preparing, Stage::Committed, 2);
    demand!(went.is_ok(), "the volumes that did not fail cannot be completed: {went:?}");
    held("a foreign volume failed, and the two others of the set were committed")
}

fn an_unknown_set_is_not_prepared(lab: &mut Lab<'_>) -> Checked {
    let answer = lab.provider.end_prepare_snapshots(new_set());
    demand!(answer == Err(HResult::VSS_E_OBJECT_NOT_FOUND), "an unknown set was answered with {answer:?}");
    held("VSS_E_OBJECT_NOT_FOUND for an unknown set")
}

fn a_shortage_is_told(lab: &mut Lab<'_>) -> Checked {
    let set = lab.set_at(Stage::Preparing, &lab.sources(1)?)?;
    let _while = lab.while_array(Condition::Full)?;
    let answer = lab.provider.end_prepare_snapshots(set);
    demand!(answer == Err(HResult::VSS_E_INSUFFICIENT_STORAGE), "an array without room was answered with {answer:?}");
    held("VSS_E_INSUFFICIENT_STORAGE while the array had no room")
}

fn sets_of_64_volumes(lab: &mut Lab<'_>) -> Checked {
    const VOLUMES: usize = 64;
    // Where no host has as many LUNs, all volumes are on one.
    let crowded = lab.bed.crowded_host().map(|host| lab.moved_to(host)).transpose()?;
    let lab = crowded.as_ref().unwrap_or(lab);
    let sources = lab.host.sources()?;
    let set = new_set();
    let luns = sources.chunks(1).cycle().take(VOLUMES);
    for (volume, lun) in (1..).zip(luns) {
        match lab.begin(set, lun) {
            Ok(()) => {}
            Err(HResult::VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED) if volume > 1 => {
                return held(format!("a limit of {} volumes is told as what it is", volume - 1));
            }
            Err(code) if volume == 1 => return Err(Setback(format!("the first volume was answered with {code}"))),
            Err(code) => demand!(false, "volume {volume} of a set was answered with {code}"),
        }
    }
    lab.advance(set, Stage::Preparing, Stage::Committed, VOLUMES)?;
    held(format!("a set of {VOLUMES} volumes was committed"))
}

fn nothing_is_captured_early(lab: &mut Lab<'_>) -> Checked {
    let sources = lab.sources(1)?;
    let set = lab.set_at(Stage::Prepared, &sources)?;
    lab.mark(&sources[0], 0, "between")?;
    lab.advance(set, Stage::Prepared, Stage::PostCommitted, 1)?;
    let targets = lab.targets(&sources)?;
    lab.locate(&targets)?;
    demand!(
        lab.has_mark(&targets[0], 0, "between")?,
        "what was written between EndPrepareSnapshots and CommitSnapshots is not on the shadow LUN"
    );
    held("what was written between EndPrepareSnapshots and CommitSnapshots is on the shadow LUN")
}

fn refusals_have_their_codes(lab: &mut Lab<'_>) -> Checked {
    let sources = lab.sources(1)?;
    let cases: [(&str, Context, &[LunInformation], HResult); 3] = [
        ("a foreign LUN", Context::CTX_BACKUP, &[foreign(1)], HResult::VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER),
        ("CLIENT_ACCESSIBLE", Context::CTX_CLIENT_ACCESSIBLE, &sources, HResult::VSS_E_UNSUPPORTED_CONTEXT),
        ("FILE_SHARE", Context::FILE_SHARE, &sources, HResult::VSS_E_UNSUPPORTED_CONTEXT),
    ];
    for (what, context, luns, code) in cases {
        let answer = lab.begin_in(context, new_set(), luns);
        demand!(answer == Err(code), "{what} was answered with {answer:?} instead of {code}");
    }
    held("a foreign LUN and contexts of other providers were refused with the codes of the page")
}
