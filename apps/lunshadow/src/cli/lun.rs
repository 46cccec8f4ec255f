//! The command line of `lunshadow lun`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use lunshadow_control::LunId;

use super::{AdminArgs, NamedArgs};
use crate::quantity::size_bytes;

/// `lunshadow lun`.
#[derive(Debug, Subcommand)]
pub enum LunCommand {
    /// Make an empty LUN
    Create(LunCreateArgs),
    /// List all LUNs that are no shadow LUNs
    List(AdminArgs),
    /// Let a host see a LUN
    Map(MappingArgs),
    /// Take a LUN away from a host
    Unmap(MappingArgs),
    /// Give a LUN another name
    Rename(LunRenameArgs),
    /// Make a LUN longer; hosts that see it are told
    Grow(LunGrowArgs),
    /// Refuse what initiators want to write to a LUN; hosts that see it are told
    Protect(LunSwitchArgs),
    /// Let initiators eject and load a LUN, as a disk with a removable medium; hosts that see it are told
    Removable(LunSwitchArgs),
    /// Delete a LUN with its data; no host may see it, and it must have no shadow LUNs
    Delete(LunDeleteArgs),
    /// Make a full copy of a LUN or shadow LUN in the background, which shares nothing with it
    Copy(LunCopyArgs),
    /// List full copies that run, and the last ones that are over
    Copies(AdminArgs),
    /// Give a full copy up; nothing is left of it
    CancelCopy(NamedArgs),
    /// Give a LUN the content that one of its shadow LUNs has; what it held before is gone
    Revert(LunRevertArgs),
    /// Make a LUN of a disk image
    Import(LunImportArgs),
    /// Write a LUN or shadow LUN, as it is now, to a disk image
    Export(LunExportArgs),
}

/// `lunshadow lun copy`.
#[derive(Debug, Args)]
pub struct LunCopyArgs {
    /// The name of a LUN, or the id of a shadow LUN
    pub source: String,
    /// What to call the copy
    pub new_name: String,
    /// How much to copy in a second, for example 100MiB; without it, as much as possible
    #[arg(long, value_name = "SIZE", value_parser = size_bytes)]
    pub rate: Option<u64>,
    /// Stay until it has ended; ends with 1 if there is no copy then
    #[arg(long)]
    pub wait: bool,
    /// Which array
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// `lunshadow lun revert`.
#[derive(Debug, Args)]
pub struct LunRevertArgs {
    /// The LUN
    pub name: String,
    /// The shadow LUN's id, as `shadow list` shows it; it stays as it is
    #[arg(long, value_name = "SHADOW")]
    pub to: LunId,
    /// Though hosts see the LUN, whose content changes under them
    #[arg(long)]
    pub force: bool,
    /// Which array
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// `lunshadow lun import`.
#[derive(Debug, Args)]
pub struct LunImportArgs {
    /// The image; it is never changed
    pub file: PathBuf,
    /// What to call the LUN
    pub name: String,
    /// raw, qcow2, vmdk or another format that qemu-img reads; by default what the file looks like
    #[arg(long, value_parser = image_format)]
    pub format: Option<String>,
    /// Which array; with --pool also one that is not served
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// `lunshadow lun export`.
#[derive(Debug, Args)]
pub struct LunExportArgs {
    /// The name of a LUN, or the id of a shadow LUN
    pub source: String,
    /// The image to be written
    pub file: PathBuf,
    /// raw, qcow2, vmdk or another format that qemu-img writes
    #[arg(long, default_value = "raw", value_parser = image_format)]
    pub format: String,
    /// Write over a file that is there
    #[arg(long)]
    pub force: bool,
    /// Which array; with --pool also one that is not served
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// `lunshadow lun rename`.
#[derive(Debug, Args)]
pub struct LunRenameArgs {
    /// The LUN
    pub name: String,
    /// What to call it from now on
    pub new_name: String,
    /// Which array
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// `lunshadow lun delete`.
#[derive(Debug, Args)]
pub struct LunDeleteArgs {
    /// The LUN
    pub name: String,
    /// Take it away from the hosts that see it, at once
    #[arg(long)]
    pub unmap: bool,
    /// Let its shadow LUNs live on without it
    #[arg(long)]
    pub keep_shadows: bool,
    /// Which array
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// `lunshadow lun create`.
#[derive(Debug, Args)]
pub struct LunCreateArgs {
    /// The LUN's name
    pub name: String,
    /// Its size, for example 20GiB; it takes space as it is written
    #[arg(long, value_parser = size_bytes)]
    pub size: u64,
    /// Let initiators eject and load it, as a disk with a removable medium
    #[arg(long)]
    pub removable: bool,
    /// Which array
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// `lunshadow lun grow`.
#[derive(Debug, Args)]
pub struct LunGrowArgs {
    /// The LUN's name
    pub name: String,
    /// Its new size, for example 40GiB; what is new takes space as it is written
    #[arg(long, value_parser = size_bytes)]
    pub size: u64,
    /// Which array
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// `lunshadow lun protect` and `removable`.
#[derive(Debug, Args)]
pub struct LunSwitchArgs {
    /// The LUN
    pub name: String,
    /// No more
    #[arg(long)]
    pub off: bool,
    /// Which array
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// `lunshadow lun map` and `unmap`.
#[derive(Debug, Args)]
pub struct MappingArgs {
    /// The LUN
    pub name: String,
    /// The host
    pub host: String,
    /// Which array
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// A format as `qemu-img` calls it.
fn image_format(text: &str) -> Result<String, &'static str> {
    let plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if plain && !text.starts_with('-') { Ok(text.to_owned()) } else { Err("give raw, qcow2, vmdk or the like") }
}
