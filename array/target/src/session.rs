//! The sessions of a target: who is logged in, and reinstatement.

use std::collections::HashMap;
use std::net::SocketAddr;
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

/// What identifies a discovery session (RFC 7143 7.4.2): it is with a target, or with whatever is at an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum DiscoveryKey {
    Named(SessionKey),
    Unnamed { initiator: InitiatorName, isid: Isid, address: SocketAddr },
}

/// All sessions.
#[derive(Default)]
pub(crate) struct Sessions {
    normal: Mutex<HashMap<SessionKey, Arc<Session>>>,
    /// Discovery sessions have no commands: there is only something to close.
    discovery: Mutex<HashMap<DiscoveryKey, Arc<watch::Sender<bool>>>>,
}

/// As [`Registration`], of a discovery session.
pub(crate) struct DiscoveryRegistration<'a> {
    sessions: &'a Sessions,
    key: DiscoveryKey,
    close: Arc<watch::Sender<bool>>,
}

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
        closed(&self.close).await;
    }
}

impl DiscoveryRegistration<'_> {
    /// Resolves when the session is to be closed by force.
    pub(crate) async fn closing(&self) {
        closed(&self.close).await;
    }
}

async fn closed(close: &watch::Sender<bool>) {
    // The sender lives as long as it is borrowed here.
    let _ = close.subscribe().wait_for(|close| *close).await;
}

impl Sessions {
    /// Enters a session. One with the same key is closed, and its commands are over when this returns (RFC 7143 6.3.5).
    // RFC 7143 §6.3.5 MUST: a login with the name and the ISID of a session ends that session before the new one begins.
    // RFC 7143 §7.15 MUST: session reinstatement is there for initiators whose session has failed.
    pub(crate) async fn enter(&self, key: SessionKey, session: Session) -> Registration<'_> {
        let session = Arc::new(session);
        self.close_discovery(&DiscoveryKey::Named(key.clone()));
        let old = self.normal.lock().insert(key.clone(), session.clone());
        let registration = Registration { sessions: self, key, session };
        if let Some(old) = old {
            tracing::info!(initiator = %old.nexus.initiator(), "a session takes the place of an older one");
            old.close.send_replace(true);
            old.tasks.end(|_| true).over().await;
            old.nexus.lose();
        }
        registration
    }

    /// Enters a discovery session, and closes the one with the same key.
    // RFC 7143 §7.4.2.1 MUST: a discovery session ends an older one with the same name, ISID and address, and no other.
    // RFC 7143 §7.4.2.2 MUST: a discovery session with a target ends an older one with the same name, ISID and portal group.
    pub(crate) fn enter_discovery(&self, key: DiscoveryKey) -> DiscoveryRegistration<'_> {
        self.close_discovery(&key);
        let close = Arc::new(watch::Sender::new(false));
        self.discovery.lock().insert(key.clone(), close.clone());
        DiscoveryRegistration { sessions: self, key, close }
    }

    fn close_discovery(&self, key: &DiscoveryKey) {
        if let Some(old) = self.discovery.lock().remove(key) {
            old.send_replace(true);
        }
    }

    /// Whether there is a session with this TSIH.
    // RFC 7143 §4.4.3 MUST: a login refers to a session by the TSIH that the session was given.
    pub(crate) fn exists(&self, key: &SessionKey, tsih: u16) -> bool {
        self.normal.lock().get(key).is_some_and(|session| session.tsih == tsih)
    }

    /// All sessions.
    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.normal.lock().values().cloned().collect()
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        let mut sessions = self.sessions.normal.lock();
        // A session that was reinstated does not remove its successor.
        if sessions.get(&self.key).is_some_and(|session| Arc::ptr_eq(session, &self.session)) {
            sessions.remove(&self.key);
        }
    }
}

impl Drop for DiscoveryRegistration<'_> {
    fn drop(&mut self) {
        let mut sessions = self.sessions.discovery.lock();
        if sessions.get(&self.key).is_some_and(|close| Arc::ptr_eq(close, &self.close)) {
            sessions.remove(&self.key);
        }
    }
}
