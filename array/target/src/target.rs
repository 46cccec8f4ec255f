//! The iSCSI target: listens, accepts connections, shuts down.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use lunshadow_iscsi::negotiation::Preferences;
use lunshadow_lun::{InitiatorName, LunMap};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::connection;
use crate::connection_threads::ThreadPlace;
use crate::device_server::Background;
use crate::places::{LoginPlace, LoginPlaces, SessionPlaces};
use crate::portals::{Arrival, NetworkPortal, Portals};
use crate::session::Sessions;
use crate::{ConnectionThreads, DeviceServer, Limits, TargetPorts};

/// What a target is called, where it listens, and how much it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetConfig {
    /// The portals to listen on. Each portal group of theirs is a SCSI port of its own.
    pub listen: Vec<NetworkPortal>,
    /// The iSCSI name.
    pub name: String,
    /// The target's words about itself, for people.
    pub alias: Option<String>,
    /// Bounds on what initiators can make the target hold.
    pub limits: Limits,
}

/// Why a target could not begin.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The name is not an iSCSI name.
    #[error("{0:?} is not an iSCSI name")]
    InvalidName(String),
    /// There is no address to listen on.
    #[error("a target needs an address to listen on")]
    NoPortal,
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// An iSCSI target that serves the LUNs of a [`LunMap`]. Dropping it closes all connections at once; [`shutdown`](Self::shutdown)
/// is the polite way.
#[derive(Debug)]
pub struct Target {
    portals: Vec<NetworkPortal>,
    name: String,
    sessions: Arc<SessionPlaces>,
    background: Arc<Background>,
    phase: watch::Sender<Phase>,
    listener: JoinHandle<()>,
}

/// How far a target is with shutting down. Connections also stop when the sender is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Serving,
    /// Initiators are asked to log out; new logins are refused.
    LoggingOut,
    /// No more commands are taken; those under way finish.
    Draining,
}

/// What all connections of a target share.
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) alias: Option<String>,
    /// Where the target listens.
    pub(crate) portals: Vec<NetworkPortal>,
    pub(crate) login_places: Arc<LoginPlaces>,
    pub(crate) session_places: Arc<SessionPlaces>,
    /// Changes when the target is reset as if it had been switched off and on: all connections end.
    pub(crate) resets: watch::Sender<u64>,
    pub(crate) limits: Limits,
    pub(crate) preferences: Preferences,
    pub(crate) device_server: DeviceServer,
    pub(crate) sessions: Sessions,
    next_tsih: AtomicU16,
}

impl Target {
    /// Listens on the portals' addresses and serves the LUNs of `map` from then on.
    ///
    /// # Errors
    /// See [`BindError`].
    pub async fn bind(config: TargetConfig, map: Arc<dyn LunMap>) -> Result<Self, BindError> {
        Self::bind_with(config, map, None)
    }

    /// As [`bind`](Self::bind), with connections on threads of their own, where small commands are faster.
    ///
    /// # Errors
    /// See [`BindError`].
    pub async fn bind_on(
        config: TargetConfig,
        map: Arc<dyn LunMap>,
        threads: Arc<ConnectionThreads>,
    ) -> Result<Self, BindError> {
        Self::bind_with(config, map, Some(threads))
    }

    fn bind_with(
        config: TargetConfig,
        map: Arc<dyn LunMap>,
        threads: Option<Arc<ConnectionThreads>>,
    ) -> Result<Self, BindError> {
        // Targets have names of the same form as initiators (RFC 7143 4.2.7).
        let name: InitiatorName = config.name.parse().map_err(|_| BindError::InvalidName(config.name.clone()))?;
        let portals = Portals::bind(&config.listen)?;
        let name = name.as_str().to_owned();
        let listening = portals.portals();
        let ports = TargetPorts {
            target_name: name.clone(),
            groups: listening.iter().map(|portal| portal.group).collect(),
            functions: connection::FUNCTIONS,
        };
        let shared = Shared {
            name: name.clone(),
            alias: config.alias,
            portals: listening.clone(),
            login_places: Arc::new(LoginPlaces::new(&config.limits)),
            session_places: Arc::new(SessionPlaces::new(config.limits.clone())),
            resets: watch::Sender::new(0),
            limits: config.limits,
            preferences: Preferences::default(),
            device_server: DeviceServer::new(map, ports),
            sessions: Sessions::default(),
            next_tsih: AtomicU16::new(1),
        };
        shared.device_server.resume();
        let sessions = shared.session_places.clone();
        let background = shared.device_server.background().clone();
        let (phase, observed) = watch::channel(Phase::Serving);
        let listener = tokio::spawn(listen(portals, Arc::new(shared), observed, threads));
        Ok(Self { portals: listening, name, sessions, background, phase, listener })
    }

