//! `lunshadow lun copy …`: full copies.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use lunshadow_control::api::OutcomeAnswer;
use lunshadow_control::{CopiesAnswer, CopyPhase, CopyRequest, CopyState};

use super::table::{row, table};
use super::{Service, told};
use crate::cli::{AdminArgs, LunCopyArgs, NamedArgs};
use crate::console::bytes;

/// How often progress is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Begins a copy. False if it was waited for and did not come to its end.
pub(super) fn copy(args: &LunCopyArgs) -> anyhow::Result<bool> {
    let service = Service::of(&args.admin)?;
    let request = CopyRequest { source: args.source.clone(), bytes_per_second: args.rate };
    let made = service.answered(service.client.start_copy(&args.new_name, &request))?;
    if !args.wait {
        service.print(&made, |made| {
            let outcome = told(made.outcome, "has begun", "runs already");
            format!("the copy {} {outcome}; `lunshadow lun copies` shows how far it is", args.new_name)
        })?;
        return Ok(true);
    }
    let ended = waited_for(&service, &args.new_name)?;
    service.print(&ended, text)?;
    Ok(ended.phase == CopyPhase::Finished)
}

fn waited_for(service: &Service, name: &str) -> anyhow::Result<CopyState> {
    // It draws nothing where nobody looks.
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left") {
        bar.set_style(style);
    }
    loop {
        let state = service.answered(service.client.wait_copy(name, LOOK_EVERY))?;
        if state.phase != CopyPhase::Running {
            bar.finish_and_clear();
            return Ok(state);
        }
        bar.set_length(state.len_bytes);
        bar.set_position(state.done_bytes);
    }
}

pub(super) fn list(args: &AdminArgs) -> anyhow::Result<()> {
    let service = Service::of(args)?;
    let copies = service.answered(service.client.copies())?;
    service.print(&copies, |CopiesAnswer { copies }| {
        if copies.is_empty() {
            return "no copies; begin one with: lunshadow lun copy SOURCE NEW-NAME".to_owned();
        }
        let mut rows = vec![row(["COPY", "OF", "STATE", "DONE", "SIZE"])];
        rows.extend(copies.iter().map(|copy| {
            let of = copy.source_name.clone().unwrap_or_else(|| copy.source.to_string());
            row([&copy.name, &of, phase(copy.phase), &bytes(copy.done_bytes), &bytes(copy.len_bytes)])
        }));
        table(&rows)
    })
}

pub(super) fn cancel(args: &NamedArgs) -> anyhow::Result<()> {
    let service = Service::of(&args.admin)?;
    let outcome = service.answered(service.client.cancel_copy(&args.name))?;
    service.print(&OutcomeAnswer { outcome }, |answer| {
        let outcome = told(answer.outcome, "is given up; nothing is left of it", "does not run");
        format!("the copy {} {outcome}", args.name)
    })
}

fn text(state: &CopyState) -> String {
    let failure = state.failure.as_ref().map(|failure| format!(": {failure}")).unwrap_or_default();
    let (name, written) = (&state.name, bytes(state.written_bytes));
    format!("the copy {name} is {}{failure}; {} long, {written} written", phase(state.phase), bytes(state.len_bytes))
}

fn phase(phase: CopyPhase) -> &'static str {
    match phase {
        CopyPhase::Running => "running",
        CopyPhase::Finished => "finished",
        CopyPhase::Cancelled => "given up",
        CopyPhase::Failed => "failed",
    }
}
