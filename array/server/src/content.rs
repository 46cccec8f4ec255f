//! The requests of administrators that are about the content of LUNs: reverts, full copies, imports and exports.

use std::num::NonZeroU64;

use axum::Json;
use axum::body::to_bytes;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use lunshadow_control::api::{NewLunAnswer, NewLunRequest, OutcomeAnswer, WaitRequest};
use lunshadow_control::{
    CONTENT_BYTES_MAX, CONTENT_MEDIA_TYPE, ContentExtent, CopiesAnswer, CopyRequest, CopyState, ExportRequest,
    ExtentsAnswer, LunId, Outcome, ProblemCode, PromoteRequest, RevertRequest, TransferAnswer,
};
use lunshadow_lun::{BlockCount, Lba, LunError, LunHandle, Pool};

use crate::admin::blocks;
use crate::asker::{Administrator, Body, Service, Shared, id, name};
use crate::host::at_most;
use crate::problem::Refusal;

type Answer<T> = Result<Json<T>, Refusal>;

/// How many extents an answer has at most.
const EXTENTS_MAX: usize = 1024;

/// So many blocks are looked through for one answer at most: 8 GiB.
const SCANNED_BLOCKS_MAX: u64 = 1 << 24;

impl<P: Pool> Service<P> {
    /// A LUN by its name, or a shadow LUN by its id.
    fn lun_or_shadow(&self, text: &str) -> Result<LunId, Refusal> {
        self.lun(text).or_else(|unknown| text.parse().map_err(|_| unknown))
    }
}

/// A pool that cannot read or write content.
fn failed(error: &LunError) -> Refusal {
    let code = match error {
        LunError::OutOfRange { .. } | LunError::NotWholeBlocks { .. } => ProblemCode::InvalidRequest,
        LunError::OutOfSpace => ProblemCode::OutOfSpace,
        LunError::Gone => ProblemCode::UnknownLun,
        LunError::Poisoned => ProblemCode::PoolReadOnly,
        // No LUN that has a name or an id is only kept for copies.
        LunError::ReadOnly | LunError::Damaged { .. } | LunError::Io(_) => ProblemCode::Internal,
    };
    Refusal::new(code, error.to_string())
}

pub(crate) async fn promote<P: Pool>(
    State(service): State<Shared<P>>,
    _: Administrator,
    Path(lun): Path<String>,
    Body(request): Body<PromoteRequest>,
) -> Answer<OutcomeAnswer> {
    let outcome = service.catalog.promote(id(&lun, "LUN id")?, name(&request.name)?).await?;
    Ok(Json(OutcomeAnswer { outcome }))
}

pub(crate) async fn revert<P: Pool>(
    State(service): State<Shared<P>>,
    _: Administrator,
    Path(lun): Path<String>,
    Body(request): Body<RevertRequest>,
) -> Answer<OutcomeAnswer> {
    service.catalog.revert_lun(service.lun(&lun)?, request.shadow, request.force).await?;
    Ok(Json(OutcomeAnswer { outcome: Outcome::Done }))
}

pub(crate) async fn start_copy<P: Pool>(
    State(service): State<Shared<P>>,
    _: Administrator,
    Path(copy): Path<String>,
    Body(request): Body<CopyRequest>,
) -> Answer<NewLunAnswer> {
    let source = service.lun_or_shadow(&request.source)?;
    let rate = request.bytes_per_second.and_then(NonZeroU64::new);
    let made = service.catalog.start_copy(source, name(&copy)?, rate).await?;
    Ok(Json(NewLunAnswer { lun: made.id, outcome: made.outcome }))
}

pub(crate) async fn cancel_copy<P: Pool>(
    State(service): State<Shared<P>>,
    _: Administrator,
    Path(copy): Path<String>,
) -> Answer<OutcomeAnswer> {
    Ok(Json(OutcomeAnswer { outcome: service.catalog.cancel_copy(&name(&copy)?).await }))
}

pub(crate) async fn wait_copy<P: Pool>(
    State(service): State<Shared<P>>,
    _: Administrator,
    Path(copy): Path<String>,
    Body(request): Body<WaitRequest>,
) -> Answer<CopyState> {
    let unknown = || {
        let detail = format!(
            "there is no copy {copy}, or it was over when the array was started; `lunshadow lun copies` shows all"
        );
        Refusal::new(ProblemCode::UnknownLun, detail)
    };
    service.catalog.copy_state(&name(&copy)?, at_most(&request)).await.map(Json).ok_or_else(unknown)
}

