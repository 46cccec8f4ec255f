//! What a host may not see does not exist for it, over the real channel; and the array's log has who tried.

use std::time::Duration;

use anyhow::{Context, ensure};
use lunshadow_array_client::{AdminClient, Array, ArrayError, Enrolment, HttpsTimeouts};
use lunshadow_control::{LunQuery, Outcome, ProblemCode, ShadowSetId, ShadowUse, identity_of};
use uuid::Uuid;

use crate::service::{Service, array_of, initiator, kept_shadows};

fn code<T>(answer: Result<T, ArrayError>) -> Option<ProblemCode> {
    answer.err().and_then(|error| error.code())
}

fn query(lun: lunshadow_control::LunId) -> LunQuery {
    let identity = identity_of(lun);
    LunQuery { serial: Some(identity.serial), designators: identity.designators }
}

#[test]
fn a_foreign_lun_is_unknown_and_a_foreign_set_too() -> anyhow::Result<()> {
    let service = Service::start()?;
    let (sql, web) = (array_of(&service.enrolled("sql")?), array_of(&service.enrolled("web")?));
    let (mine, foreign) = (service.lun_of("sql", "data")?, service.lun_of("web", "pages")?);
    let found = sql.resolve(&[query(mine), query(foreign)])?;
    ensure!(found[0].as_ref().is_some_and(|record| record.lun == mine) && found[1].is_none(), "{found:?}");

    let set = ShadowSetId(Uuid::new_v4());
    ensure!(code(sql.prepare(set, &[foreign])) == Some(ProblemCode::UnknownLun));
    service.logged(&["WARN", &format!("/v1/sets/{}/prepare", set.0), "UnknownLun"])?;
    ensure!(code(sql.prepare(set, &[mine, foreign])) == Some(ProblemCode::UnknownLun), "the own LUN pulled it in");
    ensure!(code(sql.map(&[foreign])) == Some(ProblemCode::UnknownLun));
    service.logged(&["WARN", "/v1/luns/map", "UnknownLun", &foreign.to_string()])?;

    ensure!(sql.prepare(set, &[mine])? == Outcome::Done);
    ensure!(code(web.keep(set)) == Some(ProblemCode::UnknownSet));
    service.logged(&["WARN", "/keep", "UnknownSet"])?;
    ensure!(code(web.targets(set)) == Some(ProblemCode::UnknownSet));
    ensure!(code(web.open_commit_channel(set)) == Some(ProblemCode::UnknownSet));
    Ok(())
}

#[test]
fn a_shadow_lun_is_imported_by_the_host_that_may_and_by_no_other() -> anyhow::Result<()> {
    let service = Service::start()?;
    let (sql, web) = (array_of(&service.enrolled("sql")?), array_of(&service.enrolled("web")?));
    service.admin(&["host", "add", "backup", "--iqn", &initiator("backup"), "--imports-from", "sql"])?;
    let string: lunshadow_control::EnrolmentString = service.admin(&["host", "enrol", "backup"])?.parse()?;
    let backup = array_of(&lunshadow_array_client::enrol(&string, HttpsTimeouts::default())?);
    let lun = service.lun_of("sql", "data")?;

    let set = ShadowSetId(Uuid::new_v4());
    sql.prepare(set, &[lun])?;
    sql.wait_prepared(set, Duration::from_secs(10))?;
    let mut channel = sql.open_commit_channel(set)?;
    channel.arm(Duration::from_secs(5))?;
    channel.commit()?;
    sql.keep(set)?;
    let shadow = sql.targets(set)?[0].shadow;

    ensure!(code(web.map(&[shadow])) == Some(ProblemCode::UnknownLun));
    ensure!(code(web.release(shadow)) == Some(ProblemCode::NotAllowed));
    service.logged(&["WARN", "/release", "NotAllowed"])?;
    ensure!(backup.map(&[shadow])? == [Outcome::Done]);
    backup.note_use(&[shadow], ShadowUse::Recovering)?;

    let sets = service.admin_json(&["shadow", "list"])?;
    let listed = &sets["sets"][0];
    ensure!(listed["host"] == "sql" && listed["summary"]["phase"] == "kept", "{sets}");
    ensure!(listed["summary"]["commit_took_us"].as_u64().is_some(), "{sets}");
    ensure!(listed["luns"][0]["hosts"][0]["host"] == "backup", "{sets}");
    ensure!(listed["luns"][0]["used"] == "recovering" && listed["luns"][0]["source_name"] == "data", "{sets}");
    let text = service.admin(&["shadow", "list"])?;
    ensure!(text.contains("kept") && text.contains(" of data") && text.contains("backup:1"), "{text}");

    // Whoever is an administrator gets rid of it, and then nobody has it.
    let unknown = service.admin_refused(&["shadow", "delete", &Uuid::new_v4().to_string()])?;
    ensure!(unknown.contains("shadow set"), "{unknown}");
    for outcome in ["done", "already-so"] {
        ensure!(service.admin_json(&["shadow", "delete", &set.to_string()])?["outcome"] == outcome);
    }
    ensure!(code(backup.map(&[shadow])) == Some(ProblemCode::SetAborted));
    ensure!(code(sql.targets(set)) == Some(ProblemCode::SetAborted));
    let text = service.admin(&["shadow", "list"])?;
    ensure!(text.contains("by an administrator") && !text.contains("backup:1"), "{text}");
    ensure!(sql.prepare(ShadowSetId(Uuid::new_v4()), &[lun])? == Outcome::Done, "the source is as before");
    Ok(())
}

