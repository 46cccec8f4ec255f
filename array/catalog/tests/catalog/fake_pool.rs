//! A pool in memory. It keeps LUNs over a restart and forgets preparations, as a real one does.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lunshadow_lun::{
    BlockCount, CommitError, Lba, Lun, LunError, LunHandle, LunId, LunOrigin, LunSummary, Outcome, Pool, PoolError,
    PoolUsage, RevertPair, ShadowMember, ShadowSetId,
};
use parking_lot::Mutex;
use tokio::sync::watch;

/// What the pool does wrong at the moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// Preparations do not come back.
    pub(crate) prepare_hangs: bool,
    pub(crate) prepare_fails: Option<Fault>,
    /// Commits do not come back, and happen all the same once this is switched off, whatever was asked in between.
    pub(crate) commit_hangs: bool,
    pub(crate) commit_fails: Option<Fault>,
    pub(crate) create_fails: Option<Fault>,
    pub(crate) delete_fails: Option<Fault>,
    /// Reverts do not come back until this is switched off.
    pub(crate) revert_hangs: bool,
    pub(crate) revert_fails: Option<Fault>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    OutOfSpace,
    Poisoned,
    Io,
}

impl Fault {
    fn pool(self) -> PoolError {
        match self {
            Self::OutOfSpace => PoolError::OutOfSpace,
            Self::Poisoned => PoolError::Poisoned,
            Self::Io => PoolError::Io(io::Error::other("switched on")),
        }
    }

    fn commit(self) -> CommitError {
        match self {
            Self::OutOfSpace => CommitError::OutOfSpace,
            Self::Poisoned => CommitError::Poisoned,
            Self::Io => CommitError::Io(io::Error::other("switched on")),
        }
    }
}

#[derive(Debug, Default)]
struct Content {
    luns: BTreeMap<LunId, LunSummary>,
    prepared: BTreeMap<ShadowSetId, Vec<ShadowMember>>,
    committed: BTreeSet<ShadowSetId>,
    commit_times: Vec<Duration>,
    reverted: Vec<(LunId, LunId)>,
}

#[derive(Debug)]
pub(crate) struct FakePool {
    content: Mutex<Content>,
    faults: watch::Sender<Faults>,
    usage: Mutex<PoolUsage>,
    /// How many commits have begun.
    commits_begun: watch::Sender<usize>,
    reverts_begun: watch::Sender<usize>,
    /// What its scrubs find.
    pub(crate) scrubs: crate::scrub::Script,
}

impl FakePool {
    pub(crate) fn new() -> Self {
        let usage = PoolUsage { capacity_bytes: 1 << 40, available_bytes: 1 << 40, ..PoolUsage::default() };
        Self {
            content: Mutex::default(),
            faults: watch::Sender::new(Faults::default()),
            usage: Mutex::new(usage),
            commits_begun: watch::Sender::new(0),
            reverts_begun: watch::Sender::new(0),
            scrubs: crate::scrub::Script::default(),
        }
    }

    pub(crate) fn switch(&self, change: impl FnOnce(&mut Faults)) {
        self.faults.send_modify(change);
    }

    /// Takes all that hosts can write to. Something is free still, which the pool keeps for itself.
    pub(crate) fn fill(&self) {
        let mut usage = self.usage.lock();
        (usage.used_bytes, usage.available_bytes) = (usage.capacity_bytes - (1 << 30), 0);
    }

    /// Deletions have so much to give back.
    pub(crate) fn reclaim(&self, bytes: u64) {
        self.usage.lock().reclaiming_bytes = bytes;
    }

    /// Gives all of it back.
    pub(crate) fn drain(&self) {
        let mut usage = self.usage.lock();
        (usage.used_bytes, usage.available_bytes) = (0, usage.capacity_bytes);
    }

    /// What happens to a pool when its process ends and begins anew.
    pub(crate) fn restart(&self) {
        let mut content = self.content.lock();
        content.prepared.clear();
        content.committed.clear();
    }

    /// Makes a LUN behind the catalog's back.
    pub(crate) fn put(&self, lun: LunId, origin: LunOrigin) {
        self.content.lock().luns.insert(lun, LunSummary { lun, block_count: BlockCount(8), origin });
    }

    /// Loses a LUN behind the catalog's back.
    pub(crate) fn lose(&self, lun: LunId) {
        self.content.lock().luns.remove(&lun);
    }

