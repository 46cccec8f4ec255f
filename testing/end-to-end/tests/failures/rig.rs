//! A whole system with two LUNs, and the questions that every failure has to answer well.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lunshadow::in_process::InProcessArray;
use lunshadow_catalog::SetState;
use lunshadow_control::{LunId, ShadowSetId};
use lunshadow_coordinator::disk::{ShadowFlags, make_sample_disk, read_shadow_flags};
use lunshadow_coordinator::{
    Coordinator, CreationFailure, IscsiAdapter, ProviderRegistration, Requester, Settings, SimulatedHost,
    SnapshotProperties, SystemClock, VolumeName,
};
use lunshadow_end_to_end::array::{ArrayLun, INITIATOR, TestArray};
use lunshadow_lun::{LunOrigin, Pool};
use lunshadow_provider::{Event, EventId, EventLog, Provider, ProviderConfig};
use lunshadow_vss::{Context, DeviceName, HResult, HardwareProvider, Method, ProviderId, SnapshotSetId};
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::faulty_array::{ArrayScript, FaultyArray};
use crate::faulty_host::{FaultyHost, HostScript, TestWriter};
use crate::faulty_provider::FaultyProvider;
use crate::plan::Plan;

/// How long anything may take that has to happen.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// The sample disk and the blank one.
const LEN_BYTES: [u64; 2] = [16 << 20, 1 << 20];

/// Where the tests' application writes: on the sample disk between the last partition and the second copy of the table.
pub(crate) const RECORD_AT_BYTES: [u64; 2] = [(16 << 20) - (512 << 10), 0];

pub(crate) struct Rig {
    pub(crate) runtime: Runtime,
    pub(crate) array: TestArray,
    pub(crate) luns: [ArrayLun; 2],
    pub(crate) host: Arc<SimulatedHost>,
    pub(crate) devices: [DeviceName; 2],
    pub(crate) host_script: Arc<HostScript>,
    pub(crate) array_script: Arc<ArrayScript>,
    pub(crate) provider_plan: Arc<Plan<Method, HResult>>,
    pub(crate) provider: Arc<dyn HardwareProvider>,
    pub(crate) events: Arc<Events>,
    pub(crate) coordinator: Coordinator,
    writer: Arc<TestWriter>,
    tables: Vec<u8>,
    records: Mutex<u8>,
}

/// The events that the provider has written.
#[derive(Default)]
pub(crate) struct Events(Mutex<Vec<EventId>>);

impl Events {
    pub(crate) fn has(&self, id: EventId) -> bool {
        self.0.lock().unwrap().contains(&id)
    }
}

