//! `GetTargetLuns`.

use std::collections::BTreeSet;

use lunshadow_vss::{DiskSignature, HResult, LUN_INFORMATION_VERSION, StorageIdentifier};

use super::Group;
use crate::finding::{Checked, demand, held};
use crate::lab::{Lab, Stage, names, need, serial};

pub(super) const CHECKS: Group = &[
    (59, element_by_element),
    (60, version_and_signature),
    (61, there_is_a_unique_identifier),
    (62, identifiers_are_new),
    (63, the_answer_is_the_same),
    (64, nothing_is_mapped_yet),
    (65, strangers_are_vetoed),
];

fn element_by_element(lab: &mut Lab<'_>) -> Checked {
    let sources = lab.sources(2)?;
    for (source, text) in sources.iter().zip(["first", "second"]) {
        lab.mark(source, 0, text)?;
    }
    lab.set_at(Stage::PostCommitted, &sources)?;
    let targets = need("GetTargetLuns", lab.provider.get_target_luns(&names(2), &sources))?;
    demand!(targets.len() == 2, "two sources were answered with {} shadow LUNs", targets.len());
    lab.locate(&targets)?;
    for (target, text) in targets.iter().zip(["first", "second"]) {
        demand!(lab.has_mark(target, 0, text)?, "the {text} shadow LUN is not the copy of the {text} source");
    }
    held("two sources, two shadow LUNs, each with the content of its source")
}

fn version_and_signature(lab: &mut Lab<'_>) -> Checked {
    for target in lab.announced(2)?.targets {
        demand!(target.version == LUN_INFORMATION_VERSION, "m_version is {}", target.version);
        demand!(target.disk_signature == DiskSignature::default(), "m_diskSignature is {}", target.disk_signature.0);
    }
    held("m_version 1 and m_diskSignature GUID_NULL in both shadow LUNs")
}

fn there_is_a_unique_identifier(lab: &mut Lab<'_>) -> Checked {
    for target in lab.announced(2)?.targets {
        let kinds: Vec<u32> = target.identifiers.iter().map(|identifier| identifier.kind).collect();
        demand!(
            target.identifiers.iter().any(StorageIdentifier::is_unique),
            "{} has identifiers of the types {kinds:?} only",
            serial(&target)
        );
    }
    held("both shadow LUNs have an identifier of type 1, 2, 3 or 8")
}

fn identifiers_are_new(lab: &mut Lab<'_>) -> Checked {
    let sources = lab.host.sources()?;
    let mut known: BTreeSet<StorageIdentifier> =
        sources.iter().flat_map(|lun| &lun.identifiers).filter(|it| it.is_unique()).cloned().collect();
    let count = known.len();
    for _ in 0..2 {
        for target in lab.announced(2)?.targets {
            let unique: BTreeSet<_> = target.identifiers.iter().filter(|it| it.is_unique()).cloned().collect();
            let old = unique.iter().find(|identifier| known.contains(identifier));
            demand!(old.is_none(), "{} has an identifier of another LUN: {old:?}", serial(&target));
            known.extend(unique);
        }
    }
    held(format!("the identifiers of 4 shadow LUNs differ from each other and from {count} of the sources"))
}

fn the_answer_is_the_same(lab: &mut Lab<'_>) -> Checked {
    let made = lab.announced(2)?;
    let again = lab.targets(&made.sources)?;
    demand!(again == made.targets, "a second call answered {again:?} after {:?}", made.targets);
    for (source, target) in made.sources.iter().zip(&made.targets) {
        let alone = lab.targets(std::slice::from_ref(source))?;
        demand!(alone[0] == *target, "asked for alone, {} has {:?}", serial(source), alone[0]);
    }
    held("three calls, for both LUNs and for each alone, gave the same structures")
}

fn nothing_is_mapped_yet(lab: &mut Lab<'_>) -> Checked {
    let before = lab.ledger()?.mapped;
    lab.announced(2)?;
    let after = lab.ledger()?.mapped;
    let new: Vec<_> = after.difference(&before).collect();
    demand!(new.is_empty(), "when GetTargetLuns returned, these had been mapped: {new:?}");
    held("no LUN had been mapped when GetTargetLuns returned")
}

fn strangers_are_vetoed(lab: &mut Lab<'_>) -> Checked {
    let sources = lab.sources(2)?;
    lab.set_at(Stage::PostCommitted, &sources[..1])?;
    let answer = lab.provider.get_target_luns(&names(1), &sources[1..]);
    demand!(
        answer == Err(HResult::VSS_E_PROVIDER_VETO),
        "a source that is not in the set was answered with {answer:?}"
    );
    held("a source that is not in the set was vetoed")
}
