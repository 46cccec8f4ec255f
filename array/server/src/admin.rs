//! The requests of administrators.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use lunshadow_catalog::{AdministeredSet, LunDeletion};
use lunshadow_control::api::{
    AdminHost, AdminLun, AdminLunsAnswer, AdminMapping, AdminSet, AdminSetsAnswer, AdminShadowLun, AssignedAnswer,
    DeleteLunRequest, EnrolmentAnswer, EnrolmentRequest, HostRequest, HostsAnswer, NewLunAnswer, NewLunRequest,
    NewSetRequest, OutcomeAnswer, PresentationRequest, RenameRequest, TargetsAnswer,
};
use lunshadow_control::{ChapAccounts, HostId, LunId, Outcome, ProblemCode};
use lunshadow_lun::{BlockCount, LunNumber, Pool};

use crate::asker::{Administrator, Body, Service, Shared, id, name, set_id};
use crate::problem::Refusal;

type Answer<T> = Result<Json<T>, Refusal>;

impl<P: Pool> Service<P> {
    fn host(&self, text: &str) -> Result<HostId, Refusal> {
        let unknown = || {
            let detail = format!("there is no host {text}; `lunshadow host list` shows all");
            Refusal::new(ProblemCode::InvalidRequest, detail)
        };
        self.catalog.host_named(&name(text)?).ok_or_else(unknown)
    }

    pub(crate) fn lun(&self, text: &str) -> Result<LunId, Refusal> {
        let unknown = || {
            let detail = format!("there is no LUN {text}; `lunshadow lun list` shows all");
            Refusal::new(ProblemCode::UnknownLun, detail)
        };
        self.catalog.lun_named(&name(text)?).ok_or_else(unknown)
    }

    async fn issue(&self, host: HostId, outcome: Outcome, valid_for_s: u64) -> Answer<EnrolmentAnswer> {
        let issued = self.catalog.issue_enrolment(host, Duration::from_secs(valid_for_s)).await?;
        Ok(Json(EnrolmentAnswer {
            host: self.catalog.who_am_i(host)?,
            outcome,
            fingerprint: self.fingerprint,
            token: issued.token,
            expires_at_unix_ms: issued.expires_at_unix_ms,
        }))
    }
}

fn mappings(mappings: Vec<(String, LunNumber)>) -> Vec<AdminMapping> {
    mappings.into_iter().map(|(host, number)| AdminMapping { host, number: number.0 }).collect()
}

fn set(found: AdministeredSet) -> AdminSet {
    let luns = found.luns.into_iter().map(|lun| AdminShadowLun {
        source: lun.source,
        source_name: lun.source_name,
        shadow: lun.shadow,
        hosts: mappings(lun.mappings),
        used: lun.used,
    });
    AdminSet {
        host: found.host,
        summary: found.summary,
        created_at_unix_ms: found.created_at_unix_ms,
        aborted: found.reason.map(|reason| reason.to_string()),
        luns: luns.collect(),
    }
}

