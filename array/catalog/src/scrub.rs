//! The scrub in the background: one at a time, from beginning to end over restarts, with what it found kept until the next one.
//!
//! The pool knows how far it is, the database what was found. What a step finds is in the database before the pool's next step counts as done,
//! so a crash loses none of it.

use std::num::NonZeroU64;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use lunshadow_control::{LunBlocks, LunId, Outcome, ScrubPhase, ScrubState};
use lunshadow_lun::{BlockCount, Lba, LunDamage, PoolCare, ScrubOptions, ScrubReport};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::catalog::Inner;
use crate::records::Change;
use crate::{Catalog, CatalogError};

/// What the database keeps of the last scrub.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ScrubDoc {
    pub(crate) phase: ScrubPhase,
    pub(crate) bytes_per_second: Option<NonZeroU64>,
    pub(crate) began_at_unix_ms: u64,
    pub(crate) ended_at_unix_ms: Option<u64>,
    pub(crate) map_pages: u64,
    pub(crate) data_blocks: u64,
    pub(crate) healed_copies: u64,
    pub(crate) damage: Vec<DamageDoc>,
    pub(crate) damage_left_out: bool,
    pub(crate) failure: Option<String>,
}

/// Blocks that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DamageDoc {
    lun: LunId,
    at: u64,
    count: u64,
}

impl From<&LunDamage> for DamageDoc {
    fn from(damage: &LunDamage) -> Self {
        Self { lun: damage.lun, at: damage.at.0, count: damage.count.0 }
    }
}

impl ScrubDoc {
    fn begun(bytes_per_second: Option<NonZeroU64>, now_unix_ms: u64) -> Self {
        Self {
            phase: ScrubPhase::Running,
            bytes_per_second,
            began_at_unix_ms: now_unix_ms,
            ended_at_unix_ms: None,
            map_pages: 0,
            data_blocks: 0,
            healed_copies: 0,
            damage: Vec::new(),
            damage_left_out: false,
            failure: None,
        }
    }

    /// This, and what a scrub that went on from here has found since. The first step of it may be one that counts already.
    fn and(&self, report: &ScrubReport) -> Self {
        let mut sum = self.clone();
        sum.map_pages += report.map_pages;
        sum.data_blocks += report.data_blocks;
        sum.healed_copies += report.healed_copies;
        sum.damage_left_out |= report.damage_left_out;
        let found = report.damage.iter().map(DamageDoc::from);
        sum.damage.extend(found.filter(|damage| !self.damage.contains(damage)));
        sum
    }
}

/// The scrub, as far as this catalog knows.
#[derive(Debug)]
pub(crate) struct Scrubbing {
    current: Mutex<Current>,
    /// Tells those who wait that it ended, or that there is more to see.
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Current {
    doc: Option<ScrubDoc>,
    /// Tells the task that runs to stop, and to which phase.
    stop: Option<watch::Sender<Option<ScrubPhase>>>,
}

impl Scrubbing {
    pub(crate) fn new(doc: Option<ScrubDoc>) -> Self {
        Self { current: Mutex::new(Current { doc, stop: None }), changed: watch::Sender::new(()) }
    }

    /// Stops the task that runs, if one does; a scrub that is left `Running` goes on when the array is started again.
    pub(crate) async fn stop(&self, phase: ScrubPhase) -> Outcome {
        let mut changed = self.changed.subscribe();
        {
            let current = self.current.lock();
            let Some(stop) = &current.stop else { return Outcome::AlreadySo };
            stop.send_replace(Some(phase));
        }
        // The sender lives as long as this.
        while self.current.lock().stop.is_some() && changed.changed().await.is_ok() {}
        Outcome::Done
    }
}

impl<P: PoolCare> Catalog<P> {
    /// Begins a scrub in the background: it goes on where one was stopped, unless it is to `restart`. One that runs is `AlreadySo`.
    ///
    /// # Errors
    /// `Database`.
    pub async fn start_scrub(
        &self,
        bytes_per_second: Option<NonZeroU64>,
        restart: bool,
    ) -> Result<Outcome, CatalogError> {
        let inner = Arc::clone(&self.inner);
        self.complete(async move { inner.start_scrub(bytes_per_second, restart).await }).await
    }

    /// Goes on with a scrub that ran when the array was stopped. Call it once, when the array serves.
    pub fn resume_scrub(&self) {
        let doc = self.inner.scrubbing.current.lock().doc.clone();
        if let Some(doc) = doc.filter(|doc| doc.phase == ScrubPhase::Running) {
            self.inner.spawn_scrub(doc, true);
        }
    }

    /// Stops the scrub. The next one goes on from there.
    pub async fn stop_scrub(&self) -> Outcome {
        let outcome = self.inner.scrubbing.stop(ScrubPhase::Stopped).await;
        let (mut stopped, mut doc) = (outcome, None);
        {
            // One that an array that was stopped has left running, and that nobody has resumed.
            let mut current = self.inner.scrubbing.current.lock();
            if let Some(found) = current.doc.as_mut().filter(|doc| doc.phase == ScrubPhase::Running) {
                found.phase = ScrubPhase::Stopped;
                (stopped, doc) = (Outcome::Done, Some(found.clone()));
            }
        }
        if let Some(doc) = doc {
            self.inner.keep_scrub(&doc).await;
        }
        stopped
    }

