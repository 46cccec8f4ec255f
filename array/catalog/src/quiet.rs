//! The quiet around a commit: while a set is armed or committing, the database does not make the medium busy.

use std::collections::BTreeMap;
use std::time::Duration;

use lunshadow_control::ShadowSetId;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// How long one set can ask for quiet, and how long one transaction waits for it. A host that arms a set and then dawdles, or a
/// row of hosts that arm one after the other, must not keep the array from working.
pub(crate) const QUIET_AT_MOST: Duration = Duration::from_secs(10);

/// Which sets ask for quiet, and until when.
#[derive(Debug)]
pub(crate) struct Quiet {
    until: watch::Sender<BTreeMap<ShadowSetId, Instant>>,
}

impl Quiet {
    pub(crate) fn new() -> Self {
        Self { until: watch::Sender::new(BTreeMap::new()) }
    }

    /// Asks for quiet from now on; a repetition begins its time anew.
    pub(crate) fn begin(&self, set: ShadowSetId) {
        self.until.send_modify(|sets| {
            sets.insert(set, Instant::now() + QUIET_AT_MOST);
        });
    }

    /// Needs it no more.
    pub(crate) fn end(&self, set: ShadowSetId) {
        self.until.send_if_modified(|sets| sets.remove(&set).is_some());
    }

    /// Whether a set asks for quiet now.
    pub(crate) fn is_asked_by(&self, set: ShadowSetId) -> bool {
        self.until.borrow().get(&set).is_some_and(|until| *until > Instant::now())
    }

    /// Until when quiet is asked for, if it is.
    pub(crate) fn asked_until(&self) -> Option<Instant> {
        self.until.borrow().values().copied().filter(|until| *until > Instant::now()).max()
    }

    /// Waits until nobody asks for quiet, at the latest until `give_up`.
    pub(crate) async fn wait_over(&self, give_up: Instant) {
        let mut changes = self.until.subscribe();
        while let Some(until) = self.asked_until() {
            if Instant::now() >= give_up {
                return;
            }
            // Either way the question is asked again: somebody's need ended, began, or lapsed.
            let _ = timeout_at(until.min(give_up), changes.changed()).await;
        }
    }
}
