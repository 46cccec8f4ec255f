//! `lunshadow lun …`: LUNs, and who sees them.

use lunshadow_control::RevertRequest;
use lunshadow_control::api::{AdminLun, AdminLunsAnswer, AdminMapping, DeleteLunRequest, OutcomeAnswer};

use super::table::{row, table};
use super::{Service, told};
use crate::cli::{AdminArgs, LunDeleteArgs, LunRenameArgs, LunRevertArgs, LunSizeArgs, MappingArgs};
use crate::console::bytes;

pub(super) fn create(args: &LunSizeArgs) -> anyhow::Result<()> {
    let service = Service::of(&args.admin)?;
    let made = service.answered(service.client.create_lun(&args.name, args.size))?;
    service.print(&made, |made| {
        let outcome = told(made.outcome, "is made", "was there already");
        format!("LUN {} {outcome}: {}, serial {}", args.name, bytes(args.size), made.lun)
    })
}

pub(super) fn list(args: &AdminArgs) -> anyhow::Result<()> {
    let service = Service::of(args)?;
    let luns = service.answered(service.client.luns())?;
    service.print(&AdminLunsAnswer { luns }, |answer| {
        if answer.luns.is_empty() {
            return "no LUNs; make one with: lunshadow lun create NAME --size SIZE".to_owned();
        }
        let mut rows = vec![row(["LUN", "SIZE", "SERIAL", "SHADOWS", "SEEN BY"])];
        rows.extend(answer.luns.iter().map(|AdminLun { lun, name, len_bytes, hosts, shadow_count }| {
            row([name, &bytes(*len_bytes), &lun.to_string(), &shadow_count.to_string(), &seen_by(hosts)])
        }));
        table(&rows)
    })
}

/// The hosts that see a LUN, with its number there.
pub(super) fn seen_by(hosts: &[AdminMapping]) -> String {
    let hosts: Vec<String> = hosts.iter().map(|mapping| format!("{}:{}", mapping.host, mapping.number)).collect();
    hosts.join(" ")
}

pub(super) fn map(args: &MappingArgs) -> anyhow::Result<()> {
    let service = Service::of(&args.admin)?;
    let assigned = service.answered(service.client.map_lun(&args.name, &args.host))?;
    service.print(&assigned, |assigned| {
        let outcome = told(assigned.outcome, "is mapped to", "was mapped to");
        format!("LUN {} {outcome} {} as number {}", args.name, args.host, assigned.number)
    })
}

pub(super) fn unmap(args: &MappingArgs) -> anyhow::Result<()> {
    let service = Service::of(&args.admin)?;
    let outcome = service.answered(service.client.unmap_lun(&args.name, &args.host))?;
    service.print(&OutcomeAnswer { outcome }, |answer| {
        let outcome = told(answer.outcome, "is not mapped any more to", "was not mapped to");
        format!("LUN {} {outcome} {}", args.name, args.host)
    })
}

pub(super) fn rename(args: &LunRenameArgs) -> anyhow::Result<()> {
    let service = Service::of(&args.admin)?;
    let outcome = service.answered(service.client.rename_lun(&args.name, &args.new_name))?;
    service.print(&OutcomeAnswer { outcome }, |answer| {
        format!(
            "LUN {} {} {}",
            args.name,
            told(answer.outcome, "is now called", "was called so already:"),
            args.new_name
        )
    })
}

pub(super) fn grow(args: &LunSizeArgs) -> anyhow::Result<()> {
    let service = Service::of(&args.admin)?;
    let outcome = service.answered(service.client.grow_lun(&args.name, args.size))?;
    service.print(&OutcomeAnswer { outcome }, |answer| {
        format!("LUN {} {} {}", args.name, told(answer.outcome, "has now", "had already"), bytes(args.size))
    })
}

pub(super) fn revert(args: &LunRevertArgs) -> anyhow::Result<()> {
    let service = Service::of(&args.admin)?;
    let request = RevertRequest { shadow: args.to, force: args.force };
    let outcome = service.answered(service.client.revert_lun(&args.name, &request))?;
    service.print(&OutcomeAnswer { outcome }, |_| format!("LUN {} has the content of {} now", args.name, args.to))
}

pub(super) fn delete(args: &LunDeleteArgs) -> anyhow::Result<()> {
    let service = Service::of(&args.admin)?;
    let request = DeleteLunRequest { unmap: args.unmap, keep_shadows: args.keep_shadows };
    let outcome = service.answered(service.client.delete_lun(&args.name, &request))?;
    service.print(&OutcomeAnswer { outcome }, |answer| {
        format!("LUN {} {}", args.name, told(answer.outcome, "is deleted", "was not there"))
    })
}
