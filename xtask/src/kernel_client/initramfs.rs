//! The first and only file system of a guest: what its programs need, and a script that is its first process.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, ensure};

use super::loader::Loader;
use super::modules::Modules;
use super::packages::Unpacked;
use crate::command::program;

/// The first process. Its shell is bash, since busybox's takes its own programs for those of the same name on the search path.
const INIT: &str = include_str!("guest.sh");

/// Programs with libraries.
const PROGRAMS: &[&str] = &[
    "bash",
    "blockdev",
    "cat",
    "cp",
    "dd",
    "e2fsck",
    "fstrim",
    "head",
    "iscsiadm",
    "iscsid",
    "ln",
    "mkdir",
    "mke2fs",
    "mkfs.xfs",
    "mkntfs",
    "mountpoint",
    "mv",
    "ntfsfix",
    "resize2fs",
    "rm",
    "sed",
    "sg_persist",
    "sg_rtpg",
    "sha256sum",
    "sleep",
    "sort",
    "stty",
    "sync",
    "touch",
    "tr",
    "truncate",
    "wc",
    "xfs_repair",
];

/// Programs that busybox has.
const APPLETS: &[&str] = &["awk", "cmp", "dmesg", "find", "grep", "insmod", "ip", "mount", "poweroff", "umount"];

/// Modules of the kernel, which has no `modprobe` here that it could call. CRC32C is what digests, ext4 and XFS ask it for.
const MODULES: &[&str] =
    &["virtio_pci", "virtio_net", "sd_mod", "scsi_dh_alua", "crc32c_generic", "iscsi_tcp", "ext4", "xfs", "ntfs3"];

/// Where the loader of Debian looks for libraries without a cache of them. It lies there itself.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// Text files.
const FILES: &[(&str, &str)] = &[
    // iscsid takes commands from root only, whose name it looks up.
    ("etc/passwd", "root:x:0:0:root:/:/usr/bin/bash\n"),
    ("etc/group", "root:x:0:\n"),
    (
        "etc/iscsi/iscsid.conf",
        "node.startup = manual\n\
         node.session.timeo.replacement_timeout = 120\n\
         node.conn[0].timeo.noop_out_interval = 5\n\
         node.conn[0].timeo.noop_out_timeout = 5\n",
    ),
];

/// Makes the file system in `folder` and answers its archive.
pub(super) fn build(unpacked: &Unpacked, folder: &Path) -> anyhow::Result<PathBuf> {
    let root = folder.join("initramfs");
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| root.display().to_string())?;
    }
    for folder in ["dev", "proc", "sys", "run", "mnt", "tmp", "etc/iscsi", "modules", "usr/bin", LIBRARIES] {
        fs::create_dir_all(root.join(folder))?;
    }
    let links = [
        ("bin", "usr/bin"),
        ("sbin", "usr/bin"),
        ("usr/sbin", "bin"),
        ("lib", "usr/lib"),
        ("lib64", LIBRARIES),
        ("etc/mtab", "/proc/mounts"),
    ];
    for (link, to) in links {
        symlink(to, root.join(link))?;
    }
    for (path, text) in FILES {
        fs::write(root.join(path), text)?;
    }
    let init = root.join("init");
    fs::write(&init, INIT)?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    let loader = Loader::of(&unpacked.root)?;
    copy_programs(&loader, &root)?;
    copy_modules(unpacked, &loader, &root)?;
    let archive = folder.join("initramfs.cpio");
    pack(&loader, &root, &archive)?;
    Ok(archive)
}

fn copy_programs(loader: &Loader, root: &Path) -> anyhow::Result<()> {
    let programs = root.join("usr/bin");
    let libraries = root.join(LIBRARIES);
    copy(loader.path(), &libraries.join("ld-linux-x86-64.so.2"))?;
    for name in PROGRAMS {
        let file = loader.find(name)?;
        copy(&file, &programs.join(name))?;
        for (library, from) in loader.libraries_of(&file)? {
            copy(&from, &libraries.join(library))?;
        }
    }
    copy(&loader.find("busybox")?, &programs.join("busybox"))?;
    for applet in APPLETS {
        symlink("busybox", programs.join(applet))?;
    }
    Ok(())
}

/// Modules lie in one folder, with a list that says in which order they are to be loaded.
fn copy_modules(unpacked: &Unpacked, loader: &Loader, root: &Path) -> anyhow::Result<()> {
    let folder = unpacked.modules()?;
    let read =
        |name: &str| fs::read_to_string(folder.join(name)).with_context(|| folder.join(name).display().to_string());
    let (dep, builtin) = (read("modules.dep")?, read("modules.builtin")?);
    let mut order = String::new();
    for file in Modules::read(&dep, &builtin)?.load_order(MODULES)? {
        let from = folder.join(file);
        let name = file.rsplit('/').next().unwrap_or(file);
        let unpacked_name = name.strip_suffix(".xz");
        let name = unpacked_name.unwrap_or(name);
        let to = root.join("modules").join(name);
        if unpacked_name.is_some() {
            let output = program(&loader.find("busybox")?.display().to_string(), &["xzcat"]).arg(&from).output()?;
            ensure!(output.status.success(), "{} cannot be decompressed", from.display());
            fs::write(to, output.stdout)?;
        } else {
            copy(&from, &to)?;
        }
        order += name;
        order.push('\n');
    }
    fs::write(root.join("modules/order"), order).context("the list of modules")
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// Packs a folder as the kernel wants it: cpio's format `newc`, here not compressed.
fn pack(loader: &Loader, root: &Path, archive: &Path) -> anyhow::Result<()> {
    let mut paths = Vec::new();
    list(root, Path::new(""), &mut paths)?;
    let busybox = loader.find("busybox")?.display().to_string();
    let mut cpio = program(&busybox, &["cpio", "-o", "-H", "newc", "-R", "0:0"]);
    let output = fs::File::create(archive).with_context(|| archive.display().to_string())?;
    let mut child = cpio.current_dir(root).stdin(Stdio::piped()).stdout(output).stderr(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().context("the child has a pipe")?;
    for path in paths {
        writeln!(input, "{}", path.display())?;
    }
    drop(input);
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{cpio:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// All below a folder, each folder before what is in it.
fn list(root: &Path, folder: &Path, paths: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        paths.push(path.clone());
        if entry.file_type()?.is_dir() {
            list(root, &path, paths)?;
        }
    }
    Ok(())
}
