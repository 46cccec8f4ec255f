//! Calling a provider as VSS does: every call is recorded, illegal codes are translated, and a panic harms nobody.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use lunshadow_vss::{
    Async, Context, CreateSnapshotSet, DeviceName, HResult, HardwareProvider, LunInformation, LunStateChange, Method,
    ProviderId, SnapshotId, SnapshotSetId, translate,
};

use crate::platform::VolumeName;
use crate::settings::FillMode;
use crate::software_provider::{SoftwareKind, SoftwareProvider, SoftwareRegistration};
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
    id: ProviderId,
    name: String,
    backend: Backend,
    loaded: Mutex<bool>,
    recorder: Arc<Recorder>,
}

/// Who does the work.
enum Backend {
    Hardware(Arc<dyn HardwareProvider>),
    Software(SoftwareKind, Arc<dyn SoftwareProvider>),
}

impl ProviderSeat {
    pub(crate) fn new(registration: ProviderRegistration, recorder: Arc<Recorder>) -> Self {
        let ProviderRegistration { id, name, provider } = registration;
        Self { id, name, backend: Backend::Hardware(provider), loaded: Mutex::new(false), recorder }
    }

    pub(crate) fn of_software(registration: SoftwareRegistration, recorder: Arc<Recorder>) -> Self {
        let SoftwareRegistration { id, name, kind, provider } = registration;
        Self { id, name, backend: Backend::Software(kind, provider), loaded: Mutex::new(false), recorder }
    }

    /// What it was registered with; `None` for a provider of volume copies.
    pub(crate) fn registration(&self) -> Option<ProviderRegistration> {
        match &self.backend {
            Backend::Hardware(provider) => {
                Some(ProviderRegistration { id: self.id, name: self.name.clone(), provider: Arc::clone(provider) })
            }
            Backend::Software(..) => None,
        }
    }

    pub(crate) fn id(&self) -> ProviderId {
        self.id
    }

    /// Its kind, if it copies volumes and not LUNs. Hardware providers are chosen before the others (section 1.4).
    pub(crate) fn software_kind(&self) -> Option<SoftwareKind> {
        match &self.backend {
            Backend::Hardware(_) => None,
            Backend::Software(kind, _) => Some(*kind),
        }
    }

    /// Whether it copies LUNs, and cannot be told of what becomes of them later, nor resync any (section 2.3).
    pub(crate) fn is_legacy(&self) -> bool {
        match &self.backend {
            Backend::Hardware(provider) => provider.is_legacy(),
            Backend::Software(..) => false,
        }
    }

    /// Whether a context is for providers of its kind: what is client-accessible is the system provider's alone, and only LUNs can be
    /// transported (sections 1.4 and 4(b)).
    pub(crate) fn is_meant_by(&self, context: Context) -> bool {
        let is_system = self.software_kind() == Some(SoftwareKind::System);
        let is_hardware = self.software_kind().is_none();
        (is_system || !context.contains(Context::CLIENT_ACCESSIBLE))
            && (is_hardware || !context.contains(Context::TRANSPORTABLE))
    }

    /// Loads the provider unless it is.
    pub(crate) fn load(&self) -> Result<(), ProviderFailure> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if !*loaded && self.software_kind().is_none() {
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
        volume: &VolumeName,
    ) -> Result<bool, ProviderFailure> {
        if let Backend::Software(_, provider) = &self.backend {
            let run = || Ok(provider.is_volume_supported(context, volume));
            return self.record(Method::AreLunsSupported, "IsVolumeSupported", &volume.0, run, yes_or_no);
        }
        let volume = &volume.0;
        self.call_and_say(
            Method::AreLunsSupported,
            volume,
            |provider| provider.are_luns_supported(context, devices, luns),
            yes_or_no,
        )
    }

    pub(crate) fn begin_prepare_snapshot(
        &self,
        (set, snapshot): (SnapshotSetId, SnapshotId),
        context: Context,
        devices: &[DeviceName],
        luns: &mut [LunInformation],
        volume: &VolumeName,
    ) -> Result<(), ProviderFailure> {
        let run = || match &self.backend {
            Backend::Hardware(provider) => provider.begin_prepare_snapshot(set, snapshot, context, devices, luns),
            Backend::Software(_, provider) => provider.begin_prepare_snapshot(set, snapshot, context, volume),
        };
        let method = Method::BeginPrepareSnapshot;
        self.record(method, method.name(), &volume.0, run, |()| "")
    }

    pub(crate) fn end_prepare_snapshots(&self, set: SnapshotSetId) -> Result<(), ProviderFailure> {
        self.step(Method::EndPrepareSnapshots, |provider| provider.end_prepare_snapshots(set))
    }

    pub(crate) fn pre_commit_snapshots(&self, set: SnapshotSetId) -> Result<(), ProviderFailure> {
        self.step(Method::PreCommitSnapshots, |provider| provider.pre_commit_snapshots(set))
    }

    pub(crate) fn commit_snapshots(&self, set: SnapshotSetId) -> Result<(), ProviderFailure> {
        self.step(Method::CommitSnapshots, |provider| provider.commit_snapshots(set))
    }

