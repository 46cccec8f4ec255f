//! The control API of an array: the resources that hosts and the array talk about, and the problems they can have.
//!
//! Only bytes and types live here. Whoever serves the API (`array/catalog` in process, later `array/server`) and whoever
//! asks (`host/array-client`) share these definitions, so that neither side can drift. All names are array words: LUN,
//! shadow LUN, host, initiator, mapping, shadow set.

pub mod api;
mod chap;
mod enrolment;
mod identity;
mod ids;
pub mod operations;
mod pool;
mod portals;
mod problem;
mod resources;
mod transfer;

pub use chap::{CHAP_SECRET_BYTES, ChapAccount, ChapAccounts, ChapAccountsError};
pub use enrolment::{EnrolmentString, Fingerprint, Secret};
pub use identity::{PRODUCT, REVISION, TARGET_NAME, VENDOR, identity_of, lun_named_by};
pub use ids::{HostId, InitiatorName, InvalidId, LunId, ResyncId, ShadowSetId};
pub use pool::{
    CapacityRequest, CopiesAnswer, CopyPhase, CopyRequest, CopyState, LunBlocks, PoolLevel, PoolLun, PoolLunKind,
    PoolLunsAnswer, PoolLunsRequest, PoolStatus, PromoteRequest, ReadCacheStatus, RevertRequest, ScrubAnswer,
    ScrubPhase, ScrubRequest, ScrubState,
};
pub use portals::{PortalGroupRecord, PortalGroupRequest, PortalGroupState, PortalGroupsAnswer};
pub use problem::ProblemCode;
pub use resources::{
    Association, CodeSet, Designator, DesignatorKind, HostOverview, HostRecord, LunIdentity, LunQuery, LunRecord,
    LunRole, MappedLun, Outcome, ResyncPair, ResyncState, SetPhase, SetSummary, ShadowKind, ShadowTarget, ShadowUse,
};
pub use transfer::{
    BlockContent, CONTENT_BYTES_MAX, CONTENT_MEDIA_TYPE, ContentExtent, ExportRequest, ExtentsAnswer, TransferAnswer,
};
