//! Several arrays: who has what, and what happens when one of them is away.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lunshadow_array_client::{Array, ArrayError, CommitChannel, NamedArray, Preparation, SeveralArrays};
use lunshadow_control::{
    HostId, HostOverview, HostRecord, LunId, LunQuery, LunRecord, LunRole, Outcome, ProblemCode, ResyncId, ResyncPair,
    ResyncState, ShadowSetId, ShadowTarget, ShadowUse, identity_of,
};
use parking_lot::Mutex;

const SET: ShadowSetId = ShadowSetId(uuid::Uuid::from_u128(7));
const OTHER_SET: ShadowSetId = ShadowSetId(uuid::Uuid::from_u128(8));

/// An array that has some LUNs, and notes what it is asked to do.
#[derive(Default)]
struct Small {
    luns: BTreeSet<LunId>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    away: bool,
    refuses_to_map: bool,
    asked: usize,
    sets: BTreeSet<ShadowSetId>,
    mapped: BTreeSet<LunId>,
}

impl Small {
    fn new(luns: impl IntoIterator<Item = u128>) -> Arc<Self> {
        Arc::new(Self { luns: luns.into_iter().map(LunId::from_u128).collect(), state: Mutex::default() })
    }

    fn there(&self) -> Result<parking_lot::MutexGuard<'_, State>, ArrayError> {
        let mut state = self.state.lock();
        state.asked += 1;
        if state.away { Err(ArrayError::Unreachable { detail: "away".into() }) } else { Ok(state) }
    }

    fn of_set(&self, set: ShadowSetId) -> Result<Outcome, ArrayError> {
        let known = self.there()?.sets.contains(&set);
        if known { Ok(Outcome::Done) } else { Err(refused(ProblemCode::UnknownSet)) }
    }
}

fn refused(code: ProblemCode) -> ArrayError {
    ArrayError::Refused { code, detail: "no".into() }
}

impl Array for Small {
    fn who_am_i(&self) -> Result<HostRecord, ArrayError> {
        drop(self.there()?);
        Ok(HostRecord { host: HostId(uuid::Uuid::nil()), name: "host".into(), initiators: Vec::new() })
    }
    fn resolve(&self, queries: &[LunQuery]) -> Result<Vec<Option<LunRecord>>, ArrayError> {
        drop(self.there()?);
        let find = |query: &LunQuery| {
            let lun: LunId = query.serial.as_deref()?.parse().ok()?;
            let record =
                LunRecord { lun, identity: identity_of(lun), role: LunRole::Source, can_shadow: true, can_copy: false };
            self.luns.contains(&lun).then_some(record)
        };
        Ok(queries.iter().map(find).collect())
    }
    fn prepare(&self, set: ShadowSetId, _luns: &[LunId]) -> Result<Outcome, ArrayError> {
        self.there()?.sets.insert(set);
        Ok(Outcome::Done)
    }
    fn wait_prepared(&self, set: ShadowSetId, _at_most: Duration) -> Result<Preparation, ArrayError> {
        self.of_set(set).map(|_| Preparation::Ready)
    }
    fn open_commit_channel(&self, set: ShadowSetId) -> Result<Box<dyn CommitChannel>, ArrayError> {
        self.of_set(set)?;
        Err(refused(ProblemCode::Internal))
    }
    fn keep(&self, set: ShadowSetId) -> Result<Outcome, ArrayError> {
        self.of_set(set)
    }
    fn abort(&self, set: ShadowSetId) -> Result<Outcome, ArrayError> {
        let removed = self.there()?.sets.remove(&set);
        Ok(if removed { Outcome::Done } else { Outcome::AlreadySo })
    }
    fn withdraw(&self, set: ShadowSetId) -> Result<Outcome, ArrayError> {
        self.abort(set)
    }
    fn targets(&self, set: ShadowSetId) -> Result<Vec<ShadowTarget>, ArrayError> {
        self.of_set(set).map(|_| Vec::new())
    }
    fn map(&self, luns: &[LunId]) -> Result<Vec<Outcome>, ArrayError> {
        let mut state = self.there()?;
        if state.refuses_to_map {
            return Err(refused(ProblemCode::LimitReached));
        }
        let map = |lun: &LunId| if state.mapped.insert(*lun) { Outcome::Done } else { Outcome::AlreadySo };
        Ok(luns.iter().map(map).collect())
    }
    fn unmap(&self, luns: &[LunId]) -> Result<Vec<Outcome>, ArrayError> {
        let mut state = self.there()?;
        let unmap = |lun: &LunId| if state.mapped.remove(lun) { Outcome::Done } else { Outcome::AlreadySo };
        Ok(luns.iter().map(unmap).collect())
    }
    fn release(&self, shadow: LunId) -> Result<Outcome, ArrayError> {
        drop(self.there()?);
        if self.luns.contains(&shadow) { Ok(Outcome::Done) } else { Err(refused(ProblemCode::UnknownLun)) }
    }
    fn note_use(&self, shadows: &[LunId], _used: ShadowUse) -> Result<Vec<Outcome>, ArrayError> {
        drop(self.there()?);
        Ok(vec![Outcome::Done; shadows.len()])
    }
    fn start_resync(&self, _resync: ResyncId, _pairs: &[ResyncPair]) -> Result<ResyncState, ArrayError> {
        drop(self.there()?);
        Ok(ResyncState::Running)
    }
    fn resync_state(&self, _resync: ResyncId, _at_most: Duration) -> Result<ResyncState, ArrayError> {
        drop(self.there()?);
        Ok(ResyncState::Finished)
    }
    fn cancel_resync(&self, _resync: ResyncId) -> Result<ResyncState, ArrayError> {
        drop(self.there()?);
        Ok(ResyncState::Cancelled)
    }
    fn overview(&self) -> Result<HostOverview, ArrayError> {
        drop(self.there()?);
        Ok(HostOverview { host: self.who_am_i()?, now_unix_ms: 0, luns: Vec::new(), sets: Vec::new() })
    }
}

