//! What comes in: interconnects are left alone, and nothing that may be absent or absurd makes a method crash.

use lunshadow_vss::{Context, HResult, Interconnect, LunInformation, LunStateChange, SnapshotId, StorageIdentifier};
use uuid::Uuid;

use super::Group;
use crate::by_slots::GONE;
use crate::finding::{Checked, demand, held};
use crate::lab::{Lab, foreign, names, new_set};
use crate::recorder::Ending;

pub(super) const CHECKS: Group =
    &[(23, interconnects_are_left_alone), (24, absent_values_crash_nothing), (25, absurd_values_crash_nothing)];

fn interconnects_are_left_alone(lab: &mut Lab<'_>) -> Checked {
    let mut luns = lab.sources(1)?;
    let ways = vec![Interconnect { address_type: 3, port: vec![1, 2, 3], address: vec![4, 5] }];
    for lun in &mut luns {
        lun.interconnects.clone_from(&ways);
    }
    let mut asked = luns.clone();
    let _ = lab.provider.are_luns_supported(Context::CTX_BACKUP, &names(1), &mut asked);
    demand!(asked[0].interconnects == ways, "AreLunsSupported left {:?}", asked[0].interconnects);
    let mut arrived = luns[0].clone();
    let _ = lab.fill_in(&mut arrived);
    demand!(arrived.interconnects == ways, "FillInLunInfo left {:?}", arrived.interconnects);
    held("one interconnect went through AreLunsSupported and FillInLunInfo as it was")
}

/// A LUN of which nothing is known.
fn blank() -> LunInformation {
    LunInformation {
        vendor_id: None,
        product_id: None,
        product_revision: None,
        serial_number: None,
        identifiers: Vec::new(),
        ..foreign(0)
    }
}

/// Calls every method that takes LUNs, with these and none; the answers do not matter.
fn call_all_with(lab: &Lab<'_>, luns: &[LunInformation], device_count: usize) {
    let (provider, devices) = (&lab.provider, names(device_count));
    let (set, snapshot) = (new_set(), SnapshotId(Uuid::new_v4()));
    let mut changed = luns.to_vec();
    let _ = provider.are_luns_supported(Context::CTX_BACKUP, &devices, &mut changed);
    let _ = provider.begin_prepare_snapshot(set, snapshot, Context::CTX_BACKUP, &devices, &mut changed);
    let _ = provider.abort_snapshots(set);
    let _ = provider.get_target_luns(&devices, luns);
    let _ = provider.locate_luns(luns);
    let _ = provider.on_lun_state_change(luns, &[], LunStateChange::NOTIFY_READ_WRITE);
    let _ = provider.on_reuse_luns(luns, &[]);
    let _ = provider.resync_luns(luns, luns);
    let _ = provider.on_lun_empty(None, luns.first());
    for lun in &mut changed {
        let _ = lab.fill_in(lun);
    }
}

/// The methods that ended with a panic, or with the end of the process.
fn crashed(lab: &Lab<'_>) -> Vec<&'static str> {
    let sequence = lab.recorder.sequence();
    let has_crashed = |ending: Ending| match ending {
        Ending::Code(code) => GONE.contains(&code),
        Ending::Panicked => true,
        Ending::Open => false,
    };
    let crashed = sequence.calls.iter().filter(|call| has_crashed(call.ending));
    crashed.map(|call| call.method.name()).collect()
}

fn absent_values_crash_nothing(lab: &mut Lab<'_>) -> Checked {
    call_all_with(lab, &[blank()], 1);
    call_all_with(lab, &[blank()], 0);
    call_all_with(lab, &[], 0);
    let crashed = crashed(lab);
    demand!(crashed.is_empty(), "with absent values these crashed: {}", crashed.join(", "));
    held("no method panicked without strings, identifiers, device names and LUNs")
}

fn absurd_values_crash_nothing(lab: &mut Lab<'_>) -> Checked {
    let long = |len: usize| LunInformation {
        serial_number: Some("7".repeat(len)),
        identifiers: vec![StorageIdentifier { code_set: 1, kind: StorageIdentifier::FCPH_NAME, bytes: vec![7; len] }],
        ..foreign(0)
    };
    call_all_with(lab, &[long(0)], 1);
    call_all_with(lab, &[long(64 << 10)], 1);
    call_all_with(lab, &[foreign(1), foreign(2)], 5);
    call_all_with(lab, &[foreign(3)], 10_000);
    let many: Vec<_> = (0..10_000).map(foreign).collect();
    let supported = lab.provider.are_luns_supported(Context::CTX_BACKUP, &names(many.len()), &mut many.clone());
    let crashed = crashed(lab);
    demand!(crashed.is_empty(), "with absurd values these crashed: {}", crashed.join(", "));
    demand!(
        matches!(supported, Ok(false) | Err(HResult::E_INVALIDARG)),
        "10 000 foreign LUNs are answered with {supported:?}"
    );
    held("identifiers of 0 and 64 KiB, counts that do not fit together, and 10 000 LUNs were answered")
}
