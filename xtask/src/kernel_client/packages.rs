//! The Debian packages that a guest is made of: downloaded and unpacked, never installed. So neither the machine's own kernel and libraries
//! nor the rights of whoever runs this matter.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use super::apt::{self, Apt, KERNEL};
use super::loader::Loader;
use crate::command::run;

/// What has the guest's programs. `apt-get` finds what has their libraries.
const PROGRAMS: &[&str] = &[
    "bash",
    "busybox-static",
    "coreutils",
    "e2fsprogs",
    "kmod",
    "ntfs-3g",
    "open-iscsi",
    "sed",
    "sg3-utils",
    "util-linux",
    "xfsprogs",
];

/// What all of these are for.
const ARCHITECTURE: &str = "amd64";

/// What was unpacked, below one folder.
pub(super) struct Unpacked {
    pub(super) root: PathBuf,
    /// The kernel's version, by which its files are called.
    pub(super) version: String,
}

impl Unpacked {
    /// Downloads and unpacks everything in `folder`, if that is not done yet or is to be done `afresh`.
    pub(super) fn get(folder: &Path, afresh: bool) -> anyhow::Result<Self> {
        let done = folder.join("unpacked.txt");
        let wanted = format!("{} {KERNEL}\n", PROGRAMS.join(" "));
        let root = folder.join("root");
        if afresh || fs::read_to_string(&done).ok().as_deref() != Some(&wanted) {
            ensure!(
                apt::is_here(ARCHITECTURE),
                "the guests are made of Debian's packages for {ARCHITECTURE}: run this on Debian, where dpkg and apt-get are"
            );
            if folder.exists() {
                fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
            }
            fs::create_dir_all(&root)?;
            download_and_unpack(folder, &root)?;
            fs::write(&done, wanted)?;
        }
        let version = kernel_version(&root)?;
        Ok(Self { root, version })
    }

    /// The kernel itself.
    pub(super) fn kernel(&self) -> PathBuf {
        kernel_file(&self.root, &self.version)
    }

    /// The folder with its modules.
    pub(super) fn modules(&self) -> anyhow::Result<PathBuf> {
        Ok(modules_folder(&self.root)?.join(&self.version))
    }
}

fn download_and_unpack(folder: &Path, root: &Path) -> anyhow::Result<()> {
    println!("downloading {KERNEL}, {}, and their libraries", PROGRAMS.join(", "));
    let apt = Apt::new(folder.to_owned())?;
    apt.download_with_libraries(PROGRAMS)?;
    println!("the kernel is {}", apt.download_kernel()?);
    let archives = apt.archives();
    let mut count = 0;
    for entry in fs::read_dir(&archives)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            apt::unpack(&path, root)?;
            count += 1;
        }
    }
    ensure!(count > PROGRAMS.len(), "only {count} packages were downloaded");
    fs::remove_dir_all(&archives)?;
    index_modules(root)
}

/// Makes `modules.dep`, which packages of kernels do not have: it is made where they are installed.
fn index_modules(root: &Path) -> anyhow::Result<()> {
    let version = kernel_version(root)?;
    let mut depmod = Loader::of(root)?.command("kmod", Some("depmod"))?;
    run(depmod.arg("-b").arg(root).arg(version))
}

fn kernel_version(root: &Path) -> anyhow::Result<String> {
    for entry in fs::read_dir(modules_folder(root)?)? {
        let name = entry?.file_name();
        let version = name.to_str().context("the version of a kernel is text")?;
        if kernel_file(root, version).is_file() {
            return Ok(version.to_owned());
        }
    }
    bail!("there is no kernel in {}", root.display())
}

fn kernel_file(root: &Path, version: &str) -> PathBuf {
    root.join(format!("boot/vmlinuz-{version}"))
}

fn modules_folder(root: &Path) -> anyhow::Result<PathBuf> {
    let mut folders = ["lib/modules", "usr/lib/modules"].into_iter().map(|folder| root.join(folder));
    folders.find(|folder| folder.is_dir()).with_context(|| format!("there are no kernel modules in {}", root.display()))
}
