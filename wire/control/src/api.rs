//! The control API over HTTP: paths and the bodies of requests and answers, all JSON.
//!
//! A host sends its credential, an administrator theirs, as `Authorization: Bearer …` (RFC 6750). Every failure is a [`Problem`]. All
//! actions are idempotent, so a request whose answer was lost can be sent again.
//!
//! | Host | | |
//! | --- | --- | --- |
//! | POST | [`ENROL`] | [`EnrolRequest`] → [`EnrolAnswer`]; the one request without a credential |
//! | GET | [`HOST`] | → [`HostRecord`] |
//! | GET | [`OVERVIEW`] | → [`HostOverview`](crate::HostOverview) |
//! | POST | [`RESOLVE`] | [`ResolveRequest`] → [`ResolveAnswer`] |
//! | POST | [`MAP`], [`UNMAP`] | [`LunsRequest`] → [`OutcomesAnswer`] |
//! | POST | [`NOTE_USE`] | [`NoteUseRequest`] → [`OutcomesAnswer`] |
//! | POST | `/v1/luns/{lun}/release` | → [`OutcomeAnswer`] |
//! | POST | `/v1/sets/{set}/prepare` | [`PrepareRequest`] → [`OutcomeAnswer`] |
//! | POST | `/v1/sets/{set}/wait` | [`WaitRequest`] → [`WaitAnswer`] |
//! | POST | `/v1/sets/{set}/open` | checks that the set can be armed → [`OutcomeAnswer`] |
//! | POST | `/v1/sets/{set}/arm` | [`ArmRequest`] → [`OutcomeAnswer`] |
//! | POST | `/v1/sets/{set}/commit`, `keep`, `abort`, `withdraw` | → [`OutcomeAnswer`] |
//! | GET | `/v1/sets/{set}/targets` | → [`TargetsAnswer`] |
//! | PUT | `/v1/resyncs/{resync}` | [`ResyncRequest`] → [`ResyncState`](crate::ResyncState) |
//! | POST | `/v1/resyncs/{resync}/wait` | [`WaitRequest`] → [`ResyncState`](crate::ResyncState) |
//! | POST | `/v1/resyncs/{resync}/cancel` | → [`ResyncState`](crate::ResyncState) |
//!
//! | Administrator | | |
//! | --- | --- | --- |
//! | GET | [`ADMIN_HOSTS`] | → [`HostsAnswer`] |
//! | PUT | `/v1/admin/hosts/{name}` | [`HostRequest`] → [`EnrolmentAnswer`]: makes the host known and issues a token |
//! | POST | `/v1/admin/hosts/{name}/enrolment` | [`EnrolmentRequest`] → [`EnrolmentAnswer`] |
//! | DELETE | `/v1/admin/hosts/{name}` | → [`OutcomeAnswer`] |
//! | PUT, DELETE | `/v1/admin/hosts/{name}/chap` | [`ChapAccounts`](crate::ChapAccounts) → [`OutcomeAnswer`] |
//! | GET | [`ADMIN_LUNS`] | → [`AdminLunsAnswer`] |
//! | PUT | `/v1/admin/luns/{name}` | [`NewLunRequest`] → [`NewLunAnswer`] |
//! | POST | `/v1/admin/luns/{name}/rename` | [`RenameRequest`] → [`OutcomeAnswer`] |
//! | POST | `/v1/admin/luns/{name}/grow` | [`NewLunRequest`] → [`OutcomeAnswer`] |
//! | POST | `/v1/admin/luns/{name}/presentation` | [`PresentationRequest`] → [`OutcomeAnswer`] |
//! | POST | `/v1/admin/luns/{name}/delete` | [`DeleteLunRequest`] → [`OutcomeAnswer`] |
//! | PUT, DELETE | `/v1/admin/luns/{name}/hosts/{host}` | maps, unmaps → [`AssignedAnswer`], [`OutcomeAnswer`] |
//! | GET | [`ADMIN_SETS`] | → [`AdminSetsAnswer`] |
//! | PUT | `/v1/admin/sets/{set}` | [`NewSetRequest`] → [`TargetsAnswer`]: takes a set that is kept |
//! | DELETE | `/v1/admin/sets/{set}` | → [`OutcomeAnswer`] |
//! | POST | `/v1/admin/shadow-luns/{lun}/detach` | → [`OutcomeAnswer`] |
//! | POST | `/v1/admin/shadow-luns/{lun}/promote` | [`PromoteRequest`](crate::PromoteRequest) → [`OutcomeAnswer`] |
//! | POST | `/v1/admin/luns/{name}/revert` | [`RevertRequest`](crate::RevertRequest) → [`OutcomeAnswer`] |
//! | PUT, DELETE | `/v1/admin/luns/{name}/copy` | begins ([`CopyRequest`](crate::CopyRequest) → [`NewLunAnswer`]), gives up → [`OutcomeAnswer`] |
//! | POST | `/v1/admin/luns/{name}/copy/wait` | [`WaitRequest`] → [`CopyState`](crate::CopyState) |
//! | GET | [`ADMIN_COPIES`] | → [`CopiesAnswer`](crate::CopiesAnswer) |
//! | PUT | `/v1/admin/imports/{name}` | [`NewLunRequest`] → [`TransferAnswer`](crate::TransferAnswer) |
//! | POST | [`ADMIN_EXPORTS`] | [`ExportRequest`](crate::ExportRequest) → [`TransferAnswer`](crate::TransferAnswer) |
//! | GET | `/v1/admin/transfers/{id}/extents/{block}` | → [`ExtentsAnswer`](crate::ExtentsAnswer) |
//! | GET | `/v1/admin/transfers/{id}/blocks/{block}/{count}` | → whole blocks |
//! | PUT | `/v1/admin/transfers/{id}/blocks/{block}` | whole blocks → [`OutcomeAnswer`] |
//! | POST | `/v1/admin/transfers/{id}/finish` | → [`OutcomeAnswer`] |
//! | DELETE | `/v1/admin/transfers/{id}` | → [`OutcomeAnswer`] |
//! | GET | [`ADMIN_POOL`] | → [`PoolStatus`](crate::PoolStatus) |
//! | POST | `/v1/admin/pool/luns` | [`PoolLunsRequest`](crate::PoolLunsRequest) → [`PoolLunsAnswer`](crate::PoolLunsAnswer) |
//! | GET | [`ADMIN_PORTAL_GROUPS`] | → [`PortalGroupsAnswer`](crate::PortalGroupsAnswer) |
//! | PUT | `/v1/admin/portal-groups/{tag}` | [`PortalGroupRequest`](crate::PortalGroupRequest) → [`OutcomeAnswer`] |
//! | POST, DELETE | `/v1/admin/pool/scrub` | begins ([`ScrubRequest`](crate::ScrubRequest)), stops → [`OutcomeAnswer`] |
//! | POST | `/v1/admin/pool/scrub/wait` | [`WaitRequest`] → [`ScrubAnswer`](crate::ScrubAnswer) |
//! | PUT | `/v1/admin/pool/capacity` | [`CapacityRequest`](crate::CapacityRequest) → [`OutcomeAnswer`] |

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Fingerprint, HostRecord, InitiatorName, LunId, LunQuery, LunRecord, Outcome, ProblemCode, ResyncPair, Secret,
    SetSummary, ShadowKind, ShadowTarget, ShadowUse,
};

