//! Removable and write protected LUNs, as the administrator's commands make them and an initiator finds them.

use anyhow::{Context, ensure};
use bytes::Bytes;
use lunshadow::array::TARGET_NAME;
use lunshadow_initiator::{DataDirection, Disk, DiskError, Session};
use lunshadow_scsi::{AdditionalSense, Command, LunAddress, Power, SenseKey, Status};
use tokio::runtime::Runtime;

use crate::service::{Service, initiator};

const LUN: LunAddress = LunAddress::peripheral(1);

async fn session(service: &Service) -> anyhow::Result<(Session, Disk)> {
    let session = Session::login(service.portal, &initiator("sql").parse()?, TARGET_NAME).await?;
    Ok((session.clone(), Disk::new(session, LUN)))
}

async fn status(session: &Session, command: Command) -> anyhow::Result<(Status, Option<AdditionalSense>)> {
    let response = session.command(LUN, &command.to_cdb(), DataDirection::None).await?;
    Ok((response.status, response.sense.map(|sense| sense.code)))
}

async fn is_refused(disk: &Disk) -> anyhow::Result<()> {
    let refused = disk.write(0, Bytes::from(vec![2; 4096])).await.err().context("it was written")?;
    let DiskError::CheckCondition { sense, .. } = refused else { anyhow::bail!("{refused}") };
    ensure!((sense.key, sense.code) == (SenseKey::DATA_PROTECT, AdditionalSense::WRITE_PROTECTED), "{sense}");
    Ok(())
}

#[test]
fn a_protected_lun_refuses_writes_also_after_a_restart() -> anyhow::Result<()> {
    let mut service = Service::start()?;
    service.enrolled("sql")?;
    service.lun_of("sql", "data")?;
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let (session, disk) = session(&service).await?;
        disk.write(0, Bytes::from(vec![1; 4096])).await?;
        let mut attentions = session.unit_attentions();
        for outcome in ["done", "already-so"] {
            ensure!(service.admin_json(&["lun", "protect", "data"])?["outcome"] == outcome);
        }
        is_refused(&disk).await?;
        let told = attentions.recv().await.context("the session ended")?;
        ensure!(told.sense.code == AdditionalSense::MODE_PARAMETERS_CHANGED, "{told:?}");
        ensure!(disk.mode_sense(0x3f).await?.write_protected);
        Ok(session.logout().await?)
    })?;
    ensure!(service.admin_json(&["lun", "list"])?["luns"][0]["write_protected"] == true);
    ensure!(service.admin(&["lun", "list"])?.contains(" protected "));
    service.stop()?;
    let service = service.serve_again()?;
    runtime.block_on(async {
        let (session, disk) = session(&service).await?;
        is_refused(&disk).await?;
        ensure!(disk.read(0, 8).await? == vec![1; 4096]);
        for outcome in ["done", "already-so"] {
            ensure!(service.admin_json(&["lun", "protect", "data", "--off"])?["outcome"] == outcome);
        }
        disk.write(0, Bytes::from(vec![2; 4096])).await?;
        Ok::<_, anyhow::Error>(session.logout().await?)
    })?;
    ensure!(service.admin_refused(&["lun", "protect", "nothing"])?.contains("lunshadow lun list"));
    Ok(())
}

#[test]
fn a_removable_lun_is_ejected_and_loaded_also_after_a_restart() -> anyhow::Result<()> {
    let mut service = Service::start()?;
    service.enrolled("sql")?;
    for outcome in ["done", "already-so"] {
        let made = service.admin_json(&["lun", "create", "data", "--size", "1MiB", "--removable"])?;
        ensure!(made["outcome"] == outcome, "{made}");
    }
    service.admin(&["lun", "map", "data", "sql"])?;
    let runtime = Runtime::new()?;
    let eject = Command::StartStopUnit { power: Power::Eject, immediate: false };
    let load = Command::StartStopUnit { power: Power::Load, immediate: false };
    let no_medium = (Status::CHECK_CONDITION, Some(AdditionalSense::MEDIUM_NOT_PRESENT));
    runtime.block_on(async {
        let (session, disk) = session(&service).await?;
        ensure!(disk.inquiry().await?.removable);
        disk.write(0, Bytes::from(vec![1; 4096])).await?;
        ensure!(status(&session, Command::PreventAllowMediumRemoval { prevent: true }).await?.0 == Status::GOOD);
        let prevented = Some(AdditionalSense::MEDIUM_REMOVAL_PREVENTED);
        ensure!(status(&session, eject).await? == (Status::CHECK_CONDITION, prevented));
        session.logout().await?;
        Ok::<_, anyhow::Error>(())
    })?;
    runtime.block_on(async {
        // The logout has let it go.
        let (session, disk) = session(&service).await?;
        disk.test_unit_ready().await?;
        ensure!(status(&session, eject).await? == (Status::GOOD, None));
        ensure!(status(&session, Command::TestUnitReady).await? == no_medium);
        Ok::<_, anyhow::Error>(session.logout().await?)
    })?;
    service.stop()?;
    let service = service.serve_again()?;
    runtime.block_on(async {
        // After power on the medium is loaded.
        let (session, disk) = session(&service).await?;
        ensure!(disk.inquiry().await?.removable);
        ensure!(disk.read(0, 8).await? == vec![1; 4096]);
        ensure!(status(&session, eject).await?.0 == Status::GOOD);
        ensure!(status(&session, load).await?.0 == Status::GOOD);
        disk.test_unit_ready().await?;
        let mut attentions = session.unit_attentions();
        ensure!(service.admin_json(&["lun", "removable", "data", "--off"])?["outcome"] == "done");
        disk.test_unit_ready().await?;
        let told = attentions.recv().await.context("the session ended")?;
        ensure!(told.sense.code == AdditionalSense::INQUIRY_DATA_CHANGED, "{told:?}");
        ensure!(!disk.inquiry().await?.removable);
        Ok::<_, anyhow::Error>(session.logout().await?)
    })
}

#[test]
fn shadow_copies_and_copies_of_a_protected_lun_are_disks_like_any_other() -> anyhow::Result<()> {
    let service = Service::start()?;
    let enrolment = service.enrolled("sql")?;
    let lun = service.lun_of("sql", "data")?;
    service.admin(&["lun", "protect", "data"])?;
    let shadows = crate::service::kept_shadows(&enrolment, &[lun])?;
    service.admin(&["lun", "copy", "data", "twin", "--wait"])?;
    service.admin(&["shadow", "promote", &shadows[0].to_string(), "promoted"])?;
    let luns = service.admin_json(&["lun", "list"])?;
    let protected: Vec<_> =
        luns["luns"].as_array().context("a list")?.iter().map(|lun| &lun["write_protected"]).collect();
    ensure!(protected == [&true, &false, &false], "{luns:#}");
    Ok(())
}
