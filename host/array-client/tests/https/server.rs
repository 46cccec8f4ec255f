//! A TLS server on loopback that answers as a test says, and remembers what it was asked.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use lunshadow_array_client::{Endpoint, HttpsArray, HttpsTimeouts};
use lunshadow_control::{Fingerprint, Secret};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use sha2::{Digest as _, Sha256};

/// What the server was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Which connection it came on, from 0.
    pub(crate) connection: usize,
    pub(crate) line: String,
    pub(crate) authorization: Option<String>,
    pub(crate) body: String,
}

/// What the server does then.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Json(u16, String),
    /// The same, and the connection ends.
    JsonThenClose(u16, String),
    Raw(Vec<u8>),
    /// These bytes, and the connection ends.
    RawThenClose(Vec<u8>),
    Close,
    /// Nothing, until the client goes away.
    Silence,
}

type Script = dyn FnMut(&Asked) -> Reply + Send;

#[derive(Clone)]
pub(crate) struct Server {
    address: String,
    fingerprint: Fingerprint,
    shared: Arc<Shared>,
}

struct Shared {
    asked: Mutex<Vec<Asked>>,
    script: Mutex<Box<Script>>,
}

impl Server {
    pub(crate) fn start(script: impl FnMut(&Asked) -> Reply + Send + 'static) -> Self {
        let made = rcgen::generate_simple_self_signed(["anything".to_owned()]).expect("a certificate");
        let certificate = made.cert.der().clone();
        let fingerprint = Fingerprint(Sha256::digest(&certificate).into());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![certificate], key))
            .expect("a configuration");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let shared = Arc::new(Shared { asked: Mutex::default(), script: Mutex::new(Box::new(script)) });
        let (config, served) = (Arc::new(config), Arc::clone(&shared));
        thread::spawn(move || {
            for (connection, socket) in listener.incoming().enumerate() {
                let (Ok(socket), config, served) = (socket, Arc::clone(&config), Arc::clone(&served)) else { return };
                thread::spawn(move || serve(socket, connection, config, &served));
            }
        });
        Self { address, fingerprint, shared }
    }

    /// A server that gives these replies in turn, and the last one again and again.
    pub(crate) fn with_replies(replies: Vec<Reply>) -> Self {
        let mut replies = replies.into_iter().peekable();
        let mut last = Reply::Close;
        Self::start(move |_| {
            if let Some(reply) = replies.next() {
                last = reply;
            }
            last.clone()
        })
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint { address: self.address.clone(), fingerprint: self.fingerprint }
    }

    pub(crate) fn array(&self) -> HttpsArray {
        HttpsArray::new(self.endpoint(), Secret::new("c0ffee"), HttpsTimeouts::default())
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The request lines, without the version.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }
}

fn serve(socket: TcpStream, connection: usize, config: Arc<ServerConfig>, shared: &Shared) {
    let tls = ServerConnection::new(config).expect("a connection");
    let mut stream = StreamOwned::new(tls, socket);
    while let Some(asked) = read_request(&mut stream, connection) {
        shared.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked.clone());
        let reply = (shared.script.lock().unwrap_or_else(PoisonError::into_inner))(&asked);
        let (bytes, goes_on) = match reply {
            Reply::Json(status, body) => (json(status, &body), true),
            Reply::JsonThenClose(status, body) => (json(status, &body), false),
            Reply::Raw(bytes) => (bytes, true),
            Reply::RawThenClose(bytes) => (bytes, false),
            Reply::Close => (Vec::new(), false),
            Reply::Silence => {
                // Ends when the client has gone.
                drop(stream.read(&mut [0]));
                return;
            }
        };
        if stream.write_all(&bytes).and_then(|()| stream.flush()).is_err() || !goes_on {
            return;
        }
    }
}

/// An HTTP answer with a JSON body.
pub(crate) fn json(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

fn read_request(stream: &mut impl std::io::Read, connection: usize) -> Option<Asked> {
    let mut bytes = Vec::new();
    loop {
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut head = httparse::Request::new(&mut fields);
        if let Ok(httparse::Status::Complete(body_at)) = head.parse(&bytes) {
            let field = |name: &str| {
                let found = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
                Some(String::from_utf8_lossy(found.value).into_owned())
            };
            let length = field("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
            if bytes.len() >= body_at + length {
                let line = format!("{} {}", head.method?, head.path?);
                let body = String::from_utf8_lossy(&bytes[body_at..body_at + length]).into_owned();
                return Some(Asked { connection, line, authorization: field("authorization"), body });
            }
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => bytes.extend_from_slice(&buffer[..count]),
            _ => return None,
        }
    }
}
