//! The arguments of `lunshadow portal`.

use clap::{Args, Subcommand, ValueEnum};
use lunshadow_control::PortalGroupState;

use super::AdminArgs;

/// `lunshadow portal`.
#[derive(Debug, Subcommand)]
pub enum PortalCommand {
    /// List the portal groups with their addresses, and how LUNs are reached through them
    List(AdminArgs),
    /// Have all LUNs be reached through a portal group well, badly or not at all, for example before work on its network; hosts
    /// are told, and it outlives restarts
    Set(PortalSetArgs),
}

/// `lunshadow portal set`.
#[derive(Debug, Args)]
pub struct PortalSetArgs {
    /// The tag of the group: what follows the comma in --listen, else 1
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub group: u16,
    /// How LUNs are reached through it
    #[arg(value_enum)]
    pub state: State,
    /// Which array
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// The states of a portal group (ALUA).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum State {
    /// As well as can be
    Optimized,
    /// Hosts use other groups if they can
    NonOptimized,
    /// Reads and writes are refused; hosts keep the path for later
    Standby,
    /// Nothing works but what a host needs to look for its paths
    Unavailable,
}

impl From<State> for PortalGroupState {
    fn from(state: State) -> Self {
        match state {
            State::Optimized => Self::Optimized,
            State::NonOptimized => Self::NonOptimized,
            State::Standby => Self::Standby,
            State::Unavailable => Self::Unavailable,
        }
    }
}
