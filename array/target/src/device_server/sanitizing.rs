//! How a unit stands with sanitizing, and what is kept of that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use bytes::Bytes;
use lunshadow_scsi::{AdditionalSense, OverwriteParameters, SanitizeAction, Sense, SenseKey};
use parking_lot::Mutex;

use super::invalid_field;
use super::medium::BLOCK_BYTES;

/// How a unit stands with sanitizing.
#[derive(Debug, Default)]
pub(super) struct Sanitizing {
    /// Whether the stage is another than [`Stage::Sane`]. Kept beside it, so that the data path only looks here.
    insane: AtomicBool,
    stage: Mutex<Stage>,
}

#[derive(Debug, Clone, Default)]
pub(super) enum Stage {
    #[default]
    Sane,
    Running(Arc<AtomicU16>),
    Failed {
        /// AUSE: EXIT FAILURE MODE ends this.
        unrestricted_exit: bool,
    },
}

impl Sanitizing {
    /// Whether commands are answered.
    pub(super) fn check(&self) -> Result<(), Sense> {
        if !self.insane.load(Ordering::Acquire) {
            return Ok(());
        }
        match &*self.stage.lock() {
            Stage::Sane => Ok(()),
            Stage::Running(progress) => Err(in_progress(progress)),
            Stage::Failed { .. } => Err(Sense::new(SenseKey::MEDIUM_ERROR, AdditionalSense::SANITIZE_COMMAND_FAILED)),
        }
    }

    /// Whether SANITIZE is answered: also after one that failed.
    pub(super) fn check_idle(&self) -> Result<(), Sense> {
        match &*self.stage.lock() {
            Stage::Running(progress) => Err(in_progress(progress)),
            Stage::Sane | Stage::Failed { .. } => Ok(()),
        }
    }

    pub(super) fn stage(&self) -> Stage {
        self.stage.lock().clone()
    }

    pub(super) fn set(&self, stage: Stage) {
        let mut current = self.stage.lock();
        self.insane.store(!matches!(stage, Stage::Sane), Ordering::Release);
        *current = stage;
    }

    /// Begins. Answers what was before, and what to count the progress with.
    pub(super) fn begin(&self, unrestricted_exit: bool) -> Result<(Stage, Arc<AtomicU16>), Sense> {
        let mut current = self.stage.lock();
        match &*current {
            Stage::Running(progress) => return Err(in_progress(progress)),
            // One who was not let out of the failure is not let out by a second try either (AUSE).
            Stage::Failed { unrestricted_exit: false } if unrestricted_exit => return Err(invalid_field(1)),
            Stage::Sane | Stage::Failed { .. } => {}
        }
        let progress = Arc::<AtomicU16>::default();
        self.insane.store(true, Ordering::Release);
        let before = std::mem::replace(&mut *current, Stage::Running(progress.clone()));
        Ok((before, progress))
    }

    /// Brings back what a record says.
    pub(super) fn restore(&self, record: &[u8]) -> bool {
        let Some(record) = Record::parse(record) else { return false };
        let unrestricted_exit = record.unrestricted_exit;
        self.set(if record.failed { Stage::Failed { unrestricted_exit } } else { Stage::Running(Arc::default()) });
        true
    }
}

pub(super) fn in_progress(progress: &AtomicU16) -> Sense {
    let sense = Sense::new(SenseKey::NOT_READY, AdditionalSense::SANITIZE_IN_PROGRESS);
    sense.with_progress(progress.load(Ordering::Relaxed))
}

/// What the blocks get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Method {
    /// Nothing: they are given back.
    BlockErase,
    Overwrite(OverwriteParameters),
}

impl Method {
    pub(super) const fn passes(&self) -> u8 {
        match self {
            Self::BlockErase => 1,
            Self::Overwrite(parameters) => parameters.passes,
        }
    }

    /// What each block gets in a pass.
    pub(super) fn block(&self, pass: u8) -> Option<Vec<u8>> {
        let Self::Overwrite(OverwriteParameters { invert, pattern, .. }) = self else { return None };
        let inverted = *invert && pass % 2 == 1;
        Some(pattern.iter().map(|byte| if inverted { !byte } else { *byte }).cycle().take(BLOCK_BYTES).collect())
    }
}

/// What is kept of an operation: whether it failed, AUSE, SERVICE ACTION, a byte each, then the parameter list of OVERWRITE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) failed: bool,
    pub(super) unrestricted_exit: bool,
    pub(super) method: Method,
}

impl Record {
    pub(super) fn to_bytes(&self) -> Bytes {
        let flag = |set: bool| u8::from(set);
        let (action, list) = match &self.method {
            Method::BlockErase => (SanitizeAction::BlockErase, Vec::new()),
            Method::Overwrite(parameters) => (SanitizeAction::Overwrite, parameters.to_bytes()),
        };
        let head = [flag(self.failed), flag(self.unrestricted_exit), action.code()];
        [&head[..], &list].concat().into()
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let ([failed @ 0..=1, unrestricted @ 0..=1, action], list) = bytes.split_first_chunk()? else { return None };
        let method = match SanitizeAction::from_code(*action)? {
            SanitizeAction::BlockErase => Method::BlockErase,
            SanitizeAction::Overwrite => Method::Overwrite(OverwriteParameters::parse(list, BLOCK_BYTES).ok()?),
            SanitizeAction::ExitFailureMode => return None,
        };
        Some(Self { failed: *failed == 1, unrestricted_exit: *unrestricted == 1, method })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back_and_damaged_ones_do_not() {
        let parameters = OverwriteParameters { invert: true, passes: 3, pattern: vec![1, 2, 3] };
        for method in [Method::BlockErase, Method::Overwrite(parameters)] {
            for (failed, unrestricted_exit) in [(false, true), (true, false)] {
                let record = Record { failed, unrestricted_exit, method: method.clone() };
                let bytes = record.to_bytes();
                assert_eq!(Record::parse(&bytes), Some(record));
                assert_eq!(Record::parse(&[&[2], &bytes[1..]].concat()), None);
                assert_eq!(Record::parse(&bytes[..2]), None);
            }
        }
        assert_eq!(Record::parse(&[0, 0, SanitizeAction::ExitFailureMode.code()]), None);
        assert_eq!(Record::parse(&[0, 0, SanitizeAction::Overwrite.code(), 1, 0, 0, 9, 7]), None);
    }

    #[test]
    fn patterns_fill_each_block_and_are_inverted_from_pass_to_pass() {
        let parameters = OverwriteParameters { invert: true, passes: 2, pattern: vec![1, 2, 3] };
        let method = Method::Overwrite(parameters);
        let (first, second) = (method.block(0).expect("data"), method.block(1).expect("data"));
        assert_eq!((first.len(), &first[..4], &first[510..]), (512, &[1, 2, 3, 1][..], &[1, 2][..]));
        assert!(first.iter().zip(&second).all(|(one, other)| one ^ other == 0xff));
        assert_eq!(Method::BlockErase.block(0), None);
    }
}