fn several(arrays: &[(&str, &Arc<Small>)]) -> SeveralArrays {
    let named = |(name, array): &(&str, &Arc<Small>)| NamedArray {
        name: (*name).to_owned(),
        array: Arc::clone(array) as Arc<dyn Array>,
    };
    SeveralArrays::new(arrays.iter().map(named).collect())
}

fn luns(ids: impl IntoIterator<Item = u128>) -> Vec<LunId> {
    ids.into_iter().map(LunId::from_u128).collect()
}

fn query(id: u128) -> LunQuery {
    let identity = identity_of(LunId::from_u128(id));
    LunQuery { serial: Some(identity.serial), designators: identity.designators }
}

#[test]
fn a_lun_is_found_wherever_it_is() {
    let (one, two) = (Small::new([1]), Small::new([2]));
    let arrays = several(&[("one", &one), ("two", &two)]);
    let found = arrays.resolve(&[query(2), query(1), query(3)]).expect("both answer");
    let found: Vec<_> = found.into_iter().map(|record| record.map(|record| record.lun)).collect();
    assert_eq!(found, [Some(LunId::from_u128(2)), Some(LunId::from_u128(1)), None]);
}

#[test]
fn an_array_that_is_away_does_not_take_the_others_luns_with_it() {
    let (one, two) = (Small::new([1]), Small::new([2]));
    two.state.lock().away = true;
    let arrays = several(&[("one", &one), ("two", &two)]);
    assert!(arrays.resolve(&[query(1)]).is_ok());
    let asked = two.state.lock().asked;
    assert!(
        matches!(arrays.resolve(&[query(2)]), Err(ArrayError::Unreachable { .. })),
        "it may be a LUN of the array that is away"
    );
    assert!(arrays.resolve(&[query(1)]).is_ok());
    assert_eq!(two.state.lock().asked, asked, "it is left alone for a while");
}

