//! What `lunshadow try` has to say, as data: the text and the JSON document are made from the same.

use lunshadow_coordinator::Timeline;
use serde::Serialize;

use crate::records::RecordVerdict;

/// The whole report.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The program's version.
    pub lunshadow: &'static str,
    /// What was imported.
    pub image: ImageReport,
    /// The storage side.
    pub array: ArrayReport,
    /// The simulated Windows host.
    pub host: HostReport,
    /// The set and how it came to be.
    pub shadow_copy_set: SetReport,
    /// What is proven, and whether it held.
    pub proofs: Vec<Proof>,
    /// What the pool used; absent with `--keep`, which deletes nothing.
    pub space: Option<SpaceReport>,
    /// Whether every proof held.
    pub verdict: bool,
}

/// The imported image.
#[derive(Debug, Serialize)]
pub struct ImageReport {
    /// Its path; for the sample disk the name of the sample.
    pub path: String,
    /// Its length.
    pub len_bytes: u64,
    /// How long the import took.
    pub import_us: u64,
}

/// The array.
#[derive(Debug, Serialize)]
pub struct ArrayReport {
    /// The pool's folder.
    pub pool: String,
    /// The address that the target listens on.
    pub portal: String,
    /// The target's name.
    pub target: String,
    /// How the provider reaches it.
    pub channel: ChannelReport,
    /// The LUNs.
    pub luns: Vec<LunReport>,
}

/// The channel between provider and array.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "over")]
pub enum ChannelReport {
    /// Calls in the same process.
    InProcess,
    /// The control service.
    Https {
        /// Where it listens.
        address: String,
        /// The certificate by which the host knows it.
        fingerprint: String,
        /// The name that the array has for the host.
        enrolled_as: String,
    },
}

/// A LUN as the host sees it.
#[derive(Debug, Clone, Serialize)]
pub struct LunReport {
    /// The array's name for it.
    pub name: String,
    /// Its LUN number at the host.
    pub lun_number: u8,
    /// Its length.
    pub len_bytes: u64,
    /// Page 0x80.
    pub serial: String,
    /// The NAA designator of page 0x83, in hexadecimal.
    pub naa: String,
}

/// The host.
#[derive(Debug, Serialize)]
pub struct HostReport {
    /// Its initiator name.
    pub initiator: String,
    /// Its disks before the shadow copy.
    pub disks: Vec<DiskReport>,
}

/// A disk of the host.
#[derive(Debug, Serialize)]
pub struct DiskReport {
    /// Its device name.
    pub device: String,
    /// The kind of partition table, with the disk's identity.
    pub partition_table: String,
    /// Its volumes.
    pub volumes: Vec<VolumeReport>,
}

/// A volume of a disk.
#[derive(Debug, Serialize)]
pub struct VolumeReport {
    /// `\\?\Volume{…}\`.
    pub name: String,
    /// Where it begins.
    pub offset_bytes: u64,
    /// Its length.
    pub len_bytes: u64,
    /// The file system found in it.
    pub file_system: String,
    /// How many files it holds; absent if the file system cannot be read here.
    pub file_count: Option<usize>,
}

/// The set.
#[derive(Debug, Serialize)]
pub struct SetReport {
    /// Its id.
    pub id: String,
    /// What it was created for.
    pub volumes: Vec<String>,
    /// The shadow LUNs.
    pub shadow_luns: Vec<LunReport>,
    /// How long writers were frozen.
    pub freeze_us: u64,
    /// How long writes were held.
    pub hold_us: u64,
    /// How long CommitSnapshots took.
    pub commit_us: u64,
    /// The files on the shadow LUNs, as they were read over iSCSI.
    pub files: Vec<FileReport>,
    /// Every call and phase.
    pub timeline: Timeline,
}

/// A file on a shadow LUN.
#[derive(Debug, Serialize)]
pub struct FileReport {
    /// Where its volume begins.
    pub volume_offset_bytes: u64,
    /// Its path in the volume.
    pub path: String,
    /// Its length.
    pub len_bytes: u64,
    /// The hash of its content, in hexadecimal; absent if it cannot be read here.
    pub sha256: Option<String>,
    /// Why there is no hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread: Option<String>,
}

/// Something that was to be proven.
#[derive(Debug, Clone, Serialize)]
pub struct Proof {
    /// What.
    pub name: &'static str,
    /// Whether it held.
    pub held: bool,
    /// The evidence, or what is wrong.
    pub detail: String,
    /// For the proof of the records: all there is to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<RecordVerdict>,
}

impl Proof {
    /// A proof with its evidence.
    pub fn new(name: &'static str, held: bool, detail: impl Into<String>) -> Self {
        Self { name, held, detail: detail.into(), records: None }
    }
}

/// What the pool used.
#[derive(Debug, Serialize)]
pub struct SpaceReport {
    /// The calls of the deletion.
    pub deletion: Timeline,
    /// Before the shadow copy.
    pub before_bytes: u64,
    /// With the shadow copy, at its end.
    pub with_shadow_bytes: u64,
    /// After its deletion.
    pub after_bytes: u64,
}
