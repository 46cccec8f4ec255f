//! The suite that every pool runs, with a cache that holds everything and with one that holds next to nothing.

use lunshadow_lun_conformance::{Result, Subject, run_all};
use lunshadow_store::{StoreConfig, StorePool};
use tempfile::TempDir;

struct InDirectory {
    parent: TempDir,
    config: StoreConfig,
}

impl InDirectory {
    fn new(cache_pages: u64) -> Self {
        let config = StoreConfig {
            cache_bytes: cache_pages * 4096,
            log_bytes: 1 << 20,
            capacity_bytes: 128 << 20,
            ..StoreConfig::default()
        };
        Self { parent: tempfile::tempdir().expect("a folder for the test"), config }
    }

    fn pool_directory(&self) -> std::path::PathBuf {
        let made = std::fs::read_dir(self.parent.path()).expect("it is there").count();
        self.parent.path().join(made.to_string())
    }
}

impl Subject for InDirectory {
    type Pool = StorePool;

    async fn make(&self) -> Result<StorePool> {
        Ok(StorePool::create(&self.pool_directory(), &self.config)?)
    }

    async fn reopen(&self, pool: StorePool) -> Result<StorePool> {
        drop(pool);
        let made = std::fs::read_dir(self.parent.path())?.count();
        Ok(StorePool::open(&self.parent.path().join((made - 1).to_string()), &self.config)?)
    }

    async fn reclaimed(&self, pool: &StorePool) -> Result<()> {
        Ok(pool.wait_reclaimed().await?)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_pool_conforms_with_a_large_cache() {
    run_all(&InDirectory::new(16384)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_pool_conforms_with_a_cache_of_64_pages() {
    run_all(&InDirectory::new(64)).await.unwrap();
}
