//! Requests over connections that are kept and used again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lunshadow_control::{CONTENT_MEDIA_TYPE, Secret};
use rustls::ClientConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::{Request, header};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector as _, TcpConnector};
use ureq::{Agent, RequestExt as _};

use super::answer::{self, ANSWER_BYTES_MAX};
use super::connector::PinnedConnector;
use super::tls::{WrongCertificate, client_config};
use super::{Endpoint, HttpsTimeouts};
use crate::ArrayError;

const JSON: &str = "application/json";

/// The methods of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Post,
    Put,
    Delete,
}

impl Verb {
    const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// The way to one array.
#[derive(Debug)]
pub(crate) struct Http {
    pub(crate) endpoint: Endpoint,
    pub(crate) timeouts: HttpsTimeouts,
    credential: Option<Secret>,
    /// Keeps connections.
    kept: Agent,
    /// Opens a connection for each request, for when a kept one turned out to be dead.
    fresh: Agent,
}

/// Why there is no answer.
#[derive(Debug)]
enum Loss {
    /// The connection ended; the request may or may not have arrived.
    Connection(String),
    /// Another attempt would not go better.
    Final(String),
}

impl Http {
    pub(crate) fn new(endpoint: Endpoint, credential: Option<Secret>, timeouts: HttpsTimeouts) -> Self {
        let tls = client_config(endpoint.fingerprint);
        let (kept, fresh) = (agent(Arc::clone(&tls), 4, timeouts), agent(tls, 0, timeouts));
        Self { endpoint, timeouts, credential, kept, fresh }
    }

    /// The value of the `Authorization` field.
    pub(crate) fn authorization(&self) -> Option<String> {
        self.credential.as_ref().map(|credential| format!("Bearer {}", credential.expose()))
    }

    /// Asks without a body.
    pub(crate) fn ask<T: DeserializeOwned>(&self, verb: Verb, path: &str) -> Result<T, ArrayError> {
        let (status, body) = self.exchange(verb, path, (JSON, Vec::new()), Duration::ZERO)?;
        answer::read(status, &body)
    }

    /// Sends a body. The array may take `wait` longer than otherwise.
    pub(crate) fn send<T: DeserializeOwned>(
        &self,
        verb: Verb,
        path: &str,
        body: &impl Serialize,
        wait: Duration,
    ) -> Result<T, ArrayError> {
        let body = serde_json::to_vec(body).expect("bodies have nothing that JSON lacks");
        let (status, body) = self.exchange(verb, path, (JSON, body), wait)?;
        answer::read(status, &body)
    }

    /// Sends bytes as they are.
    pub(crate) fn send_content<T: DeserializeOwned>(
        &self,
        verb: Verb,
        path: &str,
        content: &[u8],
    ) -> Result<T, ArrayError> {
        let (status, body) = self.exchange(verb, path, (CONTENT_MEDIA_TYPE, content.to_vec()), Duration::ZERO)?;
        answer::read(status, &body)
    }

    /// Asks for bytes as they are.
    pub(crate) fn fetch_content(&self, path: &str) -> Result<Vec<u8>, ArrayError> {
        let (status, body) = self.exchange(Verb::Get, path, (JSON, Vec::new()), Duration::ZERO)?;
        if (200..300).contains(&status) { Ok(body) } else { answer::read(status, &body) }
    }

    fn exchange(
        &self,
        verb: Verb,
        path: &str,
        (media_type, body): (&str, Vec<u8>),
        wait: Duration,
    ) -> Result<(u16, Vec<u8>), ArrayError> {
        let at_most = self.timeouts.request.saturating_add(wait);
        let began = Instant::now();
        let answered = self.attempt(&self.kept, verb, path, (media_type, &body), at_most).or_else(|loss| match loss {
            Loss::Connection(_) if began.elapsed() < at_most => {
                self.attempt(&self.fresh, verb, path, (media_type, &body), at_most.saturating_sub(began.elapsed()))
            }
            loss => Err(loss),
        });
        match answered {
            Ok(answer) => Ok(answer),
            Err(Loss::Connection(detail) | Loss::Final(detail)) => {
                Err(ArrayError::Unreachable { detail: format!("{}: {detail}", self.endpoint.address) })
            }
        }
    }

    fn attempt(
        &self,
        agent: &Agent,
        verb: Verb,
        path: &str,
        (media_type, body): (&str, &[u8]),
        at_most: Duration,
    ) -> Result<(u16, Vec<u8>), Loss> {
        // The connector speaks TLS on every connection; ureq itself is built without, and would refuse another scheme.
        let uri = format!("http://{}{path}", self.endpoint.address);
        let mut request = Request::builder().method(verb.name()).uri(uri).header(header::ACCEPT, JSON);
        if let Some(authorization) = self.authorization() {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, media_type);
        }
        let request = request.body(body).map_err(|error| Loss::Final(error.to_string()))?;
        let request = request.with_agent(agent).configure().timeout_global(Some(at_most)).build();
        let mut response = request.run().map_err(loss)?;
        let limit = u64::try_from(ANSWER_BYTES_MAX).expect("a small number");
        let body = response.body_mut().with_config().limit(limit).read_to_vec().map_err(loss)?;
        Ok((response.status().as_u16(), body))
    }
}

fn agent(tls: Arc<ClientConfig>, idle_connections: usize, timeouts: HttpsTimeouts) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_connect(Some(timeouts.connect))
        .timeout_resolve(Some(timeouts.connect))
        .max_idle_connections(idle_connections)
        .max_idle_connections_per_host(idle_connections)
        .user_agent("lunshadow")
        .build();
    let connector = ().chain(TcpConnector::default()).chain(PinnedConnector(tls));
    Agent::with_parts(config, connector, DefaultResolver::default())
}

/// What a failure of ureq means here.
fn loss(error: ureq::Error) -> Loss {
    match &error {
        ureq::Error::Io(io) => match WrongCertificate::in_io(io) {
            Some(wrong) => Loss::Final(wrong.to_string()),
            None => Loss::Connection(io.to_string()),
        },
        ureq::Error::Protocol(_) | ureq::Error::ConnectionFailed => Loss::Connection(error.to_string()),
        ureq::Error::Timeout(_) => Loss::Final("no answer came in time".to_owned()),
        ureq::Error::HostNotFound => Loss::Final("there is no such host name".to_owned()),
        _ => Loss::Final(error.to_string()),
    }
}
