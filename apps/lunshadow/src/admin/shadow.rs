//! `lunshadow shadow …`: the shadow sets of all hosts.

use std::time::Duration;

use lunshadow_control::api::{AdminSet, AdminSetsAnswer, OutcomeAnswer};
use lunshadow_control::{SetPhase, ShadowSetId};

use super::lun::seen_by;
use super::table::{row, table};
use super::{Service, told};
use crate::cli::{AdminArgs, ShadowDeleteArgs, ShadowDetachArgs, ShadowPromoteArgs};
use crate::console::{milliseconds, unix_time};

pub(super) fn list(args: &AdminArgs) -> anyhow::Result<()> {
    let service = Service::of(args)?;
    let sets = service.answered(service.client.sets())?;
    service.print(&sets, text)
}

pub(super) fn delete(args: &ShadowDeleteArgs) -> anyhow::Result<()> {
    let service = Service::of(&args.admin)?;
    let set = ShadowSetId(args.set);
    let outcome = service.answered(service.client.delete_set(set))?;
    service.print(&OutcomeAnswer { outcome }, |answer| {
        format!("shadow set {set} {}", told(answer.outcome, "is deleted", "was over already"))
    })
}

pub(super) fn detach(args: &ShadowDetachArgs) -> anyhow::Result<()> {
    let service = Service::of(&args.admin)?;
    let outcome = service.answered(service.client.detach(args.lun))?;
    service.print(&OutcomeAnswer { outcome }, |answer| {
        let outcome = told(answer.outcome, "is a LUN of its own now", "was a LUN of its own already");
        format!("{} {outcome}; `lunshadow lun list` shows its name", args.lun)
    })
}

pub(super) fn promote(args: &ShadowPromoteArgs) -> anyhow::Result<()> {
    let service = Service::of(&args.admin)?;
    let outcome = service.answered(service.client.promote(args.lun, &args.name))?;
    service.print(&OutcomeAnswer { outcome }, |answer| {
        format!("{} {} LUN {}", args.lun, told(answer.outcome, "is now", "was already"), args.name)
    })
}

fn text(answer: &AdminSetsAnswer) -> String {
    if answer.sets.is_empty() {
        return "no shadow sets".to_owned();
    }
    let mut rows = vec![row(["SET", "HOST", "STATE", "LUNS", "COMMITTED", "TOOK", "LEASE"])];
    for set in &answer.sets {
        let AdminSet { host, summary, aborted, luns, .. } = set;
        let committed = summary.committed_at_unix_ms.map(unix_time).unwrap_or_default();
        let took = summary.commit_took_us.map(milliseconds).unwrap_or_default();
        let lease = summary
            .lease_left_ms
            .map(|left_ms| format!("{} left", humantime::format_duration(Duration::from_secs(left_ms / 1000))));
        rows.push(row([
            &summary.set.to_string(),
            host.as_deref().unwrap_or("(removed)"),
            phase(summary.phase),
            &summary.lun_count.to_string(),
            &committed,
            &took,
            // A set that is over has no lease, but a reason.
            lease.as_deref().or(aborted.as_deref()).unwrap_or_default(),
        ]));
        for lun in luns {
            let of = lun.source_name.clone().unwrap_or_else(|| lun.source.to_string());
            rows.push(vec![format!("  {} of {of}  {}", lun.shadow, seen_by(&lun.hosts))]);
        }
    }
    table(&rows)
}

fn phase(phase: SetPhase) -> &'static str {
    match phase {
        SetPhase::Prepared => "prepared",
        SetPhase::Armed => "armed",
        SetPhase::Committed => "committed",
        SetPhase::Kept => "kept",
        SetPhase::Aborted => "aborted",
    }
}
