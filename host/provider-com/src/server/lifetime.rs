//! How long a server runs: until it is told to stop, or until nobody has needed it for a while.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use windows::Win32::System::Com::{CoAddRefServerProcess, CoReleaseServerProcess};

/// When a server ends.
#[derive(Clone)]
pub struct Lifetime {
    /// For how long nobody must have needed it; `None` waits for the signal alone.
    pub idle_for: Option<Duration>,
    /// The signal.
    pub stop: StopSignal,
}

/// Ends a server from any thread. Clones are the same signal.
#[derive(Clone, Default)]
pub struct StopSignal(Arc<Monitor>);

impl StopSignal {
    /// A signal that was not given yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives it. It stays given.
    pub fn stop(&self) {
        self.0.change(|state| state.stopped = true);
    }

    /// What a server counts with.
    pub(super) fn presence(&self) -> Presence {
        Presence(Arc::clone(&self.0))
    }
}

#[derive(Default)]
struct Monitor {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stopped: bool,
    /// Nobody gets an object any more.
    closed: bool,
    /// Objects, and locks of the class object.
    holds: usize,
    /// Calls under way.
    calls: usize,
}

impl Monitor {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let answer = change(&mut self.state.lock());
        self.changed.notify_all();
        answer
    }
}

/// Why a server's waiting is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wake {
    /// The signal was given.
    Stopped,
    /// Nobody has needed it for long enough.
    Idle,
}

/// Who needs the server. COM counts the same holds, and one more for as long as the server is open; with the last one it lets no new
/// client in.
pub(super) struct Presence(Arc<Monitor>);

impl Presence {
    /// The server begins.
    pub(super) fn open(&self) {
        // SAFETY: it counts, and may be called at any time.
        self.0.change(|_| unsafe { CoAddRefServerProcess() });
    }

    /// Counts somebody in, unless the server is about to end.
    pub(super) fn hold(&self) -> Option<Held> {
        let counted = self.0.change(|state| {
            if !state.closed {
                state.holds += 1;
                // SAFETY: it counts, and may be called at any time.
                unsafe { CoAddRefServerProcess() };
            }
            !state.closed
        });
        counted.then(|| Held(Arc::clone(&self.0)))
    }

    /// Waits until nobody has needed the server for `idle_for`, or the signal is given.
    pub(super) fn wait(&self, idle_for: Option<Duration>) -> Wake {
        let mut state = self.0.state.lock();
        loop {
            if state.stopped {
                return Wake::Stopped;
            }
            match idle_for {
                Some(idle_for) if state.holds == 0 => {
                    if self.0.changed.wait_for(&mut state, idle_for).timed_out() {
                        return Wake::Idle;
                    }
                }
                _ => self.0.changed.wait(&mut state),
            }
        }
    }

    /// Lets nobody in any more, unless somebody came meanwhile and the server is not told to stop.
    pub(super) fn close(&self) -> bool {
        self.0.change(|state| {
            if !state.closed && (state.stopped || state.holds == 0) {
                state.closed = true;
                // SAFETY: counted in when the server was opened.
                unsafe { CoReleaseServerProcess() };
            }
            state.closed
        })
    }

    /// Waits for the calls that are under way.
    pub(super) fn drain(&self, at_most: Duration) {
        let mut state = self.0.state.lock();
        self.0.changed.wait_while_for(&mut state, |state| state.calls > 0, at_most);
    }
}

/// Somebody who needs the server.
pub(crate) struct Held(Arc<Monitor>);

impl Held {
    /// One more, who comes through somebody who is there.
    pub(crate) fn another(&self) -> Self {
        self.0.change(|state| state.holds += 1);
        // SAFETY: it counts, and may be called at any time.
        unsafe { CoAddRefServerProcess() };
        Self(Arc::clone(&self.0))
    }

    /// A call begins.
    pub(crate) fn enter(&self) -> Call<'_> {
        self.0.state.lock().calls += 1;
        Call(&self.0)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: counted in before.
        unsafe { CoReleaseServerProcess() };
        self.0.change(|state| state.holds -= 1);
    }
}

/// A call that is under way.
pub(crate) struct Call<'a>(&'a Monitor);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.calls -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(1);

    #[test]
    fn a_server_that_is_held_is_not_idle() {
        let signal = StopSignal::new();
        let presence = signal.presence();
        presence.open();
        let held = presence.hold().expect("it is open");
        let waiting = std::thread::spawn(move || {
            let wake = signal.presence().wait(Some(SOON));
            (wake, signal.presence().close())
        });
        assert!(!presence.close());
        let another = held.another();
        drop(held);
        assert!(!presence.close());
        drop(another);
        assert_eq!(waiting.join().expect("it ends"), (Wake::Idle, true));
        assert!(presence.hold().is_none(), "who comes too late is told so");
    }

    #[test]
    fn a_signal_ends_the_waiting_and_closes_what_is_held() {
        let signal = StopSignal::new();
        let presence = signal.presence();
        presence.open();
        let held = presence.hold();
        signal.clone().stop();
        assert_eq!(presence.wait(None), Wake::Stopped);
        assert!(presence.close());
        drop(held);
    }

    #[test]
    fn the_end_waits_for_calls() {
        let signal = StopSignal::new();
        let held = signal.presence().hold().expect("it is open");
        let (entered, is_entered) = std::sync::mpsc::channel();
        let (leave, may_leave) = std::sync::mpsc::channel::<()>();
        let caller = std::thread::spawn(move || {
            let call = held.enter();
            entered.send(()).ok();
            may_leave.recv().ok();
            drop(call);
        });
        is_entered.recv().expect("it enters");
        signal.presence().drain(SOON);
        leave.send(()).expect("it waits");
        signal.presence().drain(Duration::from_secs(600));
        caller.join().expect("it ends");
    }
}
