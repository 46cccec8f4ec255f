//! A provider between a fake array and a spy on the event log, and shorthands for what VSS does with it.

use std::sync::Arc;
use std::time::Duration;

use lunshadow_control::{LunId, ShadowSetId, identity_of};
use lunshadow_provider::{Event, EventId, EventLog, Provider, ProviderConfig, Severity, lun_information};
use lunshadow_vss::{
    BusType, Context, CreateSnapshotSet, DeviceName, DiskSignature, HResult, HardwareProvider, Interconnect,
    LunInformation, SnapshotId, SnapshotSetId,
};
use parking_lot::Mutex;
use uuid::Uuid;

use crate::fake_array::FakeArray;

pub(crate) const SET: SnapshotSetId = SnapshotSetId(Uuid::from_u128(0x51));
pub(crate) const NEXT_SET: SnapshotSetId = SnapshotSetId(Uuid::from_u128(0x52));

/// For how long an unreachable array is asked about a resync.
pub(crate) const RESYNC_LOST_AT_MOST: Duration = Duration::from_secs(60);

/// How far a creation gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Until {
    Begun,
    Prepared,
    PreCommitted,
    Committed,
    PostCommitted,
    PreFinal,
    Created,
}

impl Until {
    pub(crate) const ALL: [Self; 7] = [
        Self::Begun,
        Self::Prepared,
        Self::PreCommitted,
        Self::Committed,
        Self::PostCommitted,
        Self::PreFinal,
        Self::Created,
    ];

    pub(crate) fn is_unfinished(self) -> bool {
        self <= Self::Committed
    }
}

#[derive(Default)]
pub(crate) struct Spy(Mutex<Vec<Event>>);

impl EventLog for Spy {
    fn record(&self, event: Event) {
        self.0.lock().push(event);
    }
}

pub(crate) struct Rig {
    pub(crate) array: FakeArray,
    pub(crate) provider: Arc<Provider>,
    spy: Arc<Spy>,
}

impl Rig {
    pub(crate) fn new(sources: u128) -> Self {
        Self::on(FakeArray::new(sources))
    }

    /// A provider process that has just begun, on an array that has been there before.
    pub(crate) fn on(array: FakeArray) -> Self {
        let spy = Arc::new(Spy::default());
        let clock = array.clone();
        let config = ProviderConfig {
            wait_slice: Duration::from_millis(20),
            resync_lost_at_most: RESYNC_LOST_AT_MOST,
            ..ProviderConfig::default()
        };
        let provider = Provider::new(Arc::new(array.clone()), spy.clone(), Arc::new(move || clock.now()), config);
        Self { array, provider: Arc::new(provider), spy }
    }

    /// The events since the last question.
    pub(crate) fn take_events(&self) -> Vec<EventId> {
        self.spy.0.lock().drain(..).map(|event| event.id).collect()
    }

    /// The texts of the events since the last question.
    pub(crate) fn take_texts(&self) -> Vec<String> {
        self.spy.0.lock().drain(..).map(|event| event.to_string()).collect()
    }

    /// The failures among the events since the last question.
    pub(crate) fn take_errors(&self) -> Vec<EventId> {
        self.take_events().into_iter().filter(|id| id.severity() == Severity::Error).collect()
    }

    /// One volume on the given LUNs.
    pub(crate) fn begin(&self, set: SnapshotSetId, snapshot: u128, luns: &[LunId]) -> Result<(), HResult> {
        self.begin_in(Context::CTX_BACKUP, set, snapshot, luns)
    }

    pub(crate) fn begin_in(
        &self,
        context: Context,
        set: SnapshotSetId,
        snapshot: u128,
        luns: &[LunId],
    ) -> Result<(), HResult> {
        let (devices, mut views) = (devices(luns), views(luns));
        self.provider.begin_prepare_snapshot(set, SnapshotId(Uuid::from_u128(snapshot)), context, &devices, &mut views)
    }

