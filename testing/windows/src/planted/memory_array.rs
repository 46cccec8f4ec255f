//! An array in memory, for a provider whose COM side is what is tested.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lunshadow_array_client::{Array, ArrayError, CommitChannel, Preparation};
use lunshadow_control::{
    DesignatorKind, HostId, HostOverview, HostRecord, LunId, LunQuery, LunRecord, LunRole, Outcome, ProblemCode,
    ResyncId, ResyncPair, ResyncState, ShadowSetId, ShadowTarget, ShadowUse, identity_of,
};
use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How a resync ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResyncEnd {
    /// All targets have the content of their shadow LUNs.
    Finished,
    /// The array fails.
    Failed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Prepared,
    Armed,
    Committed,
    Kept,
    Aborted,
}

struct Set {
    stage: Stage,
    /// Source to shadow.
    members: BTreeMap<LunId, LunId>,
}

#[derive(Default)]
struct Content {
    luns: BTreeMap<LunId, LunRole>,
    sets: BTreeMap<ShadowSetId, Set>,
    mapped: BTreeSet<LunId>,
    resyncs: BTreeMap<ResyncId, ResyncState>,
    next_shadow: u128,
    releases: usize,
    preparing: bool,
}

/// What there is of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) shadows: usize,
    pub(super) mapped: usize,
    pub(super) unfinished_sets: usize,
    pub(super) releases: usize,
}

/// The array. Clones are the same array.
#[derive(Clone, Default)]
pub struct MemoryArray(Arc<(Mutex<Content>, Condvar)>);

/// The id of source LUN `number`.
pub(super) fn source(number: u128) -> LunId {
    LunId::from_u128(number << 64 | number)
}

fn refused(code: ProblemCode) -> ArrayError {
    ArrayError::Refused { code, detail: format!("{code:?}, by the array in memory") }
}

impl Content {
    fn live(&mut self, set: ShadowSetId) -> Result<&mut Set, ArrayError> {
        match self.sets.get_mut(&set) {
            None => Err(refused(ProblemCode::UnknownSet)),
            Some(Set { stage: Stage::Aborted, .. }) => Err(refused(ProblemCode::SetAborted)),
            Some(set) => Ok(set),
        }
    }

    fn in_stage(&mut self, set: ShadowSetId, stages: &[Stage]) -> Result<&mut Set, ArrayError> {
        let set = self.live(set)?;
        if stages.contains(&set.stage) { Ok(set) } else { Err(refused(ProblemCode::WrongState)) }
    }

    fn give_up(&mut self, set: ShadowSetId) -> Outcome {
        let Some(set) = self.sets.get_mut(&set).filter(|set| set.stage != Stage::Aborted) else {
            return Outcome::AlreadySo;
        };
        set.stage = Stage::Aborted;
        for shadow in std::mem::take(&mut set.members).values() {
            self.luns.remove(shadow);
            self.mapped.remove(shadow);
        }
        Outcome::Done
    }

    /// The LUN that all of a disk's identifiers name.
    fn find(&self, query: &LunQuery) -> Option<LunId> {
        let naa = query.designators.iter().find(|designator| designator.kind == DesignatorKind::NAA);
        self.luns.keys().copied().find(|lun| {
            let identity = identity_of(*lun);
            query.serial.as_ref() == Some(&identity.serial)
                && naa.is_none_or(|designator| identity.designators.contains(designator))
        })
    }
}

impl MemoryArray {
    /// An array with `count` source LUNs, numbered from 1.
    pub(super) fn new(count: u128) -> Self {
        let array = Self::default();
        array.0.0.lock().luns.extend((1..=count).map(|number| (source(number), LunRole::Source)));
        array
    }

    pub(super) fn set_preparing(&self, preparing: bool) {
        self.0.0.lock().preparing = preparing;
        self.0.1.notify_all();
    }

    pub(super) fn end_resync(&self, end: ResyncEnd) {
        let state = match end {
            ResyncEnd::Finished => ResyncState::Finished,
            ResyncEnd::Failed => {
                ResyncState::Failed { code: ProblemCode::Internal, detail: "the copy failed".to_owned() }
            }
        };
        for resync in self.0.0.lock().resyncs.values_mut().filter(|resync| **resync == ResyncState::Running) {
            *resync = state.clone();
        }
        self.0.1.notify_all();
    }

