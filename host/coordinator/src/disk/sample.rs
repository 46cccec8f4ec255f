//! A disk to try things with, for those who have no image at hand.

use std::fs::OpenOptions;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use fatfs::{FileSystem, FormatVolumeOptions, FsOptions};
use gpt::disk::LogicalBlockSize::Lb512;
use gpt::mbr::ProtectiveMBR;
use gpt::{GptConfig, GptError, partition_types};
use uuid::Uuid;

use super::io::{SECTOR, SECTOR_LEN_BYTES, Sector};
use super::{DiskCursor, DiskError, DiskIo, FileDisk};

/// One MiB, to which the partition is aligned.
const MIB: u64 = 1024 * 1024;

/// The least that holds the files and is not so small that FAT has to have 12 bits.
const LEN_MIN_BYTES: u64 = 16 * MIB;

/// Makes a new file of `len_bytes` at `path` with a GPT and one FAT volume, in which there are a few directories with texts
/// and some MiB of data that cannot be compressed. The same length and seed give the same bytes.
///
/// # Errors
///
/// [`DiskError::SampleLength`], and [`DiskError::Open`] if the file cannot be made or is there already.
pub fn make_sample_disk(path: &Path, len_bytes: u64, seed: u64) -> Result<(), DiskError> {
    if len_bytes < LEN_MIN_BYTES || !len_bytes.is_multiple_of(MIB) {
        return Err(DiskError::SampleLength { len_bytes, min_bytes: LEN_MIN_BYTES });
    }
    let made = OpenOptions::new().write(true).create_new(true).open(path).and_then(|file| file.set_len(len_bytes));
    made.map_err(|source| DiskError::Open { path: path.to_owned(), source })?;
    let disk = FileDisk::open_read_write(path)?;
    let mut random = Random(seed);
    write_partition_table(&disk, &mut random)?;
    // The last MiB is left to the alternate copy of the table.
    write_volume(DiskCursor::read_write(&disk, MIB, len_bytes - 2 * MIB), &mut random)?;
    Ok(disk.flush()?)
}

fn write_partition_table(disk: &dyn DiskIo, random: &mut Random) -> io::Result<()> {
    let mut cursor = DiskCursor::read_write(disk, 0, disk.len_bytes());
    let sectors = disk.len_bytes() / SECTOR;
    ProtectiveMBR::with_lb_size(u32::try_from(sectors - 1).unwrap_or(u32::MAX))
        .overwrite_lba0(&mut cursor)
        .map_err(io::Error::other)?;
    let written: Result<_, GptError> = (|| {
        let config = GptConfig::new().writable(true).logical_block_size(Lb512);
        let mut table = config.create_from_device(cursor, Some(random.guid()))?;
        let (first, len) = (MIB / SECTOR, sectors - 2 * (MIB / SECTOR));
        let number = table.add_partition_at("Lunshadow sample", 1, first, len, partition_types::BASIC, 0)?;
        let mut partitions = table.take_partitions();
        if let Some(partition) = partitions.get_mut(&number) {
            partition.part_guid = random.guid();
        }
        table.update_partitions(partitions)?;
        table.write()
    })();
    written.map(drop).map_err(io::Error::other)
}

fn write_volume(mut window: DiskCursor<'_>, random: &mut Random) -> io::Result<()> {
    let (volume_id, ..) = random.guid().as_fields();
    let options = FormatVolumeOptions::new().volume_id(volume_id).volume_label(*b"LUNSHADOW  ");
    fatfs::format_volume(&mut window, options)?;
    let directories = ["documents", "documents/2025", "pictures", "database"];
    let file_system = FileSystem::new(&mut window, FsOptions::new())?;
    for directory in directories {
        file_system.root_dir().create_dir(directory)?;
    }
    file_system.unmount()?;
    repair_directories(&mut window, directories.len())?;

    window.rewind()?;
    let file_system = FileSystem::new(window, FsOptions::new())?;
    let root = file_system.root_dir();
    let readme = "This disk was made to try Lunshadow. Its files are of no further use.\r\n";
    let ledger = (1..=20_000).map(|number| format!("{number};{};EUR\r\n", random.next() % 100_000)).collect::<String>();
    let minutes = "Present: all. Decided: to take shadow copies.\r\n".repeat(40);
    for (path, content) in [
        ("readme.txt", readme.as_bytes()),
        ("documents/minutes of the meeting.txt", minutes.as_bytes()),
        ("documents/2025/ledger.csv", ledger.as_bytes()),
        ("documents/2025/empty.txt", &[]),
        ("pictures/harbour.raw", &random.bytes(300 * 1024)),
        ("pictures/panorama.raw", &random.bytes(3 * 1024 * 1024 + 77)),
        ("database/accounts.db", &random.bytes(2 * 1024 * 1024)),
    ] {
        let mut file = root.create_file(path)?;
        file.write_all(content)?;
        file.flush()?;
    }
    drop(root);
    file_system.unmount()
}

/// Gives `count` new directories the beginning that they must have.
///
/// `fatfs` 0.3 writes long names for the entries `.` and `..`, but these have to be the first two (FAT specification 1.03,
/// "Directory creation"). Checking programs take that for damage. The places of the long names become free entries.
fn repair_directories(window: &mut DiskCursor<'_>, count: usize) -> io::Result<()> {
    const ENTRY: usize = 32;
    const FREE: u8 = 0xe5;
    const ATTRIBUTES_OF_LONG_NAMES: u8 = 0x0f;
    let mut repaired = 0;
    let mut sector: Sector = [0; SECTOR_LEN_BYTES];
    window.rewind()?;
    while repaired < count {
        window.read_exact(&mut sector)?;
        let (entries, _) = sector.as_chunks_mut::<ENTRY>();
        let dot = entries[0][11] == ATTRIBUTES_OF_LONG_NAMES && entries[1].starts_with(b".          ");
        let dot_dot = entries[2][11] == ATTRIBUTES_OF_LONG_NAMES && entries[3].starts_with(b"..         ");
        if dot && dot_dot {
            entries.swap(0, 1);
            entries.swap(1, 3);
            (entries[2][0], entries[3][0]) = (FREE, FREE);
            window.seek_relative(-512)?;
            window.write_all(&sector)?;
            repaired += 1;
        }
    }
    Ok(())
}

/// A pseudo-random sequence (SplitMix64, Steele, Lea and Flood 2014), so that a sample can be made again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn bytes(&mut self, len_bytes: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..len_bytes.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).collect();
        bytes.truncate(len_bytes);
        bytes
    }

    fn guid(&mut self) -> Uuid {
        uuid::Builder::from_random_bytes(std::array::from_fn(|_| self.next().to_le_bytes()[0])).into_uuid()
    }
}
