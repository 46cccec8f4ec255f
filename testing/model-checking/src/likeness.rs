//! Whether fingerprints tell apart what a search has to tell apart: states that are taken for one have to go on alike. Otherwise it goes on from one
//! of them only, and what the others would have come to is not seen by anybody.
//!
//! The explorer takes the first way to a state that it finds. Here, other ways are taken too, and what can come next is compared.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, bail, ensure};
use parking_lot::Mutex;

use crate::explorer::{Bounds, System};

/// How much was compared, without a difference.
#[derive(Debug, Clone, Copy)]
pub struct Compared {
    /// How many states there are.
    pub states: usize,
    /// How many other ways to one of them were taken.
    pub ways: usize,
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} other ways to {} states go on alike", self.ways, self.states)
    }
}

/// A state, and the first way to it.
struct Known<A> {
    way: Vec<A>,
    /// What can come next, by fingerprints, with an action that leads there. Empty unless the state was gone on from.
    next: BTreeMap<u64, A>,
}

/// A way to a state that was known.
struct Other<A> {
    way: Vec<A>,
    known: usize,
}

/// Compares what comes next after one of `one_in` ways to a state with what comes next after the first way to it.
///
/// # Errors
/// If it differs, with both ways; or if a promise is broken.
pub fn compare<S: System>(setup: &S::Setup, bounds: Bounds, one_in: usize) -> anyhow::Result<Compared> {
    let mut places = HashMap::from([(S::start(setup).fingerprint(), 0)]);
    let mut all = vec![Known { way: Vec::new(), next: BTreeMap::new() }];
    let mut others = Vec::new();
    let mut at = 0;
    while at < all.len() && all[at].way.len() < bounds.depth && all.len() < bounds.states {
        let way = all[at].way.clone();
        for action in taken_along::<S>(setup, &way)?.actions() {
            let fingerprint = after::<S>(setup, &way, &action)?;
            all[at].next.entry(fingerprint).or_insert_with(|| action.clone());
            let mut way = way.clone();
            way.push(action);
            if let Some(known) = places.get(&fingerprint) {
                others.push(Other { way, known: *known });
            } else {
                places.insert(fingerprint, all.len());
                all.push(Known { way, next: BTreeMap::new() });
            }
        }
        at += 1;
    }
    // What was not gone on from has nothing to compare with.
    others.retain(|other| other.known < at);
    let others: Vec<_> = others.into_iter().step_by(one_in).collect();
    compare_all::<S>(setup, &all, &others, bounds.threads)?;
    Ok(Compared { states: all.len(), ways: others.len() })
}

fn compare_all<S: System>(
    setup: &S::Setup,
    all: &[Known<S::Action>],
    others: &[Other<S::Action>],
    threads: usize,
) -> anyhow::Result<()> {
    let (next, first) = (AtomicUsize::new(0), Mutex::new(None));
    let work = || {
        while let Some(other) = others.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(difference) = compare_one::<S>(setup, &all[other.known], &other.way) {
                next.store(others.len(), Ordering::Relaxed);
                first.lock().get_or_insert(difference);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    first.into_inner().map_or(Ok(()), Err)
}

fn compare_one<S: System>(setup: &S::Setup, known: &Known<S::Action>, way: &[S::Action]) -> anyhow::Result<()> {
    let ways = || format!("{}\nand\n{}", told(&known.way), told(way));
    let mut missing: BTreeMap<_, _> = known.next.iter().collect();
    for action in taken_along::<S>(setup, way)?.actions() {
        let fingerprint = after::<S>(setup, way, &action)?;
        missing.remove(&fingerprint);
        let same = known.next.contains_key(&fingerprint);
        ensure!(same, "after the second way, but not the first, something else comes of \"{action}\":\n{}", ways());
    }
    if let Some((_, action)) = missing.pop_first() {
        bail!("after the first way, but not the second, something else comes of \"{action}\":\n{}", ways());
    }
    Ok(())
}

fn taken_along<S: System>(setup: &S::Setup, way: &[S::Action]) -> anyhow::Result<S> {
    let mut system = S::start(setup);
    for action in way {
        system.take_again(action).map_err(|broken| anyhow::anyhow!("{}: {}", broken.promise, broken.seen))?;
    }
    Ok(system)
}

/// The fingerprint after one more action.
fn after<S: System>(setup: &S::Setup, way: &[S::Action], action: &S::Action) -> anyhow::Result<u64> {
    let along = taken_along::<S>(setup, way).and_then(|mut system| {
        system.take_again(action).map_err(|broken| anyhow::anyhow!("{}: {}", broken.promise, broken.seen))?;
        Ok(system.fingerprint())
    });
    along.with_context(|| format!("{}\n{action}", told(way)))
}

fn told<A: fmt::Display>(way: &[A]) -> String {
    let lines: Vec<_> = (1..).zip(way).map(|(number, action): (usize, _)| format!("{number:>4}  {action}")).collect();
    lines.join("\n")
}
