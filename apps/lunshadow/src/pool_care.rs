//! `lunshadow pool status` and `grow`: what can be done to a pool whether it is served or not. The service is asked where one
//! runs; otherwise the pool is opened here.

use std::time::Duration;

use anyhow::Context as _;
use lunshadow_array_client::ArrayError;
use lunshadow_control::api::OutcomeAnswer;
use lunshadow_control::{LunId, PoolLevel, PoolLun, PoolLunKind, PoolStatus, ScrubState};
use serde::{Deserialize, Serialize};

use crate::admin::table::{row, table};
use crate::admin::{Service, told};
use crate::array::Storage;
use crate::cli::{AdminArgs, PoolGrowArgs, PoolPlaceArgs};
use crate::console::{bytes, complain, say};
use crate::control::is_noted_beside;
use crate::location::{Location, length_of_device};
use crate::pool_scrub;

/// Where a pool is found.
pub(crate) enum Place {
    /// Behind a control service.
    Served(Box<Service>),
    /// In a folder or on a device, opened here.
    Opened(Box<Storage>),
}

impl Place {
    /// The pool that the arguments name.
    ///
    /// # Errors
    /// If it is neither served nor can be opened.
    pub(crate) async fn find(args: &AdminArgs) -> anyhow::Result<Self> {
        let Some(folder) = args.pool.as_deref() else { return Ok(Self::Served(Box::new(Service::of(args)?))) };
        if is_noted_beside(&Location::of(folder)?.records) {
            let service = Service::of(args)?;
            // A service that was killed leaves its address behind.
            match service.client.pool_status() {
                Err(ArrayError::Unreachable { .. }) => {}
                Ok(_) | Err(ArrayError::Refused { .. }) => return Ok(Self::Served(Box::new(service))),
            }
        }
        Ok(Self::Opened(Box::new(Storage::open(folder).await?)))
    }
}

impl PoolPlaceArgs {
    /// The same with the folder where commands look for it.
    pub(crate) fn admin(&self) -> AdminArgs {
        let mut admin = self.admin.clone();
        admin.pool = self.folder.clone().or(admin.pool);
        admin
    }
}

pub(crate) async fn grow(args: &PoolGrowArgs) -> anyhow::Result<()> {
    let admin = args.place.admin();
    let device_bytes = admin.pool.as_deref().map(length_of_device).transpose()?.flatten();
    let size_bytes = args.size.or(device_bytes).context("say how much the pool may take: --size")?;
    let outcome = match Place::find(&admin).await? {
        Place::Served(service) => service.answered(service.client.grow_pool(size_bytes))?,
        Place::Opened(storage) => {
            let enlarged = storage.catalog.enlarge_pool(size_bytes).await;
            storage.close().await?;
            enlarged.context("cannot give the pool more capacity")?
        }
    };
    if admin.json {
        say(&serde_json::to_string_pretty(&OutcomeAnswer { outcome })?);
    } else {
        say(&format!("the pool {} {}", told(outcome, "has now", "had already"), bytes(size_bytes)));
    }
    Ok(())
}

/// What `pool status` prints with `--json`.
#[derive(Debug, Serialize, Deserialize)]
struct Status {
    #[serde(flatten)]
    pool: PoolStatus,
    /// What only one LUN or shadow LUN uses, summed up.
    unique_bytes: u64,
    /// What several of them share. With `unique_bytes`, and what deletions have still to give back, it is all data and maps.
    shared_bytes: u64,
    /// The last scrub.
    scrub: Option<ScrubState>,
    luns: Vec<PoolLun>,
}

impl Status {
    /// What deletions have still to give back is told by the pool as the most that it can be, since what a deleted LUN shares
    /// is known when it has been walked through. It is no more than what is in use and is not of one LUN alone.
    fn new(mut pool: PoolStatus, luns: Vec<PoolLun>, scrub: Option<ScrubState>) -> Self {
        let unique_bytes = luns.iter().map(|lun| lun.unique_bytes).sum();
        let of_others = (pool.map_bytes + pool.data_bytes).saturating_sub(unique_bytes);
        let returning = pool.reclaiming_bytes.saturating_sub(pool.freed_bytes).min(of_others);
        pool.reclaiming_bytes = pool.freed_bytes + returning;
        Self { pool, unique_bytes, shared_bytes: of_others - returning, scrub, luns }
    }
}

pub(crate) async fn status(args: &PoolPlaceArgs) -> anyhow::Result<()> {
    let admin = args.admin();
    let status = match Place::find(&admin).await? {
        Place::Served(service) => {
            let pool = service.answered(service.client.pool_status())?;
            let mut luns: Vec<PoolLun> = Vec::new();
            loop {
                let answer = service.answered(service.client.pool_luns(last_of(&luns)))?;
                luns.extend(answer.luns);
                if !answer.more {
                    let scrub = service.answered(service.client.wait_scrub(Duration::ZERO))?.scrub;
                    break Status::new(pool, luns, scrub);
                }
            }
        }
        Place::Opened(storage) => {
            let status = looked_through(&storage).await;
            storage.close().await?;
            status?
        }
    };
    if status.pool.level != PoolLevel::Plenty {
        let available = bytes(status.pool.available_bytes);
        complain(&format!(
            "the pool is low on space: room for {available}; delete shadow sets, or enlarge it with: lunshadow pool grow"
        ));
    }
    say(&if admin.json { serde_json::to_string_pretty(&status)? } else { text(&status) });
    Ok(())
}