pub(crate) fn blocks(len_bytes: u64) -> Result<BlockCount, Refusal> {
    let odd = || Refusal::new(ProblemCode::InvalidRequest, "the length of a LUN is a multiple of 512 bytes");
    BlockCount::from_bytes(len_bytes).ok_or_else(odd)
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

pub(crate) async fn hosts<P: Pool>(State(service): State<Shared<P>>, _: Administrator) -> Answer<HostsAnswer> {
    let hosts = service.catalog.administered_hosts().into_iter().map(|host| AdminHost {
        lun_count: number(host.lun_count),
        host: host.record,
        enrolled: host.enrolled,
        imports_from: host.imports_from,
        chap_name: host.chap_name,
    });
    Ok(Json(HostsAnswer { hosts: hosts.collect() }))
}

pub(crate) async fn put_host<P: Pool>(
    State(service): State<Shared<P>>,
    _: Administrator,
    Path(host): Path<String>,
    Body(request): Body<HostRequest>,
) -> Answer<EnrolmentAnswer> {
    let catalog = &service.catalog;
    let host_name = name(&host)?;
    let imports = request.imports_from.iter().map(|other| service.host(other)).collect::<Result<Vec<_>, _>>()?;
    let (host, outcome) = match catalog.host_named(&host_name) {
        Some(host) => (host, catalog.set_initiators(host, request.initiators).await?),
        None => {
            let made = catalog.add_host(host_name, request.initiators).await?;
            (made.id, made.outcome)
        }
    };
    catalog.set_imports(host, imports).await?;
    service.issue(host, outcome, request.valid_for_s).await
}

pub(crate) async fn remove_host<P: Pool>(
    State(service): State<Shared<P>>,
    _: Administrator,
    Path(host): Path<String>,
) -> Answer<OutcomeAnswer> {
    let outcome = match service.catalog.host_named(&name(&host)?) {
        Some(host) => service.catalog.remove_host(host).await?,
        None => Outcome::AlreadySo,
    };
    Ok(Json(OutcomeAnswer { outcome }))
}

pub(crate) async fn put_chap<P: Pool>(
    State(service): State<Shared<P>>,
    _: Administrator,
    Path(host): Path<String>,
    Body(accounts): Body<ChapAccounts>,
) -> Answer<OutcomeAnswer> {
    let outcome = service.catalog.set_chap(service.host(&host)?, Some(accounts)).await?;
    Ok(Json(OutcomeAnswer { outcome }))
}

pub(crate) async fn remove_chap<P: Pool>(
    State(service): State<Shared<P>>,
    _: Administrator,
    Path(host): Path<String>,
) -> Answer<OutcomeAnswer> {
    let outcome = service.catalog.set_chap(service.host(&host)?, None).await?;
    Ok(Json(OutcomeAnswer { outcome }))
}

pub(crate) async fn issue_enrolment<P: Pool>(
    State(service): State<Shared<P>>,
    _: Administrator,
    Path(host): Path<String>,
    Body(request): Body<EnrolmentRequest>,
) -> Answer<EnrolmentAnswer> {
    service.issue(service.host(&host)?, Outcome::AlreadySo, request.valid_for_s).await
}

pub(crate) async fn luns<P: Pool>(State(service): State<Shared<P>>, _: Administrator) -> Answer<AdminLunsAnswer> {
    let luns = service.catalog.administered_luns().into_iter().map(|lun| AdminLun {
        lun: lun.lun,
        name: lun.name,
        len_bytes: lun.block_count.bytes(),
        hosts: mappings(lun.mappings),
        shadow_count: number(lun.shadow_count),
        removable: lun.presentation.removable,
        write_protected: lun.presentation.write_protected,
    });
    Ok(Json(AdminLunsAnswer { luns: luns.collect() }))
}

pub(crate) async fn create_lun<P: Pool>(
    State(service): State<Shared<P>>,
    _: Administrator,
    Path(lun): Path<String>,
    Body(request): Body<NewLunRequest>,
) -> Answer<NewLunAnswer> {
    let made = service.catalog.create_lun(name(&lun)?, blocks(request.len_bytes)?).await?;
    Ok(Json(NewLunAnswer { lun: made.id, outcome: made.outcome }))
}

pub(crate) async fn rename_lun<P: Pool>(
    State(service): State<Shared<P>>,
    _: Administrator,
    Path(lun): Path<String>,
    Body(request): Body<RenameRequest>,
) -> Answer<OutcomeAnswer> {
    let outcome = service.catalog.rename_lun(service.lun(&lun)?, name(&request.name)?).await?;
    Ok(Json(OutcomeAnswer { outcome }))
}

pub(crate) async fn grow_lun<P: Pool>(
    State(service): State<Shared<P>>,
    _: Administrator,
    Path(lun): Path<String>,
    Body(request): Body<NewLunRequest>,
) -> Answer<OutcomeAnswer> {
    let outcome = service.catalog.grow_lun(service.lun(&lun)?, blocks(request.len_bytes)?).await?;
    Ok(Json(OutcomeAnswer { outcome }))
}

pub(crate) async fn present_lun<P: Pool>(
    State(service): State<Shared<P>>,
    _: Administrator,
    Path(lun): Path<String>,
    Body(request): Body<PresentationRequest>,
) -> Answer<OutcomeAnswer> {
    let PresentationRequest { removable, write_protected } = request;
    let outcome = service.catalog.present_lun(service.lun(&lun)?, removable, write_protected).await?;
    Ok(Json(OutcomeAnswer { outcome }))
}

pub(crate) async fn delete_lun<P: Pool>(
    State(service): State<Shared<P>>,
    _: Administrator,
    Path(lun): Path<String>,
    Body(request): Body<DeleteLunRequest>,
) -> Answer<OutcomeAnswer> {
    let DeleteLunRequest { unmap, keep_shadows } = request;
    let outcome = match service.catalog.lun_named(&name(&lun)?) {
        Some(lun) => service.catalog.delete_lun(lun, LunDeletion { unmap, keep_shadows }).await?,
        None => Outcome::AlreadySo,
    };
    Ok(Json(OutcomeAnswer { outcome }))
}

pub(crate) async fn map_lun<P: Pool>(
    State(service): State<Shared<P>>,
    _: Administrator,
    Path((lun, host)): Path<(String, String)>,
) -> Answer<AssignedAnswer> {
    let assigned = service.catalog.assign(service.host(&host)?, service.lun(&lun)?).await?;
    Ok(Json(AssignedAnswer { number: assigned.number.0, outcome: assigned.outcome }))
}

pub(crate) async fn unmap_lun<P: Pool>(
    State(service): State<Shared<P>>,
    _: Administrator,
    Path((lun, host)): Path<(String, String)>,
) -> Answer<OutcomeAnswer> {
    let outcome = service.catalog.unassign(service.host(&host)?, service.lun(&lun)?).await?;
    Ok(Json(OutcomeAnswer { outcome }))
}

pub(crate) async fn sets<P: Pool>(State(service): State<Shared<P>>, _: Administrator) -> Answer<AdminSetsAnswer> {
    let (now_unix_ms, sets) = service.catalog.administered_sets();
    Ok(Json(AdminSetsAnswer { now_unix_ms, sets: sets.into_iter().map(set).collect() }))
}

pub(crate) async fn take_set<P: Pool>(
    State(service): State<Shared<P>>,
    _: Administrator,
    Path(set): Path<String>,
    Body(request): Body<NewSetRequest>,
) -> Answer<TargetsAnswer> {
    if request.luns.is_empty() {
        return Err(Refusal::new(ProblemCode::InvalidRequest, "a shadow set is of one LUN at least"));
    }
    let (host, set) = (service.host(&request.host)?, set_id(&set)?);
    let luns = request.luns.iter().map(|lun| service.lun(lun)).collect::<Result<Vec<_>, _>>()?;
    service.catalog.capture(host, set, &luns).await?;
    Ok(Json(TargetsAnswer { targets: service.catalog.targets(host, set)? }))
}

pub(crate) async fn delete_set<P: Pool>(
    State(service): State<Shared<P>>,
    _: Administrator,
    Path(set): Path<String>,
) -> Answer<OutcomeAnswer> {
    let outcome = service.catalog.delete_set(set_id(&set)?).await?;
    Ok(Json(OutcomeAnswer { outcome }))
}

pub(crate) async fn detach<P: Pool>(
    State(service): State<Shared<P>>,
    _: Administrator,
    Path(lun): Path<String>,
) -> Answer<OutcomeAnswer> {
    let outcome = service.catalog.detach(id(&lun, "LUN id")?).await?;
    Ok(Json(OutcomeAnswer { outcome }))
}
