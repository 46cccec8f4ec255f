//! A place on the disk whose change changes a known file.
//!
//! To show that a shadow copy is of one instant, a file of the source is changed in place right before and right after it. The
//! crates that read filesystems do not tell where a file's data is on the disk (and none of them can change a file without
//! moving it), so the place is found by its content, and confirmed: with the sector changed in an overlay, the file must
//! read differently.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::ops::ControlFlow;

use super::files::walk_volume;
use super::io::{SECTOR, SECTOR_LEN_BYTES, Sector};
use super::overlay::SectorOverlay;
use super::{DiskError, DiskIo, DiskLayout, FileSystemKind, Volume};

/// How much of a file is looked at.
const HEAD_LEN_BYTES: usize = 64 * 1024;

/// How many files of a volume are looked at. One is enough if its data is as in most files; some may be sparse, or hold the
/// same as others.
const CANDIDATES_MAX: usize = 64;

/// How many places with the same content are tried for one file.
const TRIES_MAX: u32 = 16;

/// How much is read at once in search of a content.
const SCAN_LEN_BYTES: u64 = 1024 * 1024;

/// A sector that belongs to the data of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Witness {
    /// [`Volume::index`].
    pub volume: u32,
    /// [`FileEntry::path`](super::FileEntry::path).
    pub path: String,
    /// The sector's place on the disk.
    pub offset_bytes: u64,
    /// What it holds now.
    pub original: [u8; SECTOR_LEN_BYTES],
}

/// Finds a sector of a file, in the first volume that has a suitable file: one of 512 bytes or more whose data has sectors of
/// its own. The choice depends on the disk's content only.
pub fn pick_witness(disk: &dyn DiskIo, layout: &DiskLayout) -> Result<Option<Witness>, DiskError> {
    for volume in layout.volumes.iter().filter(|volume| volume.file_system != FileSystemKind::Unknown) {
        let paths = first_paths(disk, volume)?;
        if let Some((path, offset_bytes, original)) = find(disk, volume, &paths)? {
            return Ok(Some(Witness { volume: volume.index, path, offset_bytes, original }));
        }
    }
    Ok(None)
}

/// Finds where on the disk a sector of the file `path` of `volume` is. `None` if there is no such file, or if its data has
/// no sector of its own: it is shorter than a sector, is held within the filesystem's metadata, or holds nothing distinctive.
pub fn find_file_block(disk: &dyn DiskIo, volume: &Volume, path: &str) -> Result<Option<u64>, DiskError> {
    let found = find(disk, volume, &BTreeSet::from([path.to_owned()]))?;
    Ok(found.map(|(_, offset_bytes, _)| offset_bytes))
}

/// The paths of the first suitable files, in the order of their names.
fn first_paths(disk: &dyn DiskIo, volume: &Volume) -> Result<BTreeSet<String>, DiskError> {
    let mut paths = BTreeSet::new();
    walk_volume(disk, volume, &mut |file, _| {
        if file.unread.is_none() && file.len_bytes >= SECTOR {
            paths.insert(file.path.to_owned());
            if paths.len() > CANDIDATES_MAX {
                paths.pop_last();
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(paths)
}

/// The first [`HEAD_LEN_BYTES`] of each of the files `paths`.
fn read_heads(
    disk: &dyn DiskIo,
    volume: &Volume,
    paths: &BTreeSet<String>,
) -> Result<BTreeMap<String, Vec<u8>>, DiskError> {
    let mut heads = BTreeMap::new();
    walk_volume(disk, volume, &mut |file, content| {
        if file.unread.is_none() && paths.contains(file.path) {
            let mut head = vec![0; HEAD_LEN_BYTES.min(usize::try_from(file.len_bytes).unwrap_or(HEAD_LEN_BYTES))];
            match content.read_exact(&mut head) {
                Ok(()) => {
                    heads.insert(file.path.to_owned(), head);
                }
                Err(failure) if failure.kind() == io::ErrorKind::Unsupported => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(if heads.len() == paths.len() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(heads)
}

/// The first sector of a file's head that is worth searching: not the same byte throughout, as free space may be.
fn distinctive_sector(head: &[u8]) -> Option<Sector> {
    let (sectors, _) = head.as_chunks::<SECTOR_LEN_BYTES>();
    sectors.iter().find(|sector| sector.iter().any(|byte| *byte != sector[0])).copied()
}

/// Searches the volume for a sector of any of the files, from its beginning.
fn find(
    disk: &dyn DiskIo,
    volume: &Volume,
    paths: &BTreeSet<String>,
) -> Result<Option<(String, u64, Sector)>, DiskError> {
    let mut wanted = HashMap::new();
    for (path, head) in read_heads(disk, volume, paths)? {
        if let Some(sector) = distinctive_sector(&head) {
            // Of files that begin alike, the first by name.
            wanted.entry(sector).or_insert((path, head, TRIES_MAX));
        }
    }
    let mut chunk = vec![0; usize::try_from(SCAN_LEN_BYTES).expect("1 MiB fits any address space")];
    let end = volume.offset_bytes + volume.len_bytes / SECTOR * SECTOR;
    let mut at = volume.offset_bytes;
    while at < end && !wanted.is_empty() {
        let len = usize::try_from(SCAN_LEN_BYTES.min(end - at)).expect("at most 1 MiB");
        disk.read_at(at, &mut chunk[..len])?;
        let (sectors, _) = chunk[..len].as_chunks::<SECTOR_LEN_BYTES>();
        for (offset_bytes, sector) in (at..).step_by(SECTOR_LEN_BYTES).zip(sectors) {
            let Some((path, head, tries_left)) = wanted.get_mut(sector) else {
                continue;
            };
            if belongs_to(disk, volume, path, head, offset_bytes, sector)? {
                return Ok(Some((path.clone(), offset_bytes, *sector)));
            }
            *tries_left -= 1;
            if *tries_left == 0 {
                wanted.remove(sector);
            }
        }
        at += SCAN_LEN_BYTES;
    }
    Ok(None)
}

/// Whether the file reads differently once the sector is changed.
fn belongs_to(
    disk: &dyn DiskIo,
    volume: &Volume,
    path: &str,
    head: &[u8],
    offset_bytes: u64,
    sector: &Sector,
) -> Result<bool, DiskError> {
    let overlay = SectorOverlay::new(disk);
    overlay.write_at(offset_bytes, &sector.map(|byte| !byte))?;
    match read_heads(&overlay, volume, &BTreeSet::from([path.to_owned()])) {
        Ok(heads) => Ok(heads.get(path).is_some_and(|changed| changed != head)),
        // The sector is part of what holds the filesystem together.
        Err(DiskError::DamagedVolume { .. }) => Ok(false),
        Err(failure) => Err(failure),
    }
}
