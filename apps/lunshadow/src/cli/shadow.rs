//! The arguments of `lunshadow shadow`.

use clap::{Args, Subcommand};
use lunshadow_control::LunId;
use lunshadow_rehearsal::{HostArgs, ScriptFile};
use uuid::Uuid;

use super::AdminArgs;

/// `lunshadow shadow`.
#[derive(Debug, Subcommand)]
pub enum ShadowCommand {
    /// List the shadow sets of all hosts with their leases and timings
    List(AdminArgs),
    /// Capture LUNs of a host at one instant, without asking the host: what is on the shadow LUNs is what a power cut would leave
    Create(ShadowCreateArgs),
    /// Delete a shadow set with its shadow LUNs; hosts that see them lose them at once
    Delete(ShadowDeleteArgs),
    /// Make a shadow LUN a LUN of its own, so that nothing deletes it as a shadow LUN
    Detach(ShadowDetachArgs),
    /// Make a shadow LUN a LUN like any other, of a name of its own
    Promote(ShadowPromoteArgs),
    /// Run a script of DiskShadow on a simulated host; ends with 1 at its first error
    Script(ScriptArgs),
    /// Take DiskShadow's commands from standard input, on a simulated host
    Prompt(HostArgs),
}

/// `lunshadow shadow script`.
#[derive(Debug, Args)]
pub struct ScriptArgs {
    /// Which script
    #[command(flatten)]
    pub script: ScriptFile,
    /// Which host
    #[command(flatten)]
    pub host: HostArgs,
}

/// `lunshadow shadow create`.
#[derive(Debug, Args)]
pub struct ShadowCreateArgs {
    /// The LUNs, by name
    #[arg(required = true, value_name = "LUN")]
    pub luns: Vec<String>,
    /// Whose shadow set it will be. Needed only where several hosts see all of these LUNs
    #[arg(long)]
    pub host: Option<String>,
    /// The id of the set, so that the command can be repeated; a new one by default
    #[arg(long, value_name = "SET")]
    pub set: Option<Uuid>,
    /// Which array
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// `lunshadow shadow promote`.
#[derive(Debug, Args)]
pub struct ShadowPromoteArgs {
    /// The shadow LUN's id, as `shadow list` shows it
    #[arg(value_name = "LUN")]
    pub lun: LunId,
    /// What to call it
    pub name: String,
    /// Which array
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// `lunshadow shadow detach`.
#[derive(Debug, Args)]
pub struct ShadowDetachArgs {
    /// The shadow LUN's id, as `shadow list` shows it
    #[arg(value_name = "LUN")]
    pub lun: LunId,
    /// Which array
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// `lunshadow shadow delete`.
#[derive(Debug, Args)]
pub struct ShadowDeleteArgs {
    /// The set's id, as `shadow list` shows it
    #[arg(value_name = "SET")]
    pub set: Uuid,
    /// Which array
    #[command(flatten)]
    pub admin: AdminArgs,
}
