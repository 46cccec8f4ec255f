//! Shadow flags and identities: what is written, and that it comes off again without a trace.

use std::collections::BTreeMap;

use gpt::disk::LogicalBlockSize::Lb512;
use gpt::header::read_header_from_arbitrary_device;
use gpt::mbr::ProtectiveMBR;
use gpt::{GptConfig, partition_types};
use lunshadow_coordinator::disk::{
    DiskCursor, DiskError, DiskIo, FlagPlacement, Partition, PartitionTable, ShadowFlags, Volume, assign_new_identity,
    clear_shadow_flags, read_layout, read_shadow_flags, set_disk_identity, set_disk_signature, set_shadow_flags,
};
use proptest::prelude::*;
use tempfile::TempDir;
use uuid::Uuid;

use crate::memory::{MemoryDisk, noise};
use crate::tables::{gpt_disk, mbr_disk};
use crate::tools::{require_tool, run};

const DISK_SECTORS: u64 = 8192;

/// What a test wants in a partition entry: length in sectors, attributes, name.
type Wanted = (u64, u64, String);

fn wanted() -> impl Strategy<Value = Vec<Wanted>> {
    let attributes = prop_oneof![Just(0), any::<u64>(), Just(0x8000_0000_0000_0001)];
    prop::collection::vec((1..400u64, attributes, "[a-zß ]{0,36}"), 0..12)
}

/// A GPT with these partitions, with bytes behind the terminators of their names, on a disk that is `grown` larger.
fn gpt_with(wanted: &[Wanted], grown: usize) -> MemoryDisk {
    let disk = MemoryDisk::zeroed(usize::try_from(DISK_SECTORS).unwrap() * 512);
    ProtectiveMBR::with_lb_size(u32::try_from(DISK_SECTORS - 1).unwrap()).overwrite_lba0(&mut disk.cursor()).unwrap();
    let config = GptConfig::new().writable(true).logical_block_size(Lb512);
    let mut table = config.create_from_device(disk.cursor(), None).unwrap();
    for (len, attributes, name) in wanted {
        table.add_partition(name, len * 512, partition_types::BASIC, *attributes, None).unwrap();
    }
    table.write().unwrap();
    let mut header = read_header_from_arbitrary_device(&mut disk.cursor(), Lb512).unwrap();
    // A name that was shortened leaves its old end behind its terminator.
    let last_name_bytes = 127 - 4..128;
    for (index, (_, _, name)) in wanted.iter().enumerate().filter(|(_, (_, _, name))| name.chars().count() < 30) {
        for table_start in [2, DISK_SECTORS - 33] {
            let entry = usize::try_from(table_start).unwrap() * 512 + index * 128;
            disk.patch(entry + last_name_bytes.start, &noise(name.len().try_into().unwrap(), last_name_bytes.len()));
        }
    }
    header.write_primary(&mut disk.cursor(), Lb512).unwrap();
    let mut window = DiskCursor::read_only(&disk, (DISK_SECTORS - 2) * 512, 1024);
    let mut alternate = read_header_from_arbitrary_device(&mut window, Lb512).unwrap();
    alternate.write_backup(&mut disk.cursor(), Lb512).unwrap();
    disk.grow(grown);
    disk
}

