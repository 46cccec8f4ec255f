//! The administrator's end of the control API.

use std::time::Duration;

use lunshadow_control::api::{
    ADMIN_COPIES, ADMIN_EXPORTS, ADMIN_HOSTS, ADMIN_IMPORTS, ADMIN_LUNS, ADMIN_POOL, ADMIN_PORTAL_GROUPS, ADMIN_SETS,
    ADMIN_SHADOW_LUNS, ADMIN_TRANSFERS, AdminHost, AdminLun, AdminLunsAnswer, AdminSetsAnswer, AssignedAnswer,
    DeleteLunRequest, EnrolmentAnswer, EnrolmentRequest, HostRequest, HostsAnswer, NewLunAnswer, NewLunRequest,
    NewSetRequest, OutcomeAnswer, PresentationRequest, RenameRequest, TargetsAnswer, WaitRequest,
};
use lunshadow_control::{
    CapacityRequest, ChapAccounts, ContentExtent, CopiesAnswer, CopyRequest, CopyState, ExportRequest, ExtentsAnswer,
    LunId, Outcome, PoolLunsAnswer, PoolLunsRequest, PoolStatus, PortalGroupRecord, PortalGroupRequest,
    PortalGroupState, PortalGroupsAnswer, PromoteRequest, RevertRequest, ScrubAnswer, ScrubRequest, Secret,
    ShadowSetId, ShadowTarget, TransferAnswer,
};
use serde::Serialize;

use crate::ArrayError;
use crate::https::{Endpoint, Http, HttpsTimeouts, Verb, path_segment};

/// How long it may take to look at what a LUN has for itself: its whole map is walked through.
const LOOK_AT_MOST: Duration = Duration::from_secs(10 * 60);
/// How long the array may take for a whole set: the pool has a minute to prepare it.
const TAKEN_AT_MOST: Duration = Duration::from_secs(90);

/// What an administrator asks of an array. All actions may be repeated.
#[derive(Debug)]
pub struct AdminClient {
    http: Http,
}

impl AdminClient {
    /// The array at `endpoint`, with the administrator's credential.
    #[must_use]
    pub fn new(endpoint: Endpoint, credential: Secret, timeouts: HttpsTimeouts) -> Self {
        Self { http: Http::new(endpoint, Some(credential), timeouts) }
    }

    /// All hosts, by name.
    ///
    /// # Errors
    /// [`ArrayError`].
    pub fn hosts(&self) -> Result<Vec<AdminHost>, ArrayError> {
        self.http.ask(Verb::Get, ADMIN_HOSTS).map(|answer: HostsAnswer| answer.hosts)
    }

    /// Makes a host known, or changes its initiators, and issues a token for its enrolment.
    ///
    /// # Errors
    /// `WrongState` when an initiator belongs to another host; [`ArrayError`].
    pub fn put_host(&self, name: &str, host: &HostRequest) -> Result<EnrolmentAnswer, ArrayError> {
        self.http.send(Verb::Put, &host_path(name), host, Duration::ZERO)
    }

    /// Has the initiators of a host prove who they are.
    ///
    /// # Errors
    /// `InvalidRequest` when there is no such host, or the accounts cannot be used; [`ArrayError`].
    pub fn put_chap(&self, name: &str, accounts: &ChapAccounts) -> Result<Outcome, ArrayError> {
        self.done(Verb::Put, &chap_path(name), accounts)
    }

    /// Has the initiators of a host prove nothing.
    ///
    /// # Errors
    /// `InvalidRequest` when there is no such host; [`ArrayError`].
    pub fn remove_chap(&self, name: &str) -> Result<Outcome, ArrayError> {
        self.http.ask(Verb::Delete, &chap_path(name)).map(|answer: OutcomeAnswer| answer.outcome)
    }

    /// Issues another token for a host.
    ///
    /// # Errors
    /// `InvalidRequest` when there is no such host; [`ArrayError`].
    pub fn issue_enrolment(&self, name: &str, valid_for_s: u64) -> Result<EnrolmentAnswer, ArrayError> {
        let request = EnrolmentRequest { valid_for_s };
        self.http.send(Verb::Post, &format!("{}/enrolment", host_path(name)), &request, Duration::ZERO)
    }

    /// Forgets a host with its credential.
    ///
    /// # Errors
    /// `WrongState` while LUNs are mapped to it; [`ArrayError`].
    pub fn remove_host(&self, name: &str) -> Result<Outcome, ArrayError> {
        self.http.ask(Verb::Delete, &host_path(name)).map(|answer: OutcomeAnswer| answer.outcome)
    }

