//! Requests that are begun together, so that storage can hand them to the kernel with one call.
//!
//! Whoever begins several requests one after another, as a connection does with the commands that came in one piece, does so in
//! [`together`]. Storage that has taken a request and not passed it on yet says so by [`submit_later`].
//!
//! Of what storage has answered already it may leave something undone until those know who wait for it: [`leave_undone`], [`finish_up`].

use std::cell::RefCell;
use std::sync::Arc;

/// Storage that has taken requests and not passed them on.
pub trait Submit: Send + Sync {
    /// Passes them on.
    fn submit(&self);
}

thread_local! {
    /// Who has something to pass on at the end of [`together`]; `None` outside of it.
    static WAITING: RefCell<Option<Vec<Arc<dyn Submit>>>> = const { RefCell::new(None) };
    /// Who has something to pass on at the next [`finish_up`].
    static UNDONE: RefCell<Vec<Arc<dyn Submit>>> = const { RefCell::new(Vec::new()) };
}

/// Does something that begins requests. They are all on their way when it returns.
pub fn together<T>(work: impl FnOnce() -> T) -> T {
    let is_outermost = WAITING.with_borrow_mut(|waiting| {
        let is_outermost = waiting.is_none();
        waiting.get_or_insert_default();
        is_outermost
    });
    // Also if the work panics.
    let _end = is_outermost.then(|| End);
    work()
}

/// Whether [`Submit::submit`] is going to be called on this thread. If not, the caller passes on what he has by himself.
#[must_use]
pub fn submit_later(storage: &Arc<impl Submit + 'static>) -> bool {
    WAITING.with_borrow_mut(|waiting| {
        let Some(waiting) = waiting else { return false };
        note(waiting, storage);
        true
    })
}

/// Has [`Submit::submit`] called on this thread when somebody [finishes up](finish_up) there. Storage has to do without it if nobody does.
pub fn leave_undone(storage: &Arc<impl Submit + 'static>) {
    UNDONE.with_borrow_mut(|undone| note(undone, storage));
}

/// Has storage do what it has left undone on this thread. For whoever calls what leaves something undone, once that is answered and nobody waits.
pub fn finish_up() {
    while let Some(storage) = UNDONE.with_borrow_mut(Vec::pop) {
        storage.submit();
    }
}

/// Once is enough.
fn note(noted: &mut Vec<Arc<dyn Submit>>, storage: &Arc<impl Submit + 'static>) {
    let is_same = |other: &Arc<dyn Submit>| Arc::as_ptr(other).addr() == Arc::as_ptr(storage).addr();
    if !noted.iter().any(is_same) {
        noted.push(storage.clone());
    }
}

struct End;

impl Drop for End {
    fn drop(&mut self) {
        for storage in WAITING.take().into_iter().flatten() {
            storage.submit();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl Submit for Counting {
        fn submit(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn each_storage_submits_once_at_the_end() {
        let (one, other) = (Arc::new(Counting::default()), Arc::new(Counting::default()));
        let count = |counting: &Counting| counting.0.load(Ordering::Relaxed);
        assert!(!submit_later(&one), "nobody would submit it");
        together(|| {
            assert!(submit_later(&one) && submit_later(&other));
            together(|| assert!(submit_later(&one)));
            assert_eq!((count(&one), count(&other)), (0, 0));
        });
        assert_eq!((count(&one), count(&other)), (1, 1));
        assert!(!submit_later(&one));
    }

    #[test]
    fn what_is_left_undone_is_done_once_on_the_same_thread() {
        let (one, other) = (Arc::new(Counting::default()), Arc::new(Counting::default()));
        let count = |counting: &Counting| counting.0.load(Ordering::Relaxed);
        together(|| {
            leave_undone(&one);
            leave_undone(&other);
            leave_undone(&one);
        });
        std::thread::scope(|scope| scope.spawn(finish_up).join()).unwrap();
        assert_eq!((count(&one), count(&other)), (0, 0), "another thread has left nothing");
        finish_up();
        finish_up();
        assert_eq!((count(&one), count(&other)), (1, 1));
    }

    #[test]
    fn a_panic_holds_nothing_up() {
        let storage = Arc::new(Counting::default());
        let inner = storage.clone();
        let outcome = catch_unwind(|| {
            together(|| {
                assert!(submit_later(&inner));
                panic!("as planned");
            })
        });
        assert!(outcome.is_err() && storage.0.load(Ordering::Relaxed) == 1 && !submit_later(&storage));
    }
}
