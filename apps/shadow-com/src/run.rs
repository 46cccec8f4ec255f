//! A run, from the command line to the exit status.

use std::io::BufRead;

use anyhow::Context as _;
use lunshadow_rehearsal::{
    Console, HostSettings, KeptFile, LunExposer, ProviderPlace, Rehearsal, RehearsedHost, Surroundings,
};

use crate::arguments::{Arguments, Command};
use crate::class::{self, Class};

/// Why nothing is mounted.
const MOUNTS_NOTHING: &str = "this program mounts no files";

/// Runs a script, or the commands that come in, over a class. Answers whether all came to its end.
///
/// # Errors
/// If the script, its host or the provider cannot be used at all.
pub fn run(
    arguments: &Arguments,
    class: &dyn Class,
    console: Console<'_>,
    commands: impl BufRead,
    is_terminal: bool,
) -> anyhow::Result<bool> {
    let set_up =
        |settings: &HostSettings, surroundings: &Surroundings<'_>| set_up(arguments, class, settings, surroundings);
    let rehearsal = Rehearsal { console, provider: ProviderPlace::Registered, set_up: &set_up };
    match &arguments.command {
        Command::Script(script) => rehearsal.script(&arguments.host, script),
        Command::Prompt => rehearsal.prompt(&arguments.host, commands, is_terminal),
    }
}

fn set_up(
    arguments: &Arguments,
    class: &dyn Class,
    settings: &HostSettings,
    surroundings: &Surroundings<'_>,
) -> anyhow::Result<RehearsedHost> {
    let portal = settings.portal().with_context(|| format!("host {}", settings.name))?;
    let kept = KeptFile::lock(settings.shadows_file())?;
    let provider = class::registration(class, arguments.clsid, arguments.provider)?;
    RehearsedHost::set_up(
        settings,
        kept,
        portal,
        provider,
        |luns| Box::new(LunExposer { luns, reason: MOUNTS_NOTHING }),
        surroundings,
    )
}
