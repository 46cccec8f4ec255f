//! `lunshadow try`: a shadow copy of a disk image, from VSS call to iSCSI, with proof.
//!
//! ```text
//!  stage: pool, LUNs, target ──▶ host: simulated Windows over iSCSI ──▶ load: records on both LUNs
//!                                       │
//!            coordinator ──▶ provider ──▶ channel ──▶ array (in process, or over HTTPS)
//!                                       │
//!  proof: files, records, identities, flags, space ──▶ report (text or JSON)
//! ```
//!
//! The coordinator, the provider and all that reads disks block: they run on the calling thread, which is none of the
//! runtime's; what is async runs on the runtime.

mod channel;
mod content;
mod creation;
mod host;
mod load;
mod proof;
mod stage;
mod text;
mod timeline_text;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::TryArgs;
use crate::report::{ArrayReport, HostReport, ImageReport, Report};
use channel::Channel;
use creation::{Creation, Evidence};
use host::TrialHost;
use load::Load;
use stage::{Stage, Subject, TrialLun};
use text::Narrator;

/// Runs a trial. Answers whether every proof held.
///
/// # Errors
/// If something failed before there was anything to prove.
pub fn run(args: &TryArgs, runtime: &Runtime) -> anyhow::Result<bool> {
    let scratch = tempfile::Builder::new().prefix("lunshadow-").tempdir().context("cannot make a temporary folder")?;
    let subject = stage::subject(args, scratch.path())?;
    let narrator = Narrator::new(args.json);
    let interruption = Interruption::watch(runtime, scratch.path())?;
    let stage = set_up(args, &subject, &scratch, runtime, &narrator)?;
    // Whatever the trial comes to, the pool is closed in order.
    let result = try_on(args, &subject, &stage, runtime, &narrator, &interruption);
    let closed = runtime.block_on(stage.tear_down());
    let verdict = result?;
    closed?;
    Ok(verdict)
}

fn set_up(
    args: &TryArgs,
    subject: &Subject,
    scratch: &TempDir,
    runtime: &Runtime,
    narrator: &Narrator,
) -> anyhow::Result<Stage> {
    let progress = narrator.import_begins(&subject.title, subject.image.block_count.bytes());
    let set_up = Stage::set_up(subject, args, scratch, |done_bytes| progress.set_position(done_bytes));
    let stage = runtime.block_on(set_up)?;
    progress.finish_and_clear();
    Ok(stage)
}

fn try_on(
    args: &TryArgs,
    subject: &Subject,
    stage: &Stage,
    runtime: &Runtime,
    narrator: &Narrator,
    interruption: &Interruption,
) -> anyhow::Result<bool> {
    let portal = stage.target.local_addr();
    let Channel { array: reached, report: channel } = Channel::open(stage, runtime)?;
    let array = ArrayReport {
        pool: stage.folder.display().to_string(),
        portal: portal.to_string(),
        target: stage.target.name().to_owned(),
        channel,
        luns: stage.luns.iter().map(TrialLun::report).collect(),
    };
    narrator.array(&array, subject, stage, args);

    let host = TrialHost::attach(stage, runtime)?;
    let host_report = HostReport { initiator: stage.initiator.to_string(), disks: host.describe(&stage.luns)? };
    narrator.host(&host_report, &array);

    let load = runtime.block_on(Load::log_in(portal, &stage.initiator, &stage.luns))?;
    let Evidence { set, mut proofs, space } =
        Creation { stage, array: &reached, host: &host, load: &load, runtime }.run(args.keep, narrator)?;
    proofs.push(subject.untouched());
    narrator.proofs(&set.files, &proofs, space.as_ref());
    let verdict = proofs.iter().all(|proof| proof.held);
    runtime.block_on(load.log_out())?;
    let image = ImageReport {
        path: subject.title.clone(),
        len_bytes: subject.image.block_count.bytes(),
        import_us: stage.import_us,
    };
    let report = Report {
        lunshadow: env!("CARGO_PKG_VERSION"),
        image,
        array,
        host: host_report,
        shadow_copy_set: set,
        proofs,
        space,
        verdict,
    };
    narrator.ends(&report)?;
    if args.keep {
        interruption.waits_itself.store(true, Ordering::Release);
        narrator.stays(&report);
        runtime.block_on(interrupted())?;
    }
    host.detach(runtime)?;
    Ok(verdict)
}

/// Waits for SIGINT or SIGTERM.
async fn interrupted() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Ends the process when a signal comes, and removes the temporary folder, which nobody else would then. While the trial waits for the
/// same signals itself, it ends in order and nothing happens here.
struct Interruption {
    waits_itself: Arc<AtomicBool>,
}

impl Interruption {
    fn watch(runtime: &Runtime, scratch: &Path) -> anyhow::Result<Self> {
        let waits_itself = Arc::new(AtomicBool::new(false));
        let (in_order, scratch) = (Arc::clone(&waits_itself), scratch.to_owned());
        let (mut terminate, mut interrupt) = {
            let _inside = runtime.enter();
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
        };
        runtime.spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if !in_order.load(Ordering::Acquire) {
                // What cannot be removed now cannot be reported to anybody either.
                drop(std::fs::remove_dir_all(&scratch));
                std::process::exit(EXIT_INTERRUPTED);
            }
        });
        Ok(Self { waits_itself })
    }
}

/// What shells report for a program that SIGINT ended.
const EXIT_INTERRUPTED: i32 = 130;
