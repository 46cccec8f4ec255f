//! Several arrays behind one [`Array`]: a host's provider is one, the arrays that the host uses may be more.
//!
//! A LUN belongs to the array that knows it, a shadow set to the array of its LUNs. Nothing of that is stored: what is not remembered
//! is asked for again, so any process can answer for any set.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use lunshadow_control::{
    HostOverview, HostRecord, LunId, LunQuery, LunRecord, Outcome, ProblemCode, ResyncId, ResyncPair, ResyncState,
    ShadowKind, ShadowSetId, ShadowTarget, ShadowUse, identity_of,
};
use parking_lot::{Mutex, RwLock};

use crate::{Array, ArrayError, CommitChannel, Preparation};

/// For how long an array that did not answer is not asked about unknown LUNs, so that it does not slow down the others' backups.
const LEFT_ALONE: Duration = Duration::from_secs(10);

/// How many LUNs, sets and resyncs are remembered of each kind. Those beyond are asked for again.
const REMEMBERED_AT_MOST: usize = 4096;

/// An array with the administrator's name for it.
#[derive(Clone)]
pub struct NamedArray {
    /// The name, unique among the arrays of a host.
    pub name: String,
    /// The array.
    pub array: Arc<dyn Array>,
}

/// All arrays of a host.
#[derive(Default)]
pub struct SeveralArrays {
    arrays: RwLock<Vec<NamedArray>>,
    places: Mutex<Places>,
}

/// One array's answer about some disks.
type Resolved = Result<Vec<Option<LunRecord>>, ArrayError>;

/// Where things are, by the array's name.
#[derive(Default)]
struct Places {
    luns: HashMap<LunId, String>,
    sets: HashMap<ShadowSetId, String>,
    resyncs: HashMap<ResyncId, String>,
    down_since: HashMap<String, Instant>,
}

impl SeveralArrays {
    /// Answers for these arrays.
    #[must_use]
    pub fn new(arrays: Vec<NamedArray>) -> Self {
        Self { arrays: RwLock::new(arrays), places: Mutex::default() }
    }

    /// Answers for other arrays from now on. Requests under way end at the array that they began at.
    pub fn replace(&self, arrays: Vec<NamedArray>) {
        *self.arrays.write() = arrays;
        *self.places.lock() = Places::default();
    }

    /// The arrays, to ask each by itself.
    #[must_use]
    pub fn each(&self) -> Vec<NamedArray> {
        self.arrays.read().clone()
    }

    fn named(&self, name: &str) -> Option<NamedArray> {
        self.arrays.read().iter().find(|array| array.name == name).cloned()
    }

    /// The array of a LUN: remembered, or asked for by the LUN's own identity.
    fn array_of(&self, lun: LunId) -> Result<NamedArray, ArrayError> {
        let arrays = self.each();
        if let [only] = &arrays[..] {
            return Ok(only.clone());
        }
        let remembered = self.places.lock().luns.get(&lun).cloned();
        if let Some(array) = remembered.and_then(|name| self.named(&name)) {
            return Ok(array);
        }
        let identity = identity_of(lun);
        self.resolve(&[LunQuery { serial: Some(identity.serial), designators: identity.designators }])?;
        let found = self.places.lock().luns.get(&lun).cloned();
        found.and_then(|name| self.named(&name)).ok_or_else(|| ArrayError::Refused {
            code: ProblemCode::UnknownLun,
            detail: format!("no array of this host has LUN {lun}"),
        })
    }

    /// LUNs by the array that has them, each with its place in the question.
    fn by_array(&self, luns: &[LunId]) -> Result<Vec<(NamedArray, Vec<usize>)>, ArrayError> {
        let mut groups: BTreeMap<String, (NamedArray, Vec<usize>)> = BTreeMap::new();
        for (index, lun) in luns.iter().enumerate() {
            let array = self.array_of(*lun)?;
            groups.entry(array.name.clone()).or_insert_with(|| (array, Vec::new())).1.push(index);
        }
        Ok(groups.into_values().collect())
    }

    /// The one array that has all of these LUNs.
    fn one_array_of(&self, luns: &[LunId]) -> Result<NamedArray, ArrayError> {
        let mut groups = self.by_array(luns)?;
        match (groups.pop(), groups.pop()) {
            (Some((array, _)), None) => Ok(array),
            (None, _) => self.first(),
            (Some((one, _)), Some((other, _))) => Err(spans(&one.name, &other.name)),
        }
    }

    fn first(&self) -> Result<NamedArray, ArrayError> {
        self.arrays.read().first().cloned().ok_or_else(no_array)
    }

    /// Does something at the array of a set: the remembered one, or else the first that knows the set.
    fn at_set<T>(&self, set: ShadowSetId, work: impl Fn(&dyn Array) -> Result<T, ArrayError>) -> Result<T, ArrayError> {
        let remembered = self.places.lock().sets.get(&set).cloned();
        self.at(remembered, work)
    }

