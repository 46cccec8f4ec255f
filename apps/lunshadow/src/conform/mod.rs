//! `lunshadow conform`: the conformance suite of `host/conform`, on a test bed that is made for it.
//!
//! ```text
//!  suite (host/conform) ──▶ provider ──▶ TroubledArray ──▶ InProcessArray ──▶ catalog, pool
//!        └──▶ simulated hosts ═════ iSCSI over TCP ═════▶ target ──────────────┘
//! ```

mod array;
mod bed;
mod clock;
mod host;

use std::sync::Arc;
use std::{fs, io};

use anyhow::Context as _;
use lunshadow_conform::{
    Fault, Level, Plan, Report, StatementReport, Verdict, checked, checked_behind_com, statements,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub use bed::NativeBed;
pub use clock::Timing;

use crate::cli::{ConformArgs, ConformCommand, ConformNativeArgs};
use crate::console;

/// Runs `lunshadow conform`. Answers whether no *must* is broken.
///
/// # Errors
/// If the test bed cannot be set up, the report not be written, or the provider is behind COM.
pub fn run(args: &ConformArgs) -> anyhow::Result<bool> {
    let Some(command) = &args.command else {
        let class = args.clsid.as_deref().unwrap_or("CLSID");
        anyhow::bail!(
            "a provider behind COM is reached where COM is, on Windows or under Wine: run `lunshadow-conform --clsid {class} --bed FILE` \
             there, as docs/conform.md says"
        );
    };
    match command {
        ConformCommand::Native(args) => native(args, &Runtime::new()?),
        ConformCommand::Faults => {
            for fault in Fault::ALL {
                let breaks: Vec<_> = fault.breaks().iter().map(ToString::to_string).collect();
                console::say(&format!("{:<28} {} ({})", fault.name(), fault.what(), breaks.join(", ")));
            }
            Ok(true)
        }
        ConformCommand::Statements => {
            let (with_check, behind_com) = (checked(), checked_behind_com());
            for statement in statements() {
                let check = match &statement.number {
                    number if behind_com.contains(number) => "over COM",
                    number if with_check.contains(number) => "checked",
                    _ => "no check",
                };
                console::say(&format!(
                    "{:<6} {:<8} {check:<8} {}",
                    statement.number.to_string(),
                    statement.level.to_string(),
                    statement.text
                ));
            }
            Ok(true)
        }
    }
}

fn native(args: &ConformNativeArgs, runtime: &Runtime) -> anyhow::Result<bool> {
    let scratch = scratch().context("cannot make a temporary folder")?;
    let bed = Arc::new(NativeBed::set_up(scratch.path(), runtime, Timing::Measured)?);
    let plan = Plan {
        provider: format!("Lunshadow {}, in this process", env!("CARGO_PKG_VERSION")),
        fault: args.fault,
        only: args.only.iter().copied().collect(),
        baseline: None,
    };
    // Whoever waits for a report in a file or a pipe sees on the console what is found.
    let progress = |item: &StatementReport| {
        if item.verdict == Verdict::Broken && args.output.is_some() {
            console::complain(&format!("{} is broken: {}", item.statement.number, item.evidence));
        }
    };
    let report = lunshadow_conform::run(&(Arc::clone(&bed) as _), &plan, &progress);
    let written = write(&report, args);
    bed.tear_down(runtime)?;
    written?;
    Ok(report.worst() != Some(Level::Must))
}

/// Where Linux has a file system in memory.
const IN_MEMORY: &str = "/dev/shm";

/// How much room a test bed has to have there. A run takes a tenth of it.
const ROOM_BYTES: u64 = 2 << 30;

/// A temporary folder for a test bed. Nothing in it has to outlive the machine, so it lies in memory where there is room for it: each step of a set is made
/// durable, and waiting for a medium would be most of what a run takes.
///
/// # Errors
/// If the folder cannot be made.
pub fn scratch() -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix("lunshadow-");
    let room_bytes = rustix::fs::statvfs(IN_MEMORY).map_or(0, |memory| memory.f_bavail.saturating_mul(memory.f_frsize));
    let in_memory = (room_bytes >= ROOM_BYTES).then(|| builder.tempdir_in(IN_MEMORY));
    in_memory.and_then(Result::ok).map_or_else(|| builder.tempdir(), Ok)
}

fn write(report: &Report, args: &ConformNativeArgs) -> anyhow::Result<()> {
    let text = report.in_form(args.report)?;
    match &args.output {
        None => console::say(text.trim_end()),
        Some(path) => {
            fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
            console::say(&report.summary());
        }
    }
    Ok(())
}
