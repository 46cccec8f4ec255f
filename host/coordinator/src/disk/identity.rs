//! A new identity for a disk that arrives beside its original.
//!
//! A shadow copy is born with the disk signature or the GUIDs of its source. Windows cannot have two disks of the same
//! identity online, so on import VSS writes new ones to the copy (and therefore needs it writable).

use std::collections::BTreeMap;

use uuid::Uuid;

use super::layout::{Division, sort};
use super::{DiskError, DiskIo, PartitionTable, guid_table, mbr_table, overlay};

/// The identity of a disk before and after [`assign_new_identity`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewIdentity {
    /// The disk's signature or GUID before. [`PartitionTable::None`] for a disk that has no identity: it was not changed.
    pub old: PartitionTable,
    /// The disk's signature or GUID now.
    pub new: PartitionTable,
    /// The new GUIDs of the partitions of a GPT, by partition number.
    pub partition_guids: BTreeMap<u32, Uuid>,
}

/// Writes a random disk signature to an MBR disk, or random GUIDs of the disk and of all its partitions to a GPT disk, durably.
pub fn assign_new_identity(disk: &dyn DiskIo) -> Result<NewIdentity, DiskError> {
    let mut partition_guids = BTreeMap::new();
    let (old, new, patches) = match sort(disk)? {
        Division::Gpt => {
            let table = guid_table::read(disk)?;
            let disk_guid = Uuid::new_v4();
            // Both copies of the table get the same GUIDs.
            let patches = table.rewrite(disk, Some(disk_guid), |number, entry| {
                entry.set_partition_guid(*partition_guids.entry(number).or_insert_with(Uuid::new_v4));
            })?;
            (PartitionTable::Gpt { disk_guid: table.disk_guid() }, PartitionTable::Gpt { disk_guid }, patches)
        }
        Division::Mbr => {
            let old = mbr_table::read(disk)?.signature();
            let new = random_signature(old);
            let patches = mbr_table::replace_signature(disk, new)?;
            (PartitionTable::Mbr { signature: old }, PartitionTable::Mbr { signature: new }, patches)
        }
        Division::WholeDisk(_) | Division::Nothing => (PartitionTable::None, PartitionTable::None, Vec::new()),
    };
    overlay::apply(disk, &patches)?;
    Ok(NewIdentity { old, new, partition_guids })
}

/// Writes a certain disk signature to an MBR disk, or a certain GUID of the disk (not of its partitions) to a GPT disk, durably. It has
/// the form of [`PartitionTable::signature_guid`]. A disk without a partition table stays as it is.
///
/// # Errors
/// [`DiskError::SignatureKind`] if the signature is not of the kind that the disk has.
pub fn set_disk_signature(disk: &dyn DiskIo, signature: Uuid) -> Result<(), DiskError> {
    set_disk_identity(disk, signature, &BTreeMap::new())
}

/// As [`set_disk_signature`], and writes certain GUIDs of partitions to a GPT disk, by their numbers. Partitions that are not named keep
/// theirs; numbers without a partition are passed over.
///
/// # Errors
/// [`DiskError::SignatureKind`] if the signature is not of the kind that the disk has, or an MBR disk is to get GUIDs of partitions.
pub fn set_disk_identity(
    disk: &dyn DiskIo,
    signature: Uuid,
    partition_guids: &BTreeMap<u32, Uuid>,
) -> Result<(), DiskError> {
    let (first, ..) = signature.as_fields();
    let is_mbr_signature = PartitionTable::Mbr { signature: first }.signature_guid() == signature;
    let patches = match sort(disk)? {
        Division::Gpt if !is_mbr_signature => {
            guid_table::read(disk)?.rewrite(disk, Some(signature), |number, entry| {
                if let Some(guid) = partition_guids.get(&number) {
                    entry.set_partition_guid(*guid);
                }
            })?
        }
        Division::Mbr if is_mbr_signature && partition_guids.is_empty() => mbr_table::replace_signature(disk, first)?,
        Division::Gpt | Division::Mbr => return Err(DiskError::SignatureKind),
        Division::WholeDisk(_) | Division::Nothing => Vec::new(),
    };
    Ok(overlay::apply(disk, &patches)?)
}

/// A signature that is neither the old one nor zero, which means that a disk has none.
fn random_signature(old: u32) -> u32 {
    loop {
        // The first field of a version 4 UUID is random in all its bits.
        let (signature, ..) = Uuid::new_v4().as_fields();
        if signature != 0 && signature != old {
            return signature;
        }
    }
}
