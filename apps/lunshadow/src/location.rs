//! Where a pool is, and where what belongs to it besides its data is kept.
//!
//! A pool in a folder has its catalog, keys and credentials beside it. One on a block device has a folder elsewhere, which is named after
//! the pool's id, since devices change their names; it may be a link to the folder that an administrator chose.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use lunshadow_store::{device_bytes, pool_id};
use uuid::Uuid;

/// Names another folder than `RECORDS_OF_DEVICES`, for tests and for those who are not root.
pub const RECORDS_VARIABLE: &str = "LUNSHADOW_RECORDS";

/// The folders of pools on devices are in here.
const RECORDS_OF_DEVICES: &str = "/var/lib/lunshadow";

/// A pool's location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The pool's folder, or the block device.
    pub pool: PathBuf,
    /// The folder of the catalog, of keys and of credentials.
    pub records: PathBuf,
}

impl Location {
    /// The location of a pool that is there, or that is to be made in a folder.
    ///
    /// # Errors
    /// If it is a device without a pool, or one that cannot be read.
    pub fn of(pool: &Path) -> anyhow::Result<Self> {
        let records = match length_of_device(pool)? {
            None => pool.to_owned(),
            Some(_) => {
                let id = pool_id(pool).with_context(|| format!("cannot open the pool on {}", pool.display()))?;
                records_of(id)
            }
        };
        Ok(Self { pool: pool.to_owned(), records })
    }

    /// The location of a pool that was just made, with its folder of records: the one that is given, or else the default one.
    ///
    /// # Errors
    /// If the folder cannot be made, or has the records of another pool.
    pub fn furnish(pool: &Path, records: Option<&Path>) -> anyhow::Result<Self> {
        let location = Self::of(pool)?;
        let Some(chosen) = records else {
            make_private(&location.records)?;
            return Ok(location);
        };
        ensure!(location.records != location.pool, "a pool in a folder keeps its records there; leave out --records");
        make_private(chosen)?;
        let chosen = chosen.canonicalize().with_context(|| format!("cannot find the folder {}", chosen.display()))?;
        let beside = location.records.parent().context("it has a parent")?;
        make_private(beside)?;
        std::os::unix::fs::symlink(&chosen, &location.records)
            .with_context(|| format!("cannot make the link {}", location.records.display()))?;
        Ok(location)
    }
}

/// The length of a device in bytes; `None` if there is something else.
///
/// # Errors
/// If the device cannot be read.
pub fn length_of_device(path: &Path) -> anyhow::Result<Option<u64>> {
    device_bytes(path).with_context(|| format!("cannot read {}", path.display()))
}

fn records_of(id: Uuid) -> PathBuf {
    let parent = std::env::var_os(RECORDS_VARIABLE).map_or_else(|| PathBuf::from(RECORDS_OF_DEVICES), PathBuf::from);
    parent.join(id.to_string())
}

/// Makes a folder that only its owner may enter: whoever can read credentials administers the array.
fn make_private(folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("cannot make the folder {}", folder.display()))
}