    fn at<T>(
        &self,
        remembered: Option<String>,
        work: impl Fn(&dyn Array) -> Result<T, ArrayError>,
    ) -> Result<T, ArrayError> {
        if let Some(array) = remembered.and_then(|name| self.named(&name)) {
            return work(&*array.array);
        }
        let mut failure = no_array();
        let mut silent = None;
        for array in self.each() {
            match work(&*array.array) {
                Err(error) if error.code() == Some(ProblemCode::UnknownSet) => failure = error,
                Err(error @ ArrayError::Unreachable { .. }) => silent = Some(error),
                answer => return answer,
            }
        }
        // An array that did not answer may be the one.
        Err(silent.unwrap_or(failure))
    }

    /// Does something for all LUNs, array by array, and puts the answers in the order of the question.
    fn for_luns(
        &self,
        luns: &[LunId],
        work: impl Fn(&dyn Array, &[LunId]) -> Result<Vec<Outcome>, ArrayError>,
        undo: impl Fn(&dyn Array, &[LunId]),
    ) -> Result<Vec<Outcome>, ArrayError> {
        let mut outcomes = vec![Outcome::AlreadySo; luns.len()];
        let mut done: Vec<(NamedArray, Vec<LunId>)> = Vec::new();
        for (array, places) in self.by_array(luns)? {
            let part: Vec<LunId> = places.iter().map(|place| luns[*place]).collect();
            match work(&*array.array, &part) {
                Ok(answers) => {
                    let changed = answers.iter().zip(&part).filter(|(outcome, _)| **outcome == Outcome::Done);
                    done.push((array, changed.map(|(_, lun)| *lun).collect()));
                    for (place, outcome) in places.into_iter().zip(answers) {
                        outcomes[place] = outcome;
                    }
                }
                Err(error) => {
                    // All or none: what the other arrays did is taken back.
                    done.iter()
                        .filter(|(_, luns)| !luns.is_empty())
                        .for_each(|(array, luns)| undo(&*array.array, luns));
                    return Err(error);
                }
            }
        }
        Ok(outcomes)
    }

    /// Asks every array that is not left alone, all at the same time.
    fn ask_all(&self, queries: &[LunQuery]) -> Vec<(NamedArray, Resolved)> {
        let arrays = self.each();
        let asked: Vec<NamedArray> = if arrays.len() == 1 {
            arrays
        } else {
            let places = self.places.lock();
            let alone = |array: &NamedArray| {
                places.down_since.get(&array.name).is_some_and(|since| since.elapsed() < LEFT_ALONE)
            };
            arrays.into_iter().filter(|array| !alone(array)).collect()
        };
        let answers: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = asked.iter().map(|array| scope.spawn(|| array.array.resolve(queries))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(no_array()))).collect()
        });
        let mut places = self.places.lock();
        for (array, answer) in asked.iter().zip(&answers) {
            match answer {
                Err(ArrayError::Unreachable { .. }) => {
                    places.down_since.insert(array.name.clone(), Instant::now());
                }
                _ => {
                    places.down_since.remove(&array.name);
                }
            }
        }
        asked.into_iter().zip(answers).collect()
    }
}

fn no_array() -> ArrayError {
    ArrayError::Unreachable { detail: "no array is configured, or none answers".to_owned() }
}

fn spans(one: &str, other: &str) -> ArrayError {
    ArrayError::Refused {
        code: ProblemCode::LimitReached,
        detail: format!("a shadow set cannot span the arrays {one} and {other}; take the volumes in separate sets"),
    }
}

/// Remembers something, and forgets everything rather than growing for ever.
fn remember<K: std::hash::Hash + Eq>(map: &mut HashMap<K, String>, key: K, array: &str) {
    if map.len() >= REMEMBERED_AT_MOST && !map.contains_key(&key) {
        map.clear();
    }
    map.insert(key, array.to_owned());
}

impl Array for SeveralArrays {
    fn who_am_i(&self) -> Result<HostRecord, ArrayError> {
        let mut answer = Err(no_array());
        for array in self.each() {
            answer = array.array.who_am_i();
            if answer.is_ok() {
                break;
            }
        }
        answer
    }

