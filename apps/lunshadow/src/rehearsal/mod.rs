//! `lunshadow shadow script` and `prompt`: DiskShadow's scripts on simulated hosts whose provider is in this process.
//!
//! ```text
//!  script, prompt ──▶ Rehearsal (apps/rehearsal) ──▶ host: the provider, over HTTPS or over a pool in this process
//!  expose ──▶ exposure ──▶ mounts ──▶ mount (FUSE) ──▶ mounted_files ──▶ VolumeFiles of the coordinator
//! ```

mod exposure;
mod host;
mod mount;
mod mounted_files;
mod mounts;

use std::io::{self, IsTerminal as _};

use lunshadow_rehearsal::{Console, HostArgs, ProviderPlace, Rehearsal, ScriptFile};

/// What this program brings.
fn rehearsal() -> Rehearsal<'static> {
    Rehearsal { console: Console::of("lunshadow"), provider: ProviderPlace::InProcess, set_up: &host::set_up }
}

/// Runs a script. Answers whether it came to its end.
///
/// # Errors
/// If the script cannot be read, or its host not be set up.
pub fn script(host: &HostArgs, script: &ScriptFile) -> anyhow::Result<bool> {
    rehearsal().script(host, script)
}

/// Reads commands from standard input. Answers false if a program that was run has ended the prompt.
///
/// # Errors
/// If the host cannot be set up, or standard input not be read.
pub fn prompt(host: &HostArgs) -> anyhow::Result<bool> {
    rehearsal().prompt(host, io::stdin().lock(), io::stdin().is_terminal())
}
