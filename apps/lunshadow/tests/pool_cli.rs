//! `lunshadow pool …` as an administrator uses it on a pool that is not served.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use lunshadow_lun::{BlockCount, Lba, LunId, Pool as _};
use lunshadow_store::{POOL_FILE, StoreConfig, StorePool};
use serde_json::Value;

fn lunshadow(arguments: &[&str], folder: &Path) -> anyhow::Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lunshadow"));
    command.arg("pool").arg(arguments[0]).arg(folder).args(&arguments[1..]);
    command.output().context("the program does not start")
}

/// The exit code and the standard output.
fn run(arguments: &[&str], folder: &Path) -> anyhow::Result<(Option<i32>, String)> {
    let output = lunshadow(arguments, folder)?;
    Ok((output.status.code(), String::from_utf8(output.stdout)?))
}

fn json_of(arguments: &[&str], folder: &Path) -> anyhow::Result<(Option<i32>, Value)> {
    let (code, stdout) = run(arguments, folder)?;
    Ok((code, serde_json::from_str(&stdout).with_context(|| stdout)?))
}

/// A pool with a LUN of eight blocks, the fifth of which is filled with sevens; the LUN, and where that block is in the pool's file.
fn pool_with_lun(folder: &Path) -> anyhow::Result<(LunId, u64)> {
    let (code, _) = run(&["create", "--size", "1GiB"], folder)?;
    ensure!(code == Some(0), "the pool was not made");
    let lun = LunId::random();
    tokio::runtime::Runtime::new()?.block_on(async {
        let pool = StorePool::open(folder, &StoreConfig::default())?;
        let handle = pool.create(lun, BlockCount(64)).await?;
        handle.write(Lba(0), Bytes::from(vec![1; 8 * 4096])).await?;
        handle.write(Lba(32), Bytes::from(vec![7; 4096])).await?;
        pool.close().await?;
        anyhow::Ok(())
    })?;
    let content = std::fs::read(folder.join(POOL_FILE))?;
    let found = content.chunks_exact(4096).position(|block| block == [7; 4096]).context("the block is not there")?;
    Ok((lun, u64::try_from(found)? * 4096))
}

fn overwrite(folder: &Path, offset_bytes: u64) -> anyhow::Result<()> {
    let file = std::fs::File::options().write(true).open(folder.join(POOL_FILE))?;
    Ok(file.write_all_at(&[0x55; 64], offset_bytes)?)
}

#[test]
fn a_check_names_damage_and_repairs_copies() -> anyhow::Result<()> {
    let parent = tempfile::tempdir()?;
    let folder = parent.path().join("pool");
    let (lun, damaged_at) = pool_with_lun(&folder)?;
    let (code, said) = run(&["check"], &folder)?;
    ensure!(code == Some(0) && said.contains("the pool is whole"), "{code:?}: {said}");

    overwrite(&folder, damaged_at)?;
    let (code, report) = json_of(&["check", "--json"], &folder)?;
    ensure!(code == Some(1) && report["clean"] == false, "{code:?}: {report:#}");
    let damage = serde_json::json!([{ "lun": lun.to_string(), "first_block": 32, "blocks": 8 }]);
    ensure!(report["damage"] == damage, "{report:#}");
    let (code, said) = run(&["check", "--repair"], &folder)?;
    ensure!(code == Some(1) && said.contains(&format!("LUN {lun}: 8 blocks from LBA 32 on")), "{code:?}: {said}");
    let (code, _) = run(&["check", "--metadata-only"], &folder)?;
    ensure!(code == Some(0), "data was looked at");

    // Both places of the second copy of the table of LUNs' root.
    overwrite(&folder, 6 * 4096)?;
    overwrite(&folder, 7 * 4096)?;
    let (code, report) = json_of(&["check", "--metadata-only", "--json"], &folder)?;
    ensure!(code == Some(1) && report["damaged_copies"] == 1, "{code:?}: {report:#}");
    let (code, said) = run(&["check", "--metadata-only", "--repair"], &folder)?;
    ensure!(code == Some(0) && said.contains("is repaired"), "{code:?}: {said}");
    let (code, report) = json_of(&["check", "--metadata-only", "--json"], &folder)?;
    ensure!(code == Some(0) && report["clean"] == true, "{code:?}: {report:#}");
    Ok(())
}

#[test]
fn a_pool_grows_and_says_where_its_space_is() -> anyhow::Result<()> {
    let parent = tempfile::tempdir()?;
    let folder = parent.path().join("pool");
    let (lun, _) = pool_with_lun(&folder)?;
    let (code, _) = run(&["grow", "--size", "2GiB"], &folder)?;
    ensure!(code == Some(0), "the pool did not grow");
    let output = lunshadow(&["grow", "--size", "1GiB"], &folder)?;
    let complaint = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(2) && complaint.contains("cannot shrink"), "{complaint}");
    let (code, status) = json_of(&["status", "--json"], &folder)?;
    ensure!(code == Some(0) && status["capacity_bytes"] == 2_u64 << 30, "{status:#}");
    let part = |name: &str| status[name].as_u64().context("a number");
    let sum = part("own_bytes")? + part("map_bytes")? + part("data_bytes")? + part("freed_bytes")?;
    ensure!(sum == part("used_bytes")? && part("data_bytes")? == 8 * 4096, "{status:#}");
    ensure!(status["luns"][0]["lun"] == lun.to_string(), "{status:#}");
    // The data and the one page of the map, twice.
    ensure!(status["luns"][0]["unique_bytes"] == (8 + 2) * 4096, "{status:#}");
    let (code, said) = run(&["status"], &folder)?;
    ensure!(code == Some(0) && said.contains(&lun.to_string()), "{said}");
    Ok(())
}
