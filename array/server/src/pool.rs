//! The requests of administrators that are about the pool as a whole.

use axum::Json;
use axum::extract::State;
use lunshadow_control::api::OutcomeAnswer;
use lunshadow_control::{CapacityRequest, PoolLunsAnswer, PoolLunsRequest, PoolStatus, ProblemCode};
use lunshadow_lun::{EnlargeError, PoolCare};

use crate::asker::{Administrator, Body, Shared};
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
