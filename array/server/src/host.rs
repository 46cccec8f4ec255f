//! The requests of hosts.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use lunshadow_catalog::Preparation;
use lunshadow_control::api::{
    ArmRequest, EnrolAnswer, EnrolRequest, LunsRequest, NoteUseRequest, OutcomeAnswer, OutcomesAnswer, PrepareRequest,
    ResolveAnswer, ResolveRequest, ResyncRequest, TargetsAnswer, WaitAnswer, WaitRequest,
};
use lunshadow_control::{HostOverview, HostRecord, Outcome, ResyncId, ResyncState};
use lunshadow_lun::Pool;

use crate::asker::{AskingHost, Body, Shared, id, set_id};
use crate::problem::Refusal;

type Answer<T> = Result<Json<T>, Refusal>;

/// The longest time that a request waits: clients ask again, and connections do not pile up.
const WAIT_AT_MOST: Duration = Duration::from_secs(30);

fn resync_id(text: &str) -> Result<ResyncId, Refusal> {
    id(text, "resync id").map(ResyncId)
}

pub(crate) fn at_most(request: &WaitRequest) -> Duration {
    Duration::from_millis(request.at_most_ms).min(WAIT_AT_MOST)
}

pub(crate) async fn enrol<P: Pool>(
    State(service): State<Shared<P>>,
    Body(request): Body<EnrolRequest>,
) -> Answer<EnrolAnswer> {
    let enrolled = service.catalog.enrol(&request.token).await?;
    let host = service.catalog.who_am_i(enrolled.host)?;
    tracing::info!(host = %host.name, "a host has enrolled");
    Ok(Json(EnrolAnswer { host, credential: enrolled.credential }))
}

pub(crate) async fn who_am_i<P: Pool>(
    State(service): State<Shared<P>>,
    AskingHost(host): AskingHost,
) -> Answer<HostRecord> {
    Ok(Json(service.catalog.who_am_i(host)?))
}

pub(crate) async fn overview<P: Pool>(
    State(service): State<Shared<P>>,
    AskingHost(host): AskingHost,
) -> Answer<HostOverview> {
    Ok(Json(service.catalog.overview(host)?))
}

pub(crate) async fn resolve<P: Pool>(
    State(service): State<Shared<P>>,
    AskingHost(host): AskingHost,
    Body(request): Body<ResolveRequest>,
) -> Answer<ResolveAnswer> {
    Ok(Json(ResolveAnswer { luns: service.catalog.resolve(host, &request.queries)? }))
}

pub(crate) async fn map<P: Pool>(
    State(service): State<Shared<P>>,
    AskingHost(host): AskingHost,
    Body(request): Body<LunsRequest>,
) -> Answer<OutcomesAnswer> {
    Ok(Json(OutcomesAnswer { outcomes: service.catalog.map(host, &request.luns).await? }))
}

pub(crate) async fn unmap<P: Pool>(
    State(service): State<Shared<P>>,
    AskingHost(host): AskingHost,
    Body(request): Body<LunsRequest>,
) -> Answer<OutcomesAnswer> {
    Ok(Json(OutcomesAnswer { outcomes: service.catalog.unmap(host, &request.luns).await? }))
}

pub(crate) async fn note_use<P: Pool>(
    State(service): State<Shared<P>>,
    AskingHost(host): AskingHost,
    Body(request): Body<NoteUseRequest>,
) -> Answer<OutcomesAnswer> {
    Ok(Json(OutcomesAnswer { outcomes: service.catalog.note_use(host, &request.luns, request.used).await? }))
}

pub(crate) async fn release<P: Pool>(
    State(service): State<Shared<P>>,
    AskingHost(host): AskingHost,
    Path(lun): Path<String>,
) -> Answer<OutcomeAnswer> {
    Ok(Json(OutcomeAnswer { outcome: service.catalog.release(host, id(&lun, "LUN id")?).await? }))
}

pub(crate) async fn prepare<P: Pool>(
    State(service): State<Shared<P>>,
    AskingHost(host): AskingHost,
    Path(set): Path<String>,
    Body(request): Body<PrepareRequest>,
) -> Answer<OutcomeAnswer> {
    let outcome = service.catalog.prepare_as(request.kind, host, set_id(&set)?, &request.luns).await?;
    Ok(Json(OutcomeAnswer { outcome }))
}

