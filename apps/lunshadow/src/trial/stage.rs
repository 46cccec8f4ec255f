//! What a trial runs on: an array in this process with two LUNs, and a target in front of it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context as _;
use lunshadow_control::{HostId, InitiatorName, LunId, identity_of};
use lunshadow_coordinator::disk::{FileDisk, make_sample_disk, read_layout};
use lunshadow_lun::{BlockCount, LunNumber, Pool as _};
use lunshadow_target::Target;
use tempfile::TempDir;

use crate::array::{Admission, Storage};
use crate::cli::{Over, TryArgs};
use crate::control::ControlService;
use crate::image::Image;
use crate::import::import;
use crate::records::RECORD_BYTES;
use crate::report::{LunReport, Proof};

/// The initiator name of the simulated host; strangers see what it sees.
pub(super) const HOST_INITIATOR: &str = "iqn.2026-11.org.lunshadow:trial-host";

/// How many records each LUN has room for, behind the imported image.
pub(super) const RECORD_SLOTS: u64 = 4096;

/// The length and the seed of the sample disk, and of the disk on the second LUN.
const SAMPLE: (u64, u64) = (64 << 20, 1);
const COMPANION: (u64, u64) = (64 << 20, 2);

/// A LUN of the trial.
#[derive(Debug, Clone)]
pub(super) struct TrialLun {
    /// Its id.
    pub lun: LunId,
    /// Its name.
    pub name: String,
    /// Its number at the host.
    pub number: LunNumber,
    /// Its length.
    pub block_count: BlockCount,
    /// The length of what was imported: the rest is for records.
    pub image_len_bytes: u64,
}

impl TrialLun {
    /// Where the area of records begins.
    #[must_use]
    pub(super) fn records_at_bytes(&self) -> u64 {
        self.image_len_bytes.next_multiple_of(RECORD_BYTES as u64)
    }

    /// How initiators see it.
    #[must_use]
    pub(super) fn report(&self) -> LunReport {
        lun_report(self.lun, &self.name, self.number.0, self.block_count.bytes())
    }
}

/// A LUN in words.
#[must_use]
pub(super) fn lun_report(lun: LunId, name: &str, lun_number: u8, len_bytes: u64) -> LunReport {
    let identity = identity_of(lun);
    let naa = identity.designators.first().map_or(&[][..], |designator| &designator.bytes);
    let naa = naa.iter().map(|byte| format!("{byte:02x}")).collect();
    LunReport { name: name.to_owned(), lun_number, len_bytes, serial: identity.serial, naa }
}

/// The image that is tried.
pub(super) struct Subject {
    /// The image.
    pub image: Image,
    /// What to call it.
    pub title: String,
    as_found: (u64, SystemTime),
}

impl Subject {
    /// The image is as it was before the trial: nobody has written to it.
    #[must_use]
    pub(super) fn untouched(&self) -> Proof {
        let (held, detail) = match state_of(&self.image.path) {
            Ok(now) if now == self.as_found => {
                (true, "length and time of the last change are what they were".to_owned())
            }
            Ok(_) => (false, "it changed while it was tried".to_owned()),
            Err(error) => (false, format!("it cannot be looked at any more: {error}")),
        };
        Proof::new("the image was not modified", held, detail)
    }
}

fn state_of(path: &Path) -> std::io::Result<(u64, SystemTime)> {
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.len(), metadata.modified()?))
}

/// Finds the image, or makes the sample disk, and sees to it that there is a volume on it.
///
/// # Errors
/// If it is not an image, or VSS could do nothing with it.
pub(super) fn subject(args: &TryArgs, scratch: &Path) -> anyhow::Result<Subject> {
    let (path, title) = match &args.image {
        Some(path) => (path.clone(), path.display().to_string()),
        None => (sample(scratch, "sample.img", SAMPLE)?, "sample disk".to_owned()),
    };
    let image = Image::open(&path)?;
    let disk = FileDisk::open_read_only(&path)?;
    let layout = read_layout(&disk).with_context(|| format!("cannot understand the partition table of {title}"))?;
    anyhow::ensure!(
        !layout.volumes.is_empty(),
        "{title} holds neither a partition table with volumes nor a file system; VSS copies volumes, so give an image that has one"
    );
    let as_found = state_of(&path)?;
    Ok(Subject { image, title, as_found })
}

fn sample(scratch: &Path, name: &str, (len_bytes, seed): (u64, u64)) -> anyhow::Result<PathBuf> {
    let path = scratch.join(name);
    make_sample_disk(&path, len_bytes, seed).context("cannot make the sample disk")?;
    Ok(path)
}

