//! When a call that may block goes on: not before the runtime has nothing else to do.
//!
//! Such a call runs on a thread of its own. Who made it asks for the answer right away, and finds one or not, by which thread was faster; the
//! order of all that follows depends on that. With this, nobody ever finds one right away.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tokio::runtime::Handle;

/// The thread of a runtime, as far as it waits.
#[derive(Debug, Default)]
pub(crate) struct Parking {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Seen {
    is_parked: bool,
    /// How many calls have been made.
    calls: u64,
    /// The last call of which the runtime has been told.
    told: u64,
}

impl Parking {
    /// The runtime has nothing to do until somebody wakes it.
    pub(crate) fn begin(&self) {
        self.seen.lock().is_parked = true;
        self.changed.notify_all();
    }

    /// The runtime goes on.
    pub(crate) fn end(&self) {
        self.seen.lock().is_parked = false;
    }

    /// Does what may block. One thread of the runtime does all of it, one call after the other.
    pub(crate) fn run<T>(self: &Arc<Self>, call: impl FnOnce() -> T) -> T {
        let mut seen = self.seen.lock();
        seen.calls += 1;
        let number = seen.calls;
        // What the answer to an earlier call has woken comes before this, so it is done as well when the runtime waits after this.
        let parking = Arc::clone(self);
        Handle::current().spawn(async move { parking.seen.lock().told = number });
        self.changed.wait_while(&mut seen, |seen| !seen.is_parked || seen.told < number);
        call()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::super::setup::runtime;
    use super::*;

    /// Without the parking, the answers would be there, for the thread that waits for them has all the time that they need.
    #[test]
    fn an_answer_is_there_only_when_everything_else_waits() {
        let parking = Arc::new(Parking::default());
        let order = Arc::new(Mutex::new(Vec::new()));
        let say = |what| {
            let order = Arc::clone(&order);
            move || order.lock().push(what)
        };
        let ask = |name: &'static str| {
            let (parking, begun) = (Arc::clone(&parking), Arc::new(AtomicBool::new(false)));
            let (asked, answered, answers) = (say(("asked", name)), say(("answered", name)), say(("heard", name)));
            async move {
                let begins = Arc::clone(&begun);
                let call = tokio::task::spawn_blocking(move || {
                    begins.store(true, Ordering::Release);
                    parking.run(answered);
                });
                // The thread of the second call has the first one to do before.
                while name == "first" && !begun.load(Ordering::Acquire) {
                    std::hint::spin_loop();
                }
                std::thread::sleep(Duration::from_millis(20));
                asked();
                call.await.expect("it does not panic");
                answers();
            }
        };
        runtime(&parking).block_on(async {
            let others = [tokio::spawn(ask("first")), tokio::spawn(ask("second"))];
            tokio::time::sleep(Duration::from_millis(1)).await;
            for other in others {
                assert!(other.is_finished(), "time passes only when all is done");
            }
        });
        let expected = [("asked", "first"), ("asked", "second")];
        let each = |name| [("answered", name), ("heard", name)];
        assert_eq!(*order.lock(), [expected, each("first"), each("second")].concat());
    }
}