    /// A LUN that no answering array knows is unknown only if every array has answered.
    fn resolve(&self, queries: &[LunQuery]) -> Result<Vec<Option<LunRecord>>, ArrayError> {
        let answers = self.ask_all(queries);
        let complete = answers.len() == self.arrays.read().len();
        let mut records: Vec<Option<LunRecord>> = vec![None; queries.len()];
        let mut failure = (!complete || answers.is_empty()).then(no_array);
        for (array, answer) in answers {
            match answer {
                Ok(found) => {
                    let mut places = self.places.lock();
                    for (record, found) in records.iter_mut().zip(found) {
                        let Some(found) = found else { continue };
                        remember(&mut places.luns, found.lun, &array.name);
                        record.get_or_insert(found);
                    }
                }
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(failure) if records.iter().any(Option::is_none) => Err(failure),
            _ => Ok(records),
        }
    }

    /// One instant is for one array.
    fn can_share_a_set(&self, luns: &[LunId]) -> bool {
        self.one_array_of(luns).is_ok_and(|array| array.array.can_share_a_set(luns))
    }

    fn prepare(&self, set: ShadowSetId, luns: &[LunId]) -> Result<Outcome, ArrayError> {
        self.prepare_as(ShadowKind::Sharing, set, luns)
    }

    fn prepare_as(&self, kind: ShadowKind, set: ShadowSetId, luns: &[LunId]) -> Result<Outcome, ArrayError> {
        let array = self.one_array_of(luns)?;
        {
            let mut places = self.places.lock();
            if let Some(other) = places.sets.get(&set).filter(|other| **other != array.name) {
                return Err(spans(other, &array.name));
            }
            remember(&mut places.sets, set, &array.name);
        }
        array.array.prepare_as(kind, set, luns)
    }

    fn wait_prepared(&self, set: ShadowSetId, at_most: Duration) -> Result<Preparation, ArrayError> {
        self.at_set(set, |array| array.wait_prepared(set, at_most))
    }

    fn open_commit_channel(&self, set: ShadowSetId) -> Result<Box<dyn CommitChannel>, ArrayError> {
        self.at_set(set, |array| array.open_commit_channel(set))
    }

    fn keep(&self, set: ShadowSetId) -> Result<Outcome, ArrayError> {
        self.at_set(set, |array| array.keep(set))
    }

    /// A set that is not remembered may be at any array, and every array takes the abort of a set that it does not know.
    fn abort(&self, set: ShadowSetId) -> Result<Outcome, ArrayError> {
        self.everywhere(set, |array| array.abort(set))
    }

    fn withdraw(&self, set: ShadowSetId) -> Result<Outcome, ArrayError> {
        self.everywhere(set, |array| array.withdraw(set))
    }

    fn targets(&self, set: ShadowSetId) -> Result<Vec<ShadowTarget>, ArrayError> {
        self.at_set(set, |array| array.targets(set))
    }

    fn map(&self, luns: &[LunId]) -> Result<Vec<Outcome>, ArrayError> {
        self.for_luns(luns, |array, luns| array.map(luns), |array, luns| drop(array.unmap(luns)))
    }

    fn unmap(&self, luns: &[LunId]) -> Result<Vec<Outcome>, ArrayError> {
        self.for_luns(luns, |array, luns| array.unmap(luns), |array, luns| drop(array.map(luns)))
    }

    fn release(&self, shadow: LunId) -> Result<Outcome, ArrayError> {
        match self.array_of(shadow) {
            Ok(array) => array.array.release(shadow),
            // Every array has answered that it does not have it.
            Err(error) if error.code() == Some(ProblemCode::UnknownLun) => Ok(Outcome::AlreadySo),
            Err(error) => Err(error),
        }
    }

    fn note_use(&self, shadows: &[LunId], used: ShadowUse) -> Result<Vec<Outcome>, ArrayError> {
        self.for_luns(shadows, |array, luns| array.note_use(luns, used), |_, _| ())
    }

    fn start_resync(&self, resync: ResyncId, pairs: &[ResyncPair]) -> Result<ResyncState, ArrayError> {
        let luns: Vec<LunId> = pairs.iter().flat_map(|pair| [pair.shadow, pair.target]).collect();
        let array = self.one_array_of(&luns)?;
        remember(&mut self.places.lock().resyncs, resync, &array.name);
        array.array.start_resync(resync, pairs)
    }

    fn resync_state(&self, resync: ResyncId, at_most: Duration) -> Result<ResyncState, ArrayError> {
        let remembered = self.places.lock().resyncs.get(&resync).cloned();
        self.at(remembered, |array| array.resync_state(resync, at_most))
    }

    fn cancel_resync(&self, resync: ResyncId) -> Result<ResyncState, ArrayError> {
        let remembered = self.places.lock().resyncs.get(&resync).cloned();
        self.at(remembered, |array| array.cancel_resync(resync))
    }

    /// That of the first array; each has its own.
    fn overview(&self) -> Result<HostOverview, ArrayError> {
        self.first()?.array.overview()
    }
}

impl SeveralArrays {
    fn everywhere(
        &self,
        set: ShadowSetId,
        work: impl Fn(&dyn Array) -> Result<Outcome, ArrayError>,
    ) -> Result<Outcome, ArrayError> {
        let remembered = self.places.lock().sets.get(&set).cloned();
        if let Some(array) = remembered.and_then(|name| self.named(&name)) {
            return work(&*array.array);
        }
        let arrays = self.each();
        let answers: Vec<_> = arrays.iter().map(|array| work(&*array.array)).collect();
        let mut outcome = if arrays.is_empty() { Err(no_array()) } else { Ok(Outcome::AlreadySo) };
        for answer in answers {
            match (answer, &outcome) {
                (Ok(Outcome::Done), Ok(_)) => outcome = Ok(Outcome::Done),
                (Ok(_), _) => {}
                (Err(error), _) => outcome = Err(error),
            }
        }
        outcome
    }
}