    /// How the last scrub stands, after waiting for its end for at most `at_most`; `None` if there never was one.
    pub async fn scrub_state(&self, at_most: Duration) -> Option<ScrubState> {
        let scrubbing = &self.inner.scrubbing;
        let mut changed = scrubbing.changed.subscribe();
        let ended = async { while scrubbing.current.lock().stop.is_some() && changed.changed().await.is_ok() {} };
        // Whether it has ended or the time is up: what counts is how it stands then.
        let _ = timeout(at_most, ended).await;
        let doc = scrubbing.current.lock().doc.clone();
        doc.map(|doc| self.inner.shown(doc))
    }
}

impl<P: PoolCare> Inner<P> {
    async fn start_scrub(
        self: &Arc<Self>,
        bytes_per_second: Option<NonZeroU64>,
        restart: bool,
    ) -> Result<Outcome, CatalogError> {
        let _source_luns = self.source_luns.lock().await;
        let (doc, resume) = {
            let current = self.scrubbing.current.lock();
            if current.stop.is_some() {
                return Ok(Outcome::AlreadySo);
            }
            let stopped = current.doc.clone().filter(|doc| doc.phase == ScrubPhase::Stopped && !restart);
            match stopped {
                Some(doc) => {
                    (ScrubDoc { phase: ScrubPhase::Running, bytes_per_second, ended_at_unix_ms: None, ..doc }, true)
                }
                None => (ScrubDoc::begun(bytes_per_second, self.settings.clock.unix_ms()), false),
            }
        };
        self.write(vec![Change::PutScrub(doc.clone())]).await?;
        self.spawn_scrub(doc, resume);
        Ok(Outcome::Done)
    }

    fn spawn_scrub(self: &Arc<Self>, doc: ScrubDoc, resume: bool) {
        let (stop, stopped) = watch::channel(None);
        {
            let mut current = self.scrubbing.current.lock();
            current.stop = Some(stop);
            current.doc = Some(doc.clone());
        }
        tokio::spawn(Arc::clone(self).run_scrub(doc, resume, stopped));
    }

    async fn run_scrub(
        self: Arc<Self>,
        base: ScrubDoc,
        resume: bool,
        mut stopped: watch::Receiver<Option<ScrubPhase>>,
    ) {
        // What the scrub holds of the pool is let go of before anybody can begin another one.
        let mut doc = self.scrub_until(&base, resume, &mut stopped).await;
        if doc.phase != ScrubPhase::Running {
            doc.ended_at_unix_ms = Some(self.settings.clock.unix_ms());
        }
        self.keep_scrub(&doc).await;
        let found: u64 = doc.damage.iter().map(|damage| damage.count).sum();
        tracing::info!(phase = ?doc.phase, damaged_blocks = found, "the scrub ended");
        {
            let mut current = self.scrubbing.current.lock();
            current.doc = Some(doc);
            current.stop = None;
        }
        self.scrubbing.changed.send_replace(());
    }

    async fn scrub_until(
        &self,
        base: &ScrubDoc,
        resume: bool,
        stopped: &mut watch::Receiver<Option<ScrubPhase>>,
    ) -> ScrubDoc {
        let options = ScrubOptions { bytes_per_second: base.bytes_per_second, resume };
        let (told, mut reports) = watch::channel(ScrubReport::default());
        let mut scrub = pin!(self.pool.scrub(options, move |report| drop(told.send_replace(report.clone()))));
        let mut doc = base.clone();
        loop {
            tokio::select! {
                biased;
                Ok(()) = reports.changed() => {
                    let kept_damage = doc.damage.len();
                    doc = base.and(&reports.borrow_and_update());
                    self.scrubbing.current.lock().doc = Some(doc.clone());
                    // The scrub does not go on meanwhile, so what was found is kept before the pool passes it.
                    if doc.damage.len() != kept_damage {
                        self.keep_scrub(&doc).await;
                    }
                }
                // The sender is gone only with the catalog.
                _ = stopped.changed() => {
                    doc.phase = stopped.borrow().unwrap_or(ScrubPhase::Stopped);
                    return doc;
                }
                ended = &mut scrub => {
                    match ended {
                        Ok(report) => doc = ScrubDoc { phase: ScrubPhase::Finished, ..base.and(&report) },
                        Err(error) => (doc.phase, doc.failure) = (ScrubPhase::Failed, Some(error.to_string())),
                    }
                    return doc;
                }
            }
        }
    }

    async fn keep_scrub(&self, doc: &ScrubDoc) {
        if let Err(error) = self.write(vec![Change::PutScrub(doc.clone())]).await {
            tracing::error!(%error, "what the scrub found could not be kept");
        }
    }

    /// What an administrator sees of a scrub.
    fn shown(&self, doc: ScrubDoc) -> ScrubState {
        let data_bytes = self.pool.usage().data_bytes;
        let state = self.state.lock();
        let damage = doc.damage.iter().map(|damage| LunBlocks {
            lun: damage.lun,
            kind: state.pool_lun_kind(damage.lun),
            first_block: Lba(damage.at).0,
            block_count: BlockCount(damage.count).0,
        });
        ScrubState {
            phase: doc.phase,
            bytes_per_second: doc.bytes_per_second.map(NonZeroU64::get),
            began_at_unix_ms: doc.began_at_unix_ms,
            ended_at_unix_ms: doc.ended_at_unix_ms,
            map_pages: doc.map_pages,
            verified_bytes: doc.data_blocks * u64::from(lunshadow_lun::PHYSICAL_BLOCK_BYTES),
            data_bytes,
            healed_copies: doc.healed_copies,
            damage: damage.collect(),
            damage_left_out: doc.damage_left_out,
            failure: doc.failure,
        }
    }
}
