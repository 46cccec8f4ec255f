//! A breadth-first search through the states of a system that runs: every action that is possible in a state is taken once.
//!
//! Systems are real code with futures and locks in them, which nobody can copy. So a state is kept as the way to it: the system is started anew
//! and taken along, for each action but those after one that has changed nothing. After a crash it goes on from what outlasts one, which can be copied:
//! ways begin there, too. States are told apart by their fingerprints, 64 bits over all that decides how the system goes on; with ten million
//! states, the chance that one is taken for another is about one in 400 000.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::promise::Broken;

/// Something that can be started, and taken from state to state.
pub trait System: Sized {
    /// What it is made of, and how much of everything there is.
    type Setup: Sync;
    /// One thing that can happen. Its text is a line of a counterexample.
    type Action: Clone + PartialEq + fmt::Display + Send + Sync;
    /// What is left of a system where nothing else decides how it goes on.
    type Remains: Send + Sync;

    /// The first state.
    fn start(setup: &Self::Setup) -> Self;

    /// The state after an action that has left this.
    fn resume(setup: &Self::Setup, remains: &Self::Remains) -> Self;

    /// What the last action has left, if it was one of those that leave nothing else.
    fn remains(&mut self) -> Option<Self::Remains>;

    /// What can happen now.
    fn actions(&self) -> Vec<Self::Action>;

    /// Lets it happen.
    ///
    /// # Errors
    /// A promise that this step breaks.
    fn take(&mut self, action: &Self::Action) -> Result<(), Broken>;

    /// As [`take`](Self::take), of a step that was taken before and has broken nothing.
    ///
    /// # Errors
    /// None, if the same way leads to the same state.
    fn take_again(&mut self, action: &Self::Action) -> Result<(), Broken> {
        self.take(action)
    }

    /// What tells this state from others.
    fn fingerprint(&self) -> u64;

    /// Whether the promises hold that concern a state alone.
    ///
    /// # Errors
    /// The first that does not.
    fn check(&self) -> Result<(), Broken>;

    /// Whether the promises hold that concern what comes of a state when nothing more is asked.
    ///
    /// # Errors
    /// The first that does not.
    fn end(self) -> Result<(), Broken>;
}

/// Where the search ends if the states do not.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How many actions a way has.
    pub depth: usize,
    /// How many states are looked at; the level of the search at which there are more is finished.
    pub states: usize,
    /// On how many threads.
    pub threads: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { depth: usize::MAX, states: usize::MAX, threads: 1 }
    }
}

/// How far a search is, after each level.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// How many actions away the states of the level are.
    pub depth: usize,
    /// How many states there are so far.
    pub states: usize,
    /// How many of them were not there before this level.
    pub open: usize,
}

/// What a search that found nothing wrong has seen.
#[derive(Debug, Clone, Copy)]
pub struct Explored {
    /// How many states there are.
    pub states: usize,
    /// How many actions were taken in them.
    pub transitions: usize,
    /// How many actions away the farthest of them is.
    pub depth: usize,
    /// Whether these are all that can be reached.
    pub complete: bool,
    /// How long it took.
    pub took: Duration,
}

impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { states, transitions, depth, complete, took } = self;
        let extent = if *complete { "all there are" } else { "bounded" };
        let seconds = took.as_secs_f64();
        write!(f, "{states} states ({extent}), {transitions} transitions, depth {depth}, {seconds:.1} s")
    }
}