pub(crate) async fn copies<P: Pool>(State(service): State<Shared<P>>, _: Administrator) -> Answer<CopiesAnswer> {
    Ok(Json(CopiesAnswer { copies: service.catalog.copies() }))
}

fn begun(handle: &LunHandle) -> TransferAnswer {
    TransferAnswer { transfer: handle.id(), len_bytes: handle.block_count().bytes() }
}

pub(crate) async fn begin_import<P: Pool>(
    State(service): State<Shared<P>>,
    _: Administrator,
    Path(lun): Path<String>,
    Body(request): Body<NewLunRequest>,
) -> Answer<TransferAnswer> {
    let handle = service.catalog.begin_import(name(&lun)?, blocks(request.len_bytes)?).await?;
    Ok(Json(begun(&handle)))
}

pub(crate) async fn begin_export<P: Pool>(
    State(service): State<Shared<P>>,
    _: Administrator,
    Body(request): Body<ExportRequest>,
) -> Answer<TransferAnswer> {
    let handle = service.catalog.begin_export(service.lun_or_shadow(&request.source)?).await?;
    Ok(Json(begun(&handle)))
}

pub(crate) async fn extents<P: Pool>(
    State(service): State<Shared<P>>,
    _: Administrator,
    Path((transfer, block)): Path<(String, String)>,
) -> Answer<ExtentsAnswer> {
    let lun = service.catalog.transfer(id(&transfer, "transfer id")?)?;
    let mut at: u64 = id(&block, "block number")?;
    let end = lun.block_count().0.min(at.saturating_add(SCANNED_BLOCKS_MAX));
    let mut extents: Vec<ContentExtent> = Vec::new();
    while at < end && extents.len() < EXTENTS_MAX {
        let found = lun.extent(Lba(at), BlockCount(end - at)).await.map_err(|error| failed(&error))?;
        let (block_count, mapped) = (found.count.0, found.mapped);
        match extents.last_mut().filter(|last| last.mapped == mapped) {
            Some(last) => last.block_count += block_count,
            None => extents.push(ContentExtent { first_block: at, block_count, mapped }),
        }
        at += block_count;
    }
    Ok(Json(ExtentsAnswer { extents }))
}

pub(crate) async fn read<P: Pool>(
    State(service): State<Shared<P>>,
    _: Administrator,
    Path((transfer, block, count)): Path<(String, String, String)>,
) -> Result<Response, Refusal> {
    let lun = service.catalog.transfer(id(&transfer, "transfer id")?)?;
    let (at, count) = (Lba(id(&block, "block number")?), BlockCount(id(&count, "number of blocks")?));
    let fits = count.0 <= u64::try_from(CONTENT_BYTES_MAX).unwrap_or(u64::MAX) / 512;
    if !fits {
        let detail = format!("{count} are more than the {CONTENT_BYTES_MAX} bytes that one answer can have");
        return Err(Refusal::new(ProblemCode::InvalidRequest, detail));
    }
    let content = lun.read(at, count).await.map_err(|error| failed(&error))?;
    Ok(([(CONTENT_TYPE, CONTENT_MEDIA_TYPE)], content).into_response())
}

pub(crate) async fn write<P: Pool>(
    State(service): State<Shared<P>>,
    _: Administrator,
    Path((transfer, block)): Path<(String, String)>,
    request: Request,
) -> Answer<OutcomeAnswer> {
    let lun = service.catalog.import(id(&transfer, "transfer id")?)?;
    let at = Lba(id(&block, "block number")?);
    let too_long = |_| {
        let detail = format!("the content is cut off, or longer than {CONTENT_BYTES_MAX} bytes");
        Refusal::with_status(StatusCode::PAYLOAD_TOO_LARGE, detail)
    };
    let content = to_bytes(request.into_body(), CONTENT_BYTES_MAX).await.map_err(too_long)?;
    lun.write(at, content).await.map_err(|error| failed(&error))?;
    Ok(Json(OutcomeAnswer { outcome: Outcome::Done }))
}

pub(crate) async fn finish<P: Pool>(
    State(service): State<Shared<P>>,
    _: Administrator,
    Path(transfer): Path<String>,
) -> Answer<OutcomeAnswer> {
    let outcome = service.catalog.finish_transfer(id(&transfer, "transfer id")?).await?;
    Ok(Json(OutcomeAnswer { outcome }))
}

pub(crate) async fn cancel<P: Pool>(
    State(service): State<Shared<P>>,
    _: Administrator,
    Path(transfer): Path<String>,
) -> Answer<OutcomeAnswer> {
    Ok(Json(OutcomeAnswer { outcome: service.catalog.cancel_transfer(id(&transfer, "transfer id")?).await }))
}
