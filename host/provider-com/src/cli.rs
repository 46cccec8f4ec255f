//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// The VSS hardware provider of Lunshadow: installs itself, keeps its settings, says what is wrong, and serves VSS.
#[derive(Debug, Parser)]
#[command(name = "lunshadow-provider", version)]
pub struct Cli {
    /// Print nothing but errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What the program does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Install the provider, or upgrade it; the settings stay
    Install(InstallArgs),
    /// Take the provider off this machine
    Uninstall(UninstallArgs),
    /// Say what this host sees: arrays, LUNs, leases, the last sets with their timings
    Status(OutputArgs),
    /// Add and remove the arrays that this host uses
    Config {
        /// What to do with the settings
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Look for what usually goes wrong, and say what to do about it
    Doctor(OutputArgs),
    /// Serve VSS as a local server; COM starts this
    Serve(ServeArgs),
    /// Serve VSS as a service; the service control manager starts this
    Service,
}

/// How to install.
#[derive(Debug, Args)]
pub struct InstallArgs {
    /// Have COM start the provider as a program of its own instead of a service, for development
    #[arg(long)]
    pub local_server: bool,
}

/// How to uninstall.
#[derive(Debug, Args)]
pub struct UninstallArgs {
    /// Leave the settings with the arrays' credentials
    #[arg(long)]
    pub keep_settings: bool,
}

/// How to print.
#[derive(Debug, Args)]
pub struct OutputArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// How to serve.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// End after this many seconds without work
    #[arg(long, value_name = "SECONDS", default_value_t = IDLE_AFTER_S)]
    pub idle_after: u64,
}

/// After how many seconds without work the provider ends; VSS starts it anew when it needs it.
pub const IDLE_AFTER_S: u64 = 180;

/// What is done with the settings.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Enrol this host at an array, with the enrolment string that `lunshadow host add` printed there
    Add(AddArgs),
    /// List the arrays
    List(OutputArgs),
    /// Forget an array
    Remove {
        /// The array's name
        name: String,
    },
    /// Print the settings, without credentials
    Show,
}

/// How to enrol.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// What to call the array here
    #[arg(long)]
    pub name: String,
    /// Read the enrolment string from this file instead of standard input. It is never an argument: others could see that
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
}

/// The arguments without what COM adds when it starts a local server.
pub fn without_embedding(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let is_coms = |argument: &OsString| {
        argument
            .to_str()
            .and_then(|text| text.strip_prefix(['-', '/']))
            .is_some_and(|flag| flag.eq_ignore_ascii_case("Embedding"))
    };
    arguments.into_iter().filter(|argument| !is_coms(argument)).collect()
}

/// What the program answers to whoever started it. Other numbers are clap's (2: wrong arguments).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It is done.
    Done = 0,
    /// It failed; what was changed is undone.
    Failed = 1,
    /// Only an administrator may do this.
    NotAdministrator = 3,
    /// VSS is using the provider; nothing was changed.
    ProviderInUse = 4,
    /// This Windows takes no hardware providers.
    NotAServer = 5,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        let arguments = line.split(' ').map(OsString::from);
        Cli::try_parse_from(without_embedding([OsString::from("lunshadow-provider")].into_iter().chain(arguments)))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn com_may_add_its_flag() {
        for line in ["serve -Embedding", "serve /embedding", "-Embedding serve", "serve"] {
            let cli = parse(line).expect(line);
            assert!(matches!(cli.command, Command::Serve(ServeArgs { idle_after: IDLE_AFTER_S })), "{cli:?}");
        }
    }

    #[test]
    fn a_silent_roll_out_needs_one_flag_wherever_it_stands() {
        for line in ["--quiet install", "install --quiet", "install -q --local-server"] {
            assert!(parse(line).expect(line).quiet, "{line}");
        }
    }

    #[test]
    fn an_enrolment_string_is_no_argument() {
        assert!(parse("config add --name one").is_ok());
        assert!(parse("config add --name one --from file").is_ok());
        let string = format!("lunshadow-enrol/array:3261/{}/token", "0".repeat(64));
        assert!(parse(&format!("config add --name one {string}")).is_err());
        assert!(parse(&format!("config add {string}")).is_err());
    }
}
