//! What goes on when the command that began it has been answered.

use std::fmt;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What goes on behind commands. It runs where the device server was made: the thread of a connection may end in the middle of it.
pub(crate) struct Background {
    runtime: Handle,
    stop: watch::Sender<bool>,
    running: Mutex<JoinSet<()>>,
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Background").field("running", &self.running.lock().len()).finish_non_exhaustive()
    }
}

impl Background {
    pub(super) fn new(runtime: Handle) -> Self {
        Self { runtime, stop: watch::Sender::new(false), running: Mutex::default() }
    }

    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut running = self.running.lock();
        while running.try_join_next().is_some() {}
        running.spawn_on(work, &self.runtime);
    }

    /// Whether the target goes: what runs here ends where it can without cutting off what it does to a LUN.
    pub(super) fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Resolves when the target goes.
    pub(super) async fn stopping(&self) {
        // The sender is here, so this does not fail.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }

    /// Stops all of it. Afterwards it touches no LUN any more.
    pub(crate) async fn rest(&self) {
        self.stop.send_replace(true);
        let mut running = std::mem::take(&mut *self.running.lock());
        while running.join_next().await.is_some() {}
    }
}
