//! Crashes between any two calls: requester, provider, coordinator and array each break off before or after each call of a creation, once and
//! then again in the next set. Afterwards nothing is held, nothing is left without an owner once the leases have ended, every set was committed
//! at most once, and the next set works.
//!
//! The places are not listed here: each row goes on until a creation ends before its cut is reached.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use lunshadow::in_process::InProcessArray;
use lunshadow_catalog::{Moment, SetState};
use lunshadow_control::LunId;
use lunshadow_coordinator::{
    Coordinator, ManualClock, Platform as _, ProviderRegistration, Requester, Settings, VolumeName,
};
use lunshadow_provider::{Provider, ProviderConfig};
use lunshadow_vss::{Context, HResult, Interceptor, Method, ProviderId, SnapshotSetId};
use uuid::Uuid;

use crate::faulty_array::FaultyArray;
use crate::faulty_host::FaultyHost;
use crate::rig::Rig;

/// Later than every lease.
const LONG_AFTER: Moment = Moment(Duration::from_secs(365 * 24 * 60 * 60));

/// Who breaks off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Who {
    Requester,
    Provider,
    Coordinator,
    Array,
}

/// A place to break off at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Cut {
    who: Who,
    /// The number of the call, from the first of the creation on.
    call: usize,
    /// Whether the call is carried out before.
    is_after: bool,
}

/// The provider's processes, one after the other, with the place at which somebody breaks off.
struct CutProvider {
    processes: [OnceLock<Provider>; 2],
    current: AtomicUsize,
    calls: AtomicUsize,
    commits: AtomicUsize,
    /// Whether the creation is, so that nothing is cut any more.
    is_over: AtomicBool,
    cut: Option<Cut>,
    /// Which method it was.
    reached: Mutex<Option<Method>>,
    on_cut: Box<dyn Fn(Who) + Send + Sync>,
}

impl Interceptor for CutProvider {
    type Provider = Provider;

    fn provider(&self) -> &Provider {
        self.processes[self.current.load(Ordering::SeqCst)].get().expect("each process was set up")
    }

    fn around<T>(&self, method: Method, call: impl FnOnce() -> Result<T, HResult>) -> Result<T, HResult> {
        if self.is_over.load(Ordering::SeqCst) {
            return call();
        }
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        if method == Method::CommitSnapshots {
            self.commits.fetch_add(1, Ordering::SeqCst);
        }
        let Some(cut) = self.cut.filter(|cut| cut.call == number) else { return call() };
        *self.reached.lock().unwrap() = Some(method);
        let mut call = Some(call);
        let answer = if cut.is_after { call.take().map(|call| call()) } else { None };
        (self.on_cut)(cut.who);
        match cut.who {
            Who::Requester | Who::Array => {}
            Who::Provider => {
                self.current.store(1, Ordering::SeqCst);
                std::panic::resume_unwind(Box::new("the provider's process has ended"));
            }
            // What a process leaves that has ended: a thread that never goes on.
            Who::Coordinator => loop {
                std::thread::park();
            },
        }
        answer.unwrap_or_else(|| call.take().map_or(Err(HResult::VSS_E_PROVIDER_VETO), |call| call()))
    }
}

/// A system with two volumes on LUNs without partition tables, whose host can be started again and again.
struct Table {
    rig: Rig,
    volumes: [VolumeName; 2],
}

/// A host that has been started, up to its next crash.
struct Boot {
    clock: Arc<ManualClock>,
    coordinator: Coordinator,
    provider: Arc<CutProvider>,
    /// Hears of the crash of the coordinator.
    died: Receiver<()>,
}

/// How a creation ended.
enum Ended {
    /// With so many copies, and the requester that owns them; or with a failure.
    Answered(Option<(Box<Requester>, usize)>),
    /// Nobody is left to answer.
    Died,
}

impl Table {
    fn new() -> Self {
        let rig = Rig::new();
        rig.runtime.block_on(rig.array.add_lun("second", 1 << 20)).unwrap();
        rig.host.rescan().unwrap();
        let blank = |device| rig.host.volumes(device).unwrap()[0].name.clone();
        let devices = rig.host.devices();
        let volumes = [blank(&devices[1]), blank(&devices[2])];
        Self { rig, volumes }
    }

    fn boot(&self, cut: Option<Cut>, requester: Arc<OnceLock<Weak<Requester>>>) -> Boot {
        let (rig, clock) = (&self.rig, Arc::new(ManualClock::new()));
        let process = || {
            let runtime = rig.runtime.handle().clone();
            let array = InProcessArray::new(Arc::clone(rig.array.catalog()), runtime, rig.array.host());
            let array = FaultyArray { array, script: Arc::clone(&rig.array_script) };
            let origin = Instant::now();
            let now = Arc::new(move || origin.elapsed());
            Provider::new(Arc::new(array), rig.events.clone(), now, ProviderConfig::default())
        };
        let processes = [OnceLock::from(process()), OnceLock::from(process())];
        let (death, died): (Sender<()>, _) = channel();
        let script = Arc::clone(&rig.array_script);
        let on_cut = move |who| match who {
            // A requester's process that ends in DoSnapshotSet: whoever waits for it asks no more.
            Who::Requester => {
                if let Some(requester) = requester.get().and_then(Weak::upgrade) {
                    requester.cancel();
                }
            }
            Who::Array => script.is_down.store(true, Ordering::SeqCst),
            Who::Provider => {}
            Who::Coordinator => drop(death.send(())),
        };
        let provider = Arc::new(CutProvider {
            processes,
            current: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
            commits: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
            cut,
            reached: Mutex::default(),
            on_cut: Box::new(on_cut),
        });
        let platform = Arc::new(FaultyHost { host: Arc::clone(&rig.host), script: Arc::clone(&rig.host_script) });
        let settings = Settings { arrival_timeout: Duration::ZERO, ..Settings::default() };
        let coordinator = Coordinator::new(platform, clock.clone(), settings);
        let id = ProviderId(Uuid::from_u128(1));
        let registration = ProviderRegistration { id, name: "Lunshadow".to_owned(), provider: provider.clone() };
        coordinator.register_provider(registration).unwrap();
        Boot { clock, coordinator, provider, died }
    }

