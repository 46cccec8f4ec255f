//! Connections on both sides.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use lunshadow_server::ServerCertificate;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::condition::{Condition, Trouble};
use crate::passing::{Answer, Asked, answer};

/// Where a control service notes its address.
const ENDPOINT_FILE: &str = "control-endpoint.json";

/// What is read of it.
#[derive(Deserialize)]
struct Noted {
    address: SocketAddr,
}

/// A relay that takes connections. Dropping it takes no more.
#[derive(Debug)]
pub struct Relay {
    local_addr: SocketAddr,
    trouble: Arc<Trouble>,
    accepting: JoinHandle<()>,
}

impl Relay {
    /// A relay on a free loopback port, to the array that serves the pool in a folder.
    ///
    /// # Errors
    /// If nobody serves it with a control service, or no port is to be had.
    pub async fn before_pool(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(ENDPOINT_FILE);
        let noted = std::fs::read(&path).with_context(|| format!("nobody serves it: {}", path.display()))?;
        let noted: Noted = serde_json::from_slice(&noted).with_context(|| path.display().to_string())?;
        Self::bind(noted.address, folder).await
    }

    /// The same, where the control service is known.
    ///
    /// # Errors
    /// If its certificate cannot be used, or no port is to be had.
    pub async fn bind(array: SocketAddr, folder: &Path) -> anyhow::Result<Self> {
        let certificate = ServerCertificate::load_or_make(folder)?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate.certificate().clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        let acceptor = TlsAcceptor::from(certificate.tls_config()?);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no port is to be had")?;
        let local_addr = listener.local_addr()?;
        let trouble = Arc::new(Trouble::default());
        let front = Front { acceptor, connector, array, trouble: Arc::clone(&trouble) };
        let accepting = tokio::spawn(front.accept_all(listener));
        Ok(Self { local_addr, trouble, accepting })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Makes the array do something from now on.
    pub fn set(&self, condition: Condition) {
        self.trouble.set(condition);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// What all connections share.
#[derive(Clone)]
struct Front {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    array: SocketAddr,
    trouble: Arc<Trouble>,
}

impl Front {
    async fn accept_all(self, listener: TcpListener) {
        while let Ok((socket, _)) = listener.accept().await {
            // A connection that breaks off, on either side, harms only who has it.
            tokio::spawn(self.clone().serve(socket));
        }
    }

    async fn serve(self, socket: TcpStream) -> anyhow::Result<()> {
        socket.set_nodelay(true)?;
        let stream = self.acceptor.accept(socket).await?;
        let upstream = Upstream { array: self.array, connector: self.connector, connection: Mutex::default() };
        let (upstream, trouble) = (Arc::new(upstream), self.trouble);
        let service = service_fn(move |request: Request<Incoming>| {
            let (upstream, trouble) = (Arc::clone(&upstream), Arc::clone(&trouble));
            async move { answer(&Asked::receive(request).await?, &upstream, &trouble).await }
        });
        Ok(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await?)
    }
}

/// The way to the array, of one host's connection.
pub(crate) struct Upstream {
    array: SocketAddr,
    connector: TlsConnector,
    /// What the last request was sent on.
    connection: Mutex<Option<SendRequest<Full<bytes::Bytes>>>>,
}

impl Upstream {
    /// The array's answer. An error ends the host's connection, as it would have if the array had been reached by it.
    pub(crate) async fn ask(&self, asked: &Asked) -> anyhow::Result<Answer> {
        let mut slot = self.connection.lock().await;
        let mut connection = match slot.take().filter(|connection| !connection.is_closed()) {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        connection.ready().await?;
        let answer = connection.send_request(asked.request()?).await?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await?.to_bytes();
        *slot = Some(connection);
        Ok(Response::from_parts(head, Full::new(body)))
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<Full<bytes::Bytes>>> {
        let socket = TcpStream::connect(self.array).await?;
        socket.set_nodelay(true)?;
        let stream = self.connector.connect(ServerName::try_from(ServerCertificate::NAME)?, socket).await?;
        let (connection, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(driver);
        Ok(connection)
    }
}
