//! The locks of the pool. With the feature `explore` they are those of `shuttle`, which chooses who runs at each of them.

#[cfg(not(feature = "explore"))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};

#[cfg(feature = "explore")]
pub(crate) use explored::{Condvar, Mutex, MutexGuard};

/// The part of `parking_lot` that the pool uses, on top of `shuttle`.
#[cfg(feature = "explore")]
mod explored {
    use std::ops::{Deref, DerefMut};
    use std::time::Duration;

    use shuttle::sync;

    const HELD: &str = "a guard holds its lock whenever others can see it";
    const WHOLE: &str = "an exploration ends with the first panic";

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(sync::Mutex<T>);

    pub(crate) struct MutexGuard<'a, T> {
        mutex: &'a Mutex<T>,
        held: Option<sync::MutexGuard<'a, T>>,
    }

    impl<T> Mutex<T> {
        pub(crate) fn new(content: T) -> Self {
            Self(sync::Mutex::new(content))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard { mutex: self, held: Some(self.0.lock().expect(WHOLE)) }
        }
    }

    impl<T> MutexGuard<'_, T> {
        /// Lets others have the lock.
        pub(crate) fn bump(guard: &mut Self) {
            guard.held = None;
            shuttle::thread::yield_now();
            guard.held = Some(guard.mutex.0.lock().expect(WHOLE));
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.held.as_ref().expect(HELD)
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.held.as_mut().expect(HELD)
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct Condvar(sync::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self::default()
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }

        pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            let held = guard.held.take().expect(HELD);
            guard.held = Some(self.0.wait(held).expect(WHOLE));
        }

        /// Time does not pass in an exploration: it is always over.
        pub(crate) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, _: Duration) {
            MutexGuard::bump(guard);
        }
    }
}