    pub(crate) fn has(&self, lun: LunId) -> bool {
        self.content.lock().luns.contains_key(&lun)
    }

    pub(crate) fn shadows(&self) -> Vec<LunId> {
        let content = self.content.lock();
        let shadows = content.luns.values().filter(|lun| matches!(lun.origin, LunOrigin::Shadow { .. }));
        shadows.map(|lun| lun.lun).collect()
    }

    pub(crate) fn prepared_sets(&self) -> usize {
        self.content.lock().prepared.len()
    }

    pub(crate) fn prepared_members(&self, set: ShadowSetId) -> usize {
        self.content.lock().prepared.get(&set).map_or(0, Vec::len)
    }

    /// The deadlines that commits came with.
    pub(crate) fn commit_times(&self) -> Vec<Duration> {
        self.content.lock().commit_times.clone()
    }

    pub(crate) async fn wait_commit_begun(&self, count: usize) {
        self.commits_begun.subscribe().wait_for(|begun| *begun >= count).await.unwrap();
    }

    pub(crate) async fn wait_revert_begun(&self, count: usize) {
        self.reverts_begun.subscribe().wait_for(|begun| *begun >= count).await.unwrap();
    }

    /// What was reverted from what, in order.
    pub(crate) fn reverted(&self) -> Vec<(LunId, LunId)> {
        self.content.lock().reverted.clone()
    }

    /// Gives a LUN another length behind the catalog's back.
    pub(crate) fn resize(&self, lun: LunId, block_count: BlockCount) {
        self.content.lock().luns.get_mut(&lun).unwrap().block_count = block_count;
    }

    async fn while_hanging(&self, hangs: impl Fn(&Faults) -> bool) {
        let mut faults = self.faults.subscribe();
        faults.wait_for(|faults| !hangs(faults)).await.unwrap();
    }

    fn faults(&self) -> Faults {
        *self.faults.borrow()
    }
}

impl Pool for FakePool {
    async fn create(&self, lun: LunId, block_count: BlockCount) -> Result<LunHandle, PoolError> {
        if let Some(fault) = self.faults().create_fails {
            return Err(fault.pool());
        }
        if block_count == BlockCount(0) {
            return Err(PoolError::UnsupportedSize(block_count));
        }
        let summary = LunSummary { lun, block_count, origin: LunOrigin::Empty };
        assert!(self.content.lock().luns.insert(lun, summary).is_none(), "{lun} was used twice");
        self.open(lun)
    }

    fn open(&self, lun: LunId) -> Result<LunHandle, PoolError> {
        let content = self.content.lock();
        let summary = content.luns.get(&lun).ok_or(PoolError::UnknownLun(lun))?;
        Ok(LunHandle::new(FakeLun(*summary)))
    }

    async fn delete(&self, lun: LunId) -> Result<Outcome, PoolError> {
        tokio::task::yield_now().await;
        if let Some(fault) = self.faults().delete_fails {
            return Err(fault.pool());
        }
        let found = self.content.lock().luns.remove(&lun);
        Ok(if found.is_some() { Outcome::Done } else { Outcome::AlreadySo })
    }

    fn luns_after(&self, after: Option<LunId>, at_most: usize) -> Vec<LunSummary> {
        let content = self.content.lock();
        let behind = content.luns.values().filter(|summary| after.is_none_or(|after| summary.lun > after));
        behind.take(at_most).copied().collect()
    }

    fn summary(&self, lun: LunId) -> Option<LunSummary> {
        self.content.lock().luns.get(&lun).copied()
    }

    async fn prepare(&self, set: ShadowSetId, members: &[ShadowMember]) -> Result<Outcome, PoolError> {
        self.while_hanging(|faults| faults.prepare_hangs).await;
        if let Some(fault) = self.faults().prepare_fails {
            return Err(fault.pool());
        }
        let mut content = self.content.lock();
        if content.committed.contains(&set) {
            return Err(PoolError::SetCommitted(set));
        }
        if let Some(missing) = members.iter().find(|member| !content.luns.contains_key(&member.source)) {
            return Err(PoolError::UnknownLun(missing.source));
        }
        content.prepared.entry(set).or_default().extend_from_slice(members);
        Ok(Outcome::Done)
    }

