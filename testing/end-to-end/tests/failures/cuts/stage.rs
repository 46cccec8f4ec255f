//! Two hosts of one array, whose services can be started again and again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lunshadow::in_process::InProcessArray;
use lunshadow_control::{HostId, LunId};
use lunshadow_coordinator::{
    BackupDocument, Coordinator, IscsiAdapter, ManualClock, Platform as _, ProviderRegistration, Requester, Settings,
    SimulatedHost, SnapshotProperties, VolumeName,
};
use lunshadow_lun::{BlockCount, Lba, Pool as _};
use lunshadow_provider::{Provider, ProviderConfig};
use lunshadow_vss::{DeviceName, ProviderId};
use uuid::Uuid;

use super::cutter::{Cut, Cutter, Passed, Who};
use super::provider::{CutProvider, Followed};
use crate::faulty_array::FaultyArray;
use crate::faulty_host::FaultyHost;
use crate::rig::{Rig, SOON};

/// The initiator of the host that only imports.
const BACKUP_INITIATOR: &str = "iqn.2026-01.com.example:backup";

/// In blocks.
const MEBIBYTE: BlockCount = BlockCount(2048);

/// The host that has the volumes, and the one that imports their copies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    Production,
    Backup,
}

pub(super) struct Stage {
    pub(super) rig: Rig,
    pub(super) volumes: [VolumeName; 2],
    backup: Arc<SimulatedHost>,
    backup_id: HostId,
    /// The LUNs that were there before any shadow copy.
    own: Vec<LunId>,
    /// The document of a set of the volumes.
    pub(super) template: OnceLock<BackupDocument>,
}

/// A host's service, with its provider, up to its next crash.
pub(super) struct Boot {
    pub(super) coordinator: Coordinator,
    pub(super) provider: Arc<CutProvider>,
    pub(super) host: Arc<SimulatedHost>,
    clock: Arc<ManualClock>,
    cutter: Arc<Cutter>,
    /// Who breaks off if it is a requester.
    requester: Arc<Mutex<Weak<Requester>>>,
    news: (Sender<News>, Receiver<News>),
}

/// What there is to hear of an operation.
enum News {
    Ended,
    /// The coordinator is gone, and nobody is left to answer.
    Died,
}

/// What came of an operation.
pub(super) struct Attempt<T> {
    pub(super) passed: Passed,
    /// `None` if nobody is left to answer.
    pub(super) answer: Option<(Requester, T)>,
}

/// Tells that an operation has ended, however it has.
struct Ending(Sender<News>);

impl Drop for Ending {
    fn drop(&mut self) {
        // Who has died is not listened for any more.
        drop(self.0.send(News::Ended));
    }
}

impl Stage {
    /// With volumes on LUNs without partition tables, which are looked at fastest.
    pub(super) fn with_blank_volumes() -> Self {
        Self::around(Rig::blank())
    }

    /// With volumes on a LUN that has a partition table, and on one that has none.
    pub(super) fn new() -> Self {
        Self::around(Rig::new())
    }

    fn around(rig: Rig) -> Self {
        let volumes = [0, 1].map(|index| rig.volume(index));
        let initiator = BACKUP_INITIATOR.parse().unwrap();
        let catalog = rig.array.catalog();
        let backup_id = rig.runtime.block_on(async {
            let added = catalog.add_host("backup".parse().unwrap(), vec![BACKUP_INITIATOR.parse().unwrap()]).await;
            let id = added.unwrap().id;
            catalog.set_imports(id, vec![rig.array.host()]).await.unwrap();
            id
        });
        let login = IscsiAdapter::log_in(rig.array.portal(), &initiator, rig.array.target_name());
        let adapter = Arc::new(rig.runtime.block_on(login).unwrap());
        let backup = Arc::new(SimulatedHost::new(adapter, rig.runtime.handle().clone()).unwrap());
        let own = rig.array.catalog().luns().iter().map(|lun| lun.lun).collect();
        Self { rig, volumes, backup, backup_id, own, template: OnceLock::new() }
    }

    pub(super) fn host(&self, side: Side) -> (&Arc<SimulatedHost>, HostId) {
        match side {
            Side::Production => (&self.rig.host, self.rig.array.host()),
            Side::Backup => (&self.backup, self.backup_id),
        }
    }

