//! Somebody else's provider, as if it were behind COM: its methods, and slots as a shell before them would have them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use lunshadow_conform::{BedError, ComClass, Stranger, first_that_lets_in};
use lunshadow_coordinator::StandInProvider;
use lunshadow_vss::{
    Argument, Context, CreateSnapshotSet, HResult, HardwareProvider, Interceptor, Interface, LunStateChange, Method,
    Slot, SlotAnswer, Slots, SnapshotId, SnapshotSetId, Traces,
};
use parking_lot::Mutex;
use uuid::Uuid;

use crate::bed::Class;

/// How many LUNs a call may have.
const LUNS_AT_MOST: usize = 64;

/// The class.
pub(crate) struct Fake {
    pub(crate) provider: Arc<StandInProvider>,
    pub(crate) made: AtomicUsize,
    /// By how much its process grows between two looks at its memory.
    pub(crate) growth_bytes: u64,
    /// What it had at the last look.
    pub(crate) memory_bytes: AtomicU64,
    /// As long as there is this file, its array has no room.
    pub(crate) shortage: Option<PathBuf>,
    /// Where it tells of each veto: a line with the number of the event before it.
    pub(crate) log: Option<PathBuf>,
    /// Whether it lacks the extended interface.
    pub(crate) is_legacy: bool,
}

impl Default for Fake {
    fn default() -> Self {
        let crowd = (0..64).map(|number| format!("C{number}"));
        let provider = Arc::new(StandInProvider::taking(crowd.chain(["Z1", "Z2"].map(str::to_owned))));
        Self {
            provider,
            made: AtomicUsize::new(0),
            growth_bytes: 0,
            memory_bytes: AtomicU64::new(1 << 20),
            shortage: None,
            log: None,
            is_legacy: false,
        }
    }
}

impl Class for Fake {
    fn create(&self) -> Result<Arc<dyn HardwareProvider>, BedError> {
        self.made.fetch_add(1, Ordering::SeqCst);
        let (provider, shortage, log) = (Arc::clone(&self.provider), self.shortage.clone(), self.log.clone());
        Ok(Arc::new(Limited { provider, shortage, log, is_legacy: self.is_legacy }))
    }

    fn memory_bytes_of(&self, program: &str) -> Option<u64> {
        (program == "fake.exe").then(|| self.memory_bytes.fetch_add(self.growth_bytes, Ordering::SeqCst))
    }
}

impl ComClass for Fake {
    fn query(&self, interface: Uuid) -> Result<HResult, BedError> {
        let is_there = !self.is_legacy || interface != Interface::HardwareEx.id();
        Ok(if is_there { HResult::S_OK } else { HResult::E_NOINTERFACE })
    }

    fn keeps_its_identity(&self, _interfaces: &[Uuid]) -> Result<bool, BedError> {
        Ok(true)
    }

    fn create_in_process(&self) -> Result<HResult, BedError> {
        Ok(HResult::S_OK)
    }

    fn ask_as_stranger(&self) -> Result<Stranger, BedError> {
        let first = first_that_lets_in(&*self.provider);
        Ok(first.map_or(Stranger::IsRefused, Stranger::IsLetIn))
    }

    fn slots(&self) -> Result<Arc<dyn Slots>, BedError> {
        Ok(Arc::new(FakeSlots {
            provider: Arc::clone(&self.provider),
            is_legacy: self.is_legacy,
            current: Mutex::default(),
        }))
    }
}

/// The provider, whose array may have no room, and which may lack methods.
struct Limited {
    provider: Arc<StandInProvider>,
    shortage: Option<PathBuf>,
    log: Option<PathBuf>,
    is_legacy: bool,
}

impl Limited {
    fn tell(&self) {
        let Some(log) = &self.log else { return };
        let before = std::fs::read_to_string(log).unwrap();
        let number = before.lines().count() + 1;
        let event = format!(
            "{number} <Event><System><Level>2</Level><EventRecordID>{number}</EventRecordID></System>\
             <RenderingInfo><Message>It is not possible. Choose another provider.</Message></RenderingInfo></Event>\n"
        );
        std::fs::write(log, before + &event).unwrap();
    }
}

impl Interceptor for Limited {
    type Provider = StandInProvider;

    fn provider(&self) -> &Self::Provider {
        &self.provider
    }

    fn around<T>(&self, method: Method, call: impl FnOnce() -> Result<T, HResult>) -> Result<T, HResult> {
        if self.is_legacy && method.slot().interface == Interface::HardwareEx {
            return Err(HResult::E_NOINTERFACE);
        }
        let needs_room = matches!(method, Method::EndPrepareSnapshots | Method::ResyncLuns);
        if needs_room && self.shortage.as_ref().is_some_and(|file| file.exists()) {
            return Err(HResult::VSS_E_INSUFFICIENT_STORAGE);
        }
        // One that logs refuses to delete anything.
        let refuses = method == Method::OnLunEmpty && self.log.is_some();
        let answer = if refuses { Err(HResult::VSS_E_PROVIDER_VETO) } else { call() };
        answer.inspect_err(|code| {
            if *code == HResult::VSS_E_PROVIDER_VETO {
                self.tell();
            }
        })
    }
}

struct FakeSlots {
    provider: Arc<StandInProvider>,
    is_legacy: bool,
    /// The current set, and how many steps of its creation are done.
    current: Mutex<Option<(Uuid, usize)>>,
}

impl FakeSlots {
    /// One step of the creation, which has to be the next one.
    fn step(&self, set: Uuid, steps_before: usize) -> Result<SnapshotSetId, HResult> {
        match &mut *self.current.lock() {
            Some((current, done)) if *current == set && *done == steps_before => {
                *done += 1;
                Ok(SnapshotSetId(set))
            }
            Some((current, _)) if *current == set => Err(HResult::VSS_E_PROVIDER_VETO),
            _ => Err(HResult::VSS_E_OBJECT_NOT_FOUND),
        }
    }

