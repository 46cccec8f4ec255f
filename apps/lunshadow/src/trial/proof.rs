//! The proofs: what has to be true of a shadow copy, looked at over iSCSI.

use bytes::Bytes;
use lunshadow_coordinator::disk::{DiskIo, PartitionTable, ShadowFlags, read_layout, read_shadow_flags};
use lunshadow_vss::{LunInformation, MatchLevel};

use super::content::{VolumeContent, differences, totals};
use super::stage::{RECORD_SLOTS, TrialLun};
use crate::console;
use crate::records::{Areas, Mark, RECORD_BYTES, judge};
use crate::report::{Proof, SpaceReport};

/// How much the pool may use beyond what it used before, once a shadow copy is gone: its own records move about.
const SPACE_SLACK_BYTES: u64 = 256 << 10;

/// How many differences are named before the rest is only counted.
const NAMED_MAX: usize = 3;

/// The shadow LUNs came by themselves: the target announced that its LUNs had changed.
pub(super) fn arrival_announced(announced: u64, arrived: usize) -> Proof {
    let detail = format!("{arrived} LUNs arrived, {announced} unit attentions REPORTED LUNS DATA HAS CHANGED");
    Proof::new("the arrival of the shadow LUNs was announced", announced > 0, detail)
}

/// The volumes on the shadow LUNs hold what the source held at the instant.
#[must_use]
pub(super) fn same_content(at_instant: &[VolumeContent], on_shadow: &[VolumeContent]) -> Proof {
    let differences = differences(at_instant, on_shadow);
    let (files, len_bytes, hashed) = totals(on_shadow);
    let volumes = on_shadow.len();
    let detail = if differences.is_empty() {
        format!(
            "{volumes} volumes, {files} files, {}, {hashed} of them hashed: all as at the instant",
            console::bytes(len_bytes)
        )
    } else {
        named(&differences)
    };
    Proof::new("the files on the shadow LUNs are those of the instant", differences.is_empty() && volumes > 0, detail)
}

/// The source went on: its content is no longer that of the instant, and more records were written.
#[must_use]
pub(super) fn source_went_on(changed: Option<(&str, bool)>, after: Mark, written: u64) -> Proof {
    let more = written.saturating_sub(after.issued_below);
    let file = match changed {
        Some((path, true)) => format!("{path} has other content by now, "),
        Some((path, false)) => format!("{path} was overwritten and still reads as before, "),
        None => String::new(),
    };
    let held = more > 0 && changed.is_none_or(|(_, differs)| differs);
    Proof::new("the source went on", held, format!("{file}{more} records were written after the commit"))
}

/// The records on the shadow LUNs are a prefix of what was written.
///
/// # Errors
/// If the areas cannot be read.
pub(super) fn records_are_a_prefix(
    shadows: &[(TrialLun, &dyn DiskIo)],
    run: u64,
    (before, after): (Mark, Mark),
) -> anyhow::Result<Proof> {
    let mut contents = Vec::new();
    for (lun, disk) in shadows {
        let mut content = vec![0; usize::try_from(RECORD_SLOTS)? * RECORD_BYTES];
        for (index, chunk) in content.chunks_mut(1 << 20).enumerate() {
            disk.read_at(lun.records_at_bytes() + ((index as u64) << 20), chunk)?;
        }
        contents.push(Bytes::from(content));
    }
    let areas = Areas { disk_count: shadows.len() as u64, slots_per_disk: RECORD_SLOTS };
    let verdict = judge(areas, run, &contents, before, after)?;
    let detail = if verdict.violations.is_empty() {
        format!(
            "{} records up to number {}; none is there without all {} that it depends on",
            verdict.found,
            verdict.highest.unwrap_or_default(),
            verdict.all_below
        )
    } else {
        named(&verdict.violations)
    };
    let held = verdict.holds();
    Ok(Proof { records: Some(verdict), ..Proof::new("the records on both shadow LUNs are one prefix", held, detail) })
}

/// A shadow LUN is a disk of its own: no identifier of the source's, the announced identity, another disk signature.
///
/// # Errors
/// If a disk cannot be read.
pub(super) fn own_identity(
    source: (&LunInformation, &dyn DiskIo),
    shadow: (&LunInformation, &dyn DiskIo),
    match_level: MatchLevel,
) -> anyhow::Result<Proof> {
    let shared = source.0.identifiers.iter().any(|identifier| shadow.0.identifiers.contains(identifier));
    let (before, now) = (read_layout(source.1)?.table, read_layout(shadow.1)?.table);
    let signed = before == PartitionTable::None || before.signature_guid() != now.signature_guid();
    let serial = shadow.0.serial_number.as_deref().unwrap_or("no serial number");
    let announced = match_level == MatchLevel::Strict;
    let signature = match now {
        PartitionTable::Gpt { disk_guid } => format!("new GPT disk GUID {disk_guid}"),
        PartitionTable::Mbr { signature } => format!("new MBR signature {signature:08x}"),
        PartitionTable::None => "no partition table, hence no signature".to_owned(),
    };
    let detail =
        format!("serial {serial}, announced identity {}, {signature}", if announced { "met" } else { "NOT met" });
    let held = !shared && signed && announced && source.0.serial_number != shadow.0.serial_number;
    Ok(Proof::new("the shadow LUN is a disk of its own", held, detail))
}

/// The shadow LUN carries the flags that the source had at the instant, and the source has those back that it had `before`.
///
/// # Errors
/// If a disk cannot be read.
pub(super) fn flags(before: ShadowFlags, source: &dyn DiskIo, shadow: &dyn DiskIo) -> anyhow::Result<Proof> {
    let (left, carried) = (read_shadow_flags(source)?, read_shadow_flags(shadow)?);
    let (carries, on_shadow) = match read_layout(source)?.table {
        PartitionTable::Gpt { .. } => (carried == ShadowFlags::all(), flag_names(carried)),
        PartitionTable::Mbr { .. } if carried == before => (true, "no free sector to keep them in".to_owned()),
        PartitionTable::Mbr { .. } => (carried == ShadowFlags::all(), flag_names(carried)),
        PartitionTable::None => (true, "no partition table to keep them in".to_owned()),
    };
    let source_is = if left == before { "as before" } else { "CHANGED" };
    let detail = format!("shadow LUN: {on_shadow}; source LUN: {source_is}");
    Ok(Proof::new(
        "the shadow LUN carries the shadow copy flags, the source does not",
        carries && left == before,
        detail,
    ))
}

fn flag_names(flags: ShadowFlags) -> String {
    let names: Vec<&str> = flags.iter_names().map(|(name, _)| name).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ").to_lowercase().replace('_', " ") }
}

/// The space of the shadow LUNs came back.
#[must_use]
pub(super) fn space_came_back(space: &SpaceReport) -> Proof {
    let SpaceReport { before_bytes, with_shadow_bytes, after_bytes, .. } = *space;
    let detail = format!(
        "used before {}, with the shadow copy {}, after its deletion {}",
        console::bytes(before_bytes),
        console::bytes(with_shadow_bytes),
        console::bytes(after_bytes)
    );
    let held = with_shadow_bytes > before_bytes && after_bytes <= before_bytes + SPACE_SLACK_BYTES;
    Proof::new("the space came back", held, detail)
}

fn named(differences: &[String]) -> String {
    let rest = differences.len().saturating_sub(NAMED_MAX);
    let mut text = differences[..differences.len() - rest].join("; ");
    if rest > 0 {
        text.push_str(&format!("; and {rest} more"));
    }
    text
}
