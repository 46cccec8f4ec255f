//! The programs of others that the tests work with, and the Debian packages that have them.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::command::{output_of, program, run};

/// One package.
pub(crate) struct Peer {
    package: &'static str,
    probe: Probe,
}

/// How to see that a package's content is there, however it came.
enum Probe {
    /// A program that can be found.
    Program(&'static str),
    /// A file in a fixed place.
    File(&'static str),
    /// A protocol that `qemu-img` can load. Its modules must be of exactly its own version.
    QemuProtocol(&'static str),
}

/// What the tests of the Windows provider need: a compiler with Windows' headers, the compiler of interfaces, Wine.
pub(crate) const FOR_WINDOWS: &[Peer] = &[
    Peer { package: "gcc-mingw-w64-x86-64-posix", probe: Probe::Program("x86_64-w64-mingw32-gcc-posix") },
    Peer { package: "mingw-w64-tools", probe: Probe::Program("x86_64-w64-mingw32-widl") },
    Peer { package: "wine64", probe: Probe::File(WINE) },
];

/// The 64-bit loader, where Debian has it: the package brings no program of that name on the search path.
pub(crate) const WINE: &str = "/usr/lib/wine/wine64";

/// Everything that the tests here work with.
pub(crate) const FOR_TESTS: &[Peer] = &[
    Peer { package: QEMU, probe: Probe::Program("qemu-img") },
    Peer { package: QEMU_MODULES, probe: Probe::QemuProtocol("iscsi") },
    Peer { package: "libiscsi-bin", probe: Probe::Program("iscsi-test-cu") },
    Peer { package: "e2fsprogs", probe: Probe::Program("mke2fs") },
    Peer { package: "ntfs-3g", probe: Probe::Program("mkntfs") },
    Peer { package: "dosfstools", probe: Probe::Program("mkfs.fat") },
    Peer { package: FIO, probe: Probe::Program(FIO) },
    Peer { package: "mtools", probe: Probe::Program("mcopy") },
    Peer { package: "gdisk", probe: Probe::Program("sgdisk") },
    Peer { package: "fdisk", probe: Probe::Program("sfdisk") },
    Peer { package: "fuse3", probe: Probe::Program("fusermount3") },
];

/// What the benchmark of the store measures itself with: other engines with snapshots, and what puts them under load.
pub(crate) const FOR_BENCH: &[Peer] = &[
    Peer { package: FIO, probe: Probe::Program(FIO) },
    Peer { package: "xfsprogs", probe: Probe::Program(MKFS_XFS) },
    Peer { package: "btrfs-progs", probe: Probe::Program(BTRFS) },
    Peer { package: QEMU, probe: Probe::Program("qemu-img") },
    Peer { package: "qemu-system-common", probe: Probe::Program(QEMU_STORAGE_DAEMON) },
];

/// What the benchmark of the iSCSI target needs: another target, a counter of instructions, and what fio is built with, since Debian's has no engine for
/// iSCSI.
pub(crate) const FOR_ISCSI_BENCH: &[Peer] = &[
    Peer { package: "tgt", probe: Probe::Program(TGTD) },
    Peer { package: "valgrind", probe: Probe::Program(VALGRIND) },
    Peer { package: "gcc", probe: Probe::Program("gcc") },
    Peer { package: "make", probe: Probe::Program("make") },
    Peer { package: "xz-utils", probe: Probe::Program("xz") },
    Peer { package: "libiscsi-dev", probe: Probe::File("/usr/include/iscsi/iscsi.h") },
    Peer { package: "zlib1g-dev", probe: Probe::File("/usr/include/zlib.h") },
];

/// What libFuzzer is built with.
pub(crate) const FOR_FUZZING: &[Peer] = &[Peer { package: "g++", probe: Probe::Program("c++") }];

/// What `cargo xtask kernel-client` boots its guests with. What is in them is not installed.
pub(crate) const FOR_KERNEL_CLIENT: &[Peer] =
    &[Peer { package: "qemu-system-x86", probe: Probe::Program(QEMU_SYSTEM) }];

pub(crate) const QEMU_SYSTEM: &str = "qemu-system-x86_64";
pub(crate) const FIO: &str = "fio";
pub(crate) const TGTD: &str = "tgtd";
pub(crate) const VALGRIND: &str = "valgrind";
pub(crate) const MKFS_XFS: &str = "mkfs.xfs";
pub(crate) const BTRFS: &str = "btrfs";
pub(crate) const QEMU_STORAGE_DAEMON: &str = "qemu-storage-daemon";

const QEMU: &str = "qemu-utils";
const QEMU_MODULES: &str = "qemu-block-extra";

/// Where programs for administrators are, which the search path of other users often lacks.
const ADMIN_FOLDERS: &[&str] = &["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Installs what is missing if we may, and names it otherwise. Returns whether everything is there.
///
/// # Errors
/// If the installation fails.
pub(crate) fn set_up(peers: &[Peer]) -> anyhow::Result<bool> {
    let missing = missing(peers);
    if missing.is_empty() {
        println!("all programs of others that are needed are there");
        return Ok(true);
    }
    if !(is_root() && has_apt()) {
        println!(
            "skipped: every test with a program of {}, because it is not installed (as root: apt-get install {})",
            missing.join(", "),
            missing.join(" ")
        );
        return Ok(false);
    }
    run(apt_get(&["--quiet=2", "update"]).stdout(Stdio::null()))?;
    let wanted = wanted(&missing)?;
    println!("installing {}", wanted.join(" "));
    let mut install = apt_get(&["--quiet=2", "install", "--yes", "--no-install-recommends", "--allow-downgrades"]);
    run(install.args(&wanted).stdout(Stdio::null()))?;
    let still_missing = self::missing(peers);
    if !still_missing.is_empty() {
        bail!("installed, but they do not work: {}", still_missing.join(", "));
    }
    Ok(true)
}

/// The packages whose content is not there.
fn missing(peers: &[Peer]) -> Vec<&'static str> {
    peers.iter().filter(|peer| !peer.probe.holds()).map(|peer| peer.package).collect()
}

/// What to ask apt for: the missing packages, with a version each for QEMU's two.
fn wanted(missing: &[&str]) -> anyhow::Result<Vec<String>> {
    let mut wanted: Vec<String> =
        missing.iter().filter(|name| ![QEMU, QEMU_MODULES].contains(name)).map(|name| (*name).to_owned()).collect();
    if missing.contains(&QEMU) || missing.contains(&QEMU_MODULES) {
        let installed = output_of(&mut program("dpkg-query", &["--show", "--showformat=${Version}", QEMU]));
        let installed = installed.filter(|version| !version.is_empty());
        let version = consistent_version(installed.as_deref(), &versions_of(QEMU)?, &versions_of(QEMU_MODULES)?)
            .context("no version of qemu-utils has a qemu-block-extra of the same version: see `apt-cache madison`")?;
        if let Some(installed) = installed.filter(|installed| *installed != version) {
            println!(
                "qemu-utils {installed} has no qemu-block-extra of the same version here: taking {version} of both"
            );
        }
        wanted.extend([QEMU, QEMU_MODULES].map(|name| format!("{name}={version}")));
    }
    Ok(wanted)
}

/// The version that both packages can have: the installed one if possible, or else the first that both name.
fn consistent_version(installed: Option<&str>, programs: &[String], modules: &[String]) -> Option<String> {
    let kept = installed.filter(|version| modules.iter().any(|module| module == version)).map(ToOwned::to_owned);
    kept.or_else(|| programs.iter().find(|version| modules.contains(version)).cloned())
}

/// The versions of a package that apt could install, the newest first.
fn versions_of(package: &str) -> anyhow::Result<Vec<String>> {
    let table = output_of(&mut program("apt-cache", &["madison", package])).context("apt-cache madison failed")?;
    Ok(versions_in(&table))
}

/// The second column of `apt-cache madison`.
fn versions_in(table: &str) -> Vec<String> {
    table.lines().filter_map(|line| line.split('|').nth(1)).map(|version| version.trim().to_owned()).collect()
}

pub(crate) fn is_root() -> bool {
    output_of(&mut program("id", &["-u"])).is_some_and(|id| id.trim() == "0")
}

fn has_apt() -> bool {
    is_program("apt-get") && is_program("dpkg-query")
}

pub(crate) fn apt_get(arguments: &[&str]) -> Command {
    let mut command = program("apt-get", arguments);
    command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    command
}

pub(crate) fn is_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
        || ADMIN_FOLDERS.iter().any(|folder| Path::new(folder).join(name).is_file())
}

impl Probe {
    fn holds(&self) -> bool {
        match self {
            Self::Program(name) => is_program(name),
            Self::File(path) => Path::new(path).is_file(),
            Self::QemuProtocol(protocol) => {
                // Nothing listens on port 1: only the protocol's own name in the error matters.
                let url = format!("{protocol}://127.0.0.1:1/iqn.2026-01.example:none/0");
                let output = program("qemu-img", &["info", &url]).stdin(Stdio::null()).output();
                output.is_ok_and(|output| tried_to_connect(&String::from_utf8_lossy(&output.stderr)))
            }
        }
    }
}

/// Whether QEMU got as far as the network. What it says when it has no module for a protocol differs from version to version.
fn tried_to_connect(error: &str) -> bool {
    error.contains("Failed to connect")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(list: &[&str]) -> Vec<String> {
        list.iter().map(|version| (*version).to_owned()).collect()
    }

    #[test]
    fn the_installed_version_is_kept_if_it_has_modules() {
        let (programs, modules) = (versions(&["3", "2"]), versions(&["3", "2", "1"]));
        assert_eq!(consistent_version(Some("1"), &programs, &modules).as_deref(), Some("1"));
        assert_eq!(consistent_version(Some("9~bpo"), &programs, &modules).as_deref(), Some("3"));
        assert_eq!(consistent_version(None, &programs, &modules).as_deref(), Some("3"));
    }

    #[test]
    fn versions_must_agree_exactly() {
        assert_eq!(consistent_version(None, &versions(&["3+b1", "2"]), &versions(&["3", "2"])).as_deref(), Some("2"));
        assert_eq!(consistent_version(Some("4"), &versions(&["4"]), &versions(&["3"])), None);
    }

    #[test]
    fn madisons_table_is_read() {
        let table =
            " qemu-utils | 1:7.2+dfsg-7+b3 | mirror bookworm/main amd64 Packages\n qemu-utils |  1:7.2 | mirror x\n";
        assert_eq!(versions_in(table), ["1:7.2+dfsg-7+b3", "1:7.2"]);
    }

    #[test]
    fn a_protocol_is_there_if_it_tried_to_connect() {
        for error in [
            "qemu-img: Could not open 'iscsi://…': Unknown protocol 'iscsi'",
            "qemu-img: Unable to load module iscsi. Perhaps you want to install qemu-block-extra",
        ] {
            assert!(!tried_to_connect(error), "{error}");
        }
        assert!(tried_to_connect("qemu-img: iSCSI: Failed to connect to LUN : Failed to connect"));
    }
}
