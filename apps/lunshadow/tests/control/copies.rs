//! Full copies, promotions and reverts of LUNs that are served.

use anyhow::{Context as _, ensure};
use lunshadow::array::TARGET_NAME;
use lunshadow_control::LunId;
use lunshadow_initiator::{Disk, Session};
use lunshadow_scsi::LunAddress;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::service::{Service, initiator, kept_shadows, write};

const MIB: u64 = 1 << 20;

/// A service with two LUNs of the host `sql`, `data` with 6 of its 16 MiB filled with ones.
fn with_data(runtime: &Runtime) -> anyhow::Result<(Service, Vec<LunId>, lunshadow_array_client::Enrolment)> {
    let service = Service::start()?;
    let enrolment = service.enrolled("sql")?;
    let mut luns = Vec::new();
    for name in ["data", "log"] {
        let made = service.admin_json(&["lun", "create", name, "--size", "16MiB"])?;
        service.admin(&["lun", "map", name, "sql"])?;
        luns.push(made["lun"].as_str().context("an id")?.parse()?);
    }
    runtime.block_on(write(&service, 1, 0, 6 * MIB, 1))?;
    Ok((service, luns, enrolment))
}

/// The first byte of each MiB of a LUN of the host, up to `count` of them.
async fn bytes_of(service: &Service, number: u8, count: u64) -> anyhow::Result<Vec<u8>> {
    let session = Session::login(service.portal, &initiator("sql").parse()?, TARGET_NAME).await?;
    let disk = Disk::new(session.clone(), LunAddress::peripheral(number));
    let mut bytes = Vec::new();
    for mib in 0..count {
        let block = disk.read(mib * MIB / 512, 1).await?;
        ensure!(block.iter().all(|byte| *byte == block[0]), "a block of several contents");
        bytes.push(block[0]);
    }
    session.logout().await?;
    Ok(bytes)
}

