//! `lunshadow lun …`: LUNs, and who sees them.

use lunshadow_control::api::{
    AdminLun, AdminLunsAnswer, AdminMapping, DeleteLunRequest, OutcomeAnswer, PresentationRequest,
};
use lunshadow_control::{Outcome, RevertRequest};

use super::table::{row, table};
use super::{Service, told};
use crate::cli::{
    AdminArgs, LunCreateArgs, LunDeleteArgs, LunGrowArgs, LunRenameArgs, LunRevertArgs, LunSwitchArgs, MappingArgs,
};
use crate::console::bytes;

pub(super) fn create(args: &LunCreateArgs) -> anyhow::Result<()> {
    let service = Service::of(&args.admin)?;
    let made = service.answered(service.client.create_lun(&args.name, args.size))?;
    // Nobody sees it yet.
    if args.removable {
        let request = PresentationRequest { removable: Some(true), ..PresentationRequest::default() };
        service.answered(service.client.present_lun(&args.name, &request))?;
    }
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
        let mut rows = vec![row(["LUN", "SIZE", "SERIAL", "SHADOWS", "KIND", "SEEN BY"])];
        rows.extend(answer.luns.iter().map(|lun| {
            let AdminLun { lun: serial, name, len_bytes, hosts, shadow_count, .. } = lun;
            let (serial, shadow_count) = (serial.to_string(), shadow_count.to_string());
            row([name, &bytes(*len_bytes), &serial, &shadow_count, kind(lun), &seen_by(hosts)])
        }));
        table(&rows)
    })
}

/// What distinguishes a LUN from others.
const fn kind(lun: &AdminLun) -> &'static str {
    match (lun.removable, lun.write_protected) {
        (false, false) => "",
        (true, false) => "removable",
        (false, true) => "protected",
        (true, true) => "removable, protected",
    }
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

pub(super) fn grow(args: &LunGrowArgs) -> anyhow::Result<()> {
    let service = Service::of(&args.admin)?;
    let outcome = service.answered(service.client.grow_lun(&args.name, args.size))?;
    service.print(&OutcomeAnswer { outcome }, |answer| {
        format!("LUN {} {} {}", args.name, told(answer.outcome, "has now", "had already"), bytes(args.size))
    })
}

pub(super) fn protect(args: &LunSwitchArgs) -> anyhow::Result<()> {
    let request = PresentationRequest { write_protected: Some(!args.off), ..PresentationRequest::default() };
    present(args, &request, "write protected")
}

pub(super) fn removable(args: &LunSwitchArgs) -> anyhow::Result<()> {
    let request = PresentationRequest { removable: Some(!args.off), ..PresentationRequest::default() };
    present(args, &request, "removable")
}

fn present(args: &LunSwitchArgs, request: &PresentationRequest, property: &str) -> anyhow::Result<()> {
    let service = Service::of(&args.admin)?;
    let outcome = service.answered(service.client.present_lun(&args.name, request))?;
    service.print(&OutcomeAnswer { outcome }, |answer| {
        let name = &args.name;
        match (answer.outcome, args.off) {
            (Outcome::Done, false) => format!("LUN {name} is {property} now"),
            (Outcome::AlreadySo, false) => format!("LUN {name} was {property} already"),
            (Outcome::Done, true) => format!("LUN {name} is not {property} any more"),
            (Outcome::AlreadySo, true) => format!("LUN {name} was not {property}"),
        }
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