/// Exchange of an enrolment token for a credential.
pub const ENROL: &str = "/v1/enrol";
/// The asking host.
pub const HOST: &str = "/v1/host";
/// All that concerns the asking host.
pub const OVERVIEW: &str = "/v1/host/overview";
/// Finds LUNs by what a host sees of them.
pub const RESOLVE: &str = "/v1/luns/resolve";
/// Maps LUNs to the asking host.
pub const MAP: &str = "/v1/luns/map";
/// Takes LUNs away from the asking host.
pub const UNMAP: &str = "/v1/luns/unmap";
/// Notes what the asking host does with shadow LUNs.
pub const NOTE_USE: &str = "/v1/luns/note-use";
/// Shadow sets, by id.
pub const SETS: &str = "/v1/sets";
/// LUNs, by id.
pub const LUNS: &str = "/v1/luns";
/// Resyncs, by id.
pub const RESYNCS: &str = "/v1/resyncs";
/// Hosts, by name, for administrators.
pub const ADMIN_HOSTS: &str = "/v1/admin/hosts";
/// Source LUNs, by name, for administrators.
pub const ADMIN_LUNS: &str = "/v1/admin/luns";
/// Shadow sets of all hosts, for administrators.
pub const ADMIN_SETS: &str = "/v1/admin/sets";
/// Shadow LUNs, by id, for administrators.
pub const ADMIN_SHADOW_LUNS: &str = "/v1/admin/shadow-luns";

/// The pool, for administrators.
pub const ADMIN_POOL: &str = "/v1/admin/pool";

/// Target portal groups, for administrators.
pub const ADMIN_PORTAL_GROUPS: &str = "/v1/admin/portal-groups";