#[test]
fn hosts_are_no_administrators_and_administrators_are_no_hosts() -> anyhow::Result<()> {
    let service = Service::start()?;
    let sql = service.enrolled("sql")?;
    let as_admin = AdminClient::new(service.endpoint.clone(), sql.credential.clone(), HttpsTimeouts::default());
    ensure!(code(as_admin.hosts()) == Some(ProblemCode::NotAllowed));
    ensure!(code(as_admin.sets()) == Some(ProblemCode::NotAllowed));
    ensure!(code(as_admin.map_lun("data", "sql")) == Some(ProblemCode::NotAllowed));
    service.logged(&["WARN", "/v1/admin/sets", "NotAllowed"])?;

    let credential = std::fs::read_to_string(service.pool().join("control-credential"))?;
    let credential = lunshadow_control::Secret::new(credential.trim());
    let as_host = array_of(&Enrolment { credential, ..sql });
    ensure!(code(as_host.who_am_i()) == Some(ProblemCode::NotAllowed));
    Ok(())
}

#[test]
fn a_lun_has_as_many_shadow_luns_as_the_administrator_lets_it() -> anyhow::Result<()> {
    let mut service = Service::start()?;
    let enrolment = service.enrolled("sql")?;
    let lun = service.lun_of("sql", "data")?;
    service.stop()?;
    let service = service.serve_again_with(&["--shadows-per-lun", "2"])?;
    let enrolment = Enrolment { endpoint: service.endpoint.clone(), ..enrolment };
    let array = array_of(&enrolment);
    let can_shadow = || -> anyhow::Result<bool> {
        let found = array.resolve(&[query(lun)])?;
        Ok(found[0].as_ref().context("it is there")?.can_shadow)
    };
    for _ in 0..2 {
        ensure!(can_shadow()?);
        kept_shadows(&enrolment, &[lun])?;
    }
    ensure!(!can_shadow()?, "a host is told before it tries");
    let set = ShadowSetId(Uuid::new_v4());
    ensure!(code(array.prepare(set, &[lun])) == Some(ProblemCode::LimitReached));
    // One that is deleted makes room for another.
    let shadows = service.admin_json(&["shadow", "list"])?;
    let oldest = shadows["sets"][1]["summary"]["set"].as_str().context("two sets")?.trim_matches(['{', '}']).to_owned();
    service.admin(&["shadow", "delete", &oldest])?;
    ensure!(can_shadow()?);
    kept_shadows(&enrolment, &[lun])?;
    ensure!(service.admin_json(&["lun", "list"])?["luns"][0]["shadow_count"] == 2);
    Ok(())
}
