//! Who breaks off, and at which call.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Who breaks off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Who {
    Requester,
    Provider,
    Coordinator,
    Array,
}

/// A place to break off at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cut {
    pub(super) who: Who,
    /// The number of the call, from the first of the operation on.
    pub(super) call: usize,
    /// Whether the call is carried out before.
    pub(super) is_after: bool,
}

/// The process that was called has ended.
#[derive(Debug)]
pub(super) struct Gone;

/// What of an operation has passed by.
#[derive(Clone, Default, Debug)]
pub(super) struct Passed {
    /// The calls in their order.
    pub(super) calls: Vec<&'static str>,
    /// Which of them was cut.
    pub(super) reached: Option<&'static str>,
}

/// Counts the calls of an operation, and has somebody break off at one of them.
pub(crate) struct Cutter {
    armed: Mutex<Option<Armed>>,
    on_cut: Box<dyn Fn(Who) + Send + Sync>,
}

struct Armed {
    cut: Option<Cut>,
    passed: Passed,
}

impl Cutter {
    pub(super) fn new(on_cut: impl Fn(Who) + Send + Sync + 'static) -> Self {
        Self { armed: Mutex::default(), on_cut: Box::new(on_cut) }
    }

    /// An operation begins.
    pub(super) fn arm(&self, cut: Option<Cut>) {
        *self.armed() = Some(Armed { cut, passed: Passed::default() });
    }

    /// It is over, or nobody is left to go on with it; nothing is cut any more.
    pub(super) fn disarm(&self) -> Passed {
        self.armed().take().map(|armed| armed.passed).unwrap_or_default()
    }

    /// Makes a call of the provider.
    pub(super) fn around<T>(&self, place: &'static str, call: impl FnOnce() -> T) -> Result<T, Gone> {
        match self.count(place, |_| true) {
            None => Ok(call()),
            Some(cut) => self.break_off(cut, call),
        }
    }

    /// Has the coordinator do something to its host. Only its own crash can come between two such steps.
    pub(crate) fn around_step<T>(&self, place: &'static str, step: impl FnOnce() -> T) -> T {
        match self.count(place, |who| who == Who::Coordinator) {
            None => step(),
            Some(cut) => self.break_off(cut, step).expect("it never goes on"),
        }
    }

    fn break_off<T>(&self, cut: Cut, call: impl FnOnce() -> T) -> Result<T, Gone> {
        let mut call = Some(call);
        let answer = if cut.is_after { call.take().map(|call| call()) } else { None };
        (self.on_cut)(cut.who);
        match cut.who {
            Who::Requester | Who::Array => {}
            Who::Provider => return Err(Gone),
            // What a process leaves that has ended: a thread that never goes on.
            Who::Coordinator => loop {
                std::thread::park();
            },
        }
        answer.or_else(|| call.map(|call| call())).ok_or(Gone)
    }

    /// Counts a call that this party can break off at. Answers the cut if it is here.
    fn count(&self, place: &'static str, counts: impl FnOnce(Who) -> bool) -> Option<Cut> {
        let mut armed = self.armed();
        let Armed { cut, passed } = armed.as_mut()?;
        if !counts(cut.map_or(Who::Provider, |cut| cut.who)) {
            return None;
        }
        let number = passed.calls.len();
        passed.calls.push(place);
        let cut = cut.filter(|cut| cut.call == number)?;
        passed.reached = Some(place);
        Some(cut)
    }

    fn armed(&self) -> MutexGuard<'_, Option<Armed>> {
        // A provider that unwinds does so without the lock.
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
