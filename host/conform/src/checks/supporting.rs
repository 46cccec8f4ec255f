//! `AreLunsSupported`.

use lunshadow_vss::{Context, HResult};

use super::Group;
use crate::bed::Condition;
use crate::finding::{Checked, Finding, demand, held};
use crate::lab::{Lab, Stage, foreign, need, new_set};

pub(super) const CHECKS: Group = &[
    (26, foreign_is_declined),
    (27, one_foreign_lun_declines_all),
    (28, a_passing_trouble_declines),
    (29, hints_are_believed_or_declined),
    (30, no_hint_is_no_problem),
    (31, transportable_is_meant),
    (32, other_providers_contexts_are_declined),
    (33, asking_leaves_no_trace),
    (34, a_yes_is_kept),
    (35, shadow_luns_are_owned),
];

fn foreign_is_declined(lab: &mut Lab<'_>) -> Checked {
    let answer = lab.supports(Context::CTX_BACKUP, &[foreign(1)]);
    demand!(answer == Ok(false), "a foreign disk was answered with {answer:?}");
    held("a foreign disk was declined with S_OK")
}

fn one_foreign_lun_declines_all(lab: &mut Lab<'_>) -> Checked {
    let luns = lab.sources(1)?;
    for place in [1, 0] {
        let mut mixed = luns.clone();
        mixed.insert(place, foreign(1));
        let answer = lab.supports(Context::CTX_BACKUP, &mixed);
        demand!(answer == Ok(false), "a volume with a foreign LUN at place {place} was answered with {answer:?}");
    }
    held("a volume on a LUN of the array and a foreign one was declined, in both orders")
}

fn a_passing_trouble_declines(lab: &mut Lab<'_>) -> Checked {
    let luns = lab.sources(1)?;
    let (mut seen, mut not_seen) = (Vec::new(), Vec::new());
    for (condition, what) in
        [(Condition::Unreachable, "the array could not be reached"), (Condition::Full, "it had no room")]
    {
        let _while = match lab.while_array(condition) {
            Ok(trouble) => trouble,
            Err(setback) => {
                not_seen.push(setback);
                continue;
            }
        };
        let answer = lab.supports(Context::CTX_BACKUP, &luns);
        demand!(answer == Ok(false), "with the array {condition:?} the answer was {answer:?}");
        seen.push(what);
    }
    match not_seen.pop() {
        Some(setback) if seen.is_empty() => Err(setback),
        setback => {
            let but = setback.map(|setback| format!("; {setback}")).unwrap_or_default();
            held(format!("declined with S_OK while {}{but}", seen.join(", and while ")))
        }
    }
}

fn hints_are_believed_or_declined(lab: &mut Lab<'_>) -> Checked {
    let luns = lab.sources(1)?;
    let set = lab.set_at(Stage::Preparing, &luns)?;
    need("AbortSnapshots", lab.provider.abort_snapshots(set))?;
    let mut evidence = Vec::new();
    for (name, hint) in [("DIFFERENTIAL", Context::DIFFERENTIAL), ("PLEX", Context::PLEX)] {
        let answer = lab.supports(hint, &luns);
        demand!(answer.is_ok(), "{name} was answered with {answer:?}");
        if answer == Ok(true) {
            let set = new_set();
            let begun = lab.begin_in(hint, set, &luns);
            demand!(begun.is_ok(), "{name} was agreed to, then BeginPrepareSnapshot answered {begun:?}");
            let _ = lab.provider.abort_snapshots(set);
            evidence.push(format!("{name} is agreed to and taken"));
        } else {
            evidence.push(format!("{name} is declined"));
        }
    }
    held(evidence.join("; "))
}

fn no_hint_is_no_problem(lab: &mut Lab<'_>) -> Checked {
    let answer = lab.supports(Context::CTX_BACKUP, &lab.sources(1)?);
    demand!(answer == Ok(true), "without a hint the answer was {answer:?}");
    held("agreed without DIFFERENTIAL or PLEX")
}

fn transportable_is_meant(lab: &mut Lab<'_>) -> Checked {
    let context = Context::TRANSPORTABLE;
    match lab.supports(context, &lab.sources(1)?) {
        Ok(true) => {}
        Ok(false) => return Ok(Finding::NotApplicable("the provider declines TRANSPORTABLE".to_owned())),
        Err(code) => return Ok(Finding::Broken(format!("TRANSPORTABLE was answered with {code}"))),
    }
    let made = lab.announced_in(context, 1)?;
    let importer = lab.importer()?;
    let located = importer.provider.locate_luns(&made.targets);
    demand!(located.is_ok(), "TRANSPORTABLE was agreed to, but another host's LocateLuns answered {located:?}");
    held("agreed to, and the shadow LUN was located on another host")
}

fn other_providers_contexts_are_declined(lab: &mut Lab<'_>) -> Checked {
    let luns = lab.sources(1)?;
    for (name, context) in [
        ("CLIENT_ACCESSIBLE", Context::CTX_CLIENT_ACCESSIBLE),
        ("CLIENT_ACCESSIBLE_WRITERS", Context::CTX_CLIENT_ACCESSIBLE_WRITERS),
        ("FILE_SHARE", Context::FILE_SHARE),
    ] {
        let answer = lab.supports(context, &luns);
        demand!(answer == Ok(false), "{name} was answered with {answer:?}");
    }
    held("client-accessible and file-share contexts were declined")
}

fn asking_leaves_no_trace(lab: &mut Lab<'_>) -> Checked {
    const TIMES: usize = 1000;
    let luns = lab.sources(1)?;
    let before = lab.ledger()?;
    for _ in 0..TIMES {
        need("AreLunsSupported", lab.supports(Context::CTX_BACKUP, &luns))?;
    }
    let after = lab.ledger()?;
    demand!(after == before, "after {TIMES} calls the array has {after:?} and had {before:?}");
    held(format!("{TIMES} calls left the array's ledger as it was"))
}

fn a_yes_is_kept(lab: &mut Lab<'_>) -> Checked {
    let sources = lab.sources(2)?;
    for count in [1, 2] {
        let luns = &sources[..count];
        if !need("AreLunsSupported", lab.supports(Context::CTX_BACKUP, luns))? {
            return Ok(Finding::NotApplicable("the provider declines every volume".to_owned()));
        }
        let set = new_set();
        let begun: Result<(), HResult> = luns.iter().try_for_each(|lun| lab.begin(set, std::slice::from_ref(lun)));
        demand!(begun.is_ok(), "agreed, then BeginPrepareSnapshot answered {begun:?}");
        let went = lab.advance(set, Stage::Preparing, Stage::PostCommitted, count);
        demand!(went.is_ok(), "agreed, then {}", went.err().map(|setback| setback.0).unwrap_or_default());
    }
    held("sets of one and of two LUNs were created after a yes")
}

fn shadow_luns_are_owned(lab: &mut Lab<'_>) -> Checked {
    let made = lab.announced(1)?;
    let answer = lab.supports(Context::CTX_BACKUP, &made.targets);
    demand!(answer == Ok(true), "a shadow LUN of the provider was answered with {answer:?}");
    held("a shadow LUN of the provider was claimed")
}