impl EventLog for Events {
    fn record(&self, event: Event) {
        self.0.lock().unwrap().push(event.id);
    }
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with_settings(Settings { arrival_timeout: Duration::from_millis(200), ..Settings::default() })
    }

    /// With two blank disks. Whatever looks at them does so in a few reads, where a partition table takes a hundred.
    pub(crate) fn blank() -> Self {
        Self::build(Settings::default(), false)
    }

    pub(crate) fn with_settings(settings: Settings) -> Self {
        Self::build(settings, true)
    }

    fn build(settings: Settings, has_sample: bool) -> Self {
        let runtime = Runtime::new().unwrap();
        let (array, luns) = runtime.block_on(async {
            let array = TestArray::start().await.unwrap();
            let sample = if has_sample {
                array.import("sample", &sample_disk()).await.unwrap()
            } else {
                array.add_lun("sample", LEN_BYTES[0]).await.unwrap()
            };
            let blank = array.add_lun("blank", LEN_BYTES[1]).await.unwrap();
            (array, [sample, blank])
        });
        let initiator = INITIATOR.parse().unwrap();
        let login = IscsiAdapter::log_in(array.portal(), &initiator, array.target_name());
        let adapter = Arc::new(runtime.block_on(login).unwrap());
        let host = Arc::new(SimulatedHost::new(adapter, runtime.handle().clone()).unwrap());
        let devices = luns.map(|lun| host.device_by_serial_number(&lun.id.to_string()).unwrap());
        let host_script = Arc::<HostScript>::default();
        let writer = Arc::new(TestWriter { script: Arc::clone(&host_script), ..TestWriter::default() });
        host.add_writer(writer.clone());

        let (array_script, provider_plan) = (Arc::<ArrayScript>::default(), Arc::<Plan<_, _>>::default());
        let events = Arc::<Events>::default();
        let client = InProcessArray::new(Arc::clone(array.catalog()), runtime.handle().clone(), array.host());
        let client = FaultyArray { array: client, script: Arc::clone(&array_script) };
        let origin = Instant::now();
        let clock = Arc::new(move || origin.elapsed());
        let provider = Provider::new(Arc::new(client), events.clone(), clock, ProviderConfig::default());
        let provider: Arc<dyn HardwareProvider> =
            Arc::new(FaultyProvider { provider, plan: Arc::clone(&provider_plan) });
        let platform = Arc::new(FaultyHost { host: Arc::clone(&host), script: Arc::clone(&host_script), cutter: None });
        let coordinator = Coordinator::new(platform, Arc::new(SystemClock::new()), settings);
        let mut rig = Self {
            runtime,
            array,
            luns,
            host,
            devices,
            host_script,
            array_script,
            provider_plan,
            provider,
            events,
            coordinator,
            writer,
            tables: Vec::new(),
            records: Mutex::new(0),
        };
        rig.register("Lunshadow", 1, Arc::clone(&rig.provider));
        rig.tables = rig.tables();
        rig
    }

    pub(crate) fn register(&self, name: &str, id: u128, provider: Arc<dyn HardwareProvider>) {
        let id = ProviderId(Uuid::from_u128(id));
        self.coordinator.register_provider(ProviderRegistration { id, name: name.to_owned(), provider }).unwrap();
    }

    pub(crate) fn volume(&self, index: usize) -> VolumeName {
        self.host.volumes(&self.devices[index]).unwrap()[0].name.clone()
    }

    /// A requester with a set of both volumes, as far as these can be added, and the set's id.
    pub(crate) fn prepared(&self) -> (Requester, SnapshotSetId) {
        let requester = self.coordinator.requester();
        requester.set_context(Context::CTX_BACKUP).unwrap();
        let set = requester.start_snapshot_set().unwrap();
        for index in 0..2 {
            // Whether a fault hits here or later is what the tests vary.
            drop(requester.add_to_snapshot_set(&self.volume(index), None));
        }
        (requester, set)
    }

    /// A whole creation.
    pub(crate) fn create(&self) -> (Requester, SnapshotSetId, Result<Vec<SnapshotProperties>, CreationFailure>) {
        let (requester, set) = self.prepared();
        let result = requester.do_snapshot_set();
        (requester, set, result)
    }

    /// The shadow LUNs that the pool has.
    pub(crate) fn shadows(&self) -> Vec<LunId> {
        let luns = self.array.catalog().pool().luns();
        let is_shadow = |lun: &&lunshadow_lun::LunSummary| matches!(lun.origin, LunOrigin::Shadow { .. });
        luns.iter().filter(is_shadow).map(|lun| lun.lun).collect()
    }

    /// Where the array has a set; `None` if it has forgotten it or never knew it.
    pub(crate) fn set_state(&self, set: SnapshotSetId) -> Option<SetState> {
        self.array.catalog().set_state(self.array.host(), ShadowSetId(set.0)).ok()
    }

    /// The sources are as if nothing had happened: no write is held, no flag is set, no writer is frozen.
    pub(crate) fn assert_sources_are_free(&self, after: &str) {
        for index in 0..2 {
            self.write(index);
        }
        assert_eq!(self.host.gate_counts().waiting, 0, "{after}");
        assert!(self.host.flagged().is_empty(), "{after}: {:?}", self.host.flagged());
        let source = self.host.disk_io(&self.devices[0]).unwrap();
        assert_eq!(read_shadow_flags(&*source).unwrap(), ShadowFlags::empty(), "{after}");
        assert!(self.tables() == self.tables, "{after}: the source's partition tables have changed");
        assert!(!*self.writer.is_frozen.lock().unwrap(), "{after}: writers are frozen");
    }

    /// No shadow LUN, no mapping, and no set that waits for anything.
    pub(crate) fn assert_array_is_clean(&self, set: SnapshotSetId, after: &str) {
        // A set that failed its deadline is removed behind the answer.
        let since = Instant::now();
        while !self.shadows().is_empty() && since.elapsed() < SOON {
            std::thread::yield_now();
        }
        assert_eq!(self.shadows(), [], "{after}: shadow LUNs are left behind");
        assert_eq!(self.array.catalog().orphans(), [], "{after}");
        let mappings = self.array.catalog().mappings(self.array.host()).unwrap();
        assert_eq!(mappings.len(), self.luns.len(), "{after}: {mappings:?}");
        let state = self.set_state(set);
        let waits =
            matches!(state, Some(SetState::Prepared | SetState::Armed | SetState::Committing | SetState::Committed));
        assert!(!waits, "{after}: the set has a lease: {state:?}");
    }

    /// A set without any fault works, has what was written last, and goes without a trace.
    pub(crate) fn assert_next_set_succeeds(&self, after: &str) {
        self.array_script.plan.clear();
        self.provider_plan.clear();
        let before = self.shadows();
        let written = self.write(1);
        let (requester, set, result) = self.create();
        let copies = result.unwrap_or_else(|failure| panic!("after {after}: {:?}", failure.error));
        assert_eq!(copies.len(), 2, "{after}");
        let mut record = [0; 512];
        let shadow = self.host.disk_io(&copies[1].luns[0].device).unwrap();
        shadow.read_at(RECORD_AT_BYTES[1], &mut record).unwrap();
        assert_eq!(record, [written; 512], "{after}");
        let flags = read_shadow_flags(&*self.host.disk_io(&copies[0].luns[0].device).unwrap()).unwrap();
        assert_eq!(flags, ShadowFlags::all(), "{after}: the shadow LUN has the flags that the source had");
        assert_eq!(requester.release().unwrap(), 2, "{after}");
        let left: Vec<_> = self.shadows().into_iter().filter(|shadow| !before.contains(shadow)).collect();
        assert_eq!(left, [], "{after}");
        assert!(!matches!(self.set_state(set), Some(SetState::Committed)), "{after}");
        self.assert_sources_are_free(after);
    }

    /// All of it, for a set of which nothing may be left.
    pub(crate) fn assert_nothing_is_left(&self, set: SnapshotSetId, after: &str) {
        self.assert_sources_are_free(after);
        self.assert_array_is_clean(set, after);
        self.assert_next_set_succeeds(after);
        self.assert_array_is_clean(set, after);
    }

    /// Writes a new record to a disk, as an application, and waits for it.
    pub(crate) fn write(&self, index: usize) -> u8 {
        let record = {
            let mut records = self.records.lock().unwrap();
            *records = records.wrapping_add(1);
            *records
        };
        let disk = self.host.application_disk(&self.devices[index]).unwrap();
        let write = disk.write_at(RECORD_AT_BYTES[index], Bytes::from(vec![record; 512]));
        let written = self.runtime.block_on(async { tokio::time::timeout(SOON, write).await });
        written.expect("a write is held").unwrap();
        record
    }

    /// The beginning and the end of the sample disk.
    fn tables(&self) -> Vec<u8> {
        const TABLE_BYTES: usize = 34 * 512;
        let disk = self.host.disk_io(&self.devices[0]).unwrap();
        let mut tables = vec![0; 2 * TABLE_BYTES];
        let (primary, alternate) = tables.split_at_mut(TABLE_BYTES);
        disk.read_at(0, primary).unwrap();
        disk.read_at(LEN_BYTES[0] - TABLE_BYTES as u64, alternate).unwrap();
        tables
    }

    /// An administrator deletes shadow LUNs that nobody else can.
    pub(crate) fn delete_as_administrator(&self, shadows: &[LunId]) {
        for &shadow in shadows {
            let released = self.array.catalog().release(self.array.host(), shadow);
            self.runtime.block_on(released).unwrap();
        }
    }
}

fn sample_disk() -> Vec<u8> {
    static SAMPLE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    let make = || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.img");
        make_sample_disk(&path, LEN_BYTES[0], 1).unwrap();
        std::fs::read(path).unwrap()
    };
    SAMPLE.get_or_init(make).clone()
}
