//! What the simulated Windows host knows about disks, volumes and files.
//!
//! VSS itself reads partition tables, sets flags on them, and gives an arrived copy a new identity; a proof that a shadow
//! copy is right needs the files of its volumes. Everything here works over one small synchronous trait, [`DiskIo`], so the
//! same code looks at an image file, at a LUN over iSCSI, and at bytes in a test:
//!
//! ```text
//!  DiskIo ──▶ read_layout ──▶ DiskLayout ──▶ list_files, VolumeFiles (FAT, NTFS, ext2/3/4)
//!    │                            └────────▶ pick_witness (a sector that belongs to one file)
//!    └─▶ set_shadow_flags / clear_shadow_flags / read_shadow_flags, assign_new_identity,
//!        set_disk_identity
//! ```
//!
//! Sectors have 512 bytes throughout, as the LUNs of the array have. All calls block; asynchronous callers put them on a
//! blocking thread. Damage that is found on a disk is a [`DiskError`] that names the table or the volume, never a panic:
//! the filesystem crates can panic on some damage, so they run behind `catch_unwind`.

mod cursor;
mod error;
mod files;
mod guid_table;
mod identity;
mod io;
mod layout;
mod mbr_table;
mod overlay;
mod probe;
mod sample;
mod shadow_flags;
mod witness;

pub use cursor::DiskCursor;
pub use error::DiskError;
pub use files::{
    Attributes, FileContent, FileEntry, FileError, FileKind, FileNumber, ListedFile, Space, UnreadReason, VolumeFiles,
    list_files,
};
pub use identity::{NewIdentity, assign_new_identity, set_disk_identity, set_disk_signature};
pub use io::{DiskIo, FileDisk, SECTOR_LEN_BYTES};
pub use layout::{DiskLayout, FileSystemKind, Partition, PartitionTable, Volume, read_layout};
pub use sample::make_sample_disk;
pub use shadow_flags::{
    FlagPlacement, SavedFlags, ShadowFlags, clear_shadow_flags, read_shadow_flags, remove_shadow_flags,
    set_shadow_flags,
};
pub use witness::{Witness, find_file_block, pick_witness};
