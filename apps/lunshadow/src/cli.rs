//! The command line.

mod conform;
mod lun;
mod portal;
mod shadow;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use lunshadow_control::{Fingerprint, InitiatorName};
use lunshadow_store::IoMode;
use lunshadow_target::NetworkPortal;

pub use self::conform::{ConformArgs, ConformCommand, ConformNativeArgs};
pub use self::lun::{
    LunCommand, LunCopyArgs, LunCreateArgs, LunDeleteArgs, LunExportArgs, LunGrowArgs, LunImportArgs, LunRenameArgs,
    LunRevertArgs, LunSwitchArgs, MappingArgs,
};
pub use self::portal::{PortalCommand, PortalSetArgs};
pub use self::shadow::{ShadowCommand, ShadowCreateArgs, ShadowDeleteArgs, ShadowDetachArgs, ShadowPromoteArgs};
use crate::array::TAIL_FOLDER;
use crate::quantity::{Patience, duration, patience, size_bytes, size_or_none_bytes};

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
    /// Make pools, and look after them
    #[command(subcommand)]
    Pool(PoolCommand),
    /// Make hosts known to an array that is served with --control
    #[command(subcommand)]
    Host(HostCommand),
    /// See by which portals hosts reach their LUNs, and have them use others
    #[command(subcommand)]
    Portal(PortalCommand),
    /// Make LUNs and give them to hosts
    #[command(subcommand)]
    Lun(LunCommand),
    /// Look at shadow sets, delete those that nobody needs, and run DiskShadow's scripts
    #[command(subcommand)]
    Shadow(ShadowCommand),
    /// Hold a VSS hardware provider to its contract, statement by statement
    Conform(ConformArgs),
}

/// `lunshadow try`.
#[derive(Debug, Args)]
pub struct TryArgs {
    /// A raw disk image: MBR, GPT or a bare file system; it is never changed. Without one a small sample disk is made
    pub image: Option<PathBuf>,
    /// Keep the pool in this folder instead of a temporary one; it is made if it does not exist
    #[arg(long, value_name = "DIR")]
    pub pool: Option<PathBuf>,
    /// How the provider reaches the array
    #[arg(long, value_enum, default_value_t = Over::InProcess)]
    pub over: Over,
    /// Stay up afterwards so that a real initiator can attach; end with Ctrl-C
    #[arg(long)]
    pub keep: bool,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
}

/// The channel between provider and array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Over {
    /// By calls in the same process
    InProcess,
    /// By the control service on a loopback address, after an enrolment, as a Windows host does
    Https,
}

/// `lunshadow serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The pool's folder, or the block device that it is on
    #[arg(long, value_name = "DIR")]
    pub pool: PathBuf,
    /// Address and port to listen on, IPv4 or IPv6 in brackets; port 0 picks a free one. May be given several times: initiators are told of all
    /// portals that they can reach. A comma and a number after it, as in 192.0.2.1:3260,2, put the portal into that target portal group, which is
    /// 1 by default. Of two groups a host can prefer one, or put it on standby (ALUA), and so can
    /// `lunshadow portal set`
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3260")]
    pub listen: Vec<NetworkPortal>,
    /// Run the control service for hosts and administrators on this address and port too; port 0 picks a free one. The hosts that
    /// were added with `lunshadow host add` may log in then, and nobody else
    #[arg(long, value_name = "ADDR")]
    pub control: Option<SocketAddr>,
    /// Without --control: let this initiator in (its iSCSI name); may be given several times. Without any, everybody may come if the
    /// address is a loopback one, and otherwise only the initiators that the pool's catalog knows
    #[arg(long, value_name = "IQN", conflicts_with = "control")]
    pub allow: Vec<String>,
    /// Warn initiators and administrators when there is room for less than this; by default for less than a tenth of the pool
    #[arg(long, value_name = "SIZE", value_parser = size_bytes)]
    pub warn_below: Option<u64>,
    /// How much of the time reclaiming, scrubbing and defragmenting may take each while initiators read or write, in per cent
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100), default_value_t = 10)]
    pub background: u8,
    /// How long to leave a part of a LUN alone that small writes have scattered on the medium before it is put in order; or "never"
    #[arg(long, value_name = "DURATION", value_parser = patience, default_value = "5s")]
    pub defragment_after: Patience,
    /// How many shadow LUNs a LUN may have; VSS has 512 shadow copies of a volume at most
    #[arg(long, value_name = "COUNT", default_value_t = 512)]
    pub shadows_per_lun: usize,
    /// How many LUNs a shadow set may have; VSS has 64 shadow copies in a set at most
    #[arg(long, value_name = "COUNT", default_value_t = 64)]
    pub luns_per_set: usize,
    /// How long a connection whose initiator sends few requests at a time looks for the next one, or for storage, before it sleeps, in
    /// microseconds. Small requests are answered faster for a processor that has more to do meanwhile; 0 saves that
    #[arg(long = "busy-poll", value_name = "MICROSECONDS", value_parser = clap::value_parser!(u32).range(..=10_000), default_value_t = 150)]
    pub busy_poll_us: u32,
    /// How the pool's file or device is read and written
    #[arg(long, value_enum, default_value_t = Io::Auto)]
    pub io: Io,
    /// How much memory the pool may take for what grows with it, map pages above all
    #[arg(long, value_name = "SIZE", value_parser = size_bytes, default_value = "256MiB")]
    pub cache: u64,
    /// How much memory may hold data that was read or written lately, 0 for none; by default an eighth of the machine's memory
    #[arg(long, value_name = "SIZE", value_parser = size_or_none_bytes)]
    pub read_cache: Option<u64>,
    /// How much of what is written may be answered before the medium has it: small writes to LUNs with a write cache, until
    /// they are flushed. 0 for none
    #[arg(long, value_name = "SIZE", value_parser = size_or_none_bytes, default_value = "1MiB")]
    pub write_behind: u64,
    /// Where what was answered and not flushed is kept for the case that the program is killed: a folder in memory, which takes 8 MiB and as
    /// much as --write-behind there. The next start takes it over; the machine's end takes it away. "none" for nowhere. Commands that open
    /// a pool that nobody serves look for it where it is by default
    #[arg(long, value_name = "DIR", default_value = TAIL_FOLDER)]
    pub tail: PathBuf,
}

