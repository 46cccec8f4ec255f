//! `lunshadow pool …`: what is done to a pool that nobody serves.

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use lunshadow_lun::{LunOrigin, Pool as _};
use lunshadow_store::{CheckOptions, CheckReport, Repair, StoreConfig, StorePool};
use serde_json::json;

use crate::array::Storage;
use crate::cli::{PoolCheckArgs, PoolCommand, PoolCreateArgs, PoolGrowArgs, PoolStatusArgs};
use crate::console::{bytes, say};

/// Runs the command. False if a check found something wrong that is so still.
///
/// # Errors
/// If the folder cannot be written, has a pool where none should be, or none where there should be one, or somebody serves the pool.
pub async fn run(command: &PoolCommand) -> anyhow::Result<bool> {
    match command {
        PoolCommand::Create(args) => create(args).await.map(|()| true),
        PoolCommand::Check(args) => check(args),
        PoolCommand::Grow(args) => grow(args).await.map(|()| true),
        PoolCommand::Status(args) => status(args).await.map(|()| true),
    }
}

async fn create(args: &PoolCreateArgs) -> anyhow::Result<()> {
    Storage::create(&args.folder, args.size).await?.close().await?;
    let folder = args.folder.display();
    say(&format!("a pool of {} is made in {folder}", bytes(args.size)));
    say(&format!("serve it with: lunshadow serve --pool {folder} --control 127.0.0.1:3261"));
    Ok(())
}

fn check(args: &PoolCheckArgs) -> anyhow::Result<bool> {
    let options = CheckOptions { verify_data: !args.metadata_only, repair: args.repair, memory_bytes: args.memory };
    // It draws nothing where nobody looks.
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()));
    let report = lunshadow_store::check(&args.folder, &options, &mut |progress| {
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

fn open(folder: &std::path::Path) -> anyhow::Result<StorePool> {
    StorePool::open(folder, &StoreConfig::default())
        .with_context(|| format!("cannot open the pool in {}", folder.display()))
}

async fn grow(args: &PoolGrowArgs) -> anyhow::Result<()> {
    let pool = open(&args.folder)?;
    pool.enlarge(args.size).await.context("cannot give the pool more capacity")?;
    pool.close().await?;
    say(&format!("the pool in {} has {} now", args.folder.display(), bytes(args.size)));
    Ok(())
}

async fn status(args: &PoolStatusArgs) -> anyhow::Result<()> {
    let pool = open(&args.folder)?;
    let usage = pool.usage();
    let mut shadows = Vec::new();
    for summary in pool.luns() {
        let of_shadow = matches!(summary.origin, LunOrigin::Shadow { .. });
        shadows.push((summary.lun, of_shadow, summary.block_count.bytes(), pool.unique_bytes(summary.lun).await?));
    }
    pool.close().await?;
    if args.json {
        let luns = shadows.iter().map(|(lun, is_shadow, length, unique)| {
            json!({ "lun": lun.to_string(), "shadow": is_shadow, "length_bytes": length, "unique_bytes": unique })
        });
        let document = json!({
            "capacity_bytes": usage.capacity_bytes,
            "used_bytes": usage.used_bytes,
            "own_bytes": usage.own_bytes,
            "map_bytes": usage.map_bytes,
            "data_bytes": usage.data_bytes,
            "freed_bytes": usage.freed_bytes,
            "reclaiming_bytes": usage.reclaiming_bytes,
            "available_bytes": usage.available_bytes,
            "provisioned_bytes": usage.provisioned_bytes,
            "mapped_bytes": usage.mapped_bytes,
            "luns": luns.collect::<Vec<_>>(),
        });
        say(&serde_json::to_string_pretty(&document)?);
        return Ok(());
    }
    say(&format!(
        "{} of {} in use, room for {}",
        bytes(usage.used_bytes),
        bytes(usage.capacity_bytes),
        bytes(usage.available_bytes)
    ));
    let (data, map, own) = (bytes(usage.data_bytes), bytes(usage.map_bytes), bytes(usage.own_bytes));
    say(&format!("   {data} data, {map} maps, {own} for the pool itself, {} just freed", bytes(usage.freed_bytes)));
    let (mapped, provisioned) = (bytes(usage.mapped_bytes), bytes(usage.provisioned_bytes));
    say(&format!("   LUNs hold {mapped} of the {provisioned} that they promise; what they share counts for each"));
    for (lun, is_shadow, length, unique) in shadows {
        let kind = if is_shadow { "shadow LUN" } else { "LUN" };
        say(&format!("   {kind} {lun}: {}, {} of it only its own", bytes(length), bytes(unique)));
    }
    Ok(())
}
