//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Application-consistent, instant shadow copies of LUNs on Linux storage.
#[derive(Debug, Parser)]
#[command(name = "lunshadow", version, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take a shadow copy of a disk image as a Windows host would, and prove it
    Try(TryArgs),
    /// Serve the LUNs of a pool over iSCSI until SIGTERM or SIGINT
    Serve(ServeArgs),
}

/// `lunshadow try`.
#[derive(Debug, Args)]
pub struct TryArgs {
    /// A raw disk image: MBR, GPT or a bare file system; it is never changed. Without one a small sample disk is made
    pub image: Option<PathBuf>,
    /// Keep the pool in this folder instead of a temporary one; it is made if it does not exist
    #[arg(long, value_name = "DIR")]
    pub pool: Option<PathBuf>,
    /// Stay up afterwards so that a real initiator can attach; end with Ctrl-C
    #[arg(long)]
    pub keep: bool,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
}

/// `lunshadow serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The pool's folder
    #[arg(long, value_name = "DIR")]
    pub pool: PathBuf,
    /// Address and port to listen on; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3260")]
    pub listen: SocketAddr,
    /// Let this initiator in (its iSCSI name); may be given several times. Without any, everybody may come if the address is a
    /// loopback one, and otherwise only the initiators that the pool's catalog knows
    #[arg(long, value_name = "IQN")]
    pub allow: Vec<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