/// The shortest way to a state in which a promise does not hold.
#[derive(Debug, Clone)]
pub struct Counterexample {
    /// The actions, one after the other.
    pub way: Vec<String>,
    /// What is wrong then.
    pub broken: Broken,
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} does not hold: {}", self.broken.promise, self.broken.seen)?;
        for (number, action) in (1..).zip(&self.way) {
            writeln!(f, "{number:>4}  {action}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Counterexample {}

/// How a state is reached: by an action from another one. The first state has none.
struct Node<S: System> {
    before: Option<(usize, S::Action)>,
    remains: Option<S::Remains>,
}

/// A state whose actions have not been taken yet.
struct Open<A> {
    node: usize,
    fingerprint: u64,
    actions: Vec<A>,
}

/// What an action led to.
struct Found<S: System> {
    from: usize,
    action: S::Action,
    fingerprint: u64,
    actions: Vec<S::Action>,
    remains: Option<S::Remains>,
}

/// Looks at all states within the bounds.
///
/// # Errors
/// The first broken promise; no shorter way leads to one.
///
/// # Panics
/// If the same way leads to different states, which makes a search pointless.
pub fn explore<S: System>(setup: &S::Setup, bounds: Bounds) -> Result<Explored, Box<Counterexample>> {
    explore_telling::<S>(setup, bounds, |_| ())
}

/// As [`explore`], for searches that somebody waits for.
///
/// # Errors
/// The first broken promise.
///
/// # Panics
/// If the same way leads to different states.
pub fn explore_telling<S: System>(
    setup: &S::Setup,
    bounds: Bounds,
    mut tell: impl FnMut(Progress),
) -> Result<Explored, Box<Counterexample>> {
    let began = Instant::now();
    let first = S::start(setup);
    let fail = |broken| Box::new(Counterexample { way: Vec::new(), broken });
    first.check().map_err(fail)?;
    let mut nodes: Vec<Node<S>> = vec![Node { before: None, remains: None }];
    let mut level = vec![Open { node: 0, fingerprint: first.fingerprint(), actions: first.actions() }];
    let seen = Mutex::new(HashSet::from([first.fingerprint()]));
    first.end().map_err(fail)?;
    let (mut transitions, mut depth) = (0, 0);
    while !level.is_empty() && depth < bounds.depth && nodes.len() < bounds.states {
        transitions += level.iter().map(|open| open.actions.len()).sum::<usize>();
        let found = expand::<S>(setup, &nodes, &level, &seen, bounds.threads)?;
        level = Vec::with_capacity(found.len());
        for Found { from, action, fingerprint, actions, remains } in found {
            nodes.push(Node { before: Some((from, action)), remains });
            level.push(Open { node: nodes.len() - 1, fingerprint, actions });
        }
        depth += usize::from(!level.is_empty());
        tell(Progress { depth, states: nodes.len(), open: level.len() });
    }
    Ok(Explored { states: nodes.len(), transitions, depth, complete: level.is_empty(), took: began.elapsed() })
}

/// Takes all actions of one level.
fn expand<S: System>(
    setup: &S::Setup,
    nodes: &[Node<S>],
    level: &[Open<S::Action>],
    seen: &Mutex<HashSet<u64>>,
    threads: usize,
) -> Result<Vec<Found<S>>, Box<Counterexample>> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let work = || {
            while let Some(open) = level.get(next.fetch_add(1, Ordering::Relaxed)) {
                let result = take_all::<S>(setup, nodes, open, seen);
                let failed = result.is_err();
                results.lock().push((open.node, result));
                if failed {
                    // The others finish what they have begun.
                    next.store(level.len(), Ordering::Relaxed);
                }
            }
        };
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    let mut results = results.into_inner();
    results.sort_by_key(|(node, _)| *node);
    let mut found = Vec::new();
    for (_, result) in results {
        found.extend(result?);
    }
    Ok(found)
}

/// Takes all actions of one state; answers the states that nobody has seen before.
fn take_all<S: System>(
    setup: &S::Setup,
    nodes: &[Node<S>],
    open: &Open<S::Action>,
    seen: &Mutex<HashSet<u64>>,
) -> Result<Vec<Found<S>>, Box<Counterexample>> {
    let mut found = Vec::new();
    // What an action has left as it was need not be built again for the next one.
    let mut unchanged = None;
    for (number, action) in open.actions.iter().enumerate() {
        let fail = |broken| {
            let way = way_to(nodes, open.node).into_iter().chain([action]).map(ToString::to_string).collect();
            Box::new(Counterexample { way, broken })
        };
        let mut system = match unchanged.take() {
            Some(system) => system,
            None => taken_along(setup, nodes, open.node).map_err(fail)?,
        };
        if number == 0 {
            let told = || way_to(nodes, open.node).into_iter().map(ToString::to_string).collect::<Vec<_>>();
            assert!(system.fingerprint() == open.fingerprint, "the same way led to another state: {:?}", told());
        }
        system.take(action).map_err(fail)?;
        system.check().map_err(fail)?;
        let fingerprint = system.fingerprint();
        if seen.lock().insert(fingerprint) {
            let (action, actions, remains) = (action.clone(), system.actions(), system.remains());
            found.push(Found { from: open.node, action, fingerprint, actions, remains });
            system.end().map_err(fail)?;
        } else if fingerprint == open.fingerprint && system.actions() == open.actions {
            // Otherwise it is the same but for the places at which things stand, by which actions are named.
            unchanged = Some(system);
        }
    }
    Ok(found)
}

/// A system in the state of a node.
fn taken_along<S: System>(setup: &S::Setup, nodes: &[Node<S>], node: usize) -> Result<S, Broken> {
    let (mut at, mut way) = (node, Vec::new());
    let mut system = loop {
        match &nodes[at] {
            Node { remains: Some(remains), .. } => break S::resume(setup, remains),
            Node { before: Some((before, action)), .. } => {
                way.push(action);
                at = *before;
            }
            Node { before: None, .. } => break S::start(setup),
        }
    };
    way.into_iter().rev().try_for_each(|step| system.take_again(step))?;
    Ok(system)
}

/// All of the way, from the first state on.
fn way_to<S: System>(nodes: &[Node<S>], mut node: usize) -> Vec<&S::Action> {
    let mut way = Vec::new();
    while let Some((before, action)) = nodes.get(node).and_then(|node| node.before.as_ref()) {
        way.push(action);
        node = *before;
    }
    way.reverse();
    way
}