/// Full copies, for administrators.
pub const ADMIN_COPIES: &str = "/v1/admin/copies";
/// Imports, by the name of the LUN, for administrators.
pub const ADMIN_IMPORTS: &str = "/v1/admin/imports";
/// Exports, for administrators.
pub const ADMIN_EXPORTS: &str = "/v1/admin/exports";
/// Imports and exports, by id, for administrators.
pub const ADMIN_TRANSFERS: &str = "/v1/admin/transfers";

/// The media type of a [`Problem`] (RFC 9457).
pub const PROBLEM_MEDIA_TYPE: &str = "application/problem+json";

/// The longest body of a request, in bytes.
pub const REQUEST_BYTES_MAX: usize = 1 << 20;

/// Why a request did not succeed (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `urn:lunshadow:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The HTTP status.
    pub status: u16,
    /// What it is, for decisions.
    pub code: ProblemCode,
    /// What it is, for people: which LUN or set, and what to do.
    pub detail: String,
}

impl Problem {
    /// A problem with the status that goes with its code.
    #[must_use]
    pub fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        let name = serde_json::to_value(code).ok().and_then(|name| name.as_str().map(ToOwned::to_owned));
        let kind = format!("urn:lunshadow:problem:{}", name.unwrap_or_default());
        Self { kind, status: status_of(code), code, detail: detail.into() }
    }
}

/// The status that goes with a problem (RFC 9110 section 15). This table is the only one.
#[must_use]
pub const fn status_of(code: ProblemCode) -> u16 {
    match code {
        ProblemCode::InvalidRequest => 400,
        ProblemCode::NotAuthenticated => 401,
        ProblemCode::EnrolmentRefused | ProblemCode::NotAllowed => 403,
        ProblemCode::UnknownLun | ProblemCode::UnknownSet => 404,
        ProblemCode::WrongState | ProblemCode::WrongRole | ProblemCode::InUse => 409,
        ProblemCode::SetAborted => 410,
        ProblemCode::Internal => 500,
        ProblemCode::PoolReadOnly => 503,
        ProblemCode::DeadlinePassed => 504,
        ProblemCode::OutOfSpace | ProblemCode::LimitReached => 507,
    }
}

/// See [`ENROL`].
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrolRequest {
    /// Out of the enrolment string.
    pub token: Secret,
}

/// See [`ENROL`].
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EnrolAnswer {
    /// Who the asker is from now on.
    pub host: HostRecord,
    /// What it authenticates with.
    pub credential: Secret,
}

/// See [`RESOLVE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResolveRequest {
    /// The disks.
    pub queries: Vec<LunQuery>,
}

/// See [`RESOLVE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResolveAnswer {
    /// Element by element; null for a disk that is not a LUN which this host may see.
    pub luns: Vec<Option<LunRecord>>,
}

/// LUNs that something is to be done with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LunsRequest {
    /// Their ids.
    pub luns: Vec<LunId>,
}

/// LUNs that are added to a shadow set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PrepareRequest {
    /// Their ids.
    pub luns: Vec<LunId>,
    /// What is made of them.
    #[serde(default, skip_serializing_if = "ShadowKind::is_default")]
    pub kind: ShadowKind,
}

/// See [`NOTE_USE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NoteUseRequest {
    /// The shadow LUNs.
    pub luns: Vec<LunId>,
    /// What the host does with them.
    pub used: ShadowUse,
}

/// What an action did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OutcomeAnswer {
    /// What it did.
    pub outcome: Outcome,
}

/// What an action did, element by element.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OutcomesAnswer {
    /// What it did.
    pub outcomes: Vec<Outcome>,
}

/// How long to wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitRequest {
    /// At most, in milliseconds. The array may answer earlier.
    pub at_most_ms: u64,
}

/// How far a preparation is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WaitAnswer {
    /// All LUNs of the set are ready.
    pub ready: bool,
}

/// The commit comes next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ArmRequest {
    /// Within which time of its arrival the commit has to be durable, in milliseconds.
    pub commit_at_most_ms: u64,
}

/// The shadow LUNs of a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TargetsAnswer {
    /// One for each LUN of the set.
    pub targets: Vec<ShadowTarget>,
}

/// A resync.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResyncRequest {
    /// All or none.
    pub pairs: Vec<ResyncPair>,
}

/// A host as an administrator describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HostRequest {
    /// Its initiators.
    pub initiators: Vec<InitiatorName>,
    /// The names of the hosts whose shadow LUNs it may import.
    #[serde(default)]
    pub imports_from: Vec<String>,
    /// For how long its enrolment token is good, in seconds.
    pub valid_for_s: u64,
}