    /// A creation up to and with the given step, which has to succeed. One volume per LUN.
    pub(crate) fn create(&self, set: SnapshotSetId, luns: &[LunId], until: Until) {
        for (lun, snapshot) in luns.iter().zip(1..) {
            self.begin(set, snapshot, &[*lun]).expect("BeginPrepareSnapshot");
        }
        for step in Until::ALL.into_iter().filter(|step| *step > Until::Begun && *step <= until) {
            self.step(set, step).unwrap_or_else(|code| unreachable!("{step:?} answered {code}"));
        }
    }

    /// One step of a creation after the beginning.
    pub(crate) fn step(&self, set: SnapshotSetId, step: Until) -> Result<(), HResult> {
        match step {
            Until::Begun => self.begin(set, 1, &[lun(1)]),
            Until::Prepared => self.provider.end_prepare_snapshots(set),
            Until::PreCommitted => self.provider.pre_commit_snapshots(set),
            Until::Committed => self.provider.commit_snapshots(set),
            Until::PostCommitted => self.provider.post_commit_snapshots(set, 1),
            Until::PreFinal => self.provider.pre_final_commit_snapshots(set),
            Until::Created => self.provider.post_final_commit_snapshots(set),
        }
    }

    pub(crate) fn targets(&self, luns: &[LunId]) -> Result<Vec<LunInformation>, HResult> {
        self.provider.get_target_luns(&devices(luns), &views(luns))
    }

    pub(crate) fn supports(&self, context: Context, luns: &[LunInformation]) -> Result<bool, HResult> {
        self.provider.are_luns_supported(context, &[], &mut luns.to_vec())
    }

    pub(crate) fn fill_in(&self, lun: &mut LunInformation) -> (HResult, bool) {
        self.provider.fill_in_lun_info(&DeviceName(r"\\?\PhysicalDrive9".to_owned()), lun)
    }

    pub(crate) fn delete(&self, lun: &LunInformation) -> Result<(), HResult> {
        self.provider.on_lun_empty(None, Some(lun))
    }
}

/// A source LUN of the fake array.
pub(crate) fn lun(number: u128) -> LunId {
    LunId::from_u128(number << 64 | number)
}

pub(crate) fn luns(count: u128) -> Vec<LunId> {
    (1..=count).map(lun).collect()
}

pub(crate) fn shadow_set(set: SnapshotSetId) -> ShadowSetId {
    ShadowSetId(set.0)
}

/// A LUN as Windows sees it: padded, on iSCSI, with a signature and a way to it.
pub(crate) fn view(lun: LunId) -> LunInformation {
    let canonical = lun_information(&identity_of(lun));
    LunInformation {
        bus_type: BusType::ISCSI,
        vendor_id: canonical.vendor_id.as_ref().map(|vendor| format!("{vendor:<8}")),
        disk_signature: DiskSignature(Uuid::from_u128(lun.as_u128())),
        interconnects: vec![Interconnect { address_type: 5, port: vec![1], address: vec![2] }],
        ..canonical
    }
}

pub(crate) fn views(luns: &[LunId]) -> Vec<LunInformation> {
    luns.iter().copied().map(view).collect()
}

/// A disk that has nothing to do with the array.
pub(crate) fn foreign() -> LunInformation {
    let mut lun = view(lun(1));
    lun.vendor_id = Some("ACME    ".to_owned());
    lun.product_id = Some("DISK".to_owned());
    lun.serial_number = Some("WD-4711".to_owned());
    lun.identifiers[0].bytes = vec![0x50, 1, 2, 3, 4, 5, 6, 7];
    lun.identifiers[1].bytes = b"ACME    WD-4711".to_vec();
    lun
}

fn devices(luns: &[LunId]) -> Vec<DeviceName> {
    (0..luns.len()).map(|number| DeviceName(format!(r"\\?\PhysicalDrive{number}"))).collect()
}
