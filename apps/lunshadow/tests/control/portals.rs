//! Portal groups, as the administrator's command sets them and an initiator finds them.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use lunshadow::array::TARGET_NAME;
use lunshadow_initiator::{Disk, DiskError, Session};
use lunshadow_scsi::{AdditionalSense, LunAddress, SenseKey};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::service::{Service, initiator};

const TWO_GROUPS: &[&str] = &["--listen", "127.0.0.1:0,2"];

/// The address of the only portal in a group.
fn portal(service: &Service, group: u64) -> anyhow::Result<SocketAddr> {
    let listed = service.admin_json(&["portal", "list"])?;
    let groups = listed["groups"].as_array().context("a list")?;
    let found = groups.iter().find(|listed| listed["group"] == group).context("the group is there")?;
    Ok(found["portals"][0].as_str().context("an address")?.parse()?)
}

async fn disk_by(portal: SocketAddr) -> anyhow::Result<(Session, Disk)> {
    let session = Session::login(portal, &initiator("sql").parse()?, TARGET_NAME).await?;
    Ok((session.clone(), Disk::new(session, LunAddress::peripheral(1))))
}

async fn is_refused(disk: &Disk, code: AdditionalSense) -> anyhow::Result<()> {
    let refused = disk.read(0, 8).await.err().context("it was read")?;
    let DiskError::CheckCondition { sense, .. } = refused else { anyhow::bail!("{refused}") };
    ensure!((sense.key, sense.code) == (SenseKey::NOT_READY, code), "{sense}");
    Ok(())
}

#[test]
fn hosts_use_another_group_while_one_is_on_standby_also_after_a_restart() -> anyhow::Result<()> {
    let mut service = Service::start_with(TWO_GROUPS)?;
    service.enrolled("sql")?;
    service.lun_of("sql", "data")?;
    let runtime = Runtime::new()?;
    ensure!(portal(&service, 1)? == service.portal);
    runtime.block_on(async {
        let (one, first) = disk_by(service.portal).await?;
        let (two, second) = disk_by(portal(&service, 2)?).await?;
        for disk in [&first, &second] {
            ensure!(disk.read(0, 8).await? == vec![0; 4096]);
        }
        let mut attentions = one.unit_attentions();
        for outcome in ["done", "already-so"] {
            ensure!(service.admin_json(&["portal", "set", "2", "standby"])?["outcome"] == outcome);
        }
        ensure!(first.read(0, 8).await? == vec![0; 4096]);
        let told = attentions.recv().await.context("the session ended")?;
        ensure!(told.sense.code == AdditionalSense::ASYMMETRIC_ACCESS_STATE_CHANGED, "{told:?}");
        is_refused(&second, AdditionalSense::TARGET_PORT_IN_STANDBY).await?;
        one.logout().await?;
        Ok::<_, anyhow::Error>(two.logout().await?)
    })?;
    let refused = service.admin_refused(&["portal", "set", "1", "unavailable"])?;
    ensure!(refused.contains("last one"), "{refused}");
    let refused = service.admin_refused(&["portal", "set", "7", "standby"])?;
    ensure!(refused.contains("lunshadow portal list"), "{refused}");
    service.stop()?;
    let mut service = service.serve_again_with(TWO_GROUPS)?;
    ensure!(service.beginning().contains("portal group 2 is standby"), "{}", service.beginning());
    let listed = service.admin(&["portal", "list"])?;
    let line = listed.lines().find(|line| line.starts_with("2 ")).context("the group is listed")?;
    ensure!(line.contains(" standby "), "{listed}");
    runtime.block_on(async {
        let (session, disk) = disk_by(portal(&service, 2)?).await?;
        is_refused(&disk, AdditionalSense::TARGET_PORT_IN_STANDBY).await?;
        ensure!(service.admin(&["portal", "set", "2", "optimized"])?.contains("portal group 2 is now optimized"));
        ensure!(disk.read(0, 8).await? == vec![0; 4096]);
        Ok::<_, anyhow::Error>(session.logout().await?)
    })?;
    let states: Vec<Value> = service.admin_json(&["portal", "list"])?["groups"]
        .as_array()
        .context("a list")?
        .iter()
        .map(|group| group["state"].clone())
        .collect();
    ensure!(states == ["optimized", "optimized"], "{states:?}");
    service.stop()
}