/// The ways to a medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Io {
    /// Past the page cache, by the faster one of the two below, which a short measurement finds out
    Auto,
    /// Past the page cache, many at once through io_uring
    Uring,
    /// Past the page cache, with plain calls of several threads
    Threads,
    /// Through the page cache
    Buffered,
}

impl From<Io> for IoMode {
    fn from(io: Io) -> Self {
        match io {
            Io::Auto => Self::Auto,
            Io::Uring => Self::Uring,
            Io::Threads => Self::Threads,
            Io::Buffered => Self::Buffered,
        }
    }
}

/// `lunshadow pool`.
#[derive(Debug, Subcommand)]
pub enum PoolCommand {
    /// Make an empty pool
    Create(PoolCreateArgs),
    /// Prove that a pool is whole, and say which blocks of which LUNs are damaged; ends with 1 if something is wrong and was not repaired
    Check(PoolCheckArgs),
    /// Give a pool more capacity, whether it is served or not
    Grow(PoolGrowArgs),
    /// Say where a pool's space is, whether it is served or not
    Status(PoolPlaceArgs),
    /// Verify everything in a pool that is served, in the background; with --wait it ends with 1 if something cannot be read
    Scrub(PoolScrubArgs),
}

/// `lunshadow pool create`.
#[derive(Debug, Args)]
pub struct PoolCreateArgs {
    /// The pool's folder, which is made if it does not exist, or a block device
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// How much the pool may take, for example 500GiB; by default all of a device, and 1 TiB in a folder, where the file is sparse and takes
    /// what is used
    #[arg(long, value_parser = size_bytes)]
    pub size: Option<u64>,
    /// Write zeros to all of it now, which takes its time: writes are faster later, and a folder's file system cannot run out of space
    #[arg(long)]
    pub preallocate: bool,
    /// Make a pool on a device although something else is on it, which is lost
    #[arg(long)]
    pub force: bool,
    /// Where to keep the catalog, the keys and the credentials of a pool on a device; by default in a folder of /var/lib/lunshadow
    #[arg(long, value_name = "DIR")]
    pub records: Option<PathBuf>,
}

/// `lunshadow pool check`.
#[derive(Debug, Args)]
pub struct PoolCheckArgs {
    /// The pool's folder, or the block device that it is on
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Write damaged copies of metadata again, and free blocks that nothing refers to; without it the check changes nothing
    #[arg(long)]
    pub repair: bool,
    /// Leave out the data of LUNs, which takes the most time
    #[arg(long)]
    pub metadata_only: bool,
    /// How much memory reference counts may take; with less the maps are walked more often
    #[arg(long, value_parser = size_bytes, default_value = "256MiB")]
    pub memory: u64,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
}

/// `lunshadow pool grow`.
#[derive(Debug, Args)]
pub struct PoolGrowArgs {
    /// Which pool
    #[command(flatten)]
    pub place: PoolPlaceArgs,
    /// How much the pool may take then; by default all that a device has
    #[arg(long, value_parser = size_bytes)]
    pub size: Option<u64>,
}

/// `lunshadow pool scrub`.
#[derive(Debug, Args)]
pub struct PoolScrubArgs {
    /// Which pool
    #[command(flatten)]
    pub place: PoolPlaceArgs,
    /// How much it may read in a second, for example 100MiB; without it, as much as it can beside the hosts' requests
    #[arg(long, value_name = "SIZE", value_parser = size_bytes)]
    pub rate: Option<u64>,
    /// Begin from the beginning, though the last one was stopped
    #[arg(long)]
    pub restart: bool,
    /// Stay until it has ended, and say what it found
    #[arg(long)]
    pub wait: bool,
    /// Stop the one that runs; the next one goes on from there
    #[arg(long, conflicts_with_all = ["rate", "restart", "wait"])]
    pub stop: bool,
}

