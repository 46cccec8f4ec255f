//! How full an ext2, ext3 or ext4 file system is ("Layout of the super block" and "Block group descriptors" in the kernel's ext4
//! documentation). `ext4-view` does not tell.

use std::io::{Read, Seek, SeekFrom};

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::reader::{Failure, Space};

/// Where the superblock begins.
const SUPERBLOCK_OFFSET_BYTES: u64 = 1024;

/// `INCOMPAT_64BIT`: descriptors are longer than 32 bytes.
const LONG_DESCRIPTORS: u32 = 0x80;

/// `RO_COMPAT_BIGALLOC`: blocks are given out in clusters, and counted so.
const CLUSTERS: u32 = 0x200;

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Superblock {
    inodes: U32,
    blocks_lo: U32,
    reserved_blocks_lo: U32,
    free_blocks_lo: U32,
    free_inodes: U32,
    first_data_block: U32,
    log_block_size: U32,
    log_cluster_size: U32,
    blocks_per_group: U32,
    until_incompatible: [u8; 60],
    incompatible: U32,
    read_only_compatible: U32,
    until_descriptor_len: [u8; 150],
    descriptor_len: U16,
    until_blocks_hi: [u8; 80],
    blocks_hi: U32,
}

const _: () = assert!(size_of::<Superblock>() == 0x154);

/// The first 32 bytes of a descriptor.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Descriptor {
    tables: [u8; 12],
    free_blocks: U16,
    free_inodes: U16,
    rest: [u8; 16],
}

/// What follows in a long one.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct DescriptorHi {
    tables: [u8; 12],
    free_blocks: U16,
    free_inodes: U16,
}

/// Reads the counts. What is still in the journal is not counted.
pub(super) fn read(volume: &mut (impl Read + Seek)) -> Result<Space, Failure> {
    let mut superblock = [0; size_of::<Superblock>()];
    volume.seek(SeekFrom::Start(SUPERBLOCK_OFFSET_BYTES))?;
    volume.read_exact(&mut superblock)?;
    let superblock: Superblock = zerocopy::transmute!(superblock);
    let no_size = || Failure::Damaged("the superblock has no block size".to_owned());
    let log = superblock.log_block_size.get();
    let block_bytes = 1024_u32.checked_shl(log).filter(|_| log <= 6).ok_or_else(no_size)?;
    let blocks = u64::from(superblock.blocks_hi.get()) << 32 | u64::from(superblock.blocks_lo.get());
    // The superblock's own counts are brought up to date when the file system is unmounted, those of the groups always.
    let (free_blocks, free_files) = sum_groups(volume, &superblock, block_bytes, blocks)?;
    let files = u64::from(superblock.inodes.get());
    let mut space = Space { block_bytes, blocks, free_blocks, files, free_files };
    if superblock.read_only_compatible.get() & CLUSTERS != 0 {
        let log = superblock.log_cluster_size.get().saturating_sub(superblock.log_block_size.get());
        space.free_blocks = space.free_blocks.saturating_mul(1_u64.checked_shl(log).unwrap_or(1));
    }
    space.free_blocks = space.free_blocks.min(space.blocks);
    space.free_files = space.free_files.min(space.files);
    Ok(space)
}

/// Free blocks and free inodes of all groups.
fn sum_groups(
    volume: &mut (impl Read + Seek),
    superblock: &Superblock,
    block_bytes: u32,
    blocks: u64,
) -> Result<(u64, u64), Failure> {
    let (first, per_group) = (u64::from(superblock.first_data_block.get()), superblock.blocks_per_group.get());
    if per_group == 0 || first >= blocks {
        return Err(Failure::Damaged("the superblock has no block groups".to_owned()));
    }
    let is_long = superblock.incompatible.get() & LONG_DESCRIPTORS != 0;
    let len = if is_long { usize::from(superblock.descriptor_len.get()).max(64) } else { 32 };
    let mut descriptor = vec![0; len];
    // They begin with the block after the superblock's.
    let block_bytes = u64::from(block_bytes);
    volume.seek(SeekFrom::Start((SUPERBLOCK_OFFSET_BYTES / block_bytes + 1) * block_bytes))?;
    let (mut free_blocks, mut free_inodes) = (0, 0);
    for _ in 0..(blocks - first).div_ceil(per_group.into()) {
        volume.read_exact(&mut descriptor)?;
        let too_short = || Failure::Damaged("a group descriptor is too short".to_owned());
        let (lo, rest) = Descriptor::ref_from_prefix(&descriptor).map_err(|_| too_short())?;
        free_blocks += u64::from(lo.free_blocks.get());
        free_inodes += u64::from(lo.free_inodes.get());
        if is_long {
            let (hi, _) = DescriptorHi::ref_from_prefix(rest).map_err(|_| too_short())?;
            free_blocks += u64::from(hi.free_blocks.get()) << 16;
            free_inodes += u64::from(hi.free_inodes.get()) << 16;
        }
    }
    Ok((free_blocks, free_inodes))
}
