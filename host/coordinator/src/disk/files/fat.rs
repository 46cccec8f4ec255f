//! Files of a FAT volume, by `fatfs`.

use fatfs::{FileSystem, FsOptions};

use super::walk::{Damage, FoundFile, Walk, join};
use crate::disk::{DiskIo, Volume};

/// The most entries of a directory, whose length is limited to 2 MiB (FAT specification 1.03, "Directory structure").
const ENTRIES_MAX: usize = 65_536;

pub(super) fn walk(disk: &dyn DiskIo, volume: &Volume, walk: &mut Walk<'_, '_>) -> Result<(), Damage> {
    let file_system = FileSystem::new(walk.cursor(disk, volume), FsOptions::new().update_accessed_date(false))?;
    let mut directories = vec![(String::new(), 0, file_system.root_dir())];
    while let Some((path, depth, directory)) = directories.pop() {
        for (index, entry) in directory.iter().enumerate() {
            if index == ENTRIES_MAX {
                return Err(Damage(format!("{path}: a directory does not end")));
            }
            let entry = entry?;
            walk.count_entry(depth)?;
            let name = entry.file_name();
            if name == "." || name == ".." {
                continue;
            }
            let path = join(&path, &name);
            if entry.is_dir() {
                if walk.enters(&path) {
                    directories.push((path, depth + 1, entry.to_dir()));
                }
                continue;
            }
            let file = FoundFile { path: &path, len_bytes: entry.len(), unread: None };
            if walk.show(file, &mut entry.to_file())?.is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}