    pub(super) fn counts(&self) -> Counts {
        let content = self.0.0.lock();
        Counts {
            shadows: content.luns.values().filter(|role| matches!(role, LunRole::Shadow { .. })).count(),
            mapped: content.mapped.len(),
            unfinished_sets: content
                .sets
                .values()
                .filter(|set| !matches!(set.stage, Stage::Kept | Stage::Aborted))
                .count(),
            releases: content.releases,
        }
    }

    fn change<T>(&self, work: impl FnOnce(&mut Content) -> Result<T, ArrayError>) -> Result<T, ArrayError> {
        let answer = work(&mut self.0.0.lock());
        self.0.1.notify_all();
        answer
    }
}

fn outcome(changed: bool) -> Outcome {
    if changed { Outcome::Done } else { Outcome::AlreadySo }
}

impl Array for MemoryArray {
    fn who_am_i(&self) -> Result<HostRecord, ArrayError> {
        Ok(HostRecord { host: HostId(Uuid::from_u128(1)), name: "host".to_owned(), initiators: Vec::new() })
    }

    fn resolve(&self, queries: &[LunQuery]) -> Result<Vec<Option<LunRecord>>, ArrayError> {
        self.change(|content| {
            let record = |query: &LunQuery| {
                let lun = content.find(query)?;
                Some(LunRecord {
                    lun,
                    identity: identity_of(lun),
                    role: content.luns[&lun],
                    can_shadow: true,
                    can_copy: false,
                })
            };
            Ok(queries.iter().map(record).collect())
        })
    }

    fn prepare(&self, set: ShadowSetId, luns: &[LunId]) -> Result<Outcome, ArrayError> {
        self.change(|content| {
            if !luns.iter().all(|lun| content.luns.contains_key(lun)) {
                return Err(refused(ProblemCode::UnknownLun));
            }
            content.sets.entry(set).or_insert(Set { stage: Stage::Prepared, members: BTreeMap::new() });
            let mut next = content.next_shadow;
            let members = &mut content.in_stage(set, &[Stage::Prepared])?.members;
            let before = members.len();
            for lun in luns {
                members.entry(*lun).or_insert_with(|| {
                    next += 1;
                    LunId::from_u128(0xcafe << 112 | 0xcafe << 32 | next)
                });
            }
            let done = outcome(members.len() > before);
            content.next_shadow = next;
            Ok(done)
        })
    }

    fn wait_prepared(&self, set: ShadowSetId, at_most: Duration) -> Result<Preparation, ArrayError> {
        let mut content = self.0.0.lock();
        loop {
            content.live(set)?;
            if !content.preparing {
                return Ok(Preparation::Ready);
            }
            if self.0.1.wait_for(&mut content, at_most).timed_out() {
                return Ok(Preparation::Running);
            }
        }
    }

    fn open_commit_channel(&self, set: ShadowSetId) -> Result<Box<dyn CommitChannel>, ArrayError> {
        self.change(|content| content.in_stage(set, &[Stage::Prepared]).map(drop))?;
        Ok(Box::new(Channel { array: self.clone(), set }))
    }

    fn keep(&self, set: ShadowSetId) -> Result<Outcome, ArrayError> {
        self.change(|content| {
            let set = content.in_stage(set, &[Stage::Committed, Stage::Kept])?;
            Ok(outcome(std::mem::replace(&mut set.stage, Stage::Kept) != Stage::Kept))
        })
    }

    fn abort(&self, set: ShadowSetId) -> Result<Outcome, ArrayError> {
        self.change(|content| match content.sets.get(&set) {
            Some(Set { stage: Stage::Kept, .. }) => Err(refused(ProblemCode::WrongState)),
            _ => Ok(content.give_up(set)),
        })
    }

    fn withdraw(&self, set: ShadowSetId) -> Result<Outcome, ArrayError> {
        self.change(|content| {
            let is_mapped = |set: &Set| set.members.values().any(|lun| content.mapped.contains(lun));
            if content.sets.get(&set).is_some_and(is_mapped) {
                return Err(refused(ProblemCode::WrongState));
            }
            Ok(content.give_up(set))
        })
    }