    async fn commit(&self, set: ShadowSetId, at_most: Duration) -> Result<Outcome, CommitError> {
        let members = {
            let mut content = self.content.lock();
            content.commit_times.push(at_most);
            if content.committed.contains(&set) {
                return Ok(Outcome::AlreadySo);
            }
            content.prepared.get(&set).cloned().ok_or(CommitError::UnknownSet(set))?
        };
        self.commits_begun.send_modify(|begun| *begun += 1);
        self.while_hanging(|faults| faults.commit_hangs).await;
        let mut content = self.content.lock();
        content.prepared.remove(&set);
        if let Some(fault) = self.faults().commit_fails {
            return Err(fault.commit());
        }
        for ShadowMember { source, shadow } in members {
            let block_count = content.luns.get(&source).ok_or(CommitError::UnknownLun(source))?.block_count;
            let origin = LunOrigin::Shadow { source, set };
            let before = content.luns.insert(shadow, LunSummary { lun: shadow, block_count, origin });
            assert!(before.is_none(), "{shadow} was used twice");
        }
        content.committed.insert(set);
        Ok(Outcome::Done)
    }

    fn abort(&self, set: ShadowSetId) -> Result<Outcome, PoolError> {
        let mut content = self.content.lock();
        if content.committed.contains(&set) {
            return Err(PoolError::SetCommitted(set));
        }
        let found = content.prepared.remove(&set);
        Ok(if found.is_some() { Outcome::Done } else { Outcome::AlreadySo })
    }

    async fn revert(&self, pairs: &[RevertPair]) -> Result<(), PoolError> {
        self.reverts_begun.send_modify(|begun| *begun += 1);
        self.while_hanging(|faults| faults.revert_hangs).await;
        if let Some(fault) = self.faults().revert_fails {
            return Err(fault.pool());
        }
        let mut content = self.content.lock();
        for lun in pairs.iter().flat_map(|pair| [pair.from, pair.to]) {
            content.luns.get(&lun).ok_or(PoolError::UnknownLun(lun))?;
        }
        for RevertPair { from, to } in pairs {
            let block_count = content.luns[from].block_count;
            content.luns.get_mut(to).unwrap().block_count = block_count;
            content.reverted.push((*from, *to));
        }
        Ok(())
    }

    async fn grow(&self, lun: LunId, block_count: BlockCount) -> Result<Outcome, PoolError> {
        let mut content = self.content.lock();
        let summary = content.luns.get_mut(&lun).ok_or(PoolError::UnknownLun(lun))?;
        if block_count < summary.block_count {
            return Err(PoolError::UnsupportedSize(block_count));
        }
        let before = std::mem::replace(&mut summary.block_count, block_count);
        Ok(if before == block_count { Outcome::AlreadySo } else { Outcome::Done })
    }

    async fn promote(&self, lun: LunId) -> Result<Outcome, PoolError> {
        let mut content = self.content.lock();
        let summary = content.luns.get_mut(&lun).ok_or(PoolError::UnknownLun(lun))?;
        let before = std::mem::replace(&mut summary.origin, LunOrigin::Empty);
        Ok(if before == LunOrigin::Empty { Outcome::AlreadySo } else { Outcome::Done })
    }

    async fn unique_bytes(&self, lun: LunId) -> Result<u64, PoolError> {
        self.open(lun).map(|_| 0)
    }

    fn usage(&self) -> PoolUsage {
        *self.usage.lock()
    }

    async fn close(&self) -> Result<(), PoolError> {
        Ok(())
    }
}

/// A LUN that holds nothing but zeros, whatever is written to it.
struct FakeLun(LunSummary);

impl Lun for FakeLun {
    fn id(&self) -> LunId {
        self.0.lun
    }

    fn block_count(&self) -> BlockCount {
        self.0.block_count
    }

    async fn read(&self, _: Lba, count: BlockCount) -> Result<Bytes, LunError> {
        Ok(Bytes::from(vec![0; usize::try_from(count.bytes()).unwrap()]))
    }

    async fn write(&self, _: Lba, _: Bytes) -> Result<(), LunError> {
        Ok(())
    }

    async fn flush(&self) -> Result<(), LunError> {
        Ok(())
    }

    async fn discard(&self, _: Lba, _: BlockCount) -> Result<(), LunError> {
        Ok(())
    }
}

pub(crate) fn shared() -> Arc<FakePool> {
    Arc::new(FakePool::new())
}
