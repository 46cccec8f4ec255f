//! `lunshadow serve`: the array alone, with or without its control service.

use std::time::Duration;

use anyhow::Context as _;
use lunshadow_catalog::{CatalogedLun, Limits, Settings};
use lunshadow_control::{HostId, InitiatorName, PortalGroupRecord, PortalGroupState};
use lunshadow_store::StoreConfig;
use lunshadow_target::{ConnectionThreads, NetworkPortal};
use tokio::signal::unix::{SignalKind, signal};

use crate::array::{Admission, Storage};
use crate::cli::ServeArgs;
use crate::console;
use crate::control::{ControlService, Listening, forget_beside};

/// The initiator that stands for everybody who is not known by name.
pub const GUEST: &str = "iqn.2026-11.org.lunshadow:guest";

/// What is said instead of a folder.
const NO_TAIL: &str = "none";

/// Which part of the machine's memory holds data, if nobody says how much.
const READ_CACHE_PART: u64 = 8;

/// Serves a pool until SIGTERM or SIGINT.
///
/// # Errors
/// If the pool cannot be opened, an address cannot be listened on, or the pool cannot be closed.
pub async fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    // The handlers stand before anything is opened, so that no signal ends the program half-way.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let allowed: Vec<InitiatorName> = args.allow.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;

    let read_cache_bytes = args.read_cache.unwrap_or_else(|| memory_bytes() / READ_CACHE_PART);
    let config = StoreConfig {
        cache_bytes: args.cache,
        read_cache_bytes,
        write_behind_bytes: args.write_behind,
        background_percent: args.background,
        defragment_after: args.defragment_after.0,
        ..StoreConfig::default()
    };
    let limits = Limits { shadows_of_lun: args.shadows_per_lun, luns_in_set: args.luns_per_set, ..Limits::default() };
    let settings = Settings { limits, ..Settings::default() };
    let tail = (args.tail.as_os_str() != NO_TAIL).then_some(&*args.tail);
    let threads = ConnectionThreads::start(Duration::from_micros(args.busy_poll_us.into()))?;
    let storage = Storage::open_with(&args.pool, &config, args.io.into(), tail, settings, Some(threads)).await?;
    if let Some(available_bytes) = args.warn_below {
        storage.pool.warn_below(available_bytes);
    }
    let admission = admit(args, &allowed, &storage).await?;
    let target = storage.serve(&args.listen, admission.clone()).await?;
    storage.catalog.note_portals(target.portals().iter().map(|portal| (portal.group.0, portal.address)));
    let control = match args.control {
        Some(listen) => Some(ControlService::start(&storage, &storage.location.records, listen).await?),
        None => {
            forget_beside(&storage.location.records)?;
            None
        }
    };
    storage.catalog.resume_copies();
    storage.catalog.resume_scrub();
    introduce(args, &storage, target.portals(), &admission, read_cache_bytes);
    if let Some(control) = &control {
        let Listening { address, fingerprint } = control.listening();
        console::say(&format!("control {address} fingerprint {fingerprint}"));
    }
    console::say("stop with SIGTERM or Ctrl-C");

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    // Whatever of it fails, the pool is closed in order.
    let told = match control {
        Some(control) => control.shutdown().await,
        None => Ok(()),
    };
    target.shutdown().await;
    storage.close().await?;
    console::say("stopped; everything is on disk");
    told
}

/// How much memory the machine has.
fn memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram.saturating_mul(u64::from(info.mem_unit))
}

/// Decides who may log in, and gives LUNs to those who are not hosts that an administrator has added.
async fn admit(args: &ServeArgs, allowed: &[InitiatorName], storage: &Storage) -> anyhow::Result<Admission> {
    let guest: InitiatorName = GUEST.parse()?;
    if args.control.is_some() {
        dismiss(storage, &guest).await?;
        return Ok(Admission::KnownHosts);
    }
    for (index, initiator) in allowed.iter().enumerate() {
        let host = storage.host(&format!("allowed-{}", index + 1), initiator).await?;
        assign_all(storage, host).await?;
    }
    if !allowed.is_empty() || !args.listen.iter().all(|portal| portal.address.ip().is_loopback()) {
        return Ok(Admission::KnownHosts);
    }
    assign_all(storage, storage.host("guest", &guest).await?).await?;
    Ok(Admission::Everybody(guest))
}

/// Says what is served, and to whom.
fn introduce(
    args: &ServeArgs,
    storage: &Storage,
    portals: &[NetworkPortal],
    admission: &Admission,
    read_cache_bytes: u64,
) {
    let addresses: Vec<String> = portals.iter().map(ToString::to_string).collect();
    console::say(&format!("serving {} on {}", args.pool.display(), addresses.join(" ")));
    let [maps, data] = [args.cache, read_cache_bytes].map(console::bytes);
    console::say(&format!("  {}, cache of {maps} for maps and {data} for data", storage.pool.io_engine()));
    for PortalGroupRecord { group, state, .. } in storage.catalog.portal_groups() {
        if state != PortalGroupState::Optimized {
            console::say(&format!("  portal group {group} is {state}, by `lunshadow portal set`"));
        }
    }
    for lun in storage.catalog.luns() {
        console::say(&format!("  {}  {}  {} bytes", described(&lun), lun.lun, lun.block_count.bytes()));
    }
    let known = match admission {
        Admission::Everybody(_) => return console::say(&console::attach_hints(portals[0].address, 1)),
        Admission::KnownHosts => storage.catalog.hosts(),
    };
    if known.is_empty() {
        return console::say("no initiator may log in yet; add its host with: lunshadow host add NAME --iqn IQN");
    }
    console::say("initiators that may log in:");
    for host in known {
        let names: Vec<&str> = host.initiators.iter().map(InitiatorName::as_str).collect();
        console::say(&format!("  {}: {}", host.name, names.join(", ")));
    }
}

/// Forgets the guest of earlier runs without a control service: it sees every LUN, and whoever calls itself so would be let in.
async fn dismiss(storage: &Storage, guest: &InitiatorName) -> anyhow::Result<()> {
    let Some(host) = storage.catalog.host_of(guest) else { return Ok(()) };
    for (_, lun) in storage.catalog.mappings(host)? {
        storage.catalog.unassign(host, lun).await.with_context(|| format!("cannot unmap the LUN {lun}"))?;
    }
    storage.catalog.remove_host(host).await.context("cannot remove the guest")?;
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
