//! What of the Backup Components Document concerns providers (section 1.6 of the contract): all that another host needs to import a
//! transportable set, and that a recovery needs to find its LUNs.

mod xml;

use std::collections::BTreeMap;

use lunshadow_vss::{Context, DeviceName, HResult, LunInformation, ProviderId, SnapshotId, SnapshotSetId};

use crate::platform::{DiskExtent, VolumeLun, VolumeName};

/// The document of one set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackupDocument {
    /// The set.
    pub set: SnapshotSetId,
    /// The context in which it was created.
    pub context: Context,
    /// When it was committed, in milliseconds since the beginning of 1970.
    pub created_unix_ms: u64,
    /// Its shadow copies.
    pub snapshots: Vec<DocumentSnapshot>,
}

/// The shadow copy of one volume.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DocumentSnapshot {
    /// Its id.
    pub snapshot: SnapshotId,
    /// The volume that it is a copy of, as the creating host calls it.
    pub volume: VolumeName,
    /// Who made it.
    pub provider: ProviderId,
    /// The LUNs of the volume, in the order that the provider was told.
    pub luns: Vec<DocumentLun>,
}

/// A LUN of a volume, with its shadow LUN.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DocumentLun {
    /// The captured disk's name on the creating host.
    pub source_device: DeviceName,
    /// What VSS knew of it.
    pub source: LunInformation,
    /// Where the volume lies on it, and thereby on the shadow LUN.
    pub extents: Vec<DiskExtent>,
    /// The shadow LUN, as `GetTargetLuns` announced it.
    pub shadow: LunInformation,
}

/// Why a document cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It is not XML, or not XML of this kind.
    #[error("this is not a backup document")]
    Invalid(#[source] quick_xml::DeError),
    /// It is a document of a version that is not known here.
    #[error("the backup document has version {0}, which is not known here")]
    UnknownVersion(u32),
    /// It is a backup document, but not as it was written.
    #[error("the backup document is corrupt: {0}")]
    Corrupt(&'static str),
}

impl DocumentError {
    /// The code that a requester sees.
    #[must_use]
    pub const fn code(&self) -> HResult {
        match self {
            Self::Invalid(_) | Self::UnknownVersion(_) => HResult::VSS_E_INVALID_XML_DOCUMENT,
            Self::Corrupt(_) => HResult::VSS_E_CORRUPT_XML_DOCUMENT,
        }
    }
}

impl BackupDocument {
    /// Writes the document, with a digest of its content. The same document is always the same text.
    #[must_use]
    pub fn to_xml(&self) -> String {
        xml::write(self)
    }

    /// Reads a document that [`to_xml`](Self::to_xml) wrote.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub fn from_xml(text: &str) -> Result<Self, DocumentError> {
        let document = xml::read(text)?;
        document.check()?;
        Ok(document)
    }

    /// What the import relies on, whoever wrote the document.
    fn check(&self) -> Result<(), DocumentError> {
        let mut shadows: BTreeMap<(ProviderId, &DeviceName), &LunInformation> = BTreeMap::new();
        let mut snapshots = Vec::new();
        for snapshot in &self.snapshots {
            if snapshots.contains(&snapshot.snapshot) {
                return Err(DocumentError::Corrupt("two shadow copies have one id"));
            }
            snapshots.push(snapshot.snapshot);
            if snapshot.luns.is_empty() {
                return Err(DocumentError::Corrupt("a shadow copy has no LUNs"));
            }
            for lun in &snapshot.luns {
                // Such a shadow LUN would be found on the source itself, which would then get a new signature.
                if lun.shadow.matches_by_page83(&lun.source) {
                    return Err(DocumentError::Corrupt("a shadow LUN has the identity of its source"));
                }
                let known = shadows.insert((snapshot.provider, &lun.source_device), &lun.shadow);
                if known.is_some_and(|known| *known != lun.shadow) {
                    return Err(DocumentError::Corrupt("a LUN has two shadow LUNs"));
                }
            }
        }
        if snapshots.is_empty() { Err(DocumentError::Corrupt("it has no shadow copies")) } else { Ok(()) }
    }

    /// One of its shadow copies.
    #[must_use]
    pub fn snapshot(&self, snapshot: SnapshotId) -> Option<&DocumentSnapshot> {
        self.snapshots.iter().find(|it| it.snapshot == snapshot)
    }
}

impl DocumentSnapshot {
    /// The LUNs of the volume, as the creating host saw them.
    pub(crate) fn volume_luns(&self) -> Vec<VolumeLun> {
        let volume_lun = |lun: &DocumentLun| VolumeLun {
            device: lun.source_device.clone(),
            lun: lun.source.clone(),
            extents: lun.extents.clone(),
        };
        self.luns.iter().map(volume_lun).collect()
    }

    /// The shadow LUNs, one for each LUN of the volume.
    pub(crate) fn shadows(&self) -> Vec<LunInformation> {
        self.luns.iter().map(|lun| lun.shadow.clone()).collect()
    }
}
