//! `FillInLunInfo`.

use lunshadow_vss::{DiskSignature, HResult, LUN_INFORMATION_VERSION, LunInformation, StorageIdentifier};
use uuid::Uuid;

use super::Group;
use crate::bed::Condition;
use crate::finding::{Checked, Setback, demand, held};
use crate::lab::{Lab, foreign};

pub(super) const CHECKS: Group = &[
    (73, foreign_disks_are_left_alone),
    (74, own_luns_are_as_announced),
    (75, spelling_does_not_matter),
    (76, failures_claim_nothing),
    (77, version_and_signature),
];

fn foreign_disks_are_left_alone(lab: &mut Lab<'_>) -> Checked {
    let mut disk = foreign(1);
    let (code, is_ours) = lab.fill_in(&mut disk);
    demand!(!is_ours, "a foreign disk was claimed");
    demand!(code == HResult::S_OK, "a foreign disk was answered with {code}");
    demand!(disk == foreign(1), "a foreign disk was changed to {disk:?}");
    held("a foreign disk was declined with S_OK and left as it was")
}

/// What FillInLunInfo has to say of a LUN that was announced, however it arrives.
fn recognised(lab: &Lab<'_>, arrived: &LunInformation, announced: &LunInformation) -> Result<(), String> {
    let mut filled = arrived.clone();
    match lab.fill_in(&mut filled) {
        (HResult::S_OK, true) if filled.matches_strictly(announced) => Ok(()),
        (HResult::S_OK, true) => Err(format!("it was made {filled:?}, but announced as {announced:?}")),
        (code, is_ours) => Err(format!("it was answered with {code}, {is_ours}")),
    }
}

fn own_luns_are_as_announced(lab: &mut Lab<'_>) -> Checked {
    let made = lab.announced(2)?;
    lab.locate(&made.targets)?;
    for target in &made.targets {
        let arrived = lab.host.seen(target)?.unwrap_or_else(|| target.clone());
        let recognised = recognised(lab, &arrived, target);
        demand!(recognised.is_ok(), "the disk that arrived: {}", recognised.err().unwrap_or_default());
    }
    held("two arrived disks were completed to what GetTargetLuns had announced")
}

fn spelling_does_not_matter(lab: &mut Lab<'_>) -> Checked {
    let made = lab.announced(1)?;
    let target = &made.targets[0];
    let padded = |text: &Option<String>| text.as_ref().map(|text| format!("{text:<24}"));
    let port = StorageIdentifier { code_set: 1, kind: 4, bytes: vec![0, 0, 0, 1] };
    let variants = [
        (
            "padded strings",
            LunInformation {
                vendor_id: padded(&target.vendor_id),
                product_id: padded(&target.product_id),
                serial_number: padded(&target.serial_number),
                ..target.clone()
            },
        ),
        (
            "a serial number in capitals",
            LunInformation {
                serial_number: target.serial_number.as_ref().map(|serial| serial.to_uppercase()),
                ..target.clone()
            },
        ),
        ("no page 0x83", LunInformation { identifiers: Vec::new(), ..target.clone() }),
        (
            "identifiers in another order and one of a port",
            LunInformation {
                identifiers: target.identifiers.iter().rev().cloned().chain([port]).collect(),
                ..target.clone()
            },
        ),
    ];
    for (what, arrived) in &variants {
        let recognised = recognised(lab, arrived, target);
        demand!(recognised.is_ok(), "with {what}: {}", recognised.err().unwrap_or_default());
    }
    let names: Vec<_> = variants.iter().map(|(what, _)| *what).collect();
    held(format!("recognised with {}", names.join(", ")))
}

fn failures_claim_nothing(lab: &mut Lab<'_>) -> Checked {
    let mut lun = lab.sources(1)?.remove(0);
    let _while = lab.while_array(Condition::Unreachable)?;
    let (code, is_ours) = lab.fill_in(&mut lun);
    demand!(!is_ours, "an array that cannot be reached was answered with {code}, and TRUE");
    held(format!("with an array that cannot be reached: {code}, FALSE"))
}

fn version_and_signature(lab: &mut Lab<'_>) -> Checked {
    let made = lab.announced(1)?;
    let signature = DiskSignature(Uuid::from_u128(0xfeed));
    let mut arrived = LunInformation { disk_signature: signature, version: 0, ..made.targets[0].clone() };
    let (code, is_ours) = lab.fill_in(&mut arrived);
    if !is_ours {
        return Err(Setback(format!("FillInLunInfo answered {code}, FALSE for a LUN of its own")));
    }
    demand!(arrived.version == LUN_INFORMATION_VERSION, "m_version came out as {}", arrived.version);
    demand!(
        arrived.disk_signature == DiskSignature::default(),
        "m_diskSignature came out as {}",
        arrived.disk_signature.0
    );
    held("m_version 1 and m_diskSignature GUID_NULL came out, whatever went in")
}
