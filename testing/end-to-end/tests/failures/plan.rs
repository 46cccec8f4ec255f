//! What is to go wrong, where.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A fault. `E` is the error that the caller gets to see.
pub(crate) enum Fault<E> {
    /// The call is refused; nothing is done.
    Refuse(E),
    /// The call is carried out, and then answered with an error all the same.
    LoseAnswer(E),
    /// The called party panics before it does anything.
    Panic,
    /// This happens before the call is carried out.
    First(Box<dyn FnOnce() + Send>),
    /// Nothing is done, and success is claimed. Only where the answer has no content.
    Lie,
}

/// Faults by the place where they happen, each once.
pub(crate) struct Plan<K, E>(Mutex<Vec<(K, Fault<E>)>>);

impl<K, E> Default for Plan<K, E> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: PartialEq, E> Plan<K, E> {
    /// The next call of `place` has this fault.
    pub(crate) fn add(&self, place: K, fault: Fault<E>) {
        self.faults().push((place, fault));
    }

    /// Forgets what did not happen; answers how much that is.
    pub(crate) fn clear(&self) -> usize {
        self.faults().drain(..).count()
    }

    /// Carries out a call, with its fault if it has one.
    pub(crate) fn run<T>(&self, place: &K, call: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        match self.take(place) {
            None => call(),
            Some(Fault::Refuse(error)) => Err(error),
            Some(Fault::LoseAnswer(error)) => {
                drop(call());
                Err(error)
            }
            Some(Fault::Panic) => panic!("told so"),
            Some(Fault::First(act)) => {
                act();
                call()
            }
            Some(Fault::Lie) => panic!("this call has an answer that cannot be made up"),
        }
    }

    /// As [`Self::run`], for calls whose success has no content.
    pub(crate) fn run_unit(&self, place: &K, call: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let lies = self.faults().first().is_some_and(|(at, fault)| at == place && matches!(fault, Fault::Lie));
        if lies {
            self.take(place);
            return Ok(());
        }
        self.run(place, call)
    }

    fn take(&self, place: &K) -> Option<Fault<E>> {
        let mut faults = self.faults();
        let index = faults.iter().position(|(at, _)| at == place)?;
        Some(faults.remove(index).1)
    }

    fn faults(&self) -> MutexGuard<'_, Vec<(K, Fault<E>)>> {
        // A told panic poisons nothing: the lock is not held then.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
