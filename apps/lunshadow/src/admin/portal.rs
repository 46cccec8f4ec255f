//! `lunshadow portal …`: by which portal groups hosts reach their LUNs.

use lunshadow_control::api::OutcomeAnswer;
use lunshadow_control::{PortalGroupRecord, PortalGroupState, PortalGroupsAnswer};

use super::table::{row, table};
use super::{Service, told};
use crate::cli::{AdminArgs, PortalSetArgs};

pub(super) fn list(args: &AdminArgs) -> anyhow::Result<()> {
    let service = Service::of(args)?;
    let groups = service.answered(service.client.portal_groups())?;
    service.print(&PortalGroupsAnswer { groups }, |answer| {
        let mut rows = vec![row(["GROUP", "STATE", "PORTALS"])];
        rows.extend(answer.groups.iter().map(|PortalGroupRecord { group, portals, state }| {
            let portals = if portals.is_empty() { "none at present".to_owned() } else { portals.join(" ") };
            row([&group.to_string(), &state.to_string(), &portals])
        }));
        table(&rows)
    })
}

pub(super) fn set(args: &PortalSetArgs) -> anyhow::Result<()> {
    let service = Service::of(&args.admin)?;
    let state = PortalGroupState::from(args.state);
    let outcome = service.answered(service.client.set_portal_group(args.group, state))?;
    service.print(&OutcomeAnswer { outcome }, |answer| {
        format!("portal group {} {} {state}", args.group, told(answer.outcome, "is now", "was already"))
    })
}
