//! The sessions of a target: who is logged in, and reinstatement.

use std::collections::HashMap;
use std::sync::Arc;

use lunshadow_iscsi::pdu::Isid;
use lunshadow_lun::InitiatorName;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::tasks::TaskTable;
use crate::{Nexus, PortalGroup};

/// What identifies a session of a target (RFC 7143 4.4.1): it is with one portal group, and there may be another with the same ISID through
/// another group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct SessionKey {
    pub(crate) initiator: InitiatorName,
    pub(crate) isid: Isid,
    pub(crate) group: PortalGroup,
}

/// A session in its full feature phase.
pub(crate) struct Session {
    pub(crate) tsih: u16,
    pub(crate) nexus: Arc<Nexus>,
    pub(crate) tasks: Arc<TaskTable>,
    close: watch::Sender<bool>,
}

/// All sessions.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<SessionKey, Arc<Session>>>);

/// A session's place in the list, which it leaves when this is dropped.
pub(crate) struct Registration<'a> {
    sessions: &'a Sessions,
    key: SessionKey,
    pub(crate) session: Arc<Session>,
}

impl Session {
    pub(crate) fn new(tsih: u16, nexus: Arc<Nexus>) -> Self {
        let tasks = Arc::<TaskTable>::default();
        nexus.attach(tasks.clone());
        Self { tsih, nexus, tasks, close: watch::Sender::new(false) }
    }

    /// Resolves when the session is to be closed by force.
    pub(crate) async fn closing(&self) {
        // The sender lives as long as `self`.
        let _ = self.close.subscribe().wait_for(|close| *close).await;
    }
}

impl Sessions {
    /// Enters a session. One with the same key is closed, and its commands are over when this returns (RFC 7143 6.3.5).
    // RFC 7143 §6.3.5 MUST: a login with the name and the ISID of a session ends that session before the new one begins.
    pub(crate) async fn enter(&self, key: SessionKey, session: Session) -> Registration<'_> {
        let session = Arc::new(session);
        let old = self.0.lock().insert(key.clone(), session.clone());
        let registration = Registration { sessions: self, key, session };
        if let Some(old) = old {
            tracing::info!(initiator = %old.nexus.initiator(), "a session takes the place of an older one");
            old.close.send_replace(true);
            old.tasks.end(|_| true).over().await;
            old.nexus.lose();
        }
        registration
    }

    /// Whether there is a session with this TSIH.
    pub(crate) fn exists(&self, key: &SessionKey, tsih: u16) -> bool {
        self.0.lock().get(key).is_some_and(|session| session.tsih == tsih)
    }

    /// All sessions.
    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.0.lock().values().cloned().collect()
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        let mut sessions = self.sessions.0.lock();
        // A session that was reinstated does not remove its successor.
        if sessions.get(&self.key).is_some_and(|session| Arc::ptr_eq(session, &self.session)) {
            sessions.remove(&self.key);
        }
    }
}
