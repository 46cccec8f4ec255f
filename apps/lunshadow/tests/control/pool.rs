//! What an administrator does with a pool, and with LUNs that hosts use, while it is served.

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use lunshadow::array::TARGET_NAME;
use lunshadow_array_client::{Array as _, Enrolment};
use lunshadow_control::LunId;
use lunshadow_initiator::{Disk, Session};
use lunshadow_scsi::{AdditionalSense, LunAddress};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::service::{Service, array_of, initiator, kept_shadows, refused, run, succeed, text, write};

const MIB: u64 = 1 << 20;

/// A host with two LUNs, 4 MiB of the first written, a shadow set of both, and 1 MiB of the first written anew.
struct Used {
    service: Service,
    enrolment: Enrolment,
    shadows: Vec<LunId>,
}

impl Used {
    fn start(runtime: &Runtime) -> anyhow::Result<Self> {
        let service = Service::start()?;
        let enrolment = service.enrolled("sql")?;
        let mut luns = Vec::new();
        for name in ["data", "log"] {
            let made = service.admin_json(&["lun", "create", name, "--size", "8MiB"])?;
            service.admin(&["lun", "map", name, "sql"])?;
            luns.push(made["lun"].as_str().context("an id")?.parse()?);
        }
        runtime.block_on(write(&service, 1, 0, 4 * MIB, 1))?;
        let shadows = kept_shadows(&enrolment, &luns)?;
        runtime.block_on(write(&service, 1, 0, MIB, 2))?;
        Ok(Self { service, enrolment, shadows })
    }
}

fn number(document: &Value, field: &str) -> anyhow::Result<u64> {
    document[field].as_u64().with_context(|| format!("no number {field} in {document:#}"))
}

/// The fields of a status that add up, checked.
fn add_up(status: &Value) -> anyhow::Result<()> {
    let field = |name| number(status, name);
    let used = field("own_bytes")? + field("map_bytes")? + field("data_bytes")? + field("freed_bytes")?;
    ensure!(field("used_bytes")? == used, "{status:#}");
    ensure!(field("capacity_bytes")? == used + field("free_bytes")?, "{status:#}");
    let luns = status["luns"].as_array().context("LUNs")?;
    let sum = |name| luns.iter().map(|lun| number(lun, name)).sum::<anyhow::Result<u64>>();
    ensure!(field("unique_bytes")? == sum("unique_bytes")?, "{status:#}");
    ensure!(field("mapped_bytes")? == sum("mapped_bytes")?, "{status:#}");
    ensure!(field("provisioned_bytes")? == sum("len_bytes")?, "{status:#}");
    let returning = field("reclaiming_bytes")? - field("freed_bytes")?;
    let in_use = field("unique_bytes")? + field("shared_bytes")? + returning;
    ensure!(field("map_bytes")? + field("data_bytes")? == in_use, "{status:#}");
    Ok(())
}

#[test]
fn the_status_of_a_served_pool_adds_up_and_a_deletion_brings_back_what_it_says() -> anyhow::Result<()> {
    let Used { mut service, .. } = Used::start(&Runtime::new()?)?;
    let status = service.admin_json(&["pool", "status"])?;
    add_up(&status)?;
    let luns = status["luns"].as_array().context("LUNs")?;
    let of = |kind: &str, field: &str, name: &str| {
        luns.iter().find(|lun| lun["kind"] == kind && lun[field] == name).context("not listed")
    };
    let (data, shadow) = (of("lun", "name", "data")?, of("shadow", "source_name", "data")?);
    ensure!(number(data, "mapped_bytes")? == 4 * MIB && number(shadow, "mapped_bytes")? == 4 * MIB, "{status:#}");
    // What was written anew, and what the shadow LUN keeps of before.
    ensure!((MIB..2 * MIB).contains(&number(data, "unique_bytes")?), "{status:#}");
    let unique = number(shadow, "unique_bytes")?;
    ensure!((MIB..2 * MIB).contains(&unique), "{status:#}");
    ensure!((3 * MIB..4 * MIB).contains(&number(&status, "shared_bytes")?), "{status:#}");
    ensure!(status["level"] == "plenty" && status["io_engine"].as_str().is_some_and(|name| !name.is_empty()));
    let said = service.admin(&["pool", "status"])?;
    ensure!(said.contains("shadow LUN of data") && said.contains("log"), "{said}");

    let set = shadow["set"].as_str().context("a set")?;
    service.admin(&["shadow", "delete", set])?;
    service.stop()?;
    // Opened again, it goes on giving back; the same command looks at the pool itself.
    let after: Value = serde_json::from_str(&succeed(["pool", "status", text(&service.pool()), "--json"])?)?;
    add_up(&after)?;
    let in_use = |status: &Value| Ok::<_, anyhow::Error>(number(status, "map_bytes")? + number(status, "data_bytes")?);
    let returning = number(&after, "reclaiming_bytes")? - number(&after, "freed_bytes")?;
    let given_back = in_use(&status)? - in_use(&after)? + returning;
    let unique_of_set: u64 = luns
        .iter()
        .filter(|lun| lun["kind"] == "shadow")
        .map(|lun| number(lun, "unique_bytes"))
        .sum::<anyhow::Result<u64>>()?;
    ensure!(given_back >= unique_of_set, "{given_back} came back, not {unique_of_set}: {after:#}");
    Ok(())
}

