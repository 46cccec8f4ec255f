//! A pool with more than 10 TiB of mapped LUNs opens, and runs within its cache's size and a fixed amount.

#[cfg(test)]
mod synthetic;

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use bytes::Bytes;
    use lunshadow_lun::{
        BlockCount, KEPT_BUFFER_BYTES_MAX, Lba, LunHandle, LunId, Pool as _, ShadowMember, ShadowSetId,
    };
    use lunshadow_store::{StoreConfig, StorePool};
    use rand::rngs::SmallRng;
    use rand::{RngExt as _, SeedableRng as _};
    use tokio::task::JoinSet;

    use crate::synthetic::{LUNS, MAPPED_BYTES, Synthetic, lun_bytes, lun_id};

    const MIB: u64 = 1 << 20;
    const CACHE_BYTES: u64 = 32 * MIB;
    /// What is taken besides: buffers that are kept, the log's batches on their way, threads with their stacks, what the allocator holds
    /// back, and where the medium of this test has put what was written.
    const BESIDES_BYTES: u64 = KEPT_BUFFER_BYTES_MAX as u64 + 22 * MIB;
    const TASKS: u64 = 8;
    const AT_MOST: Duration = Duration::from_secs(60);

    /// The most memory that the process has had since [`forget_most`].
    fn most_bytes() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    fn forget_most() {
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
    }

    /// Requests to random places of all LUNs, eight at a time.
    async fn work(luns: &[LunHandle], requests: u64, writes: bool) {
        let mut tasks = JoinSet::new();
        for task in 0..TASKS {
            let luns = luns.to_vec();
            tasks.spawn(async move {
                let mut random = SmallRng::seed_from_u64(task);
                for _ in 0..requests / TASKS {
                    let lun = &luns[random.random_range(0..luns.len())];
                    let at = Lba(random.random_range(0..lun.block_count().0 / 8) * 8);
                    if writes {
                        lun.write(at, Bytes::from(vec![random.random::<u8>() | 1; 4096])).await.unwrap();
                    } else {
                        let found = lun.read(at, BlockCount(8)).await.unwrap();
                        assert!(found.iter().all(|byte| *byte == found[0]), "neither what was written nor zeros");
                    }
                }
            });
        }
        while let Some(task) = tasks.join_next().await {
            task.unwrap();
        }
    }

    #[expect(clippy::disallowed_methods, clippy::print_stderr, reason = "the time is told, and nothing depends on it")]
    fn open(medium: Synthetic, config: &StoreConfig) -> StorePool {
        let begin = Instant::now();
        let pool = StorePool::open_on(medium, config).unwrap();
        eprintln!("a pool with {} GiB of mapped data opened in {:?}", MAPPED_BYTES >> 30, begin.elapsed());
        pool
    }

    /// In a process of its own, whose allocator has one arena: with many, what it holds back in each of them is measured as well.
    #[test]
    fn ten_tebibytes_run_within_the_cache() {
        const ARENAS: &str = "MALLOC_ARENA_MAX";
        if std::env::var_os(ARENAS).is_some_and(|arenas| arenas == "1") {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            return runtime.unwrap().block_on(run());
        }
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "tests::ten_tebibytes_run_within_the_cache", "--nocapture"]).env(ARENAS, "1");
        assert!(again.status().unwrap().success());
    }

    async fn run() {
        let medium = Synthetic::new().unwrap();
        forget_most();
        let before_bytes = most_bytes();
        let config = StoreConfig { cache_bytes: CACHE_BYTES, background_percent: 100, ..StoreConfig::default() };
        let pool = open(medium, &config);
        let usage = pool.usage();
        assert!(usage.mapped_bytes == MAPPED_BYTES && usage.mapped_bytes > 10 << 40, "{usage:?}");
        let ids: Vec<LunId> = (0..LUNS).map(|lun| LunId::from_u128(lun_id(lun))).collect();
        let luns: Vec<LunHandle> = ids.iter().map(|id| pool.open(*id).unwrap()).collect();
        assert_eq!(luns[80].block_count().bytes(), lun_bytes(80));
        work(&luns, 6000, false).await;
        work(&luns, 3000, true).await;

        let set = ShadowSetId(uuid::Uuid::from_u128(1));
        let members = ids[..64].iter().map(|source| ShadowMember { source: *source, shadow: LunId::random() });
        let members: Vec<ShadowMember> = members.collect();
        pool.prepare(set, &members).await.unwrap();
        pool.commit(set, AT_MOST).await.unwrap();
        work(&luns, 2000, true).await;
        for member in &members {
            pool.delete(member.shadow).await.unwrap();
        }
        // It has a map of its own, which is walked leaf by leaf.
        pool.delete(ids[80]).await.unwrap();
        work(&luns[..80], 1000, true).await;
        pool.close().await.unwrap();

        let taken_bytes = most_bytes().saturating_sub(before_bytes);
        let bound_bytes = CACHE_BYTES + BESIDES_BYTES;
        assert!(taken_bytes <= bound_bytes, "{} MiB of {} MiB", taken_bytes / MIB, bound_bytes / MIB);
        eprint_taken(taken_bytes, bound_bytes);
    }

    #[expect(clippy::print_stderr, reason = "it is told how much of the bound is used")]
    fn eprint_taken(taken_bytes: u64, bound_bytes: u64) {
        eprintln!("{} MiB of {} MiB were taken", taken_bytes / MIB, bound_bytes / MIB);
    }
}