/// An MBR with one partition at `start`, and noise in the gap before it except for the sector `free`, if there is one.
fn mbr_with(start: u32, free: Option<usize>) -> MemoryDisk {
    let disk = MemoryDisk::zeroed(usize::try_from(DISK_SECTORS).unwrap() * 512);
    disk.patch(0, &noise(u64::from(start), usize::try_from(start).unwrap() * 512));
    disk.patch(446, &[0; 64]);
    disk.patch(446 + 4, &[7]);
    disk.patch(446 + 8, &start.to_le_bytes());
    disk.patch(446 + 12, &100u32.to_le_bytes());
    disk.patch(510, &[0x55, 0xaa]);
    if let Some(free) = free {
        disk.patch(free * 512, &[0; 512]);
    }
    disk
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn flags_on_a_gpt_come_off_without_a_trace(wanted in wanted(), grown in prop::sample::select(vec![0, 512, 1 << 20])) {
        let disk = gpt_with(&wanted, grown);
        let (before, layout) = (disk.bytes(), read_layout(&disk).unwrap());
        prop_assert_eq!(layout.volumes.len(), wanted.len());

        let saved = set_shadow_flags(&disk).unwrap();
        let partition_count = wanted.len().try_into().unwrap();
        prop_assert_eq!(saved.placement(), FlagPlacement::GptAttributes { partition_count });
        let expected = if wanted.is_empty() { ShadowFlags::empty() } else { ShadowFlags::all() };
        prop_assert_eq!(read_shadow_flags(&disk).unwrap(), expected);
        // Nothing but the attributes is different to those who read the table, in either copy.
        prop_assert_eq!(&read_layout(&disk).unwrap(), &layout);
        let alternate = MemoryDisk::new(disk.bytes());
        alternate.patch(512, &[0; 512]);
        prop_assert_eq!(read_shadow_flags(&alternate).unwrap(), expected);
        prop_assert_eq!(&read_layout(&alternate).unwrap(), &layout);

        clear_shadow_flags(&disk, &saved).unwrap();
        prop_assert!(disk.bytes() == before);
        clear_shadow_flags(&disk, &saved).unwrap();
        prop_assert!(disk.bytes() == before);
    }

    #[test]
    fn flags_on_an_mbr_come_off_without_a_trace(start in 1..3000u32, free in 1..3000usize) {
        let disk = mbr_with(start, (free < usize::try_from(start).unwrap()).then_some(free));
        let before = disk.bytes();
        let saved = set_shadow_flags(&disk).unwrap();
        // A free sector more than 1 MiB from the beginning is not looked for.
        if free < usize::try_from(start).unwrap() && free < 2048 {
            let offset_bytes = u64::try_from(free).unwrap() * 512;
            prop_assert_eq!(saved.placement(), FlagPlacement::MbrRecord { offset_bytes });
            prop_assert_eq!(read_shadow_flags(&disk).unwrap(), ShadowFlags::all());
        } else {
            prop_assert_eq!(saved.placement(), FlagPlacement::NoRoom);
            prop_assert_eq!(read_shadow_flags(&disk).unwrap(), ShadowFlags::empty());
            prop_assert!(disk.bytes() == before);
        }
        clear_shadow_flags(&disk, &saved).unwrap();
        prop_assert!(disk.bytes() == before);
        prop_assert_eq!(read_shadow_flags(&disk).unwrap(), ShadowFlags::empty());
    }
}

#[test]
fn a_disk_that_fails_while_flags_are_set_is_left_as_it_was() {
    for writes in 0..2 {
        let disk = gpt_with(&[(100, 0, "one".to_owned()), (100, 0, "two".to_owned())], 0);
        let before = disk.bytes();
        disk.fail_write_after(writes);
        assert!(matches!(set_shadow_flags(&disk), Err(DiskError::Io(_))));
        assert!(disk.bytes() == before);
        // The failure was of the write that was meant: the next attempt has none.
        set_shadow_flags(&disk).unwrap();
        assert!(disk.bytes() != before);
    }
}

#[test]
fn flags_are_not_cleared_over_a_table_that_others_have_changed() {
    let disk = gpt_with(&[(100, 0, "one".to_owned())], 0);
    let saved = set_shadow_flags(&disk).unwrap();
    assign_new_identity(&disk).unwrap();
    let changed = disk.bytes();
    let error = clear_shadow_flags(&disk, &saved).unwrap_err();
    assert!(matches!(error, DiskError::ChangedMeanwhile { offset_bytes: 512 }), "{error:?}");
    assert!(disk.bytes() == changed);
}

