//! Calling a provider as VSS does: every call is recorded, illegal codes are translated, and a panic harms nobody.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use lunshadow_vss::{
    Async, Context, DeviceName, HResult, HardwareProvider, LunInformation, LunStateChange, Method, ProviderId,
    SnapshotId, SnapshotSetId, translate,
};

use crate::timeline::{Activity, Ending, Recorder};

/// What a provider is registered with.
#[derive(Clone)]
pub struct ProviderRegistration {
    /// Its id.
    pub id: ProviderId,
    /// Its name, for people.
    pub name: String,
    /// The provider.
    pub provider: Arc<dyn HardwareProvider>,
}

/// Why a call of a provider failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderFailure {
    /// It answered with a code of failure, or with one that is not legal for the method.
    #[error("{provider} answered {method} with {answered}")]
    Answered {
        /// The provider's name.
        provider: String,
        /// The method.
        method: Method,
        /// What it answered.
        answered: HResult,
        /// What VSS makes of it.
        code: HResult,
    },
    /// It panicked; over COM, its process would be gone.
    #[error("{provider} failed in {method} and did not answer")]
    Panicked {
        /// The provider's name.
        provider: String,
        /// The method.
        method: Method,
    },
    /// It claimed success, but its answer breaks the contract.
    #[error("the answer of {provider} to {method} breaks the contract: {reason}")]
    BadAnswer {
        /// The provider's name.
        provider: String,
        /// The method.
        method: Method,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl ProviderFailure {
    /// The code that a requester sees.
    #[must_use]
    pub const fn code(&self) -> HResult {
        match self {
            Self::Answered { code, .. } => *code,
            Self::Panicked { .. } | Self::BadAnswer { .. } => HResult::VSS_E_UNEXPECTED_PROVIDER_ERROR,
        }
    }
}

/// A registered provider, loaded when it is first needed.
pub(crate) struct ProviderSeat {
    registration: ProviderRegistration,
    loaded: Mutex<bool>,
    recorder: Arc<Recorder>,
}

impl ProviderSeat {
    pub(crate) fn new(registration: ProviderRegistration, recorder: Arc<Recorder>) -> Self {
        Self { registration, loaded: Mutex::new(false), recorder }
    }

    pub(crate) fn registration(&self) -> &ProviderRegistration {
        &self.registration
    }

    pub(crate) fn id(&self) -> ProviderId {
        self.registration.id
    }

    /// Loads the provider unless it is.
    pub(crate) fn load(&self) -> Result<(), ProviderFailure> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if !*loaded {
            self.call(Method::OnLoad, "", |provider| provider.on_load())?;
            *loaded = true;
        }
        Ok(())
    }

    /// Asks the provider to be unloaded; a provider may decline unless it is forced (section 2.4). Answers whether it is unloaded.
    pub(crate) fn unload(&self, forced: bool) -> bool {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if *loaded {
            let answer = self.call(Method::OnUnload, "", |provider| provider.on_unload(forced));
            let stays = matches!(answer, Err(ProviderFailure::Answered { answered: HResult::S_FALSE, .. }));
            *loaded = stays && !forced;
        }
        !*loaded
    }

    pub(crate) fn are_luns_supported(
        &self,
        context: Context,
        devices: &[DeviceName],
        luns: &mut [LunInformation],
        volume: &str,
    ) -> Result<bool, ProviderFailure> {
        self.call_and_say(
            Method::AreLunsSupported,
            volume,
            |provider| provider.are_luns_supported(context, devices, luns),
            |&supported| if supported { "yes" } else { "no" },
        )
    }

    pub(crate) fn begin_prepare_snapshot(
        &self,
        (set, snapshot): (SnapshotSetId, SnapshotId),
        context: Context,
        devices: &[DeviceName],
        luns: &mut [LunInformation],
        volume: &str,
    ) -> Result<(), ProviderFailure> {
        self.call(Method::BeginPrepareSnapshot, volume, |provider| {
            provider.begin_prepare_snapshot(set, snapshot, context, devices, luns)
        })
    }

    pub(crate) fn end_prepare_snapshots(&self, set: SnapshotSetId) -> Result<(), ProviderFailure> {
        self.call(Method::EndPrepareSnapshots, "", |provider| provider.end_prepare_snapshots(set))
    }

    pub(crate) fn pre_commit_snapshots(&self, set: SnapshotSetId) -> Result<(), ProviderFailure> {
        self.call(Method::PreCommitSnapshots, "", |provider| provider.pre_commit_snapshots(set))
    }

    pub(crate) fn commit_snapshots(&self, set: SnapshotSetId) -> Result<(), ProviderFailure> {
        self.call(Method::CommitSnapshots, "", |provider| provider.commit_snapshots(set))
    }

    pub(crate) fn post_commit_snapshots(&self, set: SnapshotSetId, count: i32) -> Result<(), ProviderFailure> {
        self.call(Method::PostCommitSnapshots, "", |provider| provider.post_commit_snapshots(set, count))
    }

    pub(crate) fn pre_final_commit_snapshots(&self, set: SnapshotSetId) -> Result<(), ProviderFailure> {
        self.call(Method::PreFinalCommitSnapshots, "", |provider| provider.pre_final_commit_snapshots(set))
    }

    pub(crate) fn post_final_commit_snapshots(&self, set: SnapshotSetId) -> Result<(), ProviderFailure> {
        self.call(Method::PostFinalCommitSnapshots, "", |provider| provider.post_final_commit_snapshots(set))
    }

    /// Delivers an abort. Nobody is left who could act on its failure, so that is only recorded.
    pub(crate) fn abort_snapshots(&self, set: SnapshotSetId) {
        if let Err(failure) = self.call(Method::AbortSnapshots, "", |provider| provider.abort_snapshots(set)) {
            tracing::warn!(%set, %failure, "a provider could not abort a snapshot set");
        }
    }

    pub(crate) fn get_target_luns(
        &self,
        devices: &[DeviceName],
        sources: &[LunInformation],
        volume: &str,
    ) -> Result<Vec<LunInformation>, ProviderFailure> {
        let targets =
            self.call(Method::GetTargetLuns, volume, |provider| provider.get_target_luns(devices, sources))?;
        if targets.len() == sources.len() {
            Ok(targets)
        } else {
            Err(self.bad_answer(Method::GetTargetLuns, "there must be one target for each source"))
        }
    }

    pub(crate) fn locate_luns(&self, shadows: &[LunInformation]) -> Result<(), ProviderFailure> {
        self.call(Method::LocateLuns, "", |provider| provider.locate_luns(shadows))
    }

    /// Whether an arrived disk is this provider's, with its information completed if it is. VSS ignores the code, not the Boolean.
    pub(crate) fn fill_in_lun_info(&self, device: &DeviceName, lun: &LunInformation) -> Option<LunInformation> {
        let mut filled = lun.clone();
        let answer = self.call_and_say(
            Method::FillInLunInfo,
            &device.0,
            |provider| Ok(provider.fill_in_lun_info(device, &mut filled).1),
            |&mine| if mine { "mine" } else { "not mine" },
        );
        matches!(answer, Ok(true)).then_some(filled)
    }

    pub(crate) fn on_lun_empty(
        &self,
        device: Option<&DeviceName>,
        lun: &LunInformation,
    ) -> Result<(), ProviderFailure> {
        let subject = device.map_or("", |device| &device.0);
        self.call(Method::OnLunEmpty, subject, |provider| provider.on_lun_empty(device, Some(lun)))
    }

    pub(crate) fn on_lun_state_change(
        &self,
        shadows: &[LunInformation],
        originals: &[LunInformation],
        change: LunStateChange,
    ) -> Result<(), ProviderFailure> {
        self.call(Method::OnLunStateChange, "", |provider| provider.on_lun_state_change(shadows, originals, change))
    }

    pub(crate) fn resync_luns(
        &self,
        shadows: &[LunInformation],
        targets: &[LunInformation],
    ) -> Result<Box<dyn Async>, ProviderFailure> {
        self.call(Method::ResyncLuns, "", |provider| provider.resync_luns(shadows, targets))
    }

    pub(crate) fn bad_answer(&self, method: Method, reason: &'static str) -> ProviderFailure {
        ProviderFailure::BadAnswer { provider: self.registration.name.clone(), method, reason }
    }

    fn call<T>(
        &self,
        method: Method,
        subject: &str,
        run: impl FnOnce(&dyn HardwareProvider) -> Result<T, HResult>,
    ) -> Result<T, ProviderFailure> {
        self.call_and_say(method, subject, run, |_| "")
    }

    fn call_and_say<T>(
        &self,
        method: Method,
        subject: &str,
        run: impl FnOnce(&dyn HardwareProvider) -> Result<T, HResult>,
        say: impl FnOnce(&T) -> &'static str,
    ) -> Result<T, ProviderFailure> {
        let provider = &self.registration.name;
        let activity =
            Activity::Call { provider: provider.clone(), method: method.name(), subject: subject.to_owned() };
        let began = self.recorder.begin();
        // A provider is another program: what it leaves half-done when it panics is its own and cannot be seen from here.
        let answer = catch_unwind(AssertUnwindSafe(|| run(&*self.registration.provider)));
        let result = match answer {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(answered)) => {
                let code = translate(method, answered);
                // A legal success cannot come as an error; if it does, the provider's code contradicts its answer.
                let unsaid = !code.is_failure() && method != Method::OnUnload;
                let code = if unsaid { HResult::VSS_E_UNEXPECTED_PROVIDER_ERROR } else { code };
                Err(ProviderFailure::Answered { provider: provider.clone(), method, answered, code })
            }
            Err(_) => Err(ProviderFailure::Panicked { provider: provider.clone(), method }),
        };
        let ending = match &result {
            Ok(value) => Ending::answered(say(value)),
            Err(ProviderFailure::Answered { answered, .. }) => Ending::failed(answered),
            Err(failure) => Ending::failed(failure),
        };
        self.recorder.end(began, activity, ending);
        result
    }
}
