//! From an operation to what does it. The match has no other arm, so an operation of the API cannot be forgotten.

use axum::Router;
use axum::handler::Handler;
use axum::http::StatusCode;
use axum::routing::{MethodFilter, MethodRouter, on};
use lunshadow_control::operations::{Method, Operation};
use lunshadow_lun::PoolCare;

use crate::asker::Shared;
use crate::problem::Refusal;
use crate::{admin, content, host, pool, portals};

/// All routes.
pub(crate) fn router<P: PoolCare>(service: Shared<P>) -> Router {
    let mut router = Router::new();
    for operation in Operation::ALL {
        router = router.route(operation.path(), route(*operation));
    }
    router
        .fallback(|| async { Refusal::with_status(StatusCode::NOT_FOUND, "there is no such path in this API") })
        .method_not_allowed_fallback(|| async {
            Refusal::with_status(StatusCode::METHOD_NOT_ALLOWED, "the path does not have this method")
        })
        .with_state(service)
}

fn by<P: PoolCare, T: 'static>(operation: Operation, handler: impl Handler<T, Shared<P>>) -> MethodRouter<Shared<P>> {
    let filter = match operation.method() {
        Method::Get => MethodFilter::GET,
        Method::Post => MethodFilter::POST,
        Method::Put => MethodFilter::PUT,
        Method::Delete => MethodFilter::DELETE,
    };
    on(filter, handler)
}

fn route<P: PoolCare>(operation: Operation) -> MethodRouter<Shared<P>> {
    match operation {
        Operation::Enrol => by(operation, host::enrol::<P>),
        Operation::WhoAmI => by(operation, host::who_am_i::<P>),
        Operation::Overview => by(operation, host::overview::<P>),
        Operation::Resolve => by(operation, host::resolve::<P>),
        Operation::Map => by(operation, host::map::<P>),
        Operation::Unmap => by(operation, host::unmap::<P>),
        Operation::NoteUse => by(operation, host::note_use::<P>),
        Operation::Release => by(operation, host::release::<P>),
        Operation::Prepare => by(operation, host::prepare::<P>),
        Operation::WaitPrepared => by(operation, host::wait_prepared::<P>),
        Operation::Open => by(operation, host::open::<P>),
        Operation::Arm => by(operation, host::arm::<P>),
        Operation::Commit => by(operation, host::commit::<P>),
        Operation::Keep => by(operation, host::keep::<P>),
        Operation::Abort => by(operation, host::abort::<P>),
        Operation::Withdraw => by(operation, host::withdraw::<P>),
        Operation::Targets => by(operation, host::targets::<P>),
        Operation::StartResync => by(operation, host::start_resync::<P>),
        Operation::WaitResync => by(operation, host::wait_resync::<P>),
        Operation::CancelResync => by(operation, host::cancel_resync::<P>),
        Operation::Hosts => by(operation, admin::hosts::<P>),
        Operation::PutHost => by(operation, admin::put_host::<P>),
        Operation::RemoveHost => by(operation, admin::remove_host::<P>),
        Operation::IssueEnrolment => by(operation, admin::issue_enrolment::<P>),
        Operation::PutChap => by(operation, admin::put_chap::<P>),
        Operation::RemoveChap => by(operation, admin::remove_chap::<P>),
        Operation::Luns => by(operation, admin::luns::<P>),
        Operation::CreateLun => by(operation, admin::create_lun::<P>),
        Operation::RenameLun => by(operation, admin::rename_lun::<P>),
        Operation::GrowLun => by(operation, admin::grow_lun::<P>),
        Operation::PresentLun => by(operation, admin::present_lun::<P>),
        Operation::DeleteLun => by(operation, admin::delete_lun::<P>),
        Operation::MapLun => by(operation, admin::map_lun::<P>),
        Operation::UnmapLun => by(operation, admin::unmap_lun::<P>),
        Operation::Sets => by(operation, admin::sets::<P>),
        Operation::TakeSet => by(operation, admin::take_set::<P>),
        Operation::DeleteSet => by(operation, admin::delete_set::<P>),
        Operation::Promote => by(operation, content::promote::<P>),
        Operation::RevertLun => by(operation, content::revert::<P>),
        Operation::StartCopy => by(operation, content::start_copy::<P>),
        Operation::CancelCopy => by(operation, content::cancel_copy::<P>),
        Operation::WaitCopy => by(operation, content::wait_copy::<P>),
        Operation::Copies => by(operation, content::copies::<P>),
        Operation::BeginImport => by(operation, content::begin_import::<P>),
        Operation::BeginExport => by(operation, content::begin_export::<P>),
        Operation::TransferExtents => by(operation, content::extents::<P>),
        Operation::ReadBlocks => by(operation, content::read::<P>),
        Operation::WriteBlocks => by(operation, content::write::<P>),
        Operation::FinishTransfer => by(operation, content::finish::<P>),
        Operation::CancelTransfer => by(operation, content::cancel::<P>),
        Operation::PoolStatus => by(operation, pool::status::<P>),
        Operation::PoolLuns => by(operation, pool::luns::<P>),
        Operation::GrowPool => by(operation, pool::grow::<P>),
        Operation::StartScrub => by(operation, pool::start_scrub::<P>),
        Operation::StopScrub => by(operation, pool::stop_scrub::<P>),
        Operation::WaitScrub => by(operation, pool::wait_scrub::<P>),
        Operation::PortalGroups => by(operation, portals::groups::<P>),
        Operation::SetPortalGroup => by(operation, portals::set_group::<P>),
        Operation::Detach => by(operation, admin::detach::<P>),
    }
}
