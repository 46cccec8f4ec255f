//! A pool in memory whose work stands still until the search lets it go on: how long a medium takes is one of the things to be explored.
//!
//! It is a pool at its worst. A commit that the array has given up may still happen, a preparation may come after the set was forgotten. What a
//! real one promises all the same, it keeps: all members of a set or none, nothing lost that was answered, preparations gone after a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lunshadow_control::{LunId, Outcome, ShadowSetId};
use lunshadow_lun::{
    BlockCount, CommitError, Lba, Lun, LunError, LunHandle, LunOrigin, LunSummary, Pool, PoolError, PoolUsage,
    RevertPair, ShadowMember,
};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task;
use tokio::time::Instant;

use super::begun::{Begun, Times};
use super::parking::Parking;
use super::planted::Fault;

/// What the pool was asked to do and has not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    Prepare(ShadowSetId),
    Commit(ShadowSetId),
    Delete(LunId),
}

/// How the search lets work go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// It happens, and the answer stays away.
    Happens,
    /// It has happened, or happens now, and is answered.
    Answers,
    /// It does not happen, and that is answered.
    Fails,
}

#[derive(Debug)]
struct Standing {
    work: Work,
    begun: Begun,
    /// What a commit captures: what was prepared when it began.
    members: Vec<ShadowMember>,
    happened: bool,
    answer: oneshot::Sender<bool>,
}

/// What stands still, and for whom.
#[derive(Debug)]
pub(crate) struct StandingWork {
    pub(crate) work: Work,
    pub(crate) begun: Begun,
    pub(crate) members: Vec<ShadowMember>,
    pub(crate) happened: bool,
    /// Whether the task was told of a failure before.
    pub(crate) failed_before: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Content {
    pub(crate) luns: BTreeMap<LunId, LunSummary>,
    pub(crate) prepared: BTreeMap<ShadowSetId, Vec<ShadowMember>>,
    committed: BTreeSet<ShadowSetId>,
    /// How many points in time each set has had.
    pub(crate) captures: BTreeMap<ShadowSetId, u32>,
    /// Shadow LUNs in the order in which the pool first heard of them.
    pub(crate) heard_of: Vec<(ShadowSetId, ShadowMember)>,
    /// Writes that are held: from when, until when.
    pub(crate) held: BTreeMap<ShadowSetId, (Instant, Duration)>,
}

#[derive(Debug)]
pub(crate) struct ModelPool {
    content: Mutex<Content>,
    standing: Mutex<Vec<Standing>>,
    /// Tasks that were told of a failure.
    failed: Mutex<BTreeSet<u64>>,
    times: Times,
    /// While the array starts, the pool does what it is asked at once.
    holds_back: Mutex<bool>,
    /// What may block waits for the array's thread to wait.
    parking: Arc<Parking>,
    fault: Option<Fault>,
}

impl ModelPool {
    pub(crate) fn new(content: Content, fault: Option<Fault>) -> Self {
        let (content, parking) = (Mutex::new(content), Arc::default());
        let (standing, failed, holds_back) = (Mutex::default(), Mutex::default(), Mutex::new(false));
        Self { content, standing, failed, times: Times::default(), holds_back, parking, fault }
    }

    pub(crate) const fn times(&self) -> &Times {
        &self.times
    }

    pub(crate) const fn parking(&self) -> &Arc<Parking> {
        &self.parking
    }

    pub(crate) fn content(&self) -> Content {
        self.content.lock().clone()
    }

    /// How many points in time a set has had.
    pub(crate) fn captures(&self, set: ShadowSetId) -> u32 {
        self.content.lock().captures.get(&set).copied().unwrap_or(0)
    }

    /// How many shadow LUNs it has ever heard of.
    pub(crate) fn heard_of_count(&self) -> usize {
        self.content.lock().heard_of.len()
    }

    pub(crate) fn hold_back(&self, holds_back: bool) {
        *self.holds_back.lock() = holds_back;
    }