/// A pool, whether it is served or not.
#[derive(Debug, Args)]
pub struct PoolPlaceArgs {
    /// The pool's folder or device; the same as --pool
    #[arg(value_name = "DIR", conflicts_with_all = ["pool", "control"])]
    pub folder: Option<PathBuf>,
    /// Which array
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// Which array, and how to print.
#[derive(Debug, Clone, Args)]
pub struct AdminArgs {
    /// The folder or device of a pool that this machine serves: address, certificate and credential are found there
    #[arg(long, value_name = "DIR", conflicts_with_all = ["control", "fingerprint", "credential_file"])]
    pub pool: Option<PathBuf>,
    /// Name or address and port of the control service of another machine
    #[arg(long, value_name = "NAME:PORT", value_parser = name_and_port, requires = "fingerprint", requires = "credential_file")]
    pub control: Option<String>,
    /// The fingerprint of its certificate, which `lunshadow serve` prints
    #[arg(long, value_name = "HEX", requires = "control")]
    pub fingerprint: Option<Fingerprint>,
    /// A copy of the file `control-credential` in the pool's folder
    #[arg(long, value_name = "FILE", requires = "control")]
    pub credential_file: Option<PathBuf>,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
}

/// `lunshadow host`.
#[derive(Debug, Subcommand)]
pub enum HostCommand {
    /// Make a host known, or change it to what is given here, and print a one-time enrolment string for it
    Add(HostAddArgs),
    /// Print another enrolment string for a host; the one before is not good any more
    Enrol(EnrolArgs),
    /// Have the initiators of a host prove who they are with CHAP when they log in, or no longer
    Chap(HostChapArgs),
    /// List all hosts
    List(AdminArgs),
    /// Forget a host and its credential; it must have no LUNs
    Remove(NamedArgs),
}

/// About an enrolment string.
#[derive(Debug, Args)]
pub struct EnrolmentArgs {
    /// Which array
    #[command(flatten)]
    pub admin: AdminArgs,
    /// For how long the enrolment string is good, for example 30min, 2h or 7d
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = duration)]
    pub valid_for: Duration,
    /// By which name or address and port the host reaches the control service; by default the address that it listens on
    #[arg(long, value_name = "NAME:PORT", value_parser = name_and_port)]
    pub address: Option<String>,
}

/// `lunshadow host add`.
#[derive(Debug, Args)]
pub struct HostAddArgs {
    /// What to call the host
    pub name: String,
    /// The iSCSI name of its initiator; may be given several times
    #[arg(long, value_name = "IQN", required = true)]
    pub iqn: Vec<InitiatorName>,
    /// Another host whose shadow LUNs it may import, as a backup server does; may be given several times
    #[arg(long, value_name = "HOST")]
    pub imports_from: Vec<String>,
    /// The string
    #[command(flatten)]
    pub enrolment: EnrolmentArgs,
}

/// `lunshadow host chap`.
#[derive(Debug, Args)]
pub struct HostChapArgs {
    /// The host
    pub name: String,
    /// The CHAP name that its initiators prove; their secret (12 to 255 bytes, for Windows 12 to 16) is the first line of standard input
    #[arg(long, value_name = "NAME", required_unless_present = "off")]
    pub user: Option<String>,
    /// The CHAP name that the array proves to initiators that ask for it (mutual CHAP); its secret is the second line
    #[arg(long, value_name = "NAME", requires = "user")]
    pub array_user: Option<String>,
    /// Read the secrets from this file instead
    #[arg(long, value_name = "FILE", requires = "user")]
    pub secrets: Option<PathBuf>,
    /// Ask for no proof any more
    #[arg(long, conflicts_with = "user")]
    pub off: bool,
    /// Which array
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// `lunshadow host enrol`.
#[derive(Debug, Args)]
pub struct EnrolArgs {
    /// The host
    pub name: String,
    /// The string
    #[command(flatten)]
    pub enrolment: EnrolmentArgs,
}

/// A command about one thing.
#[derive(Debug, Args)]
pub struct NamedArgs {
    /// Its name
    pub name: String,
    /// Which array
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// A place on the network, as it stands in enrolment strings.
fn name_and_port(text: &str) -> Result<String, String> {
    let parts = text.rsplit_once(':').filter(|(name, port)| {
        let bracketed = name.starts_with('[') && name.ends_with(']');
        !name.is_empty() && (bracketed || !name.contains(':')) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._[]:%".contains(c);
    match parts {
        Some(_) if text.chars().all(plain) => Ok(text.to_owned()),
        _ => Err("give a name or address and a port, for example array.example:3261 or [2001:db8::1]:3261".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn places_have_a_name_and_a_port() {
        for place in ["array.example:3261", "192.0.2.1:1", "[2001:db8::1]:3261"] {
            assert_eq!(name_and_port(place).as_deref(), Ok(place));
        }
        for place in ["", "array", ":3261", "array:0", "array:70000", "2001:db8::1:3261", "a/b:1", "a b:1"] {
            assert!(name_and_port(place).is_err(), "{place:?} was taken");
        }
    }
}