    /// A creation with a cut. Answers whether the cut was reached, and where.
    fn create(&self, cut: Option<Cut>) -> (Option<Method>, SnapshotSetId, usize, Ended) {
        let cell = Arc::<OnceLock<Weak<Requester>>>::default();
        let boot = self.boot(cut, Arc::clone(&cell));
        let requester = Arc::new(boot.coordinator.requester());
        cell.set(Arc::downgrade(&requester)).unwrap();
        requester.set_context(Context::CTX_BACKUP).unwrap();
        let set = requester.start_snapshot_set().unwrap();
        let (volumes, creator) = (self.volumes.clone(), Arc::clone(&requester));
        let creation = std::thread::spawn(move || {
            for volume in &volumes {
                drop(creator.add_to_snapshot_set(volume, None));
            }
            creator.do_snapshot_set().map(|copies| copies.len())
        });
        let died = loop {
            if creation.is_finished() || boot.died.try_recv().is_ok() {
                break !creation.is_finished();
            }
            std::thread::yield_now();
        };
        let reached = *boot.provider.reached.lock().unwrap();
        let commits = boot.provider.commits.load(Ordering::SeqCst);
        if died {
            // What Windows' kernel and the next start of the service do: writes and writers go on, flags are taken back.
            boot.clock.advance(Duration::from_secs(61));
            self.rig.host.clear_shadow_flags(&self.rig.host.flagged()).unwrap();
            return (reached, set, commits, Ended::Died);
        }
        let created = creation.join().unwrap();
        boot.provider.is_over.store(true, Ordering::SeqCst);
        self.rig.array_script.is_down.store(false, Ordering::SeqCst);
        let owner = Arc::into_inner(requester).unwrap();
        (reached, set, commits, Ended::Answered(created.ok().map(|count| (Box::new(owner), count))))
    }

    /// Nothing is held; what is left has an owner; and that can be removed by it.
    fn check(&self, set: SnapshotSetId, ended: Ended, after: &str) {
        let rig = &self.rig;
        rig.assert_sources_are_free(after);
        rig.runtime.block_on(rig.array.catalog().reap(LONG_AFTER)).unwrap();
        let is_kept = rig.set_state(set) == Some(SetState::Kept);
        let left = if is_kept { rig.shadows() } else { self.soon_none() };
        assert!(is_kept || left.is_empty(), "{after}: shadow LUNs without an owner are left");
        if let Ended::Answered(Some((requester, count))) = ended {
            assert_eq!(left.len(), count, "{after}: the requester was told of copies that are not there");
            assert_eq!(requester.release().unwrap(), count, "{after}");
        } else {
            // VSS has no way to delete what it never saw, and the copies may be somebody's backup: an administrator decides.
            rig.delete_as_administrator(&left);
        }
        assert_eq!(self.soon_none(), [], "{after}");
        rig.host.rescan().unwrap();
    }

    /// The shadow LUNs that are left when what is removed in the background has had its time.
    fn soon_none(&self) -> Vec<LunId> {
        let since = Instant::now();
        while !self.rig.shadows().is_empty() && since.elapsed() < Duration::from_secs(60) {
            std::thread::yield_now();
        }
        self.rig.shadows()
    }

    /// One creation, with everything that is promised after it. Answers the method that was cut.
    fn run(&self, cut: Option<Cut>, after: &str) -> Option<Method> {
        let (reached, set, commits, ended) = self.create(cut);
        let place = format!("{after}, {cut:?} in {reached:?}");
        assert!(commits <= 1, "{place}: committed {commits} times");
        if cut.is_none() {
            assert!(matches!(ended, Ended::Answered(Some((_, 2)))), "{place}: the set failed");
        }
        self.check(set, ended, &place);
        reached
    }

    /// Breaks off at every place: before the call in one set, and after it in two in a row. Each time the next set works.
    fn cut_everywhere(&self, who: Who) {
        let mut methods = Vec::new();
        for is_after in [false, true] {
            for call in 0.. {
                let cut = Cut { who, call, is_after };
                let Some(method) = self.run(Some(cut), "once") else { break };
                methods.push(method);
                if is_after {
                    self.run(Some(cut), "twice");
                }
                self.run(None, &format!("after {cut:?} in {method}"));
            }
        }
        for method in [Method::BeginPrepareSnapshot, Method::CommitSnapshots, Method::PostFinalCommitSnapshots] {
            let count = methods.iter().filter(|other| **other == method).count();
            assert!(count >= 2, "{method} was not cut before and after: {methods:?}");
        }
    }
}

#[test]
fn a_requester_may_break_off_at_any_call() {
    Table::new().cut_everywhere(Who::Requester);
}

#[test]
fn a_provider_may_break_off_at_any_call() {
    Table::new().cut_everywhere(Who::Provider);
}

#[test]
fn a_coordinator_may_break_off_at_any_call() {
    Table::new().cut_everywhere(Who::Coordinator);
}

#[test]
fn an_array_may_break_off_at_any_call() {
    Table::new().cut_everywhere(Who::Array);
}
