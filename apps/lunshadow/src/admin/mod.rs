//! The administrator's commands: each is one request to a control service that runs, and what it answered.

mod chap;
mod copy;
mod host;
mod lun;
mod portal;
mod shadow;
pub(crate) mod table;

use std::sync::Arc;

use lunshadow_array_client::{AdminClient, ArrayError, Endpoint, HttpsTimeouts};
use lunshadow_control::Outcome;
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::cli::{AdminArgs, HostCommand, LunCommand, PortalCommand, ShadowCommand};
use crate::console;
use crate::control::{Listening, credential_in, found_beside};
use crate::location::Location;
use crate::{rehearsal, transfer};

/// A control service, seen by an administrator.
pub(crate) struct Service {
    pub(crate) client: Arc<AdminClient>,
    address: String,
    /// Where it listens, if it is on this machine.
    listening: Option<Listening>,
    pub(crate) json: bool,
}

impl Service {
    pub(crate) fn of(args: &AdminArgs) -> anyhow::Result<Self> {
        let (endpoint, credential, listening) = if let Some(pool) = &args.pool {
            let (listening, credential) = found_beside(&Location::of(pool)?.records)?;
            (listening.endpoint_here(), credential, Some(listening))
        } else {
            let (Some(address), Some(fingerprint), Some(file)) =
                (&args.control, args.fingerprint, &args.credential_file)
            else {
                anyhow::bail!(
                    "say which array: --pool DIR on its own machine, elsewhere --control NAME:PORT --fingerprint HEX --credential-file FILE"
                );
            };
            (Endpoint { address: address.clone(), fingerprint }, credential_in(file)?, None)
        };
        let address = endpoint.address.clone();
        let client = Arc::new(AdminClient::new(endpoint, credential, HttpsTimeouts::default()));
        Ok(Self { client, address, listening, json: args.json })
    }

    /// What the service answered, or what can be done about it.
    pub(crate) fn answered<T>(&self, answer: Result<T, ArrayError>) -> anyhow::Result<T> {
        match answer {
            Ok(answer) => Ok(answer),
            Err(ArrayError::Refused { detail, .. }) => Err(anyhow::anyhow!(detail)),
            Err(ArrayError::Unreachable { detail }) => Err(anyhow::anyhow!(
                "the control service does not answer; see whether `lunshadow serve --control` runs there: {detail}"
            )),
        }
    }

    /// Prints an answer as one JSON document, or the lines that `text` makes of it.
    pub(crate) fn print<T: Serialize>(&self, answer: &T, text: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
        let text = if self.json { serde_json::to_string_pretty(answer)? } else { text(answer) };
        console::say(text.trim_end());
        Ok(())
    }
}

/// An action in words.
pub(crate) fn told<'a>(outcome: Outcome, done: &'a str, already_so: &'a str) -> &'a str {
    match outcome {
        Outcome::Done => done,
        Outcome::AlreadySo => already_so,
    }
}

/// `lunshadow host …`.
///
/// # Errors
/// If the service cannot be found or reached, or refuses.
pub fn host(command: &HostCommand) -> anyhow::Result<()> {
    match command {
        HostCommand::Add(args) => host::add(args),
        HostCommand::Enrol(args) => host::enrol(args),
        HostCommand::Chap(args) => chap::set(args),
        HostCommand::List(args) => host::list(args),
        HostCommand::Remove(args) => host::remove(args),
    }
}

/// `lunshadow lun …`. False if a copy that was waited for did not come to its end.
///
/// # Errors
/// If the service cannot be found or reached, or refuses.
pub fn lun(command: &LunCommand, runtime: &Runtime) -> anyhow::Result<bool> {
    match command {
        LunCommand::Copy(args) => return copy::copy(args),
        LunCommand::Create(args) => lun::create(args),
        LunCommand::List(args) => lun::list(args),
        LunCommand::Map(args) => lun::map(args),
        LunCommand::Unmap(args) => lun::unmap(args),
        LunCommand::Rename(args) => lun::rename(args),
        LunCommand::Grow(args) => lun::grow(args),
        LunCommand::Protect(args) => lun::protect(args),
        LunCommand::Removable(args) => lun::removable(args),
        LunCommand::Delete(args) => lun::delete(args),
        LunCommand::Copies(args) => copy::list(args),
        LunCommand::CancelCopy(args) => copy::cancel(args),
        LunCommand::Revert(args) => lun::revert(args),
        LunCommand::Import(args) => runtime.block_on(transfer::import(args)),
        LunCommand::Export(args) => runtime.block_on(transfer::export(args)),
    }?;
    Ok(true)
}

/// `lunshadow portal …`.
///
/// # Errors
/// If the service cannot be found or reached, or refuses.
pub fn portal(command: &PortalCommand) -> anyhow::Result<()> {
    match command {
        PortalCommand::List(args) => portal::list(args),
        PortalCommand::Set(args) => portal::set(args),
    }
}

/// `lunshadow shadow …`. False if a script did not come to its end.
///
/// # Errors
/// If the service cannot be found or reached, or refuses; if a simulated host cannot be set up.
pub fn shadow(command: &ShadowCommand) -> anyhow::Result<bool> {
    match command {
        ShadowCommand::Script(args) => return rehearsal::script(&args.host, &args.script),
        ShadowCommand::Prompt(args) => return rehearsal::prompt(args),
        ShadowCommand::List(args) => shadow::list(args),
        ShadowCommand::Create(args) => shadow::create(args),
        ShadowCommand::Delete(args) => shadow::delete(args),
        ShadowCommand::Detach(args) => shadow::detach(args),
        ShadowCommand::Promote(args) => shadow::promote(args),
    }?;
    Ok(true)
}