    /// What happens to a pool when its process ends and begins anew.
    pub(crate) fn restart(&self) {
        self.standing.lock().clear();
        self.failed.lock().clear();
        let mut content = self.content.lock();
        content.prepared.clear();
        content.committed.clear();
        content.held.clear();
        if self.fault == Some(Fault::LosesCommits) {
            content.luns.retain(|_, summary| summary.origin == LunOrigin::Empty);
        }
    }

    /// Takes another point in time for a set that has one, as a pool does that does not know what it has done.
    pub(crate) fn capture_again(&self, set: ShadowSetId) {
        let mut content = self.content.lock();
        if content.committed.contains(&set) {
            *content.captures.entry(set).or_default() += 1;
        }
    }

    /// What stands still, in the order in which it was asked for, and whether it has happened already.
    pub(crate) fn standing(&self) -> Vec<(Work, bool)> {
        self.standing.lock().iter().map(|standing| (standing.work, standing.happened)).collect()
    }

    /// The same with all that decides how the array goes on when it is answered.
    pub(crate) fn standing_at_length(&self) -> Vec<StandingWork> {
        let (standing, failed) = (self.standing.lock(), self.failed.lock());
        let seen = standing.iter().map(|Standing { work, begun, members, happened, .. }| StandingWork {
            work: *work,
            begun: *begun,
            members: members.clone(),
            happened: *happened,
            failed_before: failed.contains(&begun.task()),
        });
        seen.collect()
    }

    /// Lets work go on.
    pub(crate) fn let_go(&self, place: usize, step: Step) {
        let mut all = self.standing.lock();
        let Some(standing) = all.get_mut(place) else { return };
        if step != Step::Fails && !standing.happened {
            standing.happened = true;
            self.content.lock().happen(standing.work, &standing.members, self.fault);
        }
        if step != Step::Happens {
            let Standing { work, begun, answer, .. } = all.remove(place);
            if step == Step::Fails {
                self.failed.lock().insert(begun.task());
            }
            if let Work::Commit(set) = work {
                self.content.lock().held.remove(&set);
            }
            // Whoever asked may be gone with the array.
            let _ = answer.send(step == Step::Answers);
        }
    }

    /// Waits for the search. Whether it is to be a success.
    async fn stand(&self, work: Work, members: &[ShadowMember]) -> bool {
        if !*self.holds_back.lock() {
            self.content.lock().happen(work, members, self.fault);
            return true;
        }
        let (answer, answered) = oneshot::channel();
        let (begun, members) = (self.times.begin(task::id()), members.to_vec());
        self.standing.lock().push(Standing { work, begun, members, happened: false, answer });
        answered.await.unwrap_or(false)
    }
}

impl Content {
    fn forget(&mut self, set: ShadowSetId) -> Result<Outcome, PoolError> {
        if self.committed.contains(&set) {
            return Err(PoolError::SetCommitted(set));
        }
        let found = self.prepared.remove(&set);
        Ok(if found.is_some() { Outcome::Done } else { Outcome::AlreadySo })
    }

    fn happen(&mut self, work: Work, members: &[ShadowMember], fault: Option<Fault>) {
        match work {
            Work::Prepare(set) => self.prepared.entry(set).or_default().extend_from_slice(members),
            Work::Commit(set) => {
                self.prepared.remove(&set);
                self.committed.insert(set);
                *self.captures.entry(set).or_default() += 1;
                let left_out = usize::from(fault == Some(Fault::CapturesHalf));
                for member in members.iter().skip(left_out) {
                    let Some(source) = self.luns.get(&member.source) else { continue };
                    let origin = LunOrigin::Shadow { source: member.source, set };
                    self.luns.insert(member.shadow, LunSummary { lun: member.shadow, origin, ..*source });
                }
            }
            Work::Delete(lun) => {
                if fault != Some(Fault::NeverReleases) {
                    self.luns.remove(&lun);
                }
            }
        }
    }
}

fn failed() -> io::Error {
    io::Error::other("the search let it fail")
}

impl Pool for ModelPool {
    async fn create(&self, lun: LunId, block_count: BlockCount) -> Result<LunHandle, PoolError> {
        let summary = LunSummary { lun, block_count, origin: LunOrigin::Empty };
        self.content.lock().luns.insert(lun, summary);
        self.open(lun)
    }

