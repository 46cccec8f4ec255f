//! The scrub of a pool that is served.

use std::io::Read as _;
use std::os::unix::fs::FileExt as _;

use anyhow::{Context as _, ensure};
use lunshadow_store::POOL_FILE;
use tokio::runtime::Runtime;

use crate::service::{Service, run, text, write};

const MIB: u64 = 1 << 20;

/// A service with a LUN of 8 MiB, the first 4 of which are written, the last with `byte`.
fn with_data(byte: u8) -> anyhow::Result<Service> {
    let service = Service::start()?;
    service.enrolled("sql")?;
    service.admin(&["lun", "create", "data", "--size", "8MiB"])?;
    service.admin(&["lun", "map", "data", "sql"])?;
    Runtime::new()?.block_on(async {
        write(&service, 1, 0, 3 * MIB, 1).await?;
        write(&service, 1, 3 * MIB, MIB, byte).await
    })?;
    Ok(service)
}

#[test]
fn damage_is_named_by_lun_and_blocks_and_kept_until_the_next_scrub() -> anyhow::Result<()> {
    let mut service = with_data(0xa7)?;
    let whole = service.admin_json(&["pool", "scrub", "--wait"])?;
    ensure!(whole["phase"] == "finished" && whole["damage"] == serde_json::json!([]), "{whole:#}");
    ensure!(whole["verified_bytes"] == 4 * MIB, "{whole:#}");

    service.stop()?;
    let pool_file = service.pool().join(POOL_FILE);
    // The file is long and sparse; the pool writes from its beginning on.
    let mut content = Vec::new();
    std::fs::File::open(&pool_file)?.take(160 * MIB).read_to_end(&mut content)?;
    let found = content.chunks_exact(4096).rposition(|block| block == [0xa7; 4096]).context("it is not there")?;
    let file = std::fs::File::options().write(true).open(&pool_file)?;
    file.write_all_at(&[0x55; 64], u64::try_from(found)? * 4096)?;
    let mut service = service.serve_again()?;

    let scrub = run(["pool", "scrub", "--wait", "--json", "--pool", text(&service.pool())])?;
    ensure!(scrub.status.code() == Some(1), "{scrub:?}");
    let scrub: serde_json::Value = serde_json::from_slice(&scrub.stdout)?;
    let damage = &scrub["damage"][0];
    ensure!(damage["kind"] == "lun" && damage["name"] == "data" && damage["block_count"] == 8, "{scrub:#}");
    let first = damage["first_block"].as_u64().context("a block")?;
    ensure!((3 * MIB / 512..4 * MIB / 512).contains(&first) && first % 8 == 0, "{scrub:#}");

    service.stop()?;
    let service = service.serve_again()?;
    let kept = service.admin_json(&["pool", "status"])?;
    ensure!(kept["scrub"]["damage"] == scrub["damage"], "{kept:#}");
    let said = service.admin(&["pool", "status"])?;
    ensure!(
        said.contains(&format!("8 blocks from LBA {first} on cannot be read")) && said.contains("data ("),
        "{said}"
    );

    // Blocks that are written anew are whole.
    Runtime::new()?.block_on(write(&service, 1, 3 * MIB, MIB, 2))?;
    let again = service.admin_json(&["pool", "scrub", "--wait"])?;
    ensure!(again["phase"] == "finished" && again["damage"] == serde_json::json!([]), "{again:#}");
    Ok(())
}

#[test]
fn a_scrub_runs_once_survives_restarts_and_goes_on_where_it_was_stopped() -> anyhow::Result<()> {
    let mut service = with_data(3)?;
    let phase =
        |service: &Service| Ok::<_, anyhow::Error>(service.admin_json(&["pool", "status"])?["scrub"]["phase"].clone());
    ensure!(service.admin_json(&["pool", "scrub", "--stop"])?["outcome"] == "already-so");
    // The second step is minutes away.
    for outcome in ["done", "already-so"] {
        ensure!(service.admin_json(&["pool", "scrub", "--rate", "4KiB"])?["outcome"] == outcome);
    }
    ensure!(phase(&service)? == "running");
    service.stop()?;
    let mut service = service.serve_again()?;
    ensure!(phase(&service)? == "running");
    service.kill()?;
    ensure!(phase(&service)? == "running", "the file of a pool that is not served says what was");
    let service = service.serve_again()?;
    ensure!(service.admin_json(&["pool", "scrub", "--rate", "4KiB"])?["outcome"] == "already-so");
    for outcome in ["done", "already-so"] {
        ensure!(service.admin_json(&["pool", "scrub", "--stop"])?["outcome"] == outcome);
    }
    ensure!(phase(&service)? == "stopped");
    ensure!(service.admin(&["pool", "status"])?.contains("scrub: stopped"));
    let ended = service.admin_json(&["pool", "scrub", "--wait"])?;
    ensure!(ended["phase"] == "finished", "{ended:#}");
    ensure!(ended["verified_bytes"].as_u64().is_some_and(|verified| verified >= 4 * MIB), "{ended:#}");
    Ok(())
}
