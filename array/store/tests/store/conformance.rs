//! The suite that every pool runs, with a cache that holds everything and with one that holds next to nothing.

use lunshadow_lun::{AlignedBuffer, BlockCount, Lba, LunId, Pool as _};
use lunshadow_lun_conformance::{Result, Subject, run_all};
use lunshadow_store::{IoMode, StoreConfig, StorePool};
use tempfile::TempDir;

struct InDirectory {
    parent: TempDir,
    config: StoreConfig,
    mode: IoMode,
}

impl InDirectory {
    fn new(cache_pages: u64, mode: IoMode) -> Self {
        let config = StoreConfig {
            cache_bytes: cache_pages * 4096,
            log_bytes: 1 << 20,
            capacity_bytes: 128 << 20,
            ..StoreConfig::default()
        };
        Self { parent: tempfile::tempdir().expect("a folder for the test"), config, mode }
    }

    fn pool_directory(&self) -> std::path::PathBuf {
        let made = std::fs::read_dir(self.parent.path()).expect("it is there").count();
        self.parent.path().join(made.to_string())
    }
}

impl Subject for InDirectory {
    type Pool = StorePool;

    async fn make(&self) -> Result<StorePool> {
        let directory = self.pool_directory();
        drop(StorePool::create(&directory, &self.config)?);
        Ok(StorePool::open_with(&directory, &self.config, self.mode)?)
    }

    async fn reopen(&self, pool: StorePool) -> Result<StorePool> {
        drop(pool);
        let made = std::fs::read_dir(self.parent.path())?.count();
        Ok(StorePool::open_with(&self.parent.path().join((made - 1).to_string()), &self.config, self.mode)?)
    }

    async fn reclaimed(&self, pool: &StorePool) -> Result<()> {
        Ok(pool.wait_reclaimed().await?)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_pool_conforms_with_a_large_cache() {
    run_all(&InDirectory::new(16384, IoMode::Threads)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_pool_conforms_with_a_cache_of_64_pages() {
    run_all(&InDirectory::new(64, IoMode::Threads)).await.unwrap();
}

/// Where the kernel has no rings, this is the same as without them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_pool_conforms_with_rings() {
    run_all(&InDirectory::new(64, IoMode::Uring)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_pool_conforms_through_the_page_cache() {
    run_all(&InDirectory::new(64, IoMode::Buffered)).await.unwrap();
}

#[tokio::test]
async fn a_measurement_chooses_the_engine() {
    let subject = InDirectory::new(64, IoMode::Auto);
    let pool = subject.make().await.unwrap();
    assert!(pool.io_engine().contains("by threads") || pool.io_engine().contains("io_uring"), "{}", pool.io_engine());
    let lun = pool.create(LunId::random(), BlockCount(64)).await.unwrap();
    let data = AlignedBuffer::copy_of(&[7; 16384]).freeze();
    lun.write(Lba(8), data.clone()).await.unwrap();
    lun.flush().await.unwrap();
    assert_eq!(lun.read(Lba(8), BlockCount(32)).await.unwrap(), data);
    assert_eq!(
        pool.bounced_bytes(),
        0,
        "what is aligned goes to the medium as it is, and so does all that is the pool's own"
    );
}
