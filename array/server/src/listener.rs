//! Connections: TLS, HTTP/1.1, and limits that one peer cannot use up for the others.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use lunshadow_catalog::Catalog;
use lunshadow_control::{Fingerprint, ProblemCode, Secret};
use lunshadow_lun::PoolCare;
use rustls::AlertDescription;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::asker::{Service, digest_of};
use crate::problem::Noted;
use crate::routes::router;
use crate::{CertificateError, ServerCertificate};

/// What one peer may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at one time, of all peers.
    pub connections: usize,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// From the end of one request to the head of the next: what is idle longer is closed.
    pub idle: Duration,
}

impl Default for Limits {
    /// 256 connections, 10 s for a handshake. A commit's connection is idle while writers are prepared and frozen, which VSS lets take minutes.
    fn default() -> Self {
        Self { connections: 256, handshake: Duration::from_secs(10), idle: Duration::from_secs(30 * 60) }
    }
}

/// How to serve.
#[derive(Debug)]
pub struct ServerConfig {
    /// Where; port 0 picks a free one.
    pub listen: SocketAddr,
    /// What hosts know the array by.
    pub certificate: ServerCertificate,
    /// The administrator's credential.
    pub administrator: Secret,
    /// What one peer may use.
    pub limits: Limits,
}

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {listen}")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// A running control service.
#[derive(Debug)]
pub struct Server {
    local_addr: SocketAddr,
    fingerprint: Fingerprint,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Starts to serve.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn bind<P: PoolCare>(config: ServerConfig, catalog: Arc<Catalog<P>>) -> Result<Self, ServeError> {
        let ServerConfig { listen, certificate, administrator, limits } = config;
        let fingerprint = certificate.fingerprint();
        let acceptor = TlsAcceptor::from(certificate.tls_config()?);
        let failed = |source| ServeError::Listen { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let local_addr = listener.local_addr().map_err(failed)?;
        let service = Arc::new(Service { catalog, fingerprint, administrator: digest_of(&administrator) });
        let (stop, stopped) = watch::channel(false);
        let front = Front { acceptor, router: router(service), limits, stopped };
        let accepting = tokio::spawn(front.accept_all(listener));
        Ok(Self { local_addr, fingerprint, stop, accepting })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// What hosts know it by.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Takes no more connections, lets the requests under way be answered, and ends.
    pub async fn shutdown(self) {
        self.stop.send_replace(true);
        // It ends by itself; a panic in it has been reported.
        drop(self.accepting.await);
    }
}

/// What all connections share.
#[derive(Clone)]
struct Front {
    acceptor: TlsAcceptor,
    router: Router,
    limits: Limits,
    stopped: watch::Receiver<bool>,
}

impl Front {
    async fn accept_all(self, listener: TcpListener) {
        let slots = Arc::new(Semaphore::new(self.limits.connections));
        let mut stopped = self.stopped.clone();
        let mut connections = JoinSet::new();
        loop {
            let next = async {
                // Above the limit connections wait in the system's queue.
                let slot = Arc::clone(&slots).acquire_owned().await;
                (slot, listener.accept().await)
            };
            // The guard of the watched value must not live on in the other arm. If the sender is gone, so is the server.
            let stop = async { drop(stopped.wait_for(|stopped| *stopped).await) };
            tokio::select! {
                () = stop => break,
                (slot, accepted) = next => match (slot, accepted) {
                    (Ok(slot), Ok((socket, peer))) => drop(connections.spawn(self.clone().serve(socket, peer, slot))),
                    (_, Err(error)) => {
                        // Out of file descriptors, most likely: others have to end first.
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    (Err(_), _) => break,
                },
            }
            while connections.try_join_next().is_some() {}
        }
        connections.join_all().await;
    }

    async fn serve(self, socket: TcpStream, peer: SocketAddr, _slot: OwnedSemaphorePermit) {
        let mut stopped = self.stopped.clone();
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%peer, %error, "answers may be delayed");
        }
        let handshake = timeout(self.limits.handshake, self.acceptor.accept(socket));
        let stream = match handshake.await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) if is_refused_certificate(&error) => {
                return tracing::warn!(%peer, %error, "a peer refused the array's certificate: it expects another fingerprint");
            }
            Ok(Err(error)) => return tracing::debug!(%peer, %error, "a TLS handshake failed"),
            Err(_) => return tracing::debug!(%peer, "a TLS handshake took too long"),
        };
        let routes = TowerToHyperService::new(self.router);
        let service = service_fn(move |request: Request<Incoming>| {
            let what = (request.method().clone(), request.uri().path().to_owned());
            let answer = routes.call(request.map(Body::new));
            async move {
                let answer = answer.await;
                if let Ok(answer) = &answer {
                    note(peer, &what, answer);
                }
                answer
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.idle)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        // The guard of the watched value must not live on while the connection is waited for.
        let stop = async { drop(stopped.wait_for(|stopped| *stopped).await) };
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = stop => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "a connection ended early");
        }
    }
}

/// Whether a handshake failed because the peer knows the array by another fingerprint. Who enrolled it has to be told; what else
/// speaks no TLS to this port does not matter.
fn is_refused_certificate(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    let Some(rustls::Error::AlertReceived(alert)) = cause else { return false };
    matches!(
        alert,
        AlertDescription::BadCertificate | AlertDescription::CertificateUnknown | AlertDescription::UnknownCA
    )
}

/// Logs what an administrator should know of. Secrets are in heads and bodies, which are not logged; so the details of what
/// cannot be read are not either, which may quote them.
fn note(peer: SocketAddr, (method, path): &(axum::http::Method, String), answer: &Response<Body>) {
    let Some(Noted { code, detail }) = answer.extensions().get() else { return };
    match code {
        ProblemCode::NotAuthenticated
        | ProblemCode::EnrolmentRefused
        | ProblemCode::NotAllowed
        | ProblemCode::UnknownLun
        | ProblemCode::UnknownSet => tracing::warn!(%peer, %method, path, ?code, detail, "a request was refused"),
        ProblemCode::Internal | ProblemCode::PoolReadOnly => {
            tracing::error!(%peer, %method, path, ?code, detail, "a request failed");
        }
        ProblemCode::SetAborted
        | ProblemCode::WrongState
        | ProblemCode::WrongRole
        | ProblemCode::OutOfSpace
        | ProblemCode::LimitReached
        | ProblemCode::DeadlinePassed
        | ProblemCode::InUse
        | ProblemCode::InvalidRequest => tracing::debug!(%peer, %method, path, ?code, "a request was refused"),
    }
}
