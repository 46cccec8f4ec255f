//! What can go wrong with disks, volumes and files.

use std::io;
use std::path::PathBuf;

use super::FileSystemKind;

/// Why a disk, its tables or its files could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The image or device is not there, not readable, or not a file.
    #[error("cannot open {}", path.display())]
    Open {
        /// What was to be opened.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The length of the image is no multiple of 512.
    #[error("a length of {len_bytes} bytes is not a whole number of 512-byte sectors")]
    NotWholeSectors {
        /// The length that was found.
        len_bytes: u64,
    },
    /// The disk itself failed: the file, the device, or the connection to the LUN.
    #[error("the disk cannot be read or written")]
    Io(#[from] io::Error),
    /// Neither copy of the GPT is usable, or an entry of it makes no sense.
    #[error("the GPT is damaged: {reason}")]
    DamagedGpt {
        /// What is wrong with it.
        reason: String,
    },
    /// The chain of extended boot records is broken.
    #[error("the MBR partition table is damaged: {reason}")]
    DamagedMbr {
        /// What is wrong with it.
        reason: String,
    },
    /// The partition table promises more sectors than the disk has.
    #[error("volume {volume} ends at byte {end_bytes}, beyond the end of the disk at byte {disk_len_bytes}")]
    VolumeBeyondDisk {
        /// [`Volume::index`](super::Volume::index).
        volume: u32,
        /// Where the volume would end.
        end_bytes: u64,
        /// Where the disk ends.
        disk_len_bytes: u64,
    },
    /// The volume has no filesystem, or one that is not FAT, NTFS or ext2/3/4.
    #[error("volume {volume} holds no filesystem that can be read here")]
    UnknownFileSystem {
        /// [`Volume::index`](super::Volume::index).
        volume: u32,
    },
    /// The filesystem contradicts itself.
    #[error("volume {volume} ({file_system}) is damaged: {reason}")]
    DamagedVolume {
        /// [`Volume::index`](super::Volume::index).
        volume: u32,
        /// Which filesystem was being read.
        file_system: FileSystemKind,
        /// What its reader says.
        reason: String,
    },
    /// Saved flags cannot be undone: somebody else has written there since they were set.
    #[error("the sector at byte {offset_bytes} was changed by others after the shadow flags were set")]
    ChangedMeanwhile {
        /// The first such sector.
        offset_bytes: u64,
    },
    /// MBR disks have signatures of 32 bits, GPT disks have GUIDs.
    #[error("the disk's partition table has no place for a signature of this kind")]
    SignatureKind,
    /// A sample disk needs room for a GPT and a FAT volume with its files.
    #[error("a sample disk needs at least {min_bytes} bytes, in whole MiB, not {len_bytes}")]
    SampleLength {
        /// What was asked for.
        len_bytes: u64,
        /// The least that will do.
        min_bytes: u64,
    },
}