    /// Starts the service of a host, which knows these shadow copies from before.
    pub(super) fn boot(&self, side: Side, known: Vec<SnapshotProperties>) -> Boot {
        let (clock, requester) = (Arc::new(ManualClock::new()), Arc::<Mutex<Weak<Requester>>>::default());
        let (host, _) = self.host(side);
        let news = channel();
        let (script, doomed) = (Arc::clone(&self.rig.array_script), Arc::clone(&requester));
        let died = Mutex::new(news.0.clone());
        let cutter = Arc::new(Cutter::new(move |who| match who {
            // A requester's process that ends: whoever waits for it asks no more.
            Who::Requester => {
                let requester = doomed.lock().unwrap().upgrade();
                requester.expect("it waits for the operation").cancel();
            }
            Who::Array => script.is_down.store(true, Ordering::SeqCst),
            Who::Provider => {}
            Who::Coordinator => drop(died.lock().unwrap().send(News::Died)),
        }));
        let provider = Arc::new(CutProvider {
            processes: [(); 3].map(|()| OnceLock::from(self.process(side))),
            current: AtomicUsize::new(0),
            commits: AtomicUsize::new(0),
            cutter: Arc::clone(&cutter),
        });
        let platform = FaultyHost {
            host: Arc::clone(host),
            script: Arc::clone(&self.rig.host_script),
            cutter: Some(Arc::clone(&cutter)),
        };
        // A resync is waited for in one call.
        let settings = Settings { arrival_timeout: Duration::ZERO, resync_poll: SOON, ..Settings::default() };
        let coordinator = Coordinator::new(Arc::new(platform), clock.clone(), settings);
        let id = ProviderId(Uuid::from_u128(1));
        let registration =
            ProviderRegistration { id, name: "Lunshadow".to_owned(), provider: Arc::new(Followed(provider.clone())) };
        coordinator.register_provider(registration).unwrap();
        // It takes a look at all disks.
        if !known.is_empty() {
            coordinator.adopt(known).unwrap();
        }
        Boot { coordinator, provider, host: Arc::clone(host), clock, cutter, requester, news }
    }

    /// A process of the provider. An array that is gone has forgotten its resyncs.
    pub(super) fn process(&self, side: Side) -> Provider {
        let (runtime, (_, id)) = (self.rig.runtime.handle().clone(), self.host(side));
        let array = InProcessArray::new(Arc::clone(self.rig.array.catalog()), runtime, id);
        let array = FaultyArray { array, script: Arc::clone(&self.rig.array_script) };
        let origin = Instant::now();
        let config = ProviderConfig { resync_lost_at_most: Duration::ZERO, ..ProviderConfig::default() };
        Provider::new(Arc::new(array), self.rig.events.clone(), Arc::new(move || origin.elapsed()), config)
    }

    /// Has a requester do something, with a cut.
    pub(super) fn attempt<T: Send + 'static>(
        &self,
        boot: &Boot,
        cut: Option<Cut>,
        requester: Requester,
        operation: impl FnOnce(&Requester) -> T + Send + 'static,
    ) -> Attempt<T> {
        let requester = Arc::new(requester);
        *boot.requester.lock().unwrap() = Arc::downgrade(&requester);
        boot.cutter.arm(cut);
        let (caller, ending) = (Arc::clone(&requester), Ending(boot.news.0.clone()));
        let running = std::thread::spawn(move || {
            let _ending = ending;
            operation(&caller)
        });
        let news = boot.news.1.recv().unwrap();
        let passed = boot.cutter.disarm();
        match news {
            News::Ended => {
                self.rig.array_script.is_down.store(false, Ordering::SeqCst);
                let answer = running.join().unwrap();
                Attempt { passed, answer: Some((Arc::into_inner(requester).unwrap(), answer)) }
            }
            News::Died => {
                boot.clean_up();
                Attempt { passed, answer: None }
            }
        }
    }

    /// The shadow LUNs that are left when what is removed in the background has had its time.
    pub(super) fn soon_no_shadows(&self) -> Vec<LunId> {
        let since = Instant::now();
        while !self.rig.shadows().is_empty() && since.elapsed() < SOON {
            std::thread::yield_now();
        }
        self.rig.shadows()
    }

    /// What is mapped to a host, without its own LUNs.
    pub(super) fn mapped(&self, side: Side) -> Vec<LunId> {
        let (_, id) = self.host(side);
        let mappings = self.rig.array.catalog().mappings(id).unwrap();
        let mut mapped: Vec<_> =
            mappings.into_iter().map(|(_, lun)| lun).filter(|lun| !self.own.contains(lun)).collect();
        mapped.sort();
        mapped
    }

    /// The first and the last mebibyte of a LUN, where all is that the tests change.
    pub(super) fn content(&self, lun: LunId) -> Vec<u8> {
        let handle = self.rig.array.catalog().pool().open(lun).unwrap();
        let ends = [Lba(0), Lba(handle.block_count().0 - MEBIBYTE.0)];
        ends.map(|at| self.rig.runtime.block_on(handle.read(at, MEBIBYTE)).unwrap()).concat()
    }

    /// Changes a LUN, past the host.
    pub(super) fn overwrite(&self, lun: LunId) {
        let handle = self.rig.array.catalog().pool().open(lun).unwrap();
        let at = Lba(handle.block_count().0 - MEBIBYTE.0 / 2);
        let data = Bytes::copy_from_slice(Uuid::new_v4().as_bytes()).repeat(32);
        self.rig.runtime.block_on(handle.write(at, data.into())).unwrap();
    }
}

impl Boot {
    /// What Windows' kernel and the next start of the service do when the service has died: writes and writers go on, flags are taken back,
    /// and handles are closed.
    fn clean_up(&self) {
        self.clock.advance(Duration::from_secs(61));
        self.host.clear_shadow_flags(&self.host.flagged()).unwrap();
        let devices: Vec<DeviceName> = self.host.devices();
        devices.iter().for_each(|device| self.host.close_exclusive(device));
    }
}
