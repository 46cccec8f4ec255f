//! How a shadow copy is exposed: its files in a folder, or else as the LUN that it is.

use std::error::Error;

use anyhow::{Context as _, bail};
use lunshadow_coordinator::disk::{FileSystemKind, VolumeFiles, read_layout};
use lunshadow_coordinator::{ShadowLun, SnapshotProperties};
use lunshadow_diskshadow::{Exposer, Place};
use lunshadow_rehearsal::{ExposedLuns, Folders};
use lunshadow_vss::SnapshotId;

use super::mount::check_folder;
use super::mounts::Mounts;

/// Mounts the files of shadow copies, or says where their LUNs can be attached.
pub(super) struct FolderExposer {
    pub(super) luns: ExposedLuns,
    pub(super) folders: Folders,
    pub(super) mounts: Mounts,
}

impl FolderExposer {
    /// The files of a shadow copy's volume.
    fn files(&self, copy: &SnapshotProperties) -> anyhow::Result<(VolumeFiles, FileSystemKind)> {
        let [ShadowLun { device, extents, .. }] = &copy.luns[..] else { bail!("it lies on several LUNs") };
        let [extent] = &extents[..] else { bail!("it lies in several places of its LUN") };
        let disk = self.luns.windows.disk_io(device)?;
        let layout = read_layout(&*disk)?;
        let volume = layout.volumes.into_iter().find(|volume| volume.offset_bytes == extent.offset_bytes);
        let volume = volume.with_context(|| format!("there is no volume at byte {}", extent.offset_bytes))?;
        let kind = volume.file_system;
        Ok((VolumeFiles::open(disk, volume)?, kind))
    }

    /// Says where the LUNs of a shadow copy can be attached, and why its files are not mounted.
    fn luns(&self, copy: &SnapshotProperties, place: &Place, reason: &anyhow::Error) -> anyhow::Result<String> {
        self.luns.of(copy, place, format_args!("{reason:#}"))
    }
}

impl Exposer for FolderExposer {
    fn expose(&mut self, copy: &SnapshotProperties, place: &Place) -> Result<String, Box<dyn Error + Send + Sync>> {
        let folder = match place {
            Place::Drive(letter) => {
                let folder = self.folders.drive(*letter).map(ToOwned::to_owned);
                folder.with_context(|| format!("no folder stands for {place} in the host's `folders`"))
            }
            Place::MountPoint(path) => self.folders.here(path).map_err(anyhow::Error::from),
            Place::Share(name) => return Err(ExposedLuns::no_share(name).into()),
        };
        let folder = match folder {
            Ok(folder) => folder,
            Err(reason) => return Ok(self.luns(copy, place, &reason)?),
        };
        // That is a fault of the script, here as on Windows.
        check_folder(&folder)?;
        let mounted = self.files(copy).and_then(|(files, kind)| {
            let folder = self.mounts.mount(copy.snapshot, files, &folder)?;
            Ok(format!("{} is mounted read-only in {} ({kind})", copy.snapshot, folder.display()))
        });
        Ok(mounted.or_else(|reason| self.luns(copy, place, &reason))?)
    }

    fn unexpose(&mut self, copy: SnapshotId) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(self.mounts.unmount(copy)?)
    }
}