    /// All LUNs that are not shadow LUNs of a set, by name.
    ///
    /// # Errors
    /// [`ArrayError`].
    pub fn luns(&self) -> Result<Vec<AdminLun>, ArrayError> {
        self.http.ask(Verb::Get, ADMIN_LUNS).map(|answer: AdminLunsAnswer| answer.luns)
    }

    /// Makes an empty LUN.
    ///
    /// # Errors
    /// `WrongState` when the name is taken by a LUN of another length; [`ArrayError`].
    pub fn create_lun(&self, name: &str, len_bytes: u64) -> Result<NewLunAnswer, ArrayError> {
        self.http.send(Verb::Put, &lun_path(name), &NewLunRequest { len_bytes }, Duration::ZERO)
    }

    /// Gives a LUN another name.
    ///
    /// # Errors
    /// `UnknownLun`, `WrongState` when the name is taken; [`ArrayError`].
    pub fn rename_lun(&self, name: &str, new_name: &str) -> Result<Outcome, ArrayError> {
        let request = RenameRequest { name: new_name.to_owned() };
        self.done(Verb::Post, &format!("{}/rename", lun_path(name)), &request)
    }

    /// Makes a LUN longer.
    ///
    /// # Errors
    /// `UnknownLun`, `InvalidRequest` when it is longer already; [`ArrayError`].
    pub fn grow_lun(&self, name: &str, len_bytes: u64) -> Result<Outcome, ArrayError> {
        self.done(Verb::Post, &format!("{}/grow", lun_path(name)), &NewLunRequest { len_bytes })
    }

    /// Has initiators see a LUN otherwise.
    ///
    /// # Errors
    /// `UnknownLun`; [`ArrayError`].
    pub fn present_lun(&self, name: &str, request: &PresentationRequest) -> Result<Outcome, ArrayError> {
        self.done(Verb::Post, &format!("{}/presentation", lun_path(name)), request)
    }

    /// Deletes a LUN.
    ///
    /// # Errors
    /// `WrongState` while it is mapped or has shadow LUNs, unless the request says what happens then; [`ArrayError`].
    pub fn delete_lun(&self, name: &str, request: &DeleteLunRequest) -> Result<Outcome, ArrayError> {
        self.done(Verb::Post, &format!("{}/delete", lun_path(name)), request)
    }

    /// Maps a LUN to a host.
    ///
    /// # Errors
    /// `LimitReached` when the host has no LUN number left; [`ArrayError`].
    pub fn map_lun(&self, name: &str, host: &str) -> Result<AssignedAnswer, ArrayError> {
        self.http.ask(Verb::Put, &mapping_path(name, host))
    }

    /// Takes a LUN away from a host.
    ///
    /// # Errors
    /// [`ArrayError`].
    pub fn unmap_lun(&self, name: &str, host: &str) -> Result<Outcome, ArrayError> {
        self.http.ask(Verb::Delete, &mapping_path(name, host)).map(|answer: OutcomeAnswer| answer.outcome)
    }

    /// The shadow sets of all hosts, the youngest first.
    ///
    /// # Errors
    /// [`ArrayError`].
    pub fn sets(&self) -> Result<AdminSetsAnswer, ArrayError> {
        self.http.ask(Verb::Get, ADMIN_SETS)
    }

    /// Captures LUNs of a host at one instant, as a set of the host that is kept. The host is not asked.
    ///
    /// # Errors
    /// `UnknownLun` when a LUN is not mapped to the host, `LimitReached`, `OutOfSpace`, `WrongState` when the set has other LUNs; [`ArrayError`].
    pub fn take_set(&self, set: ShadowSetId, request: &NewSetRequest) -> Result<Vec<ShadowTarget>, ArrayError> {
        let path = format!("{ADMIN_SETS}/{}", set.0);
        self.http.send(Verb::Put, &path, request, TAKEN_AT_MOST).map(|answer: TargetsAnswer| answer.targets)
    }

    /// Deletes the shadow LUNs of a set, whatever its state and whoever sees them.
    ///
    /// # Errors
    /// `UnknownSet`; [`ArrayError`].
    pub fn delete_set(&self, set: ShadowSetId) -> Result<Outcome, ArrayError> {
        // Ids are written without braces.
        self.http.ask(Verb::Delete, &format!("{ADMIN_SETS}/{}", set.0)).map(|answer: OutcomeAnswer| answer.outcome)
    }

    /// Makes a shadow LUN a LUN of its own, which no host takes for a shadow LUN any more.
    ///
    /// # Errors
    /// `UnknownLun`, `WrongState` when its set is not kept; [`ArrayError`].
    pub fn detach(&self, shadow: LunId) -> Result<Outcome, ArrayError> {
        let path = format!("{ADMIN_SHADOW_LUNS}/{shadow}/detach");
        self.http.ask(Verb::Post, &path).map(|answer: OutcomeAnswer| answer.outcome)
    }

