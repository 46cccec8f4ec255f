//! `lunshadow pool …`: making pools, and checking those that nobody serves.

use std::path::Path;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use lunshadow_store::{CheckOptions, CheckReport, OpenError, Repair, StoreConfig, pool_id};
use serde_json::json;

use crate::array::{Storage, TAIL_FOLDER};
use crate::cli::{PoolCheckArgs, PoolCommand, PoolCreateArgs};
use crate::console::{bytes, say};
use crate::foreign::found_on;
use crate::location::length_of_device;
use crate::{pool_care, pool_scrub};

/// Runs the command. False if a check found something wrong that is so still.
///
/// # Errors
/// If the folder cannot be written, has a pool where none should be, or none where there should be one, or somebody serves the pool.
pub async fn run(command: &PoolCommand) -> anyhow::Result<bool> {
    match command {
        PoolCommand::Create(args) => create(args).await.map(|()| true),
        PoolCommand::Check(args) => check(args),
        PoolCommand::Grow(args) => pool_care::grow(args).await.map(|()| true),
        PoolCommand::Scrub(args) => pool_scrub::scrub(args),
        PoolCommand::Status(args) => pool_care::status(args).await.map(|()| true),
    }
}

async fn create(args: &PoolCreateArgs) -> anyhow::Result<()> {
    let path = args.path.display();
    let size_bytes = match length_of_device(&args.path)? {
        Some(device_bytes) => create_on_device(args, device_bytes).await?,
        None => {
            let size_bytes = args.size.unwrap_or(StoreConfig::default().capacity_bytes);
            anyhow::ensure!(args.records.is_none(), "a pool in a folder keeps its records there; leave out --records");
            Storage::create(&args.path, &config_of(args, size_bytes)).await?.close().await?;
            size_bytes
        }
    };
    say(&format!("a pool of {} is made in {path}", bytes(size_bytes)));
    say(&format!("serve it with: lunshadow serve --pool {path} --control 127.0.0.1:3261"));
    Ok(())
}

fn config_of(args: &PoolCreateArgs, capacity_bytes: u64) -> StoreConfig {
    StoreConfig { capacity_bytes, preallocate: args.preallocate, ..StoreConfig::default() }
}

/// Makes a pool on a device that holds nothing else, or whose content nobody needs. Answers its size.
async fn create_on_device(args: &PoolCreateArgs, device_bytes: u64) -> anyhow::Result<u64> {
    let path = args.path.display();
    let size_bytes = args.size.unwrap_or(device_bytes);
    anyhow::ensure!(size_bytes <= device_bytes, "{path} has {} only", bytes(device_bytes));
    let pool = match pool_id(&args.path) {
        Ok(id) => Some(format!("the pool {id}")),
        Err(OpenError::NotAPool) => None,
        Err(OpenError::Io(error)) => return Err(error).with_context(|| format!("cannot read {path}")),
        Err(error) => Some(format!("a pool that cannot be opened: {error}")),
    };
    let found = if pool.is_some() { pool } else { found_on(&args.path)? };
    if let Some(found) = found {
        anyhow::ensure!(args.force, "{path} holds {found}; with --force a pool is made on it, and that is lost");
        say(&format!("{path} held {found}, which is lost"));
    }
    let storage = Storage::create_on_device(&args.path, &config_of(args, size_bytes), args.records.as_deref()).await?;
    say(&format!("catalog, keys and credentials are kept in {}", storage.location.records.display()));
    storage.close().await?;
    Ok(size_bytes)
}

fn check(args: &PoolCheckArgs) -> anyhow::Result<bool> {
    let options = CheckOptions { verify_data: !args.metadata_only, repair: args.repair, memory_bytes: args.memory };
    // It draws nothing where nobody looks.
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()));
    let report = lunshadow_store::check(&args.folder, Some(Path::new(TAIL_FOLDER)), &options, &mut |progress| {
        bar.set_message(format!(
            "{} map pages, {} of data",
            progress.map_pages,
            bytes(progress.verified_blocks * 4096)
        ));
        bar.tick();
    });
    bar.finish_and_clear();
    let report = report.with_context(|| format!("cannot check the pool in {}", args.folder.display()))?;
    if args.json {
        say(&serde_json::to_string_pretty(&as_json(&report))?);
    } else {
        print(&report);
    }
    let lasting = !report.damage.is_empty() || report.damage_left_out || report.conflicting_blocks > 0;
    Ok(report.is_clean() || (report.repair == Some(Repair::Done) && !lasting && report.unopenable.is_none()))
}

/// What a check says to people.
fn print(report: &CheckReport) {
    let data = bytes(report.data_blocks * 4096);
    say(&format!("{} LUNs and shadow LUNs, {} map pages, {data} of data", report.luns, report.map_pages));
    if let Some(error) = &report.unopenable {
        say(&format!("the pool does not open: {error}; what follows is about its last checkpoint"));
    }
    for damage in &report.damage {
        say(&format!("LUN {}: {} from {} on cannot be read", damage.lun, damage.count, damage.at));
    }
    if report.damage_left_out {
        say("more is damaged than is listed here");
    }
    for damage in &report.metadata {
        say(&format!("the {} is damaged at block {} of the medium", damage.what, damage.block));
    }
    for (count, what) in [
        (report.damaged_copies, "copies of metadata are damaged; there is another one of each"),
        (report.leaked_blocks, "blocks are in use and belong to nothing"),
        (report.overcounted_blocks, "blocks have a reference count that is too high"),
        (report.undercounted_blocks, "blocks have a reference count that is too low"),
        (report.conflicting_blocks, "blocks are used twice"),
    ] {
        if count > 0 {
            say(&format!("{count} {what}"));
        }
    }
    if report.wrong_totals {
        say("the totals of used blocks are wrong");
    }
    say(match report.repair {
        None if report.is_clean() => "the pool is whole",
        None if report.is_repairable() => "something can be repaired: run the check with --repair",
        None => "what is damaged cannot be repaired; what is not named here is whole",
        Some(Repair::NotNeeded) if report.is_clean() => "the pool is whole",
        Some(Repair::NotNeeded) => "there is nothing that a repair could correct",
        Some(Repair::Done) => "what could be repaired is repaired",
        Some(Repair::CountsUnknown) => {
            "reference counts stay as they are, since some maps cannot be read; delete the LUNs that are damaged, then repair"
        }
    });
}

fn as_json(report: &CheckReport) -> serde_json::Value {
    let damage = |damage: &lunshadow_store::LunDamage| json!({ "lun": damage.lun.to_string(), "first_block": damage.at.0, "blocks": damage.count.0 });
    json!({
        "clean": report.is_clean(),
        "luns": report.luns,
        "map_pages": report.map_pages,
        "data_blocks": report.data_blocks,
        "damage": report.damage.iter().map(damage).collect::<Vec<_>>(),
        "damage_left_out": report.damage_left_out,
        "metadata": report.metadata.iter().map(|of| json!({ "what": of.what, "block": of.block })).collect::<Vec<_>>(),
        "damaged_copies": report.damaged_copies,
        "leaked_blocks": report.leaked_blocks,
        "overcounted_blocks": report.overcounted_blocks,
        "undercounted_blocks": report.undercounted_blocks,
        "conflicting_blocks": report.conflicting_blocks,
        "wrong_totals": report.wrong_totals,
        "unopenable": report.unopenable.as_ref().map(ToString::to_string),
        "repair": report.repair.map(|repair| match repair {
            Repair::NotNeeded => "not-needed",
            Repair::Done => "done",
            Repair::CountsUnknown => "counts-unknown",
        }),
    })
}
