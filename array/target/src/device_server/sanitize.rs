//! SANITIZE: what a LUN held cannot be read from it any more (SBC-3 4.11).
//!
//! The operation is about the LUN as initiators see it. Shadow LUNs are LUNs of their own: they keep what they share with it, and are sanitized
//! themselves if that is what is wanted. Tokens, which would bring old content back, end. While it runs, nothing but questions is answered.
//! Resets do not stop it, and it goes on after a restart, from the beginning, where the array keeps records of LUNs.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use bytes::Bytes;
use lunshadow_lun::{BlockCount, LOGICAL_BLOCK_BYTES, Lba, LunError, LunMap, UnitRecord};
use lunshadow_scsi::{AdditionalSense, OverwriteListError, OverwriteParameters, SanitizeAction, Sense, SenseKey};
use tokio::sync::oneshot;

use super::background::Background;
use super::medium::{BLOCK_BYTES, Kind, Operation, PIECE_BLOCKS, report};
use super::sanitizing::{Method, Record, Stage, in_progress};
use super::tokens::Tokens;
use super::unit::Disk;
use super::unmap::UNMAP_BLOCKS_MAX;
use super::{Completion, illegal_request, invalid_field, invalid_parameter};

/// A SANITIZE that waits for its parameters.
pub(super) struct Sanitize {
    pub(super) action: SanitizeAction,
    pub(super) immediate: bool,
    pub(super) unrestricted_exit: bool,
    pub(super) parameter_len: u16,
    pub(super) jobs: Arc<Jobs>,
}

impl fmt::Debug for Sanitize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sanitize").field("action", &self.action).finish_non_exhaustive()
    }
}

impl Operation {
    pub(super) fn sanitize(disk: Disk, sanitize: Sanitize) -> Result<Self, Sense> {
        let lens = match sanitize.action {
            SanitizeAction::Overwrite => OVERWRITE_LIST_MIN..=OVERWRITE_LIST_MAX,
            SanitizeAction::BlockErase | SanitizeAction::ExitFailureMode => 0..=0,
        };
        if !lens.contains(&sanitize.parameter_len) {
            return Err(invalid_field(7));
        }
        let disk = if sanitize.action == SanitizeAction::ExitFailureMode { disk } else { disk.writable()? };
        Ok(Self { disk, kind: Kind::Sanitize(Box::new(sanitize)) })
    }
}

/// The parameter list of OVERWRITE: a header of four bytes, and a pattern of a byte to a block.
const OVERWRITE_LIST_MIN: u16 = 5;
#[expect(clippy::cast_possible_truncation, reason = "512, and `const` has no TryFrom")]
const OVERWRITE_LIST_MAX: u16 = 4 + LOGICAL_BLOCK_BYTES as u16;

impl Sanitize {
    pub(super) async fn run(self, disk: Disk, list: &[u8]) -> Completion {
        self.perform(disk, list).await.map_or_else(Completion::check, |()| Completion::good())
    }

    async fn perform(&self, disk: Disk, list: &[u8]) -> Result<(), Sense> {
        let method = match self.action {
            SanitizeAction::ExitFailureMode => return self.exit_failure_mode(&disk).await,
            SanitizeAction::BlockErase => Method::BlockErase,
            SanitizeAction::Overwrite => {
                Method::Overwrite(OverwriteParameters::parse(list, BLOCK_BYTES).map_err(sense_of_list)?)
            }
        };
        let unrestricted_exit = self.unrestricted_exit;
        disk.check_writable()?;
        let (before, progress) = disk.state.sanitizing.begin(unrestricted_exit)?;
        let record = Record { failed: false, unrestricted_exit, method };
        let job = Job { disk, record, progress: progress.clone(), jobs: self.jobs.clone() };
        let (answer, answered) = oneshot::channel();
        let immediate = self.immediate;
        self.jobs.background.spawn(async move {
            if let Err(sense) = job.note(&job.record).await {
                job.disk.state.sanitizing.set(before);
                let _ = answer.send(Err(sense));
            } else if immediate {
                // Whoever asked may be gone, here and below.
                let _ = answer.send(Ok(()));
                let _ = job.run().await;
            } else if let Some(result) = job.run().await {
                let _ = answer.send(result);
            }
        });
        // Where nobody answers, the target goes: what is not done is done when it is back.
        answered.await.unwrap_or_else(|_| Err(in_progress(&progress)))
    }

    async fn exit_failure_mode(&self, disk: &Disk) -> Result<(), Sense> {
        let sanitizing = &disk.state.sanitizing;
        match sanitizing.stage() {
            Stage::Sane => return Ok(()),
            Stage::Running(progress) => return Err(in_progress(&progress)),
            Stage::Failed { unrestricted_exit: false } => return Err(invalid_field(1)),
            Stage::Failed { unrestricted_exit: true } => {}
        }
        self.jobs.keep(disk, None).await?;
        sanitizing.set(Stage::Sane);
        Ok(())
    }
}

fn sense_of_list(error: OverwriteListError) -> Sense {
    match error {
        OverwriteListError::CutOff => illegal_request(AdditionalSense::PARAMETER_LIST_LENGTH_ERROR),
        OverwriteListError::InvalidField(field) => invalid_parameter(field),
    }
}

/// What operations need, whoever began them.
pub(super) struct Jobs {
    map: Arc<dyn LunMap>,
    tokens: Arc<Tokens>,
    background: Arc<Background>,
}

/// One of them.
struct Job {
    disk: Disk,
    record: Record,
    progress: Arc<AtomicU16>,
    jobs: Arc<Jobs>,
}

