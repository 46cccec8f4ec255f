//! A control service over a real pool, and a client that sends what it is told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lunshadow_control::Secret;
use lunshadow_end_to_end::array::TestArray;
use lunshadow_server::{Limits, Server, ServerCertificate, ServerConfig, administrator_credential};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

pub(crate) struct Rig {
    pub(crate) array: TestArray,
    pub(crate) server: Server,
    /// The administrator's credential, and that of the host.
    pub(crate) administrator: Secret,
    pub(crate) host: Secret,
    folder: TempDir,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The code of a problem, whose form is that of RFC 9457.
    pub(crate) fn problem(&self) -> String {
        assert!(self.head.contains("content-type: application/problem+json"), "{self:?}");
        let body: Value = serde_json::from_str(&self.body).expect("a problem is JSON");
        let code = body["code"].as_str().expect("a problem has a code").to_owned();
        assert_eq!(body["status"], self.status, "{self:?}");
        assert_eq!(body["type"], format!("urn:lunshadow:problem:{code}"), "{self:?}");
        assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{self:?}");
        code
    }
}

impl Rig {
    pub(crate) async fn new(limits: Limits) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let array = TestArray::start().await.expect("an array");
        let administrator = administrator_credential(folder.path()).expect("a credential");
        let certificate = ServerCertificate::load_or_make(folder.path()).expect("a certificate");
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = ServerConfig { listen, certificate, administrator: administrator.clone(), limits };
        let server = Server::bind(config, Arc::clone(array.catalog())).await.expect("a port");
        let issued = array.catalog().issue_enrolment(array.host(), Duration::from_secs(60)).await.expect("a token");
        let host = array.catalog().enrol(&issued.token).await.expect("a credential").credential;
        Self { array, server, administrator, host, folder }
    }

    /// A connection in TLS, by the certificate that lies in the folder.
    pub(crate) async fn connect(&self) -> TlsStream<TcpStream> {
        let certificate = std::fs::read(self.folder.path().join("control-certificate.pem")).expect("it is there");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&certificate).expect("a certificate")).expect("it can be trusted");
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions that ring has")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let socket = TcpStream::connect(self.server.local_addr()).await.expect("it listens");
        let name = ServerName::try_from(ServerCertificate::NAME).expect("a name");
        TlsConnector::from(Arc::new(config)).connect(name, socket).await.expect("it speaks TLS")
    }

    /// One request on a connection of its own.
    pub(crate) async fn ask(&self, method: &str, path: &str, credential: Option<&Secret>, body: &str) -> Answer {
        let mut stream = self.connect().await;
        stream.write_all(request(method, path, credential, body).as_bytes()).await.expect("it is sent");
        answer(stream).await
    }
}

/// A request after whose answer the connection ends.
pub(crate) fn request(method: &str, path: &str, credential: Option<&Secret>, body: &str) -> String {
    let credential =
        credential.map(|credential| format!("Authorization: Bearer {}\r\n", credential.expose())).unwrap_or_default();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: array\r\n{credential}Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// All that comes until the connection ends.
pub(crate) async fn answer(mut stream: TlsStream<TcpStream>) -> Answer {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(ANSWER_WITHIN, stream.read_to_end(&mut bytes)).await;
    read.expect("it answers in time").expect("the connection ends in order");
    let text = String::from_utf8(bytes).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}