async fn looked_through(storage: &Storage) -> anyhow::Result<Status> {
    let (pool, mut luns) = (storage.catalog.pool_status(), Vec::new());
    loop {
        let answer = storage.catalog.pool_luns(last_of(&luns)).await?;
        luns.extend(answer.luns);
        if !answer.more {
            return Ok(Status::new(pool, luns, storage.catalog.scrub_state(Duration::ZERO).await));
        }
    }
}

fn last_of(luns: &[PoolLun]) -> Option<LunId> {
    luns.last().map(|lun| lun.lun)
}

fn text(status: &Status) -> String {
    let Status { pool, unique_bytes, shared_bytes, scrub, luns } = status;
    let mut text = format!(
        "{} of {} in use, room for {}; warning below {}; I/O by {}\n",
        bytes(pool.used_bytes),
        bytes(pool.capacity_bytes),
        bytes(pool.available_bytes),
        bytes(pool.low_bytes),
        pool.io_engine
    );
    let (data, map, own) = (bytes(pool.data_bytes), bytes(pool.map_bytes), bytes(pool.own_bytes));
    text += &format!("   {data} data, {map} maps, {own} for the pool itself, {} just freed\n", bytes(pool.freed_bytes));
    let (unique, shared, returning) = (bytes(*unique_bytes), bytes(*shared_bytes), bytes(pool.reclaiming_bytes));
    text += &format!(
        "   {unique} for one LUN or shadow LUN alone, {shared} shared; deletions still bring back {returning}\n"
    );
    let (mapped, provisioned) = (bytes(pool.mapped_bytes), bytes(pool.provisioned_bytes));
    text += &format!("   LUNs hold {mapped} of the {provisioned} that they promise; what they share counts for each\n");
    let cache = pool.read_cache;
    if cache.limit_bytes > 0 {
        let (kept, limit, reads) = (bytes(cache.kept_bytes), bytes(cache.limit_bytes), cache.hits + cache.misses);
        text += &format!(
            "   {kept} of data in memory, {limit} at most; {} of {reads} reads found theirs there\n",
            cache.hits
        );
    }
    if let Some(scrub) = scrub {
        text += &pool_scrub::text(scrub);
        text.push('\n');
    }
    if luns.is_empty() {
        return text.trim_end().to_owned();
    }
    let mut rows = vec![row(["LUN", "SIZE", "MAPPED", "ONLY ITS OWN", "ID"])];
    rows.extend(luns.iter().map(|lun| {
        let sizes = [lun.len_bytes, lun.mapped_bytes, lun.unique_bytes].map(bytes);
        row([&described(&lun.kind), &sizes[0], &sizes[1], &sizes[2], &lun.lun.to_string()])
    }));
    text + table(&rows).trim_end()
}

/// What to call a LUN of the pool.
pub(crate) fn described(kind: &PoolLunKind) -> String {
    match kind {
        PoolLunKind::Lun { name } => name.clone(),
        PoolLunKind::Shadow { source_name: Some(name), .. } => format!("shadow LUN of {name}"),
        PoolLunKind::Shadow { source_name: None, .. } => "shadow LUN".to_owned(),
        PoolLunKind::Internal => "(copy, import or export)".to_owned(),
        PoolLunKind::Unknown => "(unknown to the array)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_adds_up_while_a_deleted_lun_is_walked_through() {
        // Of the 4 MiB of a deleted LUN all are a live one's, too, but two pages of its map; the pool does not know that yet.
        let pool = json!({
            "io_engine": "direct I/O by threads", "level": "plenty", "lun_count": 1,
            "read_cache": {"hits": 0, "kept_bytes": 0, "limit_bytes": 0, "misses": 0},
            "available_bytes": 3_954_900_992_u64, "capacity_bytes": 4_294_967_296_u64, "free_bytes": 4_219_400_192_u64,
            "used_bytes": 75_567_104, "own_bytes": 71_335_936, "map_bytes": 32_768, "data_bytes": 4_194_304,
            "freed_bytes": 4096, "reclaiming_bytes": 4_198_400, "low_bytes": 422_363_136,
            "provisioned_bytes": 8_388_608, "mapped_bytes": 4_194_304
        });
        let lun = json!({
            "kind": "lun", "name": "data", "lun": "b0c568c784cae1bfe70614319ef0f427",
            "len_bytes": 8_388_608, "mapped_bytes": 4_194_304, "unique_bytes": 4_218_880
        });
        let status =
            Status::new(serde_json::from_value(pool).unwrap(), vec![serde_json::from_value(lun).unwrap()], None);
        assert_eq!((status.unique_bytes, status.shared_bytes), (4_218_880, 0));
        assert_eq!(status.pool.reclaiming_bytes, 4096 + 8192, "what is freed, and the two pages");
    }
}