    pub(crate) fn post_commit_snapshots(&self, set: SnapshotSetId, count: i32) -> Result<(), ProviderFailure> {
        self.step(Method::PostCommitSnapshots, |provider| provider.post_commit_snapshots(set, count))
    }

    pub(crate) fn pre_final_commit_snapshots(&self, set: SnapshotSetId) -> Result<(), ProviderFailure> {
        self.step(Method::PreFinalCommitSnapshots, |provider| provider.pre_final_commit_snapshots(set))
    }

    pub(crate) fn post_final_commit_snapshots(&self, set: SnapshotSetId) -> Result<(), ProviderFailure> {
        self.step(Method::PostFinalCommitSnapshots, |provider| provider.post_final_commit_snapshots(set))
    }

    /// Delivers an abort. Nobody is left who could act on its failure, so that is only recorded.
    pub(crate) fn abort_snapshots(&self, set: SnapshotSetId) {
        let aborted = self.step(Method::AbortSnapshots, |provider| provider.abort_snapshots(set));
        if let Err(failure) = aborted {
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

    /// Whether an arrived disk is this provider's, with its information completed if it is. Fails only where the code counts.
    pub(crate) fn fill_in_lun_info(
        &self,
        device: &DeviceName,
        lun: &LunInformation,
        mode: FillMode,
    ) -> Result<Option<LunInformation>, ProviderFailure> {
        let mut filled = lun.clone();
        let answer = self.call_and_say(
            Method::FillInLunInfo,
            &device.0,
            |provider| match provider.fill_in_lun_info(device, &mut filled) {
                (code, _) if mode == FillMode::Honoured && code.is_failure() => Err(code),
                (_, mine) => Ok(mine),
            },
            |&mine| if mine { "mine" } else { "not mine" },
        );
        match answer {
            Ok(mine) => Ok(mine.then_some(filled)),
            Err(failure) if mode == FillMode::Honoured => Err(failure),
            Err(_) => Ok(None),
        }
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
        if self.is_legacy() && !change.contains(LunStateChange::DO_MASK_LUNS) {
            // Who cannot be told need not know.
            return Ok(());
        }
        self.call(Method::OnLunStateChange, "", |provider| provider.on_lun_state_change(shadows, originals, change))
    }

    pub(crate) fn resync_luns(
        &self,
        shadows: &[LunInformation],
        targets: &[LunInformation],
    ) -> Result<Box<dyn Async>, ProviderFailure> {
        self.call(Method::ResyncLuns, "", |provider| provider.resync_luns(shadows, targets))
    }

    /// Deletes a copy of a volume. Hardware providers have none.
    pub(crate) fn delete_snapshot(&self, snapshot: SnapshotId) -> Result<(), ProviderFailure> {
        let Backend::Software(_, provider) = &self.backend else { return Ok(()) };
        self.record(Method::OnLunEmpty, "DeleteSnapshots", "", || provider.delete_snapshot(snapshot), |()| "")
    }

    pub(crate) fn bad_answer(&self, method: Method, reason: &'static str) -> ProviderFailure {
        ProviderFailure::BadAnswer { provider: self.name.clone(), method, reason }
    }

    fn call<T>(
        &self,
        method: Method,
        subject: &str,
        run: impl FnOnce(&dyn HardwareProvider) -> Result<T, HResult>,
    ) -> Result<T, ProviderFailure> {
        self.call_and_say(method, subject, run, |_| "")
    }

    /// Calls a method of hardware providers.
    fn call_and_say<T>(
        &self,
        method: Method,
        subject: &str,
        run: impl FnOnce(&dyn HardwareProvider) -> Result<T, HResult>,
        say: impl FnOnce(&T) -> &'static str,
    ) -> Result<T, ProviderFailure> {
        match &self.backend {
            Backend::Hardware(provider) => self.record(method, method.name(), subject, || run(&**provider), say),
            Backend::Software(..) => Err(self.bad_answer(method, "it copies volumes and knows no LUNs")),
        }
    }

    /// Calls a method that all kinds of providers have.
    fn step(
        &self,
        method: Method,
        run: impl FnOnce(&dyn CreateSnapshotSet) -> Result<(), HResult>,
    ) -> Result<(), ProviderFailure> {
        let provider: &dyn CreateSnapshotSet = match &self.backend {
            Backend::Hardware(provider) => &**provider,
            Backend::Software(_, provider) => &**provider,
        };
        self.record(method, method.name(), "", || run(provider), |()| "")
    }

    /// Makes a call, with its entry in the timeline under the name that the method has there.
    fn record<T>(
        &self,
        method: Method,
        name: &'static str,
        subject: &str,
        run: impl FnOnce() -> Result<T, HResult>,
        say: impl FnOnce(&T) -> &'static str,
    ) -> Result<T, ProviderFailure> {
        let provider = &self.name;
        let activity = Activity::Call { provider: provider.clone(), method: name, subject: subject.to_owned() };
        let began = self.recorder.begin();
        // A provider is another program: what it leaves half-done when it panics is its own and cannot be seen from here.
        let answer = catch_unwind(AssertUnwindSafe(run));
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

fn yes_or_no(supported: &bool) -> &'static str {
    if *supported { "yes" } else { "no" }
}
