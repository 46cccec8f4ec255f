//! `lunshadow serve`: the array alone.

use anyhow::Context as _;
use lunshadow_catalog::CatalogedLun;
use lunshadow_control::{HostId, InitiatorName};
use tokio::signal::unix::{SignalKind, signal};

use crate::array::{Admission, Storage};
use crate::cli::ServeArgs;
use crate::console;

/// The initiator that stands for everybody who is not known by name.
pub const GUEST: &str = "iqn.2026-11.org.lunshadow:guest";

/// Serves a pool until SIGTERM or SIGINT.
///
/// # Errors
/// If the pool cannot be opened, the address cannot be listened on, or the pool cannot be closed.
pub async fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    // The handlers stand before anything is opened, so that no signal ends the program half-way.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let allowed: Vec<InitiatorName> = args.allow.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;

    let storage = Storage::open(&args.pool).await?;
    for (index, initiator) in allowed.iter().enumerate() {
        let host = storage.host(&format!("allowed-{}", index + 1), initiator).await?;
        assign_all(&storage, host).await?;
    }
    let admission = if allowed.is_empty() && args.listen.ip().is_loopback() {
        let guest: InitiatorName = GUEST.parse()?;
        assign_all(&storage, storage.host("guest", &guest).await?).await?;
        Admission::Everybody(guest)
    } else {
        Admission::KnownHosts
    };
    let target = storage.serve(args.listen, admission.clone()).await?;

    let portal = target.local_addr();
    console::say(&format!("serving {} on {portal}", args.pool.display()));
    for lun in storage.catalog.luns() {
        console::say(&format!("  {}  {}  {} bytes", described(&lun), lun.lun, lun.block_count.bytes()));
    }
    match admission {
        Admission::Everybody(_) => console::say(&console::attach_hints(portal, 1)),
        Admission::KnownHosts => console::say("initiators that may log in:"),
    }
    if allowed.is_empty() && !args.listen.ip().is_loopback() {
        for host in storage.catalog.hosts() {
            let names: Vec<&str> = host.initiators.iter().map(InitiatorName::as_str).collect();
            console::say(&format!("  {}: {}", host.name, names.join(", ")));
        }
    }
    for initiator in &allowed {
        console::say(&format!("  {initiator}"));
    }
    console::say("stop with SIGTERM or Ctrl-C");

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    target.shutdown().await;
    storage.close().await?;
    console::say("stopped; everything is on disk");
    Ok(())
}

/// Maps every LUN and every shadow LUN of the pool to a host, as far as it has LUN numbers.
async fn assign_all(storage: &Storage, host: HostId) -> anyhow::Result<()> {
    for lun in storage.catalog.luns() {
        storage.catalog.assign(host, lun.lun).await.with_context(|| format!("cannot map the LUN {}", lun.lun))?;
    }
    Ok(())
}

/// What to call a LUN: shadow LUNs have no name of their own.
fn described(lun: &CatalogedLun) -> String {
    lun.name.as_ref().map_or_else(|| "(shadow LUN)".to_owned(), ToString::to_string)
}