#[test]
fn a_set_belongs_to_the_array_of_its_luns_and_cannot_span_two() {
    let (one, two) = (Small::new([1, 3]), Small::new([2]));
    let arrays = several(&[("one", &one), ("two", &two)]);
    assert_eq!(arrays.prepare(SET, &luns([1])), Ok(Outcome::Done));
    assert_eq!(arrays.prepare(SET, &luns([3])), Ok(Outcome::Done));
    for foreign in [luns([2]), luns([1, 2])] {
        let error = arrays.prepare(SET, &foreign).expect_err("it spans");
        assert_eq!(error.code(), Some(ProblemCode::LimitReached));
    }
    assert!(arrays.can_share_a_set(&luns([1, 3])));
    assert!(!arrays.can_share_a_set(&luns([1, 2])));
    assert_eq!(arrays.prepare(OTHER_SET, &luns([2])), Ok(Outcome::Done));
    assert_eq!(arrays.keep(OTHER_SET), Ok(Outcome::Done));
    assert!(one.state.lock().sets.contains(&SET) && !one.state.lock().sets.contains(&OTHER_SET));
}

#[test]
fn another_process_finds_a_set_again() {
    let (one, two) = (Small::new([1]), Small::new([2]));
    assert_eq!(several(&[("one", &one), ("two", &two)]).prepare(SET, &luns([2])), Ok(Outcome::Done));
    let later = several(&[("one", &one), ("two", &two)]);
    assert_eq!(later.targets(SET), Ok(Vec::new()));
    assert_eq!(later.keep(OTHER_SET).expect_err("nobody has it").code(), Some(ProblemCode::UnknownSet));
    one.state.lock().away = true;
    assert!(matches!(later.keep(OTHER_SET), Err(ArrayError::Unreachable { .. })), "the one that is away may have it");
    one.state.lock().away = false;
    assert_eq!(later.abort(SET), Ok(Outcome::Done));
}

#[test]
fn mapping_at_several_arrays_is_all_or_none() {
    let (one, two) = (Small::new([1, 3]), Small::new([2]));
    one.state.lock().mapped.insert(LunId::from_u128(3));
    two.state.lock().refuses_to_map = true;
    let arrays = several(&[("one", &one), ("two", &two)]);
    assert_eq!(arrays.map(&luns([2, 1, 3])).expect_err("one refuses").code(), Some(ProblemCode::LimitReached));
    assert_eq!(one.state.lock().mapped, luns([3]).into_iter().collect(), "what was mapped before stays");
    two.state.lock().refuses_to_map = false;
    assert_eq!(arrays.map(&luns([2, 1, 3])), Ok(vec![Outcome::Done, Outcome::Done, Outcome::AlreadySo]));
}

#[test]
fn a_lun_that_no_array_has_is_gone() {
    let (one, two) = (Small::new([1]), Small::new([2]));
    let arrays = several(&[("one", &one), ("two", &two)]);
    assert_eq!(arrays.release(LunId::from_u128(9)), Ok(Outcome::AlreadySo));
    two.state.lock().away = true;
    assert!(matches!(arrays.release(LunId::from_u128(9)), Err(ArrayError::Unreachable { .. })), "who knows");
}

#[test]
fn a_resync_stays_within_one_array() {
    let (one, two) = (Small::new([1, 3]), Small::new([2]));
    let arrays = several(&[("one", &one), ("two", &two)]);
    let resync = ResyncId(uuid::Uuid::from_u128(1));
    let pair = |shadow, target| ResyncPair { shadow: LunId::from_u128(shadow), target: LunId::from_u128(target) };
    assert_eq!(
        arrays.start_resync(resync, &[pair(1, 2)]).expect_err("it spans").code(),
        Some(ProblemCode::LimitReached)
    );
    assert_eq!(arrays.start_resync(resync, &[pair(1, 3)]), Ok(ResyncState::Running));
    assert_eq!(arrays.resync_state(resync, Duration::ZERO), Ok(ResyncState::Finished));
    assert_eq!(arrays.cancel_resync(resync), Ok(ResyncState::Cancelled));
}

#[test]
fn without_arrays_every_request_says_so() {
    let arrays = SeveralArrays::default();
    assert!(matches!(arrays.who_am_i(), Err(ArrayError::Unreachable { .. })));
    assert!(matches!(arrays.resolve(&[query(1)]), Err(ArrayError::Unreachable { .. })));
    assert!(matches!(arrays.abort(SET), Err(ArrayError::Unreachable { .. })));
    let one = Small::new([1]);
    arrays.replace(several(&[("one", &one)]).each());
    assert!(arrays.resolve(&[query(1)]).is_ok());
}
