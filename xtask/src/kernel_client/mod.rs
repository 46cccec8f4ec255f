//! `cargo xtask kernel-client`: a real Linux kernel with open-iscsi as the initiator of the real daemon.
//!
//! The kernel and its programs are Debian packages, unpacked below the target folder ([`packages`]). Two guests boot them in QEMU, which needs
//! neither KVM nor rights, from a file system in memory ([`initramfs`]), and do what they are told by a serial port ([`guest`]). They reach
//! the daemon through QEMU's user network, by its loopback address.

mod apt;
mod file_systems;
mod guest;
mod initramfs;
mod loader;
mod luns;
mod modules;
mod packages;
mod paths;
mod recovery;
mod reservations;
mod sessions;
mod stage;

use std::fs;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use cargo_metadata::MetadataCommand;
use clap::Args;

use crate::command::build_as_for_tests;
use crate::peers;
use file_systems::{CRC32C, EXT4, NONE, NTFS, XFS, is_trimmed, keeps_files};
use guest::Image;
use packages::Unpacked;
use recovery::Way;
use stage::Stage;

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct KernelClientArgs {
    /// Only the checks whose names contain this, such as "ext4" or "LUN"
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Download and unpack the guest's packages anew, for example for a newer kernel
    #[arg(long)]
    fresh: bool,
}

/// Something that is proved. It answers what was seen.
struct Check {
    name: &'static str,
    prove: fn(&mut Stage) -> anyhow::Result<String>,
}

const CHECKS: &[Check] = &[
    Check { name: "discovery", prove: sessions::discovered },
    Check { name: "digests in all ways", prove: sessions::digested },
    Check { name: "mutual CHAP", prove: sessions::proved },
    Check { name: "ext4, with digests", prove: |stage| keeps_files(stage, &EXT4, CRC32C) },
    Check { name: "ext4, without digests", prove: |stage| keeps_files(stage, &EXT4, NONE) },
    Check { name: "XFS, with digests", prove: |stage| keeps_files(stage, &XFS, CRC32C) },
    Check { name: "XFS, without digests", prove: |stage| keeps_files(stage, &XFS, NONE) },
    Check { name: "NTFS, with digests", prove: |stage| keeps_files(stage, &NTFS, CRC32C) },
    Check { name: "NTFS, without digests", prove: |stage| keeps_files(stage, &NTFS, NONE) },
    Check { name: "fstrim of ext4", prove: |stage| is_trimmed(stage, &EXT4) },
    Check { name: "fstrim of XFS", prove: |stage| is_trimmed(stage, &XFS) },
    Check { name: "fstrim of NTFS", prove: |stage| is_trimmed(stage, &NTFS) },
    Check { name: "reservations of two guests", prove: reservations::conflict },
    Check { name: "a reservation and a killed array", prove: reservations::survive },
    Check { name: "a LUN appears", prove: luns::appears },
    Check { name: "a LUN disappears", prove: luns::disappears },
    Check { name: "a LUN grows", prove: luns::grows },
    Check { name: "a portal group on standby", prove: paths::stand_by },
    Check { name: "the array is killed under load", prove: |stage| recovery::survives(stage, Way::Killed) },
    Check { name: "the array is restarted under load", prove: |stage| recovery::survives(stage, Way::Ended) },
];

/// Runs the checks, and says of each what came out.
pub(crate) fn run(arguments: &KernelClientArgs) -> anyhow::Result<()> {
    let begin = Instant::now();
    let is_wanted = |check: &&Check| arguments.only.as_deref().is_none_or(|only| check.name.contains(only));
    let checks: Vec<&Check> = CHECKS.iter().filter(is_wanted).collect();
    if checks.is_empty() {
        let names: Vec<&str> = CHECKS.iter().map(|check| check.name).collect();
        bail!("no check has such a name; there are:\n  {}", names.join("\n  "));
    }
    ensure!(
        peers::set_up(peers::FOR_KERNEL_CLIENT)?,
        "nothing was checked, because there is no {}",
        peers::QEMU_SYSTEM
    );
    let metadata = MetadataCommand::new().no_deps().exec().context("cargo metadata failed")?;
    let target = metadata.target_directory.as_std_path();
    let folder = target.join("kernel-client");
    let unpacked = Unpacked::get(&folder.join("packages"), arguments.fresh)?;
    build_as_for_tests(&[])?;
    let run_folder = folder.join("run");
    fs::create_dir_all(&run_folder).with_context(|| run_folder.display().to_string())?;
    let image = Image { kernel: unpacked.kernel(), initramfs: initramfs::build(&unpacked, &folder)? };
    let mut stage = Stage::set(&target.join("debug/lunshadow"), &image, &run_folder)?;
    if let Err(error) = stage.wait_booted() {
        print_consoles(&stage, &[]);
        return Err(error);
    }
    println!("Linux {} in {} guests, logs in {}", unpacked.version, stage.guests.len(), run_folder.display());
    let failed = run_checks(&mut stage, &checks)?;
    stage.strike()?;
    ensure!(failed.is_empty(), "{} of {} checks failed: {}", failed.len(), checks.len(), failed.join(", "));
    println!("all {} checks held, and the pool is whole, after {:.0} s", checks.len(), begin.elapsed().as_secs_f64());
    Ok(())
}

/// Runs one check after another, also behind one that failed, and answers which did.
fn run_checks(stage: &mut Stage, checks: &[&Check]) -> anyhow::Result<Vec<&'static str>> {
    let mut failed = Vec::new();
    for check in checks {
        let starts: Vec<usize> = stage.guests.iter().map(guest::Guest::console_len).collect();
        let begin = Instant::now();
        let proved = (check.prove)(stage);
        let seconds = begin.elapsed().as_secs_f64();
        match proved {
            Ok(seen) => println!("held    {seconds:5.1} s  {}: {seen}", check.name),
            Err(error) => {
                println!("FAILED  {seconds:5.1} s  {}: {error:#}", check.name);
                print_consoles(stage, &starts);
                failed.push(check.name);
            }
        }
        stage.clear().with_context(|| format!("cannot go on after \"{}\"", check.name))?;
    }
    Ok(failed)
}

/// What the guests have said since the places at which their consoles were.
fn print_consoles(stage: &Stage, starts: &[usize]) {
    for (index, guest) in stage.guests.iter().enumerate() {
        println!("-- {} said (all of it is in {}):", guest.name, guest.console.display());
        println!("{}", guest.console_from(starts.get(index).copied().unwrap_or(0)).trim_end());
        println!("--");
    }
}