#[test]
fn a_damaged_flag_record_is_none() {
    let disk = mbr_with(64, Some(63));
    set_shadow_flags(&disk).unwrap();
    disk.patch(63 * 512 + 23, &[0]);
    assert_eq!(read_shadow_flags(&disk).unwrap(), ShadowFlags::empty());
}

#[test]
fn a_disk_without_a_partition_table_is_neither_flagged_nor_renamed() {
    let disk = MemoryDisk::zeroed(1 << 20);
    let saved = set_shadow_flags(&disk).unwrap();
    assert_eq!(saved.placement(), FlagPlacement::NotApplicable);
    clear_shadow_flags(&disk, &saved).unwrap();
    assert_eq!(assign_new_identity(&disk).unwrap().new, PartitionTable::None);
    assert_eq!(disk.bytes(), vec![0; 1 << 20]);
}

/// What `sgdisk` finds wrong with a disk, and what it says about a partition.
fn sgdisk(disk: &MemoryDisk, arguments: &[&str]) -> String {
    let folder = TempDir::new().unwrap();
    let image = folder.path().join("disk.img");
    std::fs::write(&image, disk.bytes()).unwrap();
    run("sgdisk", arguments.iter().copied().chain([image.to_str().unwrap()]))
}

#[test]
fn sgdisk_agrees_with_flagged_and_renamed_tables() {
    let folder = TempDir::new().unwrap();
    let Some(disk) = gpt_disk(folder.path()) else { return };
    let sound = "No problems found";
    set_shadow_flags(&disk).unwrap();
    assert!(sgdisk(&disk, &["-v"]).contains(sound));
    // Bit 2 of partition 3 was there before.
    assert!(sgdisk(&disk, &["-i", "1"]).contains("Attribute flags: F000000000000000"));
    assert!(sgdisk(&disk, &["-i", "3"]).contains("Attribute flags: F000000000000004"));
    let identity = assign_new_identity(&disk).unwrap();
    assert!(sgdisk(&disk, &["-v"]).contains(sound));
    let PartitionTable::Gpt { disk_guid } = identity.new else { panic!("{identity:?}") };
    assert!(sgdisk(&disk, &["-p"]).contains(&disk_guid.to_string().to_uppercase()));
    let ninth = identity.partition_guids[&9].to_string().to_uppercase();
    assert!(sgdisk(&disk, &["-i", "9"]).contains(&format!("Partition unique GUID: {ninth}")));
    let chosen = Uuid::from_u128(0x0815);
    set_disk_identity(&disk, identity.old.signature_guid(), &BTreeMap::from([(9, chosen)])).unwrap();
    assert!(sgdisk(&disk, &["-v"]).contains(sound));
    assert!(sgdisk(&disk, &["-p"]).contains(&identity.old.signature_guid().to_string().to_uppercase()));
    assert!(sgdisk(&disk, &["-i", "9"]).contains(&format!("Partition unique GUID: {chosen}")));
}

#[test]
fn a_gpt_gets_new_guids_in_both_copies_and_nothing_else() {
    for grown in [0, 1 << 20] {
        let disk = gpt_with(&[(100, 4, "one".to_owned()), (50, 0, "two".to_owned())], grown);
        let old = read_layout(&disk).unwrap();
        let identity = assign_new_identity(&disk).unwrap();
        assert_eq!(identity.old, old.table);
        assert_ne!(identity.new, old.table);
        let alternate = MemoryDisk::new(disk.bytes());
        alternate.patch(512, &[0; 512]);
        for disk in [&disk, &alternate] {
            let new = read_layout(disk).unwrap();
            assert_eq!(new.table, identity.new);
            let mut expected = old.volumes.clone();
            for volume in &mut expected {
                let Partition::Gpt { partition_guid, .. } = &mut volume.partition else { panic!("{volume:?}") };
                let guid = identity.partition_guids[&volume.index];
                assert_ne!(*partition_guid, guid);
                *partition_guid = guid;
            }
            assert_eq!(new.volumes, expected);
        }
    }
}

