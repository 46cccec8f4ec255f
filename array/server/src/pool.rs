//! The requests of administrators that are about the pool as a whole.

use std::num::NonZeroU64;

use axum::Json;
use axum::extract::State;
use lunshadow_control::api::{OutcomeAnswer, WaitRequest};
use lunshadow_control::{
    CapacityRequest, PoolLunsAnswer, PoolLunsRequest, PoolStatus, ProblemCode, ScrubAnswer, ScrubRequest,
};
use lunshadow_lun::{EnlargeError, PoolCare};

use crate::asker::{Administrator, Body, Shared};
use crate::host::at_most;
use crate::problem::Refusal;

type Answer<T> = Result<Json<T>, Refusal>;

pub(crate) async fn status<P: PoolCare>(State(service): State<Shared<P>>, _: Administrator) -> Answer<PoolStatus> {
    Ok(Json(service.catalog.pool_status()))
}

pub(crate) async fn luns<P: PoolCare>(
    State(service): State<Shared<P>>,
    _: Administrator,
    Body(request): Body<PoolLunsRequest>,
) -> Answer<PoolLunsAnswer> {
    Ok(Json(service.catalog.pool_luns(request.after).await?))
}

pub(crate) async fn grow<P: PoolCare>(
    State(service): State<Shared<P>>,
    _: Administrator,
    Body(request): Body<CapacityRequest>,
) -> Answer<OutcomeAnswer> {
    let outcome = service.catalog.enlarge_pool(request.capacity_bytes).await.map_err(not_enlarged)?;
    Ok(Json(OutcomeAnswer { outcome }))
}

pub(crate) async fn start_scrub<P: PoolCare>(
    State(service): State<Shared<P>>,
    _: Administrator,
    Body(request): Body<ScrubRequest>,
) -> Answer<OutcomeAnswer> {
    let rate = request.bytes_per_second.and_then(NonZeroU64::new);
    let outcome = service.catalog.start_scrub(rate, request.restart).await?;
    Ok(Json(OutcomeAnswer { outcome }))
}

pub(crate) async fn stop_scrub<P: PoolCare>(
    State(service): State<Shared<P>>,
    _: Administrator,
) -> Answer<OutcomeAnswer> {
    Ok(Json(OutcomeAnswer { outcome: service.catalog.stop_scrub().await }))
}

pub(crate) async fn wait_scrub<P: PoolCare>(
    State(service): State<Shared<P>>,
    _: Administrator,
    Body(request): Body<WaitRequest>,
) -> Answer<ScrubAnswer> {
    Ok(Json(ScrubAnswer { scrub: service.catalog.scrub_state(at_most(&request)).await }))
}

fn not_enlarged(error: EnlargeError) -> Refusal {
    let code = match &error {
        EnlargeError::WouldShrink { .. } | EnlargeError::UnsupportedSize { .. } => ProblemCode::InvalidRequest,
        EnlargeError::MediumFull { .. } => ProblemCode::OutOfSpace,
        EnlargeError::Poisoned => ProblemCode::PoolReadOnly,
    };
    let detail = match &error {
        EnlargeError::MediumFull { error: Some(cause), .. } => format!("{error}: {cause}"),
        _ => error.to_string(),
    };
    Refusal::new(code, detail)
}