#[test]
fn a_pool_grows_while_it_is_served() -> anyhow::Result<()> {
    let mut service = Service::start()?;
    for outcome in ["done", "already-so"] {
        ensure!(service.admin_json(&["pool", "grow", "--size", "5GiB"])?["outcome"] == outcome);
    }
    ensure!(service.admin_json(&["pool", "status"])?["capacity_bytes"] == 5_u64 << 30);
    ensure!(service.admin_refused(&["pool", "grow", "--size", "1GiB"])?.contains("cannot shrink"));
    // What a killed service leaves behind does not keep the command from the pool.
    service.kill()?;
    ensure!(service.admin_json(&["pool", "status"])?["capacity_bytes"] == 5_u64 << 30);
    ensure!(refused(["pool", "status"])?.contains("--pool DIR"));
    Ok(())
}

#[test]
fn a_pool_with_less_room_than_the_threshold_says_so() -> anyhow::Result<()> {
    let mut service = Service::start()?;
    let status = service.admin_json(&["pool", "status"])?;
    // A tenth of what the pool's own records leave.
    let usable = number(&status, "capacity_bytes")? - number(&status, "own_bytes")?;
    ensure!(number(&status, "low_bytes")? == usable / 4096 / 10 * 4096 && status["level"] == "plenty", "{status:#}");
    service.stop()?;
    let service = service.serve_again_with(&["--warn-below", "5GiB"])?;
    let status = service.admin_json(&["pool", "status"])?;
    ensure!(status["low_bytes"] == 5_u64 << 30 && status["level"] == "low", "{status:#}");
    let output = run(["pool", "status", "--pool", text(&service.pool())])?;
    let warned = String::from_utf8(output.stderr)?;
    ensure!(output.status.success() && warned.contains("low on space"), "{warned}");
    Ok(())
}

#[test]
fn a_lun_grows_under_an_initiator_which_is_told() -> anyhow::Result<()> {
    let service = Service::start()?;
    service.enrolled("sql")?;
    service.lun_of("sql", "data")?;
    Runtime::new()?.block_on(async {
        let session = Session::login(service.portal, &initiator("sql").parse()?, TARGET_NAME).await?;
        let disk = Disk::new(session.clone(), LunAddress::peripheral(1));
        ensure!(disk.read_capacity().await?.last_lba == MIB / 512 - 1);
        let mut attentions = session.unit_attentions();
        for outcome in ["done", "already-so"] {
            ensure!(service.admin_json(&["lun", "grow", "data", "--size", "3MiB"])?["outcome"] == outcome);
        }
        // The initiator repeats a command that a unit attention interrupts; what interrupted it is on the side.
        disk.write(3 * MIB / 512 - 8, Bytes::from(vec![7; 4096])).await?;
        let told = attentions.recv().await.context("the session ended")?;
        ensure!(told.lun == LunAddress::peripheral(1), "{told:?}");
        ensure!(told.sense.code == AdditionalSense::CAPACITY_DATA_CHANGED, "{told:?}");
        ensure!(attentions.try_recv().is_err(), "it is told once");
        ensure!(disk.read_capacity().await?.last_lba == 3 * MIB / 512 - 1);
        ensure!(disk.read(MIB / 512, 8).await? == vec![0; 4096], "what is new reads as zeros");
        session.logout().await?;
        Ok(())
    })?;
    ensure!(service.admin_json(&["lun", "list"])?["luns"][0]["len_bytes"] == 3 * MIB);
    ensure!(service.admin_refused(&["lun", "grow", "data", "--size", "1MiB"])?.contains("cannot shrink"));
    ensure!(service.admin_refused(&["lun", "grow", "nothing", "--size", "1MiB"])?.contains("lunshadow lun list"));
    Ok(())
}

#[test]
fn luns_are_renamed_and_deleted_only_when_nobody_needs_them_or_the_command_says_so() -> anyhow::Result<()> {
    let Used { service, enrolment, shadows } = Used::start(&Runtime::new()?)?;
    for outcome in ["done", "already-so"] {
        let renamed = service.admin_json(&["lun", "rename", "data", "accounts"]);
        match outcome {
            "done" => ensure!(renamed?["outcome"] == "done"),
            _ => ensure!(service.admin_json(&["lun", "rename", "accounts", "accounts"])?["outcome"] == outcome),
        }
    }
    ensure!(service.admin_refused(&["lun", "rename", "accounts", "log"])?.contains("the name log is taken"));
    ensure!(service.admin_refused(&["lun", "rename", "accounts", "a b"])?.contains("use 1 to 64 ASCII letters"));

    let mapped = service.admin_refused(&["lun", "delete", "accounts"])?;
    ensure!(mapped.contains("LUN accounts is mapped to a host") && mapped.contains("--unmap"), "{mapped}");
    let has_shadows = service.admin_refused(&["lun", "delete", "accounts", "--unmap"])?;
    ensure!(has_shadows.contains("1 shadow LUN") && has_shadows.contains("--keep-shadows"), "{has_shadows}");
    ensure!(service.admin_json(&["lun", "list"])?["luns"][0]["hosts"][0]["host"] == "sql", "it was unmapped");
    service.admin(&["lun", "delete", "accounts", "--unmap", "--keep-shadows"])?;

    // The shadow LUN outlives its source, with its content.
    let array = array_of(&enrolment);
    array.map(&shadows)?;
    let overview = array.overview()?;
    let shadow = overview.luns.iter().find(|mapped| mapped.lun == shadows[0]).context("it is mapped")?;
    Runtime::new()?.block_on(async {
        let session = Session::login(service.portal, &initiator("sql").parse()?, TARGET_NAME).await?;
        let disk = Disk::new(session.clone(), LunAddress::peripheral(shadow.number));
        ensure!(disk.read(0, 8).await? == vec![1; 4096]);
        session.logout().await?;
        Ok(())
    })
}