    fn create(&self, method: Method, set: Uuid) -> Result<(), HResult> {
        let provider = &self.provider;
        match method {
            Method::EndPrepareSnapshots => provider.end_prepare_snapshots(self.step(set, 0)?),
            Method::PreCommitSnapshots => provider.pre_commit_snapshots(self.step(set, 1)?),
            Method::CommitSnapshots => provider.commit_snapshots(self.step(set, 2)?),
            Method::PostCommitSnapshots => provider.post_commit_snapshots(self.step(set, 3)?, 1),
            Method::PreFinalCommitSnapshots => provider.pre_final_commit_snapshots(self.step(set, 4)?),
            Method::PostFinalCommitSnapshots => provider.post_final_commit_snapshots(self.step(set, 5)?),
            _ => {
                *self.current.lock() = None;
                provider.abort_snapshots(SnapshotSetId(set))
            }
        }
    }

    /// The call of a method. What is passed to no method in such a way has no answer.
    fn perform(&self, method: Method, answer: &mut SlotAnswer) -> Option<Result<(), HResult>> {
        use Argument::{Id, LongPlace, Luns, LunsInOut, Null, Number, ObjectPlace, Place};
        let provider = &*self.provider;
        Some(match (method, &mut answer.arguments[..]) {
            (Method::AreLunsSupported, [Number(_), Number(context), _, LunsInOut(luns), Place(supported)]) => {
                *supported = 0;
                if luns.len() > LUNS_AT_MOST {
                    return Some(Err(HResult::E_INVALIDARG));
                }
                let asked = provider.are_luns_supported(Context::from_bits_retain(*context), &[], luns);
                asked.map(|is_supported| *supported = is_supported.into())
            }
            (Method::FillInLunInfo, [_, LunsInOut(luns), Place(is_ours)]) => {
                let (code, claimed) =
                    provider.fill_in_lun_info(&lunshadow_vss::DeviceName(String::new()), &mut luns[0]);
                *is_ours = claimed.into();
                if code == HResult::S_OK { Ok(()) } else { Err(code) }
            }
            (Method::BeginPrepareSnapshot, [Id(set), Id(snapshot), Number(context), _, _, LunsInOut(luns)]) => {
                *self.current.lock() = Some((*set, 0));
                let (ids, context) =
                    ((SnapshotSetId(*set), SnapshotId(*snapshot)), Context::from_bits_retain(*context));
                HardwareProvider::begin_prepare_snapshot(provider, ids.0, ids.1, context, &[], luns)
            }
            (Method::GetTargetLuns, [Number(_), _, Luns(sources), LunsInOut(targets)]) => {
                provider.get_target_luns(&[], sources).map(|announced| {
                    answer.memory.returned = 6 * announced.len();
                    *targets = announced;
                })
            }
            (Method::LocateLuns, [Number(_), Luns(shadows)]) => provider.locate_luns(shadows),
            (Method::OnLunEmpty, [_, Luns(luns)]) => provider.on_lun_empty(None, luns.first()),
            (Method::GetProviderCapabilities, [LongPlace(mask)]) => {
                provider.get_provider_capabilities().map(|capabilities| *mask = capabilities)
            }
            (Method::OnLunStateChange, [Luns(shadows), Null, Number(_), Number(change)]) => {
                provider.on_lun_state_change(shadows, &[], LunStateChange::from_bits_retain(*change))
            }
            (Method::ResyncLuns, [Luns(_), Luns(_), Number(_), ObjectPlace]) => {
                answer.object = Some(Arc::new(FakeResync));
                Ok(())
            }
            (Method::OnReuseLuns, [Luns(shadows), Luns(originals), Number(_)]) => {
                provider.on_reuse_luns(shadows, originals)
            }
            (Method::OnLoad, [Null]) => provider.on_load(),
            (_, [Id(set)] | [Id(set), Number(_)]) => self.create(method, *set),
            _ => return None,
        })
    }
}

impl Slots for FakeSlots {
    fn call(&self, slot: Slot, arguments: &[Argument]) -> Result<SlotAnswer, HResult> {
        if self.is_legacy && slot.interface == Interface::HardwareEx {
            return Err(HResult::E_NOINTERFACE);
        }
        let method = Method::ALL.iter().copied().find(|method| method.slot() == slot).ok_or(HResult::E_NOINTERFACE)?;
        let mut answer = answered(HResult::S_OK, arguments.to_vec());
        let performed = self.perform(method, &mut answer).ok_or(HResult::E_UNEXPECTED)?;
        answer.code = performed.err().unwrap_or(HResult::S_OK);
        Ok(answer)
    }
}

fn answered(code: HResult, arguments: Vec<Argument>) -> SlotAnswer {
    SlotAnswer { code, arguments, object: None, memory: Traces::default() }
}

/// A resync that is over.
struct FakeResync;

impl Slots for FakeResync {
    fn call(&self, slot: Slot, arguments: &[Argument]) -> Result<SlotAnswer, HResult> {
        Ok(match (slot, arguments) {
            (Slot::QUERY_STATUS, [Argument::Place(_), reserved]) => {
                let state = Argument::Place(HResult::VSS_S_ASYNC_FINISHED.bits());
                answered(HResult::S_OK, vec![state, reserved.clone()])
            }
            (Slot::QUERY_STATUS, _) => answered(HResult::E_INVALIDARG, arguments.to_vec()),
            (Slot::CANCEL, _) => answered(HResult::VSS_S_ASYNC_FINISHED, Vec::new()),
            _ => answered(HResult::S_OK, arguments.to_vec()),
        })
    }
}
