//! Writers of a rehearsal: they have names, take part, and fail where they are told to.

use std::sync::{Mutex, MutexGuard, PoisonError};

use lunshadow_coordinator::{Writer, WriterError, WriterEvent};
use lunshadow_vss::SnapshotSetId;
use uuid::Uuid;

use crate::vss::{WriterNotice, WriterReport};

/// A step at which a writer can fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriterStep {
    /// `OnPrepareSnapshot`.
    Prepare,
    /// `OnFreeze`.
    Freeze,
    /// `OnThaw`.
    Thaw,
    /// `OnPostSnapshot`.
    PostSnapshot,
    /// `OnBackupComplete`.
    BackupComplete,
    /// `OnPreRestore`.
    PreRestore,
    /// `OnPostRestore`.
    PostRestore,
}

/// An application of a simulated host that does nothing but take part.
pub struct RehearsedWriter {
    id: Uuid,
    name: String,
    components: Vec<String>,
    fails_at: Option<WriterStep>,
    state: Mutex<State>,
}

struct State {
    takes_part: bool,
    doing: &'static str,
    failed_at: Option<WriterStep>,
}

impl RehearsedWriter {
    /// A writer of that name and id, with components that can be named, which fails at that step.
    #[must_use]
    pub fn new(id: Uuid, name: String, components: Vec<String>, fails_at: Option<WriterStep>) -> Self {
        let state = Mutex::new(State { takes_part: true, doing: "stable", failed_at: None });
        Self { id, name, components, fails_at, state }
    }

    pub(super) fn is_named(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name) || self.id.braced().to_string().eq_ignore_ascii_case(name)
    }

    /// Whether it hears of the next set.
    pub(super) fn take_part(&self, takes_part: bool) {
        self.state().takes_part = takes_part;
    }

    pub(super) fn report(&self) -> WriterReport {
        let state = self.state();
        WriterReport {
            id: self.id.braced().to_string(),
            name: self.name.clone(),
            components: self.components.clone(),
            state: state.doing,
            failure: state.failed_at.map(|step| format!("failed at {step:?}")),
        }
    }

    pub(super) fn notice(&self, notice: WriterNotice) -> Result<(), WriterError> {
        match notice {
            WriterNotice::BackupComplete => self.step(WriterStep::BackupComplete, "stable"),
            WriterNotice::PreRestore => self.step(WriterStep::PreRestore, "restoring"),
            WriterNotice::PostRestore => self.step(WriterStep::PostRestore, "stable"),
        }
    }

    fn step(&self, step: WriterStep, then: &'static str) -> Result<(), WriterError> {
        let mut state = self.state();
        if !state.takes_part {
            return Ok(());
        }
        if self.fails_at == Some(step) {
            (state.doing, state.failed_at) = ("failed", Some(step));
            return Err(WriterError::NonRetryable);
        }
        state.doing = then;
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer for RehearsedWriter {
    fn on_event(&self, _set: SnapshotSetId, event: WriterEvent) -> Result<(), WriterError> {
        match event {
            WriterEvent::PrepareSnapshot => {
                self.state().failed_at = None;
                self.step(WriterStep::Prepare, "prepared")
            }
            WriterEvent::Freeze => self.step(WriterStep::Freeze, "frozen"),
            WriterEvent::Thaw => self.step(WriterStep::Thaw, "thawed"),
            WriterEvent::PostSnapshot => self.step(WriterStep::PostSnapshot, "waiting for completion"),
            WriterEvent::Abort => {
                let mut state = self.state();
                if state.failed_at.is_none() {
                    state.doing = "stable";
                }
                Ok(())
            }
        }
    }
}
