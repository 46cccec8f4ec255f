//! `lunshadow shadow …`: the shadow sets of all hosts.

use std::time::Duration;

use anyhow::{Context as _, bail};
use lunshadow_control::api::{AdminLun, AdminSet, AdminSetsAnswer, NewSetRequest, OutcomeAnswer};
use lunshadow_control::{SetPhase, ShadowSetId};
use uuid::Uuid;

use super::lun::seen_by;
use super::table::{row, table};
use super::{Service, told};
use crate::cli::{AdminArgs, ShadowCreateArgs, ShadowDeleteArgs, ShadowDetachArgs, ShadowPromoteArgs};
use crate::console::{milliseconds, unix_time};

pub(super) fn list(args: &AdminArgs) -> anyhow::Result<()> {
    let service = Service::of(args)?;
    let sets = service.answered(service.client.sets())?;
    service.print(&sets, text)
}

pub(super) fn create(args: &ShadowCreateArgs) -> anyhow::Result<()> {
    let service = Service::of(&args.admin)?;
    let host = match &args.host {
        Some(host) => host.clone(),
        None => host_of_all(&service.answered(service.client.luns())?, &args.luns)?,
    };
    let set = ShadowSetId(args.set.unwrap_or_else(Uuid::new_v4));
    let request = NewSetRequest { host, luns: args.luns.clone() };
    service.answered(service.client.take_set(set, &request))?;
    // The set as the list has it: with names and times.
    let mut sets = service.answered(service.client.sets())?;
    sets.sets.retain(|found| found.summary.set == set);
    service.print(&sets, text)
}

/// The one host that sees all of these LUNs.
fn host_of_all(known: &[AdminLun], luns: &[String]) -> anyhow::Result<String> {
    let mut common: Option<Vec<&str>> = None;
    for name in luns {
        let lun = known.iter().find(|lun| lun.name == *name);
        let lun = lun.with_context(|| format!("there is no LUN {name}; `lunshadow lun list` shows all"))?;
        let hosts: Vec<&str> = lun.hosts.iter().map(|mapping| mapping.host.as_str()).collect();
        common = Some(common.map_or(hosts.clone(), |mut common| {
            common.retain(|host| hosts.contains(host));
            common
        }));
    }
    match common.unwrap_or_default()[..] {
        [host] => Ok(host.to_owned()),
        [] => bail!("no host sees all of these LUNs; map them to one: lunshadow lun map LUN HOST"),
        ref hosts => bail!("several hosts see these LUNs; say whose shadow set it is: --host {}", hosts.join(" | ")),
    }
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

#[cfg(test)]
mod tests {
    use lunshadow_control::LunId;
    use lunshadow_control::api::AdminMapping;

    use super::*;

    fn lun(name: &str, hosts: &[&str]) -> AdminLun {
        let mapping = |host: &&str| AdminMapping { host: (*host).to_owned(), number: 1 };
        AdminLun {
            lun: LunId::from_u128(1),
            name: name.to_owned(),
            len_bytes: 512,
            hosts: hosts.iter().map(mapping).collect(),
            shadow_count: 0,
            removable: false,
            write_protected: false,
        }
    }

    #[test]
    fn the_host_is_found_where_only_one_can_be_meant() {
        let known = [lun("data", &["a", "b"]), lun("log", &["b"]), lun("spare", &[])];
        let host = |luns: &[&str]| host_of_all(&known, &luns.iter().map(|lun| (*lun).to_owned()).collect::<Vec<_>>());
        let refusal = |luns: &[&str]| host(luns).expect_err("refused").to_string();
        assert_eq!(host(&["data", "log"]).expect("b sees both"), "b");
        assert!(refusal(&["data"]).contains("--host a | b"));
        assert!(refusal(&["data", "spare"]).contains("no host sees all"));
        assert!(refusal(&["data", "nothing"]).contains("there is no LUN nothing"));
    }
}
