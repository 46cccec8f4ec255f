//! A host and a provider for tests of the coordinator: both write one journal, and both do as they are told.

mod host;
mod provider;

use std::sync::{Arc, Mutex};

use lunshadow_coordinator::{
    Clock, Coordinator, CreationFailure, ManualClock, ProviderRegistration, Requester, Settings, SnapshotProperties,
    StandInProvider, VolumeName,
};
use lunshadow_vss::{
    BusType, Context, DeviceName, DiskSignature, LUN_INFORMATION_VERSION, LunInformation, ProviderId, StorageIdentifier,
};
use uuid::Uuid;

pub(crate) use host::{FakeHost, HostStep};
pub(crate) use provider::{Reaction, Resync, ScriptedProvider};

/// What happened, in order.
#[derive(Default)]
pub(crate) struct Journal(Mutex<Vec<String>>);

impl Journal {
    pub(crate) fn note(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, line: &str) -> usize {
        self.lines().iter().filter(|it| *it == line).count()
    }

    /// Where a line stands for the first time.
    pub(crate) fn position(&self, line: &str) -> usize {
        self.lines().iter().position(|it| it == line).unwrap_or_else(|| panic!("no {line:?} in {:#?}", self.lines()))
    }
}

/// A coordinator with one provider `P` over a host with the volumes of section 4(k): V1 on {L1}, V2 on {L1, L2}.
pub(crate) struct Stage {
    pub(crate) journal: Arc<Journal>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) host: Arc<FakeHost>,
    pub(crate) provider: Arc<ScriptedProvider>,
    pub(crate) coordinator: Coordinator,
}

impl Stage {
    pub(crate) fn new(settings: Settings) -> Self {
        let clock = Arc::new(ManualClock::new());
        Self::with_clock(settings, clock.clone(), clock)
    }

    /// The coordinator has a clock of its own; the host goes by `clock`.
    pub(crate) fn with_clock(settings: Settings, clock: Arc<ManualClock>, coordinators: Arc<dyn Clock>) -> Self {
        let journal = Arc::new(Journal::default());
        let host = Arc::new(FakeHost::new(journal.clone(), clock.clone()));
        let provider = Arc::new(ScriptedProvider::new("P", journal.clone(), host.clone()));
        let coordinator = Coordinator::new(host.clone(), coordinators, settings);
        register(&coordinator, 1, &provider);
        Self { journal, clock, host, provider, coordinator }
    }

    /// A second provider, `Q`, on the same host.
    pub(crate) fn second_provider(&self) -> Arc<ScriptedProvider> {
        let provider = Arc::new(ScriptedProvider::new("Q", self.journal.clone(), self.host.clone()));
        register(&self.coordinator, 2, &provider);
        provider
    }

    /// A requester that has put both volumes into a set.
    pub(crate) fn prepared(&self, context: Context) -> Requester {
        let requester = self.coordinator.requester();
        requester.set_context(context).unwrap();
        requester.start_snapshot_set().unwrap();
        requester.add_to_snapshot_set(&volume(1), None).unwrap();
        requester.add_to_snapshot_set(&volume(2), None).unwrap();
        requester
    }

    /// A whole creation of both volumes.
    pub(crate) fn create(&self) -> (Requester, Result<Vec<SnapshotProperties>, CreationFailure>) {
        let requester = self.prepared(Context::CTX_BACKUP);
        let result = requester.do_snapshot_set();
        (requester, result)
    }

    /// Nothing of a set is left on the host: writes flow, flags are clear, writers run.
    pub(crate) fn assert_host_is_free(&self) {
        let state = self.host.state();
        assert!(!state.is_held, "writes are held");
        assert!(state.flagged.is_empty(), "disks are flagged: {:?}", state.flagged);
        assert!(!state.is_frozen, "writers are frozen");
    }
}

/// The service after a restart, with the provider `P`.
pub(crate) fn restarted(stage: &Stage) -> Coordinator {
    let coordinator = Coordinator::new(stage.host.clone(), stage.clock.clone(), Settings::default());
    register(&coordinator, 1, &stage.provider);
    coordinator
}

fn register(coordinator: &Coordinator, id: u128, provider: &Arc<ScriptedProvider>) {
    let registration =
        ProviderRegistration { id: provider_id(id), name: provider.name.to_owned(), provider: provider.clone() };
    coordinator.register_provider(registration).unwrap();
}

/// Registers a stand-in as a hardware provider.
pub(crate) fn register_stand_in(coordinator: &Coordinator, id: u128, provider: &Arc<StandInProvider>) {
    let registration =
        ProviderRegistration { id: provider_id(id), name: "stand-in".to_owned(), provider: provider.clone() };
    coordinator.register_provider(registration).unwrap();
}

pub(crate) fn provider_id(id: u128) -> ProviderId {
    ProviderId(Uuid::from_u128(id))
}

pub(crate) fn volume(number: u32) -> VolumeName {
    VolumeName(format!(r"\\?\Volume{{{number}}}\"))
}

pub(crate) fn device(name: &str) -> DeviceName {
    DeviceName(name.to_owned())
}

/// A LUN as the host sees it.
pub(crate) fn lun(serial: &str) -> LunInformation {
    LunInformation {
        version: LUN_INFORMATION_VERSION,
        device_type: 0,
        device_type_modifier: 0,
        command_queueing: true,
        bus_type: BusType::ISCSI,
        vendor_id: Some("ACME".into()),
        product_id: Some("DISK".into()),
        product_revision: Some("1".into()),
        serial_number: Some(serial.into()),
        disk_signature: DiskSignature::default(),
        descriptor_version: 1,
        identifiers: vec![StorageIdentifier {
            code_set: 2,
            kind: StorageIdentifier::VENDOR_ID,
            bytes: format!("ACME    {serial}").into_bytes(),
        }],
        interconnects: Vec::new(),
    }
}