    /// Where the pool's space is.
    ///
    /// # Errors
    /// [`ArrayError`].
    pub fn pool_status(&self) -> Result<PoolStatus, ArrayError> {
        self.http.ask(Verb::Get, ADMIN_POOL)
    }

    /// What LUNs take of the pool, those with ids after `after`.
    ///
    /// # Errors
    /// [`ArrayError`].
    pub fn pool_luns(&self, after: Option<LunId>) -> Result<PoolLunsAnswer, ArrayError> {
        self.http.send(Verb::Post, &format!("{ADMIN_POOL}/luns"), &PoolLunsRequest { after }, LOOK_AT_MOST)
    }

    /// Gives the pool more capacity.
    ///
    /// # Errors
    /// `InvalidRequest` when it has more already, `OutOfSpace` when the medium does not have it; [`ArrayError`].
    pub fn grow_pool(&self, capacity_bytes: u64) -> Result<Outcome, ArrayError> {
        self.done(Verb::Put, &format!("{ADMIN_POOL}/capacity"), &CapacityRequest { capacity_bytes })
    }

    /// Begins a scrub.
    ///
    /// # Errors
    /// [`ArrayError`].
    pub fn start_scrub(&self, request: &ScrubRequest) -> Result<Outcome, ArrayError> {
        self.done(Verb::Post, &format!("{ADMIN_POOL}/scrub"), request)
    }

    /// Stops the scrub.
    ///
    /// # Errors
    /// [`ArrayError`].
    pub fn stop_scrub(&self) -> Result<Outcome, ArrayError> {
        self.http.ask(Verb::Delete, &format!("{ADMIN_POOL}/scrub")).map(|answer: OutcomeAnswer| answer.outcome)
    }

    /// How the last scrub stands, after waiting for its end.
    ///
    /// # Errors
    /// [`ArrayError`].
    pub fn wait_scrub(&self, at_most: Duration) -> Result<ScrubAnswer, ArrayError> {
        self.http.send(Verb::Post, &format!("{ADMIN_POOL}/scrub/wait"), &wait_request(at_most), at_most)
    }

    /// Makes a shadow LUN a LUN of its own, of that name.
    ///
    /// # Errors
    /// `UnknownLun`, `WrongState` when its set is not kept or the name is taken; [`ArrayError`].
    pub fn promote(&self, shadow: LunId, name: &str) -> Result<Outcome, ArrayError> {
        let request = PromoteRequest { name: name.to_owned() };
        self.done(Verb::Post, &format!("{ADMIN_SHADOW_LUNS}/{shadow}/promote"), &request)
    }

    /// Gives a LUN the content of one of its shadow LUNs.
    ///
    /// # Errors
    /// `InUse` while it is mapped, unless by force; `WrongRole`, `UnknownLun`; [`ArrayError`].
    pub fn revert_lun(&self, name: &str, request: &RevertRequest) -> Result<Outcome, ArrayError> {
        self.done(Verb::Post, &format!("{}/revert", lun_path(name)), request)
    }

    /// Begins a full copy to a new LUN of that name.
    ///
    /// # Errors
    /// `UnknownLun`, `WrongState` when the name is taken; [`ArrayError`].
    pub fn start_copy(&self, name: &str, request: &CopyRequest) -> Result<NewLunAnswer, ArrayError> {
        self.http.send(Verb::Put, &format!("{}/copy", lun_path(name)), request, Duration::ZERO)
    }

    /// Gives a full copy up.
    ///
    /// # Errors
    /// [`ArrayError`].
    pub fn cancel_copy(&self, name: &str) -> Result<Outcome, ArrayError> {
        self.http.ask(Verb::Delete, &format!("{}/copy", lun_path(name))).map(|answer: OutcomeAnswer| answer.outcome)
    }

    /// How a full copy stands, after waiting for its end.
    ///
    /// # Errors
    /// `UnknownLun` when the array knows no such copy (any more); [`ArrayError`].
    pub fn wait_copy(&self, name: &str, at_most: Duration) -> Result<CopyState, ArrayError> {
        self.http.send(Verb::Post, &format!("{}/copy/wait", lun_path(name)), &wait_request(at_most), at_most)
    }

    /// Full copies that run, and the last ones that are over.
    ///
    /// # Errors
    /// [`ArrayError`].
    pub fn copies(&self) -> Result<CopiesAnswer, ArrayError> {
        self.http.ask(Verb::Get, ADMIN_COPIES)
    }