pub(crate) async fn wait_prepared<P: Pool>(
    State(service): State<Shared<P>>,
    AskingHost(host): AskingHost,
    Path(set): Path<String>,
    Body(request): Body<WaitRequest>,
) -> Answer<WaitAnswer> {
    let preparation = service.catalog.wait_prepared(host, set_id(&set)?, at_most(&request)).await?;
    let ready = match preparation {
        Preparation::Ready => true,
        Preparation::Running => false,
    };
    Ok(Json(WaitAnswer { ready }))
}

pub(crate) async fn open<P: Pool>(
    State(service): State<Shared<P>>,
    AskingHost(host): AskingHost,
    Path(set): Path<String>,
) -> Answer<OutcomeAnswer> {
    service.catalog.check_armable(host, set_id(&set)?)?;
    Ok(Json(OutcomeAnswer { outcome: Outcome::AlreadySo }))
}

pub(crate) async fn arm<P: Pool>(
    State(service): State<Shared<P>>,
    AskingHost(host): AskingHost,
    Path(set): Path<String>,
    Body(request): Body<ArmRequest>,
) -> Answer<OutcomeAnswer> {
    let commit_at_most = Duration::from_millis(request.commit_at_most_ms);
    Ok(Json(OutcomeAnswer { outcome: service.catalog.arm(host, set_id(&set)?, Some(commit_at_most)).await? }))
}

pub(crate) async fn commit<P: Pool>(
    State(service): State<Shared<P>>,
    AskingHost(host): AskingHost,
    Path(set): Path<String>,
) -> Answer<OutcomeAnswer> {
    Ok(Json(OutcomeAnswer { outcome: service.catalog.commit(host, set_id(&set)?).await? }))
}

pub(crate) async fn keep<P: Pool>(
    State(service): State<Shared<P>>,
    AskingHost(host): AskingHost,
    Path(set): Path<String>,
) -> Answer<OutcomeAnswer> {
    Ok(Json(OutcomeAnswer { outcome: service.catalog.keep(host, set_id(&set)?).await? }))
}

pub(crate) async fn abort<P: Pool>(
    State(service): State<Shared<P>>,
    AskingHost(host): AskingHost,
    Path(set): Path<String>,
) -> Answer<OutcomeAnswer> {
    Ok(Json(OutcomeAnswer { outcome: service.catalog.abort(host, set_id(&set)?).await? }))
}

pub(crate) async fn withdraw<P: Pool>(
    State(service): State<Shared<P>>,
    AskingHost(host): AskingHost,
    Path(set): Path<String>,
) -> Answer<OutcomeAnswer> {
    Ok(Json(OutcomeAnswer { outcome: service.catalog.withdraw(host, set_id(&set)?).await? }))
}

pub(crate) async fn targets<P: Pool>(
    State(service): State<Shared<P>>,
    AskingHost(host): AskingHost,
    Path(set): Path<String>,
) -> Answer<TargetsAnswer> {
    Ok(Json(TargetsAnswer { targets: service.catalog.targets(host, set_id(&set)?)? }))
}

pub(crate) async fn start_resync<P: Pool>(
    State(service): State<Shared<P>>,
    AskingHost(host): AskingHost,
    Path(resync): Path<String>,
    Body(request): Body<ResyncRequest>,
) -> Answer<ResyncState> {
    Ok(Json(service.catalog.start_resync(host, resync_id(&resync)?, &request.pairs).await?))
}

pub(crate) async fn wait_resync<P: Pool>(
    State(service): State<Shared<P>>,
    AskingHost(host): AskingHost,
    Path(resync): Path<String>,
    Body(request): Body<WaitRequest>,
) -> Answer<ResyncState> {
    Ok(Json(service.catalog.resync_state(host, resync_id(&resync)?, at_most(&request)).await?))
}

pub(crate) async fn cancel_resync<P: Pool>(
    State(service): State<Shared<P>>,
    AskingHost(host): AskingHost,
    Path(resync): Path<String>,
) -> Answer<ResyncState> {
    Ok(Json(service.catalog.cancel_resync(host, resync_id(&resync)?).await?))
}
