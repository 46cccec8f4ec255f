//! The requests of administrators that are about portal groups.

use axum::Json;
use axum::extract::{Path, State};
use lunshadow_control::api::OutcomeAnswer;
use lunshadow_control::{PortalGroupRequest, PortalGroupsAnswer};
use lunshadow_lun::Pool;

use crate::asker::{Administrator, Body, Shared, id};
use crate::problem::Refusal;

type Answer<T> = Result<Json<T>, Refusal>;

pub(crate) async fn groups<P: Pool>(State(service): State<Shared<P>>, _: Administrator) -> Answer<PortalGroupsAnswer> {
    Ok(Json(PortalGroupsAnswer { groups: service.catalog.portal_groups() }))
}

pub(crate) async fn set_group<P: Pool>(
    State(service): State<Shared<P>>,
    _: Administrator,
    Path(group): Path<String>,
    Body(request): Body<PortalGroupRequest>,
) -> Answer<OutcomeAnswer> {
    let group = id(&group, "tag of a portal group, which is a number from 1 to 65535")?;
    let outcome = service.catalog.set_portal_group(group, request.state).await?;
    Ok(Json(OutcomeAnswer { outcome }))
}
