//! The iSCSI target: listens, accepts connections, shuts down.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use lunshadow_iscsi::negotiation::Preferences;
use lunshadow_lun::{InitiatorName, LunMap};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::connection;
use crate::session::Sessions;
use crate::{DeviceServer, TargetPort};

/// Relative port and portal group of the one portal that a target has.
const PORTAL_GROUP: u16 = 1;

/// What a target is called, where it listens, and how much it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetConfig {
    /// The address to listen on; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// The iSCSI name.
    pub name: String,
    /// The target's words about itself, for people.
    pub alias: Option<String>,
    /// Bounds on what initiators can make the target hold.
    pub limits: Limits,
}

/// Bounds on what initiators can make the target hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time, those that are logging in included; more are closed at once.
    pub connections: usize,
    /// Commands that one session may have under way; at least 2.
    pub command_window: u32,
    /// Bytes that the reads and the solicited writes of one connection may hold. Commands beyond wait their turn. One command is always let
    /// through, however small this is.
    pub connection_bytes: u32,
    /// How long a connection may take to log in.
    pub login_time: Duration,
    /// How long initiators have, when the target shuts down, to log out as they are asked to.
    pub logout_time: Duration,
    /// How long, after that, commands under way may take.
    pub drain_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            command_window: 128,
            connection_bytes: 32 << 20,
            login_time: Duration::from_secs(15),
            logout_time: Duration::from_secs(2),
            drain_time: Duration::from_secs(10),
        }
    }
}

/// Why a target could not begin.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The name is not an iSCSI name.
    #[error("{0:?} is not an iSCSI name")]
    InvalidName(String),
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
    local_addr: SocketAddr,
    name: String,
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
    pub(crate) limits: Limits,
    pub(crate) preferences: Preferences,
    pub(crate) device_server: DeviceServer,
    pub(crate) sessions: Sessions,
    next_tsih: AtomicU16,
}

impl Target {
    /// Listens on an address and serves the LUNs of `map` from then on.
    ///
    /// # Errors
    /// See [`BindError`].
    pub async fn bind(config: TargetConfig, map: Arc<dyn LunMap>) -> Result<Self, BindError> {
        // Targets have names of the same form as initiators (RFC 7143 4.2.7).
        let name: InitiatorName = config.name.parse().map_err(|_| BindError::InvalidName(config.name.clone()))?;
        let failed = |source| BindError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let local_addr = listener.local_addr().map_err(failed)?;
        let name = name.as_str().to_owned();
        let port = TargetPort {
            target_name: name.clone(),
            relative_port: PORTAL_GROUP,
            group: PORTAL_GROUP,
            functions: connection::FUNCTIONS,
        };
        let shared = Shared {
            name: name.clone(),
            alias: config.alias,
            limits: config.limits,
            preferences: Preferences::default(),
            device_server: DeviceServer::new(map, port),
            sessions: Sessions::default(),
            next_tsih: AtomicU16::new(1),
        };
        let (phase, observed) = watch::channel(Phase::Serving);
        let listener = tokio::spawn(listen(listener, Arc::new(shared), observed));
        Ok(Self { local_addr, name, phase, listener })
    }

    /// The address that the target listens on.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The iSCSI name of the target.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Stops: refuses new connections, asks initiators to log out, then lets commands under way finish and closes what is left.
    /// Each of the two steps has its time in [`Limits`]. Afterwards the target touches no LUN any more.
    pub async fn shutdown(mut self) {
        self.phase.send_replace(Phase::LoggingOut);
        // The listener's task ends when the last connection has.
        if let Err(error) = (&mut self.listener).await {
            tracing::error!(error = &error as &dyn std::error::Error, "the listener of the target failed");
        }
    }
}

impl Shared {
    pub(crate) const fn portal_group(&self) -> u16 {
        PORTAL_GROUP
    }

    pub(crate) fn new_tsih(&self) -> NonZeroU16 {
        loop {
            // 0 asks for a new session, so no session has it.
            if let Some(tsih) = NonZeroU16::new(self.next_tsih.fetch_add(1, Ordering::Relaxed)) {
                return tsih;
            }
        }
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>, mut phase: watch::Receiver<Phase>) {
    let places = Arc::new(Semaphore::new(shared.limits.connections));
    let mut connections = JoinSet::new();
    // Connections have a sender of their own, so that the second step of a shutdown is decided here.
    let (drain, observed) = watch::channel(Phase::Serving);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let Ok(place) = places.clone().try_acquire_owned() else {
                        tracing::warn!(%peer, limit = shared.limits.connections, "too many connections");
                        continue;
                    };
                    let serving = serve(stream, shared.clone(), observed.clone());
                    connections.spawn(async move {
                        serving.await;
                        drop(place);
                    });
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
    drop(listener);
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

async fn serve(stream: TcpStream, shared: Arc<Shared>, phase: watch::Receiver<Phase>) {
    let peer = stream.peer_addr().ok();
    if let Err(error) = connection::serve(stream, shared, phase).await {
        tracing::info!(?peer, error = &error as &dyn std::error::Error, "a connection ended");
    }
}