    /// The portals that the target listens on, in the order in which they were given.
    #[must_use]
    pub fn portals(&self) -> &[NetworkPortal] {
        &self.portals
    }

    /// The address of the first of them.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.portals[0].address
    }

    /// How many sessions there are, those for discovery included.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.count()
    }

    /// The iSCSI name of the target.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Stops: refuses new connections, asks initiators to log out, then lets commands under way finish and closes what is left.
    /// Each of the two steps has its time in [`Limits`]; what goes on without a command ends with the piece that it is writing, however long storage
    /// takes for that. Afterwards the target touches no LUN any more.
    pub async fn shutdown(mut self) {
        self.phase.send_replace(Phase::LoggingOut);
        // Whoever waits for the end of one hears that it goes on.
        self.background.rest().await;
        // The listener's task ends when the last connection has.
        if let Err(error) = (&mut self.listener).await {
            tracing::error!(error = &error as &dyn std::error::Error, "the listener of the target failed");
        }
        self.background.rest().await;
    }
}

impl Shared {
    pub(crate) fn new_tsih(&self) -> NonZeroU16 {
        loop {
            // 0 asks for a new session, so no session has it.
            if let Some(tsih) = NonZeroU16::new(self.next_tsih.fetch_add(1, Ordering::Relaxed)) {
                return tsih;
            }
        }
    }
}

async fn listen(
    portals: Portals,
    shared: Arc<Shared>,
    mut phase: watch::Receiver<Phase>,
    threads: Option<Arc<ConnectionThreads>>,
) {
    let mut connections = JoinSet::new();
    // Connections have a sender of their own, so that the second step of a shutdown is decided here.
    let (drain, observed) = watch::channel(Phase::Serving);
    loop {
        tokio::select! {
            accepted = portals.accept() => match accepted {
                Ok(arrival) => {
                    let place = shared.login_places.take();
                    let thread_place = threads.as_ref().map(ConnectionThreads::place);
                    let runtime = thread_place.as_ref().map_or_else(Handle::current, ThreadPlace::runtime);
                    let serving = serve(arrival, place, shared.clone(), observed.clone(), thread_place);
                    connections.spawn_on(serving, &runtime);
                }
                Err(error) => {
                    // Mostly a lack of file descriptors, which only time can mend.
                    tracing::warn!(error = &error as &dyn std::error::Error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
            changed = phase.changed() => match changed {
                Ok(()) => break,
                Err(_) => {
                    // The target was dropped. The connections see that their sender goes, and end without interrupting storage.
                    connections.detach_all();
                    return;
                }
            },
        }
    }
    drop(portals);
    let steps = [(Phase::LoggingOut, shared.limits.logout_time), (Phase::Draining, shared.limits.drain_time)];
    for (step, at_most) in steps {
        drain.send_replace(step);
        let all_ended = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(at_most, all_ended).await.is_ok() {
            return;
        }
    }
    tracing::warn!(connections = connections.len(), "connections are cut off in the middle of commands");
    connections.shutdown().await;
}

/// How long to wait when connections cannot be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

async fn serve(
    arrival: Arrival,
    place: LoginPlace,
    shared: Arc<Shared>,
    phase: watch::Receiver<Phase>,
    thread_place: Option<ThreadPlace>,
) {
    let peer = arrival.peer;
    if let Err(error) = connection::serve(arrival, place, shared, phase, thread_place).await {
        tracing::info!(%peer, error = &error as &dyn std::error::Error, "a connection ended");
    }
}