#[test]
fn a_gpt_gets_its_old_guids_back_in_both_copies() {
    for grown in [0, 1 << 20] {
        let disk = gpt_with(&[(100, 4, "one".to_owned()), (50, 0, "two".to_owned())], grown);
        let (before, old) = (disk.bytes(), read_layout(&disk).unwrap());
        let old_guids: BTreeMap<_, _> = old.volumes.iter().map(|it| (it.index, partition_guid(it))).collect();
        let drawn = assign_new_identity(&disk).unwrap();
        assert!(drawn.partition_guids.iter().all(|(number, guid)| old_guids[number] != *guid));
        // The disk's alone is not enough, and a number that no partition has is passed over.
        set_disk_signature(&disk, old.table.signature_guid()).unwrap();
        assert_eq!(partition_guid(&read_layout(&disk).unwrap().volumes[1]), drawn.partition_guids[&2]);
        let and_another = old_guids.clone().into_iter().chain([(77, Uuid::from_u128(77))]).collect();
        set_disk_identity(&disk, old.table.signature_guid(), &and_another).unwrap();
        assert!(disk.bytes() == before, "checksums and the alternate copy too");
        let alternate = MemoryDisk::new(disk.bytes());
        alternate.patch(512, &[0; 512]);
        assert_eq!(read_layout(&alternate).unwrap(), old);
    }
}

fn partition_guid(volume: &Volume) -> Uuid {
    let Partition::Gpt { partition_guid, .. } = volume.partition else { panic!("{volume:?}") };
    partition_guid
}

#[test]
fn an_mbr_gets_its_old_signature_back() {
    let disk = mbr_with(64, None);
    disk.patch(0x1b8, &0xcafe_1234_u32.to_le_bytes());
    let (before, old) = (disk.bytes(), read_layout(&disk).unwrap());
    assert_eq!(old.table, PartitionTable::Mbr { signature: 0xcafe_1234 });
    assign_new_identity(&disk).unwrap();
    assert!(disk.bytes() != before);
    set_disk_identity(&disk, old.table.signature_guid(), &BTreeMap::new()).unwrap();
    assert!(disk.bytes() == before);
    // It has no place for ids of partitions, nor for one of its own that has more than 32 bits.
    let partitions = BTreeMap::from([(1, Uuid::from_u128(1))]);
    for (signature, partitions) in
        [(old.table.signature_guid(), partitions), (Uuid::from_u128(u128::MAX), BTreeMap::new())]
    {
        let error = set_disk_identity(&disk, signature, &partitions).unwrap_err();
        assert!(matches!(error, DiskError::SignatureKind), "{error:?}");
        assert!(disk.bytes() == before);
    }
}

#[test]
fn an_mbr_gets_a_new_signature_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let Some(disk) = mbr_disk(folder.path()) else { return };
    let mut expected = disk.bytes();
    let identity = assign_new_identity(&disk).unwrap();
    assert_eq!(identity.old, PartitionTable::Mbr { signature: 0xcafe_1234 });
    let PartitionTable::Mbr { signature } = identity.new else { panic!("{identity:?}") };
    assert!(signature != 0 && signature != 0xcafe_1234);
    expected[0x1b8..0x1bc].copy_from_slice(&signature.to_le_bytes());
    assert!(disk.bytes() == expected);
    assert_eq!(identity.partition_guids, BTreeMap::new());
    if require_tool("sfdisk") {
        let image = folder.path().join("renamed.img");
        std::fs::write(&image, disk.bytes()).unwrap();
        assert!(run("sfdisk", ["-d", image.to_str().unwrap()]).contains(&format!("label-id: 0x{signature:08x}")));
    }
    assert_eq!(disk.len_bytes(), 32 << 20);
}
