//! Disk images with real file systems, made by the programs that everybody makes them with.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::peer::{Peer, argument};

/// The size of each file system.
pub const VOLUME_BYTES: u64 = 24 << 20;

/// Where the volume begins on a partitioned disk, as every partitioning program does it today.
pub const PARTITION_START_BYTES: u64 = 1 << 20;

/// One file that was put into an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestFile {
    /// Its path in the image, without a leading slash. The last part fits an 8.3 name.
    pub path: String,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// How a disk is partitioned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionTable {
    /// Master boot record, one primary partition.
    Mbr,
    /// GUID partition table, one partition.
    Gpt,
}

/// The files of every image: empty, small, as long as a cluster, and large with content that nobody can guess.
#[must_use]
pub fn files() -> Vec<TestFile> {
    let mut random = SmallRng::seed_from_u64(1);
    let lens =
        [("EMPTY.TXT", 0), ("HELLO.TXT", 14), ("CLUSTER.BIN", 4096), ("DATA.BIN", 1_000_003), ("BIG.BIN", 3 << 20)];
    let file = |(path, len): (&str, usize)| {
        let mut bytes = vec![0; len];
        random.fill_bytes(&mut bytes);
        TestFile { path: path.to_owned(), bytes }
    };
    lens.into_iter().map(file).collect()
}

/// An ext4 file system without a partition table, or `None` without `mke2fs`.
///
/// # Errors
/// If the image cannot be made.
pub async fn ext4(folder: &Path) -> anyhow::Result<Option<PathBuf>> {
    let Some(mke2fs) = Peer::find("mke2fs") else { return Ok(None) };
    let tree = write_files(folder)?;
    let image = blank(&folder.join("ext4.img"), VOLUME_BYTES)?;
    mke2fs.succeed(["-q", "-F", "-t", "ext4", "-d", argument(&tree), argument(&image)]).await?;
    Ok(Some(image))
}

/// An NTFS file system without a partition table, or `None` without `mkntfs` and `ntfscp`.
///
/// # Errors
/// If the image cannot be made.
pub async fn ntfs(folder: &Path) -> anyhow::Result<Option<PathBuf>> {
    let (Some(mkntfs), Some(ntfscp)) = (Peer::find("mkntfs"), Peer::find("ntfscp")) else { return Ok(None) };
    let tree = write_files(folder)?;
    let image = blank(&folder.join("ntfs.img"), VOLUME_BYTES)?;
    mkntfs.succeed(["--quiet", "--force", "--fast", argument(&image)]).await?;
    for file in files() {
        ntfscp.succeed(["--force", argument(&image), argument(&tree.join(&file.path)), &file.path]).await?;
    }
    Ok(Some(image))
}

/// A FAT file system on a partitioned disk, or `None` without the programs for it.
///
/// # Errors
/// If the image cannot be made.
pub async fn fat_disk(folder: &Path, table: PartitionTable) -> anyhow::Result<Option<PathBuf>> {
    let (Some(mkfs), Some(mcopy)) = (Peer::find("mkfs.fat"), Peer::find("mcopy")) else { return Ok(None) };
    let partitioner = match table {
        PartitionTable::Mbr => Peer::find("sfdisk"),
        PartitionTable::Gpt => Peer::find("sgdisk"),
    };
    let Some(partitioner) = partitioner else { return Ok(None) };
    let tree = write_files(folder)?;
    let volume = blank(&folder.join("fat.img"), VOLUME_BYTES)?;
    mkfs.succeed(["-F", "16", "-n", "SHADOWTEST", argument(&volume)]).await?;
    for file in files() {
        mcopy.succeed(["-i", argument(&volume), argument(&tree.join(&file.path)), &format!("::{}", file.path)]).await?;
    }
    let image = blank(&folder.join("disk.img"), PARTITION_START_BYTES * 2 + VOLUME_BYTES)?;
    let (start, count) = (PARTITION_START_BYTES / 512, VOLUME_BYTES / 512);
    match table {
        PartitionTable::Mbr => {
            let script = folder.join("partitions");
            std::fs::write(&script, format!("label: dos\nstart={start}, size={count}, type=6\n"))?;
            let mut sfdisk = partitioner.command(["--quiet", argument(&image)]);
            let status = sfdisk.stdin(std::fs::File::open(&script)?).status().await?;
            ensure!(status.success(), "sfdisk: {status}");
        }
        PartitionTable::Gpt => {
            let new = format!("--new=1:{start}:{}", start + count - 1);
            partitioner.succeed(["--clear", &new, "--typecode=1:0700", argument(&image)]).await?;
        }
    }
    copy_into(&volume, &image, PARTITION_START_BYTES)?;
    Ok(Some(image))
}

/// Writes [`files`] into a folder of the file system and returns it.
fn write_files(folder: &Path) -> anyhow::Result<PathBuf> {
    let tree = folder.join("tree");
    std::fs::create_dir_all(&tree)?;
    for file in files() {
        std::fs::write(tree.join(&file.path), &file.bytes)?;
    }
    Ok(tree)
}

fn blank(path: &Path, len_bytes: u64) -> anyhow::Result<PathBuf> {
    std::fs::File::create(path)?.set_len(len_bytes)?;
    Ok(path.to_owned())
}

fn copy_into(from: &Path, to: &Path, at_bytes: u64) -> anyhow::Result<()> {
    use std::io::{Seek, SeekFrom};
    let mut target = std::fs::File::options().write(true).open(to)?;
    target.seek(SeekFrom::Start(at_bytes))?;
    std::io::copy(&mut std::fs::File::open(from)?, &mut target)?;
    Ok(())
}