/// Why an operation did not come to its end.
enum Unfinished {
    /// The target goes.
    Stopped,
    /// The LUN is deleted.
    Gone,
    Failed(Sense),
}

impl Jobs {
    pub(super) fn new(map: Arc<dyn LunMap>, tokens: Arc<Tokens>, background: Arc<Background>) -> Self {
        Self { map, tokens, background }
    }

    /// Goes on with what a target before this one has begun.
    pub(super) fn resume(self: &Arc<Self>, disk: Disk, record: &[u8]) {
        let Some(record) = Record::parse(record).filter(|record| !record.failed) else { return };
        let progress = Arc::default();
        disk.state.sanitizing.set(Stage::Running(Arc::clone(&progress)));
        tracing::info!(lun = %disk.lun.id(), "sanitizing begins anew after a restart");
        let job = Job { disk, record, progress, jobs: self.clone() };
        // Nobody waits for it.
        self.background.spawn(async move {
            let _ = job.run().await;
        });
    }

    /// What is kept is what a restart finds, so without it nothing begins or ends.
    async fn keep(&self, disk: &Disk, record: Option<&Record>) -> Result<(), Sense> {
        let Some(store) = self.map.unit_store() else { return Ok(()) };
        let kept = store.keep(disk.lun.id(), UnitRecord::Sanitize, record.map(Record::to_bytes)).await;
        kept.map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "a sanitize operation could not be noted");
            Sense::new(SenseKey::HARDWARE_ERROR, AdditionalSense::INTERNAL_TARGET_FAILURE)
        })
    }
}

impl Job {
    async fn note(&self, record: &Record) -> Result<(), Sense> {
        self.jobs.keep(&self.disk, Some(record)).await
    }

    /// How it ended; `None` if it is to go on later.
    async fn run(&self) -> Option<Result<(), Sense>> {
        let mut erased = self.erase().await;
        if erased.is_ok() {
            // As long as a record says that it runs, a restart would erase what is written from now on.
            erased = self.jobs.keep(&self.disk, None).await.map_err(Unfinished::Failed);
        }
        let sanitizing = &self.disk.state.sanitizing;
        match erased {
            Ok(()) => {
                sanitizing.set(Stage::Sane);
                Some(Ok(()))
            }
            Err(Unfinished::Stopped) => None,
            Err(Unfinished::Gone) => {
                sanitizing.set(Stage::Sane);
                Some(Err(super::sense_of(&LunError::Gone)))
            }
            Err(Unfinished::Failed(sense)) => {
                tracing::error!(lun = %self.disk.lun.id(), %sense, "sanitizing failed");
                let record = Record { failed: true, ..self.record.clone() };
                // If this cannot be kept, a restart tries again.
                let _ = self.note(&record).await;
                sanitizing.set(Stage::Failed { unrestricted_exit: self.record.unrestricted_exit });
                Some(Err(sense))
            }
        }
    }

    async fn erase(&self) -> Result<(), Unfinished> {
        // Writes that were let in before are through when this is given.
        let _alone = self.disk.state.ranges.exclusive(0..u64::MAX).await;
        self.jobs.tokens.delete_of(self.disk.lun.id());
        for pass in 0..self.record.method.passes() {
            self.pass(pass).await?;
        }
        let lasting = async {
            self.disk.lun.flush().await?;
            self.disk.lun.wipe_unused().await
        };
        tokio::select! {
            biased;
            () = self.jobs.background.stopping() => return Err(Unfinished::Stopped),
            done = lasting => done.map_err(|error| self.failed(&error))?,
        }
        // One that was just being made when this began.
        self.jobs.tokens.delete_of(self.disk.lun.id());
        Ok(())
    }

    async fn pass(&self, pass: u8) -> Result<(), Unfinished> {
        let lun = &self.disk.lun;
        let piece = self.record.method.block(pass).map(|block| Bytes::from(block.repeat(PIECE_BLOCKS as usize)));
        let piece_blocks = u64::from(if piece.is_some() { PIECE_BLOCKS } else { UNMAP_BLOCKS_MAX });
        let mut at = 0;
        // It may grow meanwhile.
        while at < lun.block_count().0 {
            if self.jobs.background.is_stopping() {
                return Err(Unfinished::Stopped);
            }
            let count = BlockCount(piece_blocks.min(lun.block_count().0 - at));
            let done = match &piece {
                None => lun.discard(Lba(at), count).await,
                Some(piece) => {
                    let len = usize::try_from(count.bytes()).expect("at most a piece");
                    lun.write(Lba(at), piece.slice(..len)).await
                }
            };
            done.map_err(|error| self.failed(&error))?;
            at += count.0;
            self.count(pass, at, lun.block_count().0);
        }
        Ok(())
    }

    /// PROGRESS INDICATION is how many of 65536 parts are done.
    fn count(&self, pass: u8, at: u64, of: u64) {
        // What comes after them counts as one more.
        let passes = u128::from(self.record.method.passes()) + 1;
        let done = u128::from(pass) * u128::from(of) + u128::from(at);
        let parts = (done << 16) / (passes * u128::from(of)).max(1);
        self.progress.store(u16::try_from(parts).unwrap_or(u16::MAX), Ordering::Relaxed);
    }

    fn failed(&self, error: &LunError) -> Unfinished {
        match error {
            LunError::Gone => Unfinished::Gone,
            error => Unfinished::Failed(report(&self.disk.lun, error)),
        }
    }
}