/// The names, or kinds of those without, of all LUNs that the pool has.
fn in_pool(service: &Service) -> anyhow::Result<Vec<String>> {
    let status = service.admin_json(&["pool", "status"])?;
    let luns = status["luns"].as_array().context("LUNs")?;
    let name = |lun: &Value| lun["name"].as_str().or(lun["kind"].as_str()).map(ToOwned::to_owned).context("a kind");
    let mut names = luns.iter().map(name).collect::<anyhow::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

#[test]
fn a_full_copy_shares_nothing_and_outlives_its_source() -> anyhow::Result<()> {
    let runtime = Runtime::new()?;
    let (service, ..) = with_data(&runtime)?;
    let ended = service.admin_json(&["lun", "copy", "data", "twin", "--wait"])?;
    ensure!(ended["phase"] == "finished" && ended["written_bytes"] == 6 * MIB, "{ended:#}");
    ensure!(ended["done_bytes"] == 16 * MIB && ended["source_name"] == "data", "{ended:#}");
    ensure!(in_pool(&service)? == ["data", "log", "twin"]);
    let status = service.admin_json(&["pool", "status"])?;
    let unique = status["luns"].as_array().context("LUNs")?.iter().filter(|lun| lun["name"] != "log");
    for lun in unique {
        ensure!(lun["unique_bytes"].as_u64().is_some_and(|unique| unique >= 6 * MIB), "{lun:#}");
    }
    ensure!(service.admin_refused(&["lun", "copy", "data", "twin"])?.contains("the name twin is taken"));
    ensure!(service.admin_refused(&["lun", "copy", "nothing", "other"])?.contains("there is no LUN nothing"));
    service.admin(&["lun", "delete", "data", "--unmap"])?;
    let mapped = service.admin_json(&["lun", "map", "twin", "sql"])?;
    let number = u8::try_from(mapped["number"].as_u64().context("a number")?)?;
    ensure!(runtime.block_on(bytes_of(&service, number, 16))? == [[1; 6].as_slice(), &[0; 10]].concat());
    ensure!(service.admin(&["lun", "copies"])?.contains("finished"));
    Ok(())
}

#[test]
fn a_copy_is_of_one_instant_unseen_until_it_is_whole_and_goes_on_after_a_crash() -> anyhow::Result<()> {
    let runtime = Runtime::new()?;
    let (mut service, ..) = with_data(&runtime)?;
    // After its first step the copy waits for hours.
    for outcome in ["done", "already-so"] {
        ensure!(service.admin_json(&["lun", "copy", "data", "twin", "--rate", "512"])?["outcome"] == outcome);
    }
    runtime.block_on(write(&service, 1, 0, 6 * MIB, 2))?;
    ensure!(service.admin_refused(&["lun", "map", "twin", "sql"])?.contains("there is no LUN twin"));
    ensure!(service.admin_refused(&["lun", "create", "twin", "--size", "1MiB"])?.contains("the name twin is taken"));
    ensure!(in_pool(&service)? == ["data", "internal", "internal", "log"]);
    service.kill()?;
    let mut service = service.serve_again()?;
    service.stop()?;
    let service = service.serve_again()?;
    ensure!(service.admin_json(&["lun", "copies"])?["copies"][0]["phase"] == "running");
    // The same copy without a limit.
    let ended = service.admin_json(&["lun", "copy", "data", "twin", "--wait"])?;
    ensure!(ended["phase"] == "finished", "{ended:#}");
    let mapped = service.admin_json(&["lun", "map", "twin", "sql"])?;
    let number = u8::try_from(mapped["number"].as_u64().context("a number")?)?;
    ensure!(runtime.block_on(bytes_of(&service, number, 7))? == [1, 1, 1, 1, 1, 1, 0]);
    ensure!(in_pool(&service)? == ["data", "log", "twin"]);
    Ok(())
}

#[test]
fn nothing_is_left_of_a_copy_that_is_given_up() -> anyhow::Result<()> {
    let (mut service, luns, enrolment) = with_data(&Runtime::new()?)?;
    let shadow = kept_shadows(&enrolment, &luns[..1])?[0].to_string();
    // Of a shadow LUN, whose set may go meanwhile.
    service.admin(&["lun", "copy", &shadow, "twin", "--rate", "512"])?;
    let sets = service.admin_json(&["shadow", "list"])?;
    service.admin(&["shadow", "delete", sets["sets"][0]["summary"]["set"].as_str().context("a set")?])?;
    ensure!(in_pool(&service)? == ["data", "internal", "internal", "log"]);
    for outcome in ["done", "already-so"] {
        ensure!(service.admin_json(&["lun", "cancel-copy", "twin"])?["outcome"] == outcome);
    }
    ensure!(in_pool(&service)? == ["data", "log"]);
    service.admin(&["lun", "create", "twin", "--size", "1MiB"])?;
    service.stop()?;
    let service = service.serve_again()?;
    ensure!(in_pool(&service)? == ["data", "log", "twin"]);
    Ok(())
}

#[test]
fn a_lun_is_reverted_to_its_own_shadow_only_and_under_hosts_only_by_force() -> anyhow::Result<()> {
    let runtime = Runtime::new()?;
    let (service, luns, enrolment) = with_data(&runtime)?;
    let shadows: Vec<String> = kept_shadows(&enrolment, &luns)?.iter().map(ToString::to_string).collect();
    runtime.block_on(write(&service, 1, 0, 3 * MIB, 2))?;
    let mapped = service.admin_refused(&["lun", "revert", "data", "--to", &shadows[0]])?;
    ensure!(mapped.contains("LUN data is mapped to a host") && mapped.contains("--force"), "{mapped}");
    let foreign = service.admin_refused(&["lun", "revert", "data", "--to", &shadows[1], "--force"])?;
    ensure!(foreign.contains("is not one of LUN data"), "{foreign}");
    service.admin(&["lun", "protect", "data"])?;
    let protected = service.admin_refused(&["lun", "revert", "data", "--to", &shadows[0], "--force"])?;
    ensure!(protected.contains("LUN data is write protected") && protected.contains("--off"), "{protected}");
    service.admin(&["lun", "protect", "data", "--off"])?;
    ensure!(runtime.block_on(bytes_of(&service, 1, 4))? == [2, 2, 2, 1]);
    service.admin(&["lun", "revert", "data", "--to", &shadows[0], "--force"])?;
    ensure!(runtime.block_on(bytes_of(&service, 1, 7))? == [1, 1, 1, 1, 1, 1, 0]);
    service.admin(&["lun", "unmap", "data", "sql"])?;
    service.admin(&["lun", "revert", "data", "--to", &shadows[0]])?;
    Ok(())
}

#[test]
fn a_shadow_lun_is_promoted_to_a_lun_with_a_name_that_can_be_mapped() -> anyhow::Result<()> {
    let runtime = Runtime::new()?;
    let (service, luns, enrolment) = with_data(&runtime)?;
    let shadow = kept_shadows(&enrolment, &luns[..1])?[0].to_string();
    runtime.block_on(write(&service, 1, 0, MIB, 2))?;
    ensure!(service.admin_refused(&["shadow", "promote", &shadow, "log"])?.contains("the name log is taken"));
    for outcome in ["done", "already-so"] {
        ensure!(service.admin_json(&["shadow", "promote", &shadow, "before"])?["outcome"] == outcome);
    }
    service.admin(&["lun", "delete", "data", "--unmap"])?;
    let mapped = service.admin_json(&["lun", "map", "before", "sql"])?;
    let number = u8::try_from(mapped["number"].as_u64().context("a number")?)?;
    ensure!(runtime.block_on(bytes_of(&service, number, 7))? == [1, 1, 1, 1, 1, 1, 0]);
    ensure!(in_pool(&service)? == ["before", "log"]);
    Ok(())
}