/// The array with its two LUNs.
pub(super) struct Stage {
    /// Pool and catalog.
    pub storage: Storage,
    /// The target.
    pub target: Target,
    /// The control service, if the provider is to use it.
    pub control: Option<ControlService>,
    /// The host that the LUNs are mapped to.
    pub host: HostId,
    /// The initiator of that host.
    pub initiator: InitiatorName,
    /// The imported image and its companion.
    pub luns: [TrialLun; 2],
    /// The pool's folder.
    pub folder: PathBuf,
    /// How long the import of the image took.
    pub import_us: u64,
}

impl Stage {
    /// Sets it up. `progress` hears how many bytes of the image are imported.
    ///
    /// # Errors
    /// If the pool cannot be opened or written, or no port is to be had.
    pub(super) async fn set_up(
        subject: &Subject,
        args: &TryArgs,
        scratch: &TempDir,
        progress: impl Fn(u64),
    ) -> anyhow::Result<Self> {
        let folder = args.pool.clone().unwrap_or_else(|| scratch.path().join("pool"));
        let companion = Image::open(&sample(scratch.path(), "companion.img", COMPANION)?)?;
        // Room for the LUNs, as much again for what is overwritten under a shadow copy, and the pool's own records. The file is
        // sparse: it takes what is used.
        let capacity_bytes = (4 * subject.image.block_count.bytes() + (4 << 30)).next_multiple_of(1 << 30);
        let storage = Storage::open_or_create(&folder, capacity_bytes).await?;
        let initiator: InitiatorName = HOST_INITIATOR.parse()?;
        let host = storage.host("trial-host", &initiator).await?;
        let began = std::time::Instant::now();
        let imported = bring(&storage, host, &lun_name(&subject.image.path), &subject.image, progress).await?;
        let import_us = u64::try_from(began.elapsed().as_micros())?;
        let beside = bring(&storage, host, "companion", &companion, |_| ()).await?;
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let target = storage.serve(&[listen.into()], Admission::Everybody(initiator.clone())).await?;
        let control = match args.over {
            Over::InProcess => None,
            Over::Https => Some(ControlService::start(&storage, &folder, listen).await?),
        };
        Ok(Self { storage, target, control, host, initiator, luns: [imported, beside], folder, import_us })
    }

    /// How many bytes the pool uses, once all that can come back has come back.
    ///
    /// # Errors
    /// If the pool is poisoned.
    pub(super) async fn used_bytes(&self) -> anyhow::Result<u64> {
        self.storage.pool.wait_reclaimed().await.context("the pool cannot give space back")?;
        Ok(self.storage.pool.usage().used_bytes)
    }

    /// Stops serving and closes the pool.
    ///
    /// # Errors
    /// If the pool's medium fails.
    pub(super) async fn tear_down(self) -> anyhow::Result<()> {
        let told = match self.control {
            Some(control) => control.shutdown().await,
            None => Ok(()),
        };
        self.target.shutdown().await;
        self.storage.close().await?;
        told
    }
}

async fn bring(
    storage: &Storage,
    host: HostId,
    name: &str,
    image: &Image,
    progress: impl Fn(u64),
) -> anyhow::Result<TrialLun> {
    let image_len_bytes = image.block_count.bytes();
    let records_bytes = RECORD_SLOTS * RECORD_BYTES as u64;
    let len_bytes = image_len_bytes.next_multiple_of(RECORD_BYTES as u64) + records_bytes;
    let block_count = BlockCount::from_bytes(len_bytes).context("the image is too large")?;
    let (lun, name, number) = storage.new_lun(name, block_count, host).await?;
    let handle = storage.pool.open(lun).context("cannot open the new LUN")?;
    import(image, &handle, progress).await?;
    Ok(TrialLun { lun, name: name.to_string(), number, block_count, image_len_bytes })
}

/// A LUN name made of a file's name: what is not allowed in names becomes a hyphen.
fn lun_name(path: &Path) -> String {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = stem.chars().map(allowed).take(48).collect();
    let name = name.trim_matches('-').to_owned();
    if name.is_empty() { "disk".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_file_name_becomes_a_lun_name() {
        for (path, name) in
            [("/tmp/disk.img", "disk"), ("größe 1.raw", "gr--e-1"), ("---.img", "disk"), ("a b.c.img", "a-b-c")]
        {
            assert_eq!(lun_name(Path::new(path)), name);
        }
        assert!(lun_name(Path::new(&"x".repeat(200))).len() <= 48);
    }
}
