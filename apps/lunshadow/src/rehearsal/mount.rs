//! A volume's files mounted in a folder through FUSE.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use fuser::{BackgroundSession, Config, MountOption, spawn_mount};
use lunshadow_coordinator::disk::VolumeFiles;
use rustix::fs::{major, minor};
use rustix::mount::{UnmountFlags, unmount};

use super::mounted_files::MountedFiles;

/// How the kernel is talked to.
const FUSE_DEVICE: &str = "/dev/fuse";

/// What `mount` and `df` show as the source.
const SOURCE: &str = "lunshadow";

/// What is mounted where, for this process.
const MOUNT_TABLE: &str = "/proc/self/mountinfo";

/// The mount, which stays until it is unmounted.
pub(super) struct VolumeMount {
    folder: PathBuf,
    /// The device number that the kernel gave it, as the mount table has it. No two mounts have the same at a time.
    device: String,
    files: Arc<VolumeFiles>,
    /// None when it is unmounted.
    session: Option<BackgroundSession>,
}

impl VolumeMount {
    /// Mounts the files read-only in an empty folder, for the user that this program runs as.
    ///
    /// # Errors
    /// Why it cannot be mounted here.
    pub(super) fn new(files: VolumeFiles, folder: &Path) -> anyhow::Result<Self> {
        File::options()
            .read(true)
            .write(true)
            .open(FUSE_DEVICE)
            .with_context(|| format!("cannot open {FUSE_DEVICE}"))?;
        // The mount table has neither links nor relative paths.
        let folder = folder.canonicalize()?;
        let files = Arc::new(files);
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::RO,
            MountOption::NoAtime,
            MountOption::NoDev,
            MountOption::NoSuid,
            MountOption::FSName(SOURCE.to_owned()),
        ];
        let session = spawn_mount(MountedFiles::new(Arc::clone(&files)), &folder, &config)
            // What `fusermount3` says may have several lines.
            .map_err(|error| {
                anyhow::anyhow!("FUSE cannot mount it: {}", error.to_string().trim().replace('\n', " "))
            })?;
        let device = fs::metadata(&folder).context("its root cannot be read")?.dev();
        let device = format!("{}:{}", major(device), minor(device));
        Ok(Self { folder, device, files, session: Some(session) })
    }

    /// Where it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Unmounts it, and lets go of the disk. Who has files open there gets errors from then on, and keeps nothing from being done.
    ///
    /// # Errors
    /// If it is still mounted.
    pub(super) fn unmount(mut self) -> anyhow::Result<()> {
        let detached = self.detach();
        self.files.close();
        detached
    }

    /// Unmounts it, whatever is being read there just now. That is enough if the program ends with it.
    ///
    /// # Errors
    /// If it is still mounted.
    pub(super) fn detach(&mut self) -> anyhow::Result<()> {
        let Some(session) = self.session.take() else { return Ok(()) };
        let is_mounted = self.is_mounted();
        if matches!(is_mounted, Ok(true)) {
            // As root this fails while files are open there, and for others `fusermount3` detaches it. The thread behind the session ends
            // with the last open file.
            drop(session);
        } else {
            // The session would unmount whatever else is at that place.
            std::mem::forget(session);
        }
        if is_mounted? && self.is_mounted()? {
            unmount(&self.folder, UnmountFlags::DETACH)
                .with_context(|| format!("cannot unmount {}", self.folder.display()))?;
        }
        Ok(())
    }

    /// Whether this is what is mounted in the folder.
    fn is_mounted(&self) -> anyhow::Result<bool> {
        let table = fs::read(MOUNT_TABLE).with_context(|| format!("cannot read {MOUNT_TABLE}"))?;
        let here = mounted_at(&table, &self.folder);
        match here.iter().position(|device| *device == self.device) {
            None => Ok(false),
            Some(at) if at + 1 == here.len() => Ok(true),
            Some(_) => bail!("something else is mounted over {}; unmount that first", self.folder.display()),
        }
    }
}

/// The device numbers of what is mounted at a place, the uppermost last.
fn mounted_at(table: &[u8], folder: &Path) -> Vec<String> {
    let fields = table.split(|byte| *byte == b'\n').map(|line| line.split(|byte| *byte == b' ').collect::<Vec<_>>());
    let here = fields.filter(|fields| fields.get(4).is_some_and(|place| unescaped(place) == folder));
    here.map(|fields| String::from_utf8_lossy(fields[2]).into_owned()).collect()
}

/// A path of the mount table, in which spaces and the like are a backslash and three octal digits.
fn unescaped(text: &[u8]) -> PathBuf {
    let (mut bytes, mut rest) = (Vec::new(), text);
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| first == b'\\');
        let code = digits.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// Whether something can be mounted in a folder.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check_folder(folder: &Path) -> Result<(), String> {
    let shown = folder.display();
    let mut entries = fs::read_dir(folder).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!("there is no folder {shown}; make an empty one first"),
        io::ErrorKind::NotADirectory => format!("{shown} is no folder; take an empty one"),
        io::ErrorKind::NotConnected => {
            format!("{shown} has the mount of a program that was killed; `fusermount3 -u {shown}` frees it")
        }
        _ => format!("cannot look into the folder {shown}: {error}"),
    })?;
    if entries.next().is_some() { Err(format!("the folder {shown} is not empty; take an empty one")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_table_is_read() {
        let table = b"22 1 0:21 / / rw - ext4 /dev/vda rw\n\
            40 22 0:50 / /tmp/a\\040b\\134 ro,nosuid - fuse lunshadow ro\n\
            41 40 0:51 / /tmp/a\\040b\\134 rw - tmpfs tmpfs rw\n";
        assert_eq!(mounted_at(table, Path::new("/tmp/a b\\")), ["0:50", "0:51"]);
        assert_eq!(mounted_at(table, Path::new("/")), ["0:21"]);
        assert_eq!(mounted_at(table, Path::new("/tmp/a")), Vec::<String>::new());
        assert_eq!(unescaped(b"a\\04"), Path::new("a\\04"));
    }

    #[test]
    fn only_empty_folders_take_a_mount() {
        let folder = tempfile::tempdir().unwrap();
        check_folder(folder.path()).unwrap();
        let file = folder.path().join("file");
        assert!(check_folder(&file).unwrap_err().contains("there is no folder"));
        fs::write(&file, "").unwrap();
        assert!(check_folder(&file).unwrap_err().contains("is no folder"));
        assert!(check_folder(folder.path()).unwrap_err().contains("is not empty"));
    }
}