    fn targets(&self, set: ShadowSetId) -> Result<Vec<ShadowTarget>, ArrayError> {
        self.change(|content| {
            let set = content.in_stage(set, &[Stage::Committed, Stage::Kept])?;
            let target = |(source, shadow): (&LunId, &LunId)| ShadowTarget {
                source: *source,
                shadow: *shadow,
                identity: identity_of(*shadow),
            };
            Ok(set.members.iter().map(target).collect())
        })
    }

    fn map(&self, luns: &[LunId]) -> Result<Vec<Outcome>, ArrayError> {
        self.change(|content| {
            if !luns.iter().all(|lun| content.luns.contains_key(lun)) {
                return Err(refused(ProblemCode::UnknownLun));
            }
            Ok(luns.iter().map(|lun| outcome(content.mapped.insert(*lun))).collect())
        })
    }

    fn unmap(&self, luns: &[LunId]) -> Result<Vec<Outcome>, ArrayError> {
        self.change(|content| Ok(luns.iter().map(|lun| outcome(content.mapped.remove(lun))).collect()))
    }

    fn release(&self, shadow: LunId) -> Result<Outcome, ArrayError> {
        self.change(|content| match content.luns.get(&shadow) {
            None => Ok(Outcome::AlreadySo),
            Some(LunRole::Source) => Err(refused(ProblemCode::WrongRole)),
            Some(LunRole::Shadow { .. }) => {
                content.luns.remove(&shadow);
                content.mapped.remove(&shadow);
                content.releases += 1;
                Ok(Outcome::Done)
            }
        })
    }

    fn note_use(&self, shadows: &[LunId], _used: ShadowUse) -> Result<Vec<Outcome>, ArrayError> {
        Ok(vec![Outcome::Done; shadows.len()])
    }

    fn start_resync(&self, resync: ResyncId, pairs: &[ResyncPair]) -> Result<ResyncState, ArrayError> {
        self.change(|content| {
            let known = |pair: &ResyncPair| {
                content.luns.contains_key(&pair.shadow) && content.luns.get(&pair.target) == Some(&LunRole::Source)
            };
            if !pairs.iter().all(known) {
                return Err(refused(ProblemCode::UnknownLun));
            }
            Ok(content.resyncs.entry(resync).or_insert(ResyncState::Running).clone())
        })
    }

    fn resync_state(&self, resync: ResyncId, at_most: Duration) -> Result<ResyncState, ArrayError> {
        let mut content = self.0.0.lock();
        loop {
            let state = content.resyncs.get(&resync).cloned().ok_or(refused(ProblemCode::UnknownSet))?;
            if state != ResyncState::Running || self.0.1.wait_for(&mut content, at_most).timed_out() {
                return Ok(state);
            }
        }
    }

    fn cancel_resync(&self, resync: ResyncId) -> Result<ResyncState, ArrayError> {
        self.change(|content| {
            let state = content.resyncs.get_mut(&resync).ok_or(refused(ProblemCode::UnknownSet))?;
            if *state == ResyncState::Running {
                *state = ResyncState::Cancelled;
            }
            Ok(state.clone())
        })
    }

    fn overview(&self) -> Result<HostOverview, ArrayError> {
        Ok(HostOverview { host: self.who_am_i()?, now_unix_ms: 0, luns: Vec::new(), sets: Vec::new() })
    }
}

struct Channel {
    array: MemoryArray,
    set: ShadowSetId,
}

impl CommitChannel for Channel {
    fn arm(&mut self, _commit_at_most: Duration) -> Result<(), ArrayError> {
        self.array.change(|content| {
            content.in_stage(self.set, &[Stage::Prepared, Stage::Armed])?.stage = Stage::Armed;
            Ok(())
        })
    }

    fn commit(&mut self) -> Result<(), ArrayError> {
        self.array.change(|content| {
            let set = content.in_stage(self.set, &[Stage::Armed])?;
            set.stage = Stage::Committed;
            let members = set.members.clone();
            let shadow = |(source, shadow)| (shadow, LunRole::Shadow { source, set: self.set });
            content.luns.extend(members.into_iter().map(shadow));
            Ok(())
        })
    }
}