    fn open(&self, lun: LunId) -> Result<LunHandle, PoolError> {
        self.summary(lun).map(|summary| LunHandle::new(ModelLun(summary))).ok_or(PoolError::UnknownLun(lun))
    }

    async fn delete(&self, lun: LunId) -> Result<Outcome, PoolError> {
        if self.summary(lun).is_none() {
            return Ok(Outcome::AlreadySo);
        }
        let done = self.stand(Work::Delete(lun), &[]).await;
        if done { Ok(Outcome::Done) } else { Err(PoolError::Io(failed())) }
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
        {
            let mut content = self.content.lock();
            if content.committed.contains(&set) {
                return Err(PoolError::SetCommitted(set));
            }
            content.heard_of.extend(members.iter().map(|member| (set, *member)));
        }
        let done = self.stand(Work::Prepare(set), members).await;
        if done { Ok(Outcome::Done) } else { Err(PoolError::OutOfSpace) }
    }

    async fn commit(&self, set: ShadowSetId, at_most: Duration) -> Result<Outcome, CommitError> {
        let members = {
            let mut content = self.content.lock();
            if content.committed.contains(&set) {
                return Ok(Outcome::AlreadySo);
            }
            let members = content.prepared.get(&set).cloned().ok_or(CommitError::UnknownSet(set))?;
            let at_most = if self.fault == Some(Fault::ForgetsDeadline) { Duration::MAX } else { at_most };
            content.held.insert(set, (Instant::now(), at_most));
            members
        };
        let done = self.stand(Work::Commit(set), &members).await;
        if done { Ok(Outcome::Done) } else { Err(CommitError::OutOfSpace) }
    }

    fn abort(&self, set: ShadowSetId) -> Result<Outcome, PoolError> {
        self.parking.run(|| self.content.lock().forget(set))
    }

    async fn revert(&self, _: &[RevertPair]) -> Result<(), PoolError> {
        Err(PoolError::Io(failed()))
    }

    async fn grow(&self, _: LunId, block_count: BlockCount) -> Result<Outcome, PoolError> {
        Err(PoolError::UnsupportedSize(block_count))
    }

    async fn promote(&self, _: LunId) -> Result<Outcome, PoolError> {
        Err(PoolError::Io(failed()))
    }

    async fn unique_bytes(&self, lun: LunId) -> Result<u64, PoolError> {
        self.open(lun).map(|_| 0)
    }

    fn usage(&self) -> PoolUsage {
        PoolUsage { capacity_bytes: 1 << 40, available_bytes: 1 << 40, ..PoolUsage::default() }
    }

    async fn close(&self) -> Result<(), PoolError> {
        Ok(())
    }
}

/// A LUN without content: the catalog never looks at it.
struct ModelLun(LunSummary);

impl Lun for ModelLun {
    fn id(&self) -> LunId {
        self.0.lun
    }

    fn block_count(&self) -> BlockCount {
        self.0.block_count
    }

    async fn read(&self, _: Lba, _: BlockCount) -> Result<Bytes, LunError> {
        Err(LunError::Gone)
    }

    async fn write(&self, _: Lba, _: Bytes) -> Result<(), LunError> {
        Err(LunError::Gone)
    }

    async fn flush(&self) -> Result<(), LunError> {
        Err(LunError::Gone)
    }

    async fn discard(&self, _: Lba, _: BlockCount) -> Result<(), LunError> {
        Err(LunError::Gone)
    }
}
