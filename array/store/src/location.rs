//! Where a pool is: in a folder, as one file, or on a block device.

use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::media::{Glance, Media as _, is_block_device};
use crate::pool::{OpenError, POOL_FILE};
use crate::recovery;

/// The file or device that holds the pool at a path.
pub(crate) fn medium_of(path: &Path) -> PathBuf {
    if is_block_device(path) { path.to_owned() } else { path.join(POOL_FILE) }
}

/// The id of the pool at a path, which may be in use. It stays the same whatever the path is called.
///
/// # Errors
/// As for opening the pool, as far as its superblocks say.
pub fn pool_id(path: &Path) -> Result<Uuid, OpenError> {
    let media = Glance::at(&medium_of(path)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => OpenError::NotAPool,
        _ => OpenError::Io(error),
    })?;
    let newest = recovery::newest_superblock(&media)?;
    Ok(Uuid::from_u128(newest.superblock.pool_id.get()))
}

/// The length of the block device at a path; `None` if there is something else.
///
/// # Errors
/// What the operating system answers.
pub fn device_bytes(path: &Path) -> io::Result<Option<u64>> {
    if !is_block_device(path) {
        return Ok(None);
    }
    Glance::at(path)?.len_bytes().map(Some)
}
