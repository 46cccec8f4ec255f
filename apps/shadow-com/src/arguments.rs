//! The command line.

use clap::{Parser, Subcommand};
use lunshadow_rehearsal::{HostArgs, ScriptFile};
use uuid::Uuid;

/// Run DiskShadow's commands on a simulated host, over a VSS hardware provider behind COM
#[derive(Debug, Parser)]
#[command(name = "lunshadow-shadow", version)]
pub struct Arguments {
    /// The provider's class, as it is registered, with or without braces
    #[arg(long, value_name = "CLSID", value_parser = guid)]
    pub clsid: Uuid,
    /// The id that shadow copies have for the provider; by default the one under which VSS has its class
    #[arg(long, value_name = "ID", value_parser = guid)]
    pub provider: Option<Uuid>,
    /// Which host
    #[command(flatten)]
    pub host: HostArgs,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a script of DiskShadow; ends with 1 at its first error
    Script(ScriptFile),
    /// Take DiskShadow's commands from standard input
    Prompt,
}

fn guid(text: &str) -> Result<Uuid, String> {
    text.parse().map_err(|_| format!("{text} is no GUID; write it as {{88cb7c5d-5166-4968-82c5-db12ae552a1d}}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASS: &str = "{88cb7c5d-5166-4968-82c5-db12ae552a1d}";

    #[test]
    fn the_host_is_named_before_or_after_the_command() {
        let before = ["lunshadow-shadow", "--clsid", CLASS, "--hosts", "h.toml", "--host", "sql", "script", "a", "b"];
        let after = ["lunshadow-shadow", "--clsid", CLASS, "script", "a", "b", "--hosts", "h.toml", "--host", "sql"];
        for line in [before, after] {
            let arguments = Arguments::try_parse_from(line).unwrap();
            assert_eq!(arguments.clsid.braced().to_string(), CLASS);
            assert_eq!(arguments.host.hosts.to_str(), Some("h.toml"));
            assert_eq!((arguments.host.host.as_deref(), arguments.provider), (Some("sql"), None));
            let Command::Script(script) = arguments.command else { panic!("it is a script") };
            assert_eq!((script.file.to_str(), script.parameters), (Some("a"), vec!["b".to_owned()]));
        }
    }

    #[test]
    fn ids_have_braces_or_not() {
        let bare = CLASS.trim_matches(['{', '}']);
        let line = ["lunshadow-shadow", "--clsid", bare, "--provider", CLASS, "prompt"];
        let arguments = Arguments::try_parse_from(line).unwrap();
        assert_eq!(arguments.provider, Some(arguments.clsid));
        let wrong = Arguments::try_parse_from(["lunshadow-shadow", "--clsid", "VSS", "prompt"]).unwrap_err();
        assert!(wrong.to_string().contains("VSS is no GUID"), "{wrong}");
    }
}