    /// Begins to fill a new LUN.
    ///
    /// # Errors
    /// `WrongState` when the name is taken; [`ArrayError`].
    pub fn begin_import(&self, name: &str, len_bytes: u64) -> Result<TransferAnswer, ArrayError> {
        let path = format!("{ADMIN_IMPORTS}/{}", path_segment(name));
        self.http.send(Verb::Put, &path, &NewLunRequest { len_bytes }, Duration::ZERO)
    }

    /// Begins to read a LUN, by its name, or a shadow LUN, by its id.
    ///
    /// # Errors
    /// `UnknownLun`; [`ArrayError`].
    pub fn begin_export(&self, source: &str) -> Result<TransferAnswer, ArrayError> {
        let request = ExportRequest { source: source.to_owned() };
        self.http.send(Verb::Post, ADMIN_EXPORTS, &request, Duration::ZERO)
    }

    /// Where there is content from a block on.
    ///
    /// # Errors
    /// [`ArrayError`].
    pub fn transfer_extents(&self, transfer: LunId, block: u64) -> Result<Vec<ContentExtent>, ArrayError> {
        let path = format!("{ADMIN_TRANSFERS}/{transfer}/extents/{block}");
        self.http.ask(Verb::Get, &path).map(|answer: ExtentsAnswer| answer.extents)
    }

    /// Reads blocks, [`CONTENT_BYTES_MAX`](lunshadow_control::CONTENT_BYTES_MAX) at most.
    ///
    /// # Errors
    /// [`ArrayError`].
    pub fn read_blocks(&self, transfer: LunId, block: u64, count: u64) -> Result<Vec<u8>, ArrayError> {
        self.http.fetch_content(&format!("{ADMIN_TRANSFERS}/{transfer}/blocks/{block}/{count}"))
    }

    /// Writes blocks, [`CONTENT_BYTES_MAX`](lunshadow_control::CONTENT_BYTES_MAX) at most.
    ///
    /// # Errors
    /// `OutOfSpace`; [`ArrayError`].
    pub fn write_blocks(&self, transfer: LunId, block: u64, content: &[u8]) -> Result<(), ArrayError> {
        let path = format!("{ADMIN_TRANSFERS}/{transfer}/blocks/{block}");
        self.http.send_content(Verb::Put, &path, content).map(|_: OutcomeAnswer| ())
    }

    /// Ends an export, or lets the LUN of an import be seen.
    ///
    /// # Errors
    /// [`ArrayError`].
    pub fn finish_transfer(&self, transfer: LunId) -> Result<Outcome, ArrayError> {
        let path = format!("{ADMIN_TRANSFERS}/{transfer}/finish");
        self.http.ask(Verb::Post, &path).map(|answer: OutcomeAnswer| answer.outcome)
    }

    /// Gives an import or export up.
    ///
    /// # Errors
    /// [`ArrayError`].
    pub fn cancel_transfer(&self, transfer: LunId) -> Result<Outcome, ArrayError> {
        let path = format!("{ADMIN_TRANSFERS}/{transfer}");
        self.http.ask(Verb::Delete, &path).map(|answer: OutcomeAnswer| answer.outcome)
    }

    /// The target portal groups, and how LUNs are reached through them.
    ///
    /// # Errors
    /// [`ArrayError`].
    pub fn portal_groups(&self) -> Result<Vec<PortalGroupRecord>, ArrayError> {
        self.http.ask(Verb::Get, ADMIN_PORTAL_GROUPS).map(|answer: PortalGroupsAnswer| answer.groups)
    }

    /// Decides how LUNs are reached through a target portal group.
    ///
    /// # Errors
    /// `InvalidRequest` when there is no such group, `WrongState` when it is the last one by which hosts reach their LUNs; [`ArrayError`].
    pub fn set_portal_group(&self, group: u16, state: PortalGroupState) -> Result<Outcome, ArrayError> {
        self.done(Verb::Put, &format!("{ADMIN_PORTAL_GROUPS}/{group}"), &PortalGroupRequest { state })
    }

    fn done(&self, verb: Verb, path: &str, body: &impl Serialize) -> Result<Outcome, ArrayError> {
        self.http.send(verb, path, body, Duration::ZERO).map(|answer: OutcomeAnswer| answer.outcome)
    }
}

fn wait_request(at_most: Duration) -> WaitRequest {
    WaitRequest { at_most_ms: u64::try_from(at_most.as_millis()).unwrap_or(u64::MAX) }
}

fn host_path(name: &str) -> String {
    format!("{ADMIN_HOSTS}/{}", path_segment(name))
}

fn chap_path(name: &str) -> String {
    format!("{}/chap", host_path(name))
}

fn lun_path(name: &str) -> String {
    format!("{ADMIN_LUNS}/{}", path_segment(name))
}

fn mapping_path(lun: &str, host: &str) -> String {
    format!("{}/hosts/{}", lun_path(lun), path_segment(host))
}