/// A new token for a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrolmentRequest {
    /// For how long it is good, in seconds.
    pub valid_for_s: u64,
}

/// What an administrator carries to the host; the address is added by the command that asked.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EnrolmentAnswer {
    /// The host.
    pub host: HostRecord,
    /// Whether the host is new.
    pub outcome: Outcome,
    /// The certificate of the control service.
    pub fingerprint: Fingerprint,
    /// Good for one enrolment.
    pub token: Secret,
    /// When it ceases to be good, in milliseconds since 1970.
    pub expires_at_unix_ms: u64,
}

/// All hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostsAnswer {
    /// By name.
    pub hosts: Vec<AdminHost>,
}

/// A host, for an administrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminHost {
    /// The host.
    pub host: HostRecord,
    /// Whether it has a credential.
    pub enrolled: bool,
    /// The names of the hosts whose shadow LUNs it may import.
    pub imports_from: Vec<String>,
    /// How many LUNs are mapped to it.
    pub lun_count: u32,
    /// The CHAP name that its initiators have to prove, if they have to prove one.
    pub chap_name: Option<String>,
}

/// A LUN to be made, or to be made longer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewLunRequest {
    /// Its length, in bytes; a multiple of 512.
    pub len_bytes: u64,
}

/// Another name for a LUN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameRequest {
    /// The name.
    pub name: String,
}

/// How initiators see a LUN. What is left out stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PresentationRequest {
    /// Initiators can eject and load it (RMB). Its data stays where it is, and it is loaded after a restart.
    #[serde(default)]
    pub removable: Option<bool>,
    /// Initiators cannot change it: writes are refused (WP).
    #[serde(default)]
    pub write_protected: Option<bool>,
}

/// What may happen when a LUN is deleted. Without either the LUN has to be unmapped and must have no shadow LUNs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteLunRequest {
    /// It is taken away from the hosts that see it.
    #[serde(default)]
    pub unmap: bool,
    /// Its shadow LUNs, which live on, lose the LUN that they are of.
    #[serde(default)]
    pub keep_shadows: bool,
}

/// A LUN that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewLunAnswer {
    /// Its id.
    pub lun: LunId,
    /// Whether it is new.
    pub outcome: Outcome,
}

/// All source LUNs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminLunsAnswer {
    /// By name.
    pub luns: Vec<AdminLun>,
}

/// A source LUN, for an administrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminLun {
    /// Its id.
    pub lun: LunId,
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub len_bytes: u64,
    /// Which hosts see it, under which number.
    pub hosts: Vec<AdminMapping>,
    /// How many shadow LUNs of it there are.
    pub shadow_count: u32,
    /// Whether initiators can eject and load it.
    #[serde(default)]
    pub removable: bool,
    /// Whether writes of initiators are refused.
    #[serde(default)]
    pub write_protected: bool,
}

/// A mapping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminMapping {
    /// The host's name.
    pub host: String,
    /// The number by which it addresses the LUN.
    pub number: u8,
}

/// A mapping that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AssignedAnswer {
    /// The number by which the host addresses the LUN.
    pub number: u8,
    /// Whether it is new.
    pub outcome: Outcome,
}

/// A shadow set to be taken at an administrator's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSetRequest {
    /// The name of the host whose set it will be.
    pub host: String,
    /// The names of LUNs that are mapped to the host. All are captured at one instant.
    pub luns: Vec<String>,
}

/// Shadow sets of all hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminSetsAnswer {
    /// The array's clock, in milliseconds since 1970.
    pub now_unix_ms: u64,
    /// The youngest first; of those that are over only the last ones of each host.
    pub sets: Vec<AdminSet>,
}

/// A shadow set, for an administrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminSet {
    /// The name of the host that made it; absent when that host was removed.
    pub host: Option<String>,
    /// How it stands.
    pub summary: SetSummary,
    /// When it was begun, in milliseconds since 1970.
    pub created_at_unix_ms: u64,
    /// Why it was aborted, if it was, for people.
    pub aborted: Option<String>,
    /// Its shadow LUNs; before the commit, those that it will have.
    pub luns: Vec<AdminShadowLun>,
}

/// A shadow LUN, for an administrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminShadowLun {
    /// The captured LUN.
    pub source: LunId,
    /// Its name, if it still exists.
    pub source_name: Option<String>,
    /// The shadow LUN.
    pub shadow: LunId,
    /// Which hosts see the shadow LUN, under which number.
    pub hosts: Vec<AdminMapping>,
    /// What a host has told about its use.
    pub used: Option<ShadowUse>,
}
