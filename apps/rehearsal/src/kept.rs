//! The file in which a simulated host remembers its persistent shadow copies, as Windows does from one start to the next.

use std::error::Error;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use lunshadow_coordinator::{Coordinator, SnapshotProperties};
use lunshadow_diskshadow::KeptShadows;
use lunshadow_vss::SnapshotId;

/// The file. As long as this lives, no other program is the same host.
pub struct KeptFile {
    path: PathBuf,
    /// Shadow copies whose disks are not here now. They may come back.
    absent: Vec<SnapshotProperties>,
    _lock: File,
}

impl KeptFile {
    /// Becomes the host that remembers its shadow copies there.
    ///
    /// # Errors
    /// If another program is that host now, or nothing can be written there.
    pub fn lock(path: &Path) -> anyhow::Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let lock = File::create(&name).with_context(|| format!("cannot write beside {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), absent: Vec::new(), _lock: lock }),
            Err(std::fs::TryLockError::WouldBlock) => {
                anyhow::bail!(
                    "another program is this host now; wait until it has ended ({} is locked)",
                    path.display()
                )
            }
            Err(std::fs::TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }

    /// Gives a new coordinator what an earlier one had. Answers the shadow copies whose disks are not here.
    pub(crate) fn bring_back(&mut self, coordinator: &Coordinator) -> anyhow::Result<Vec<SnapshotId>> {
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", self.path.display())),
        };
        let copies: Vec<SnapshotProperties> = serde_json::from_slice(&text).with_context(|| {
            format!("{} is damaged; only what runs DiskShadow's commands writes it", self.path.display())
        })?;
        self.absent = coordinator.adopt(copies)?;
        Ok(self.absent.iter().map(|copy| copy.snapshot).collect())
    }

    fn write(&self, copies: &[SnapshotProperties]) -> io::Result<()> {
        let all: Vec<_> = copies.iter().chain(&self.absent).collect();
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&serde_json::to_vec_pretty(&all)?)?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        Ok(())
    }
}

impl KeptShadows for KeptFile {
    fn keep(&mut self, copies: &[SnapshotProperties]) -> Result<(), Box<dyn Error + Send + Sync>> {
        // An absent one may have been imported again.
        self.absent.retain(|absent| !copies.iter().any(|copy| copy.snapshot == absent.snapshot));
        self.write(copies).map_err(|error| {
            format!("it is done, but the host cannot remember its shadow copies in {}: {error}", self.path.display())
                .into()
        })
    }
}
