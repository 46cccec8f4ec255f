//! The connection that carries a commit: opened, authenticated and tried in `EndPrepareSnapshots`, used while writes are held.
//!
//! Nothing is looked up, connected or encoded on the way of the commit: the address is known, the request lies ready, the answer goes
//! into memory that is there. Only a lost connection is replaced, once, within the deadline. That is safe, since the repetition
//! of a commit with the same set id is `AlreadySo`.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunshadow_control::ShadowSetId;
use lunshadow_control::api::{ArmRequest, OutcomeAnswer};
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::array::set_path;
use super::http::Http;
use super::tls::{WrongCertificate, client_config, server_name};
use super::{HttpsTimeouts, answer};
use crate::{ArrayError, CommitChannel};

/// How long after the deadline the array's own answer "too late" is waited for.
const GRACE: Duration = Duration::from_millis(500);

/// The longest answer to a request on this connection, in bytes, head included.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// The channel of one set.
pub(super) struct HttpsCommitChannel {
    peer: SocketAddr,
    tls: Arc<ClientConfig>,
    timeouts: HttpsTimeouts,
    host_field: String,
    authorization: String,
    arm_path: String,
    commit_request: Vec<u8>,
    commit_at_most: Duration,
    connection: Option<Connection>,
    answer: Vec<u8>,
}

impl HttpsCommitChannel {
    /// Connects, and asks whether the set can be armed.
    pub(super) fn open(http: &Http, set: ShadowSetId) -> Result<Self, ArrayError> {
        let unreachable = |error: &io::Error| unreachable(&http.endpoint.address, error);
        let mut peers = http.endpoint.address.to_socket_addrs().map_err(|error| unreachable(&error))?;
        let missing = || unreachable(&io::Error::new(io::ErrorKind::NotFound, "there is no such host name"));
        let peer = peers.next().ok_or_else(missing)?;
        let mut channel = Self {
            peer,
            tls: client_config(http.endpoint.fingerprint),
            timeouts: http.timeouts,
            host_field: http.endpoint.address.clone(),
            authorization: http.authorization().unwrap_or_default(),
            arm_path: set_path(set, "arm"),
            commit_request: Vec::new(),
            commit_at_most: Duration::ZERO,
            connection: None,
            answer: vec![0; ANSWER_BYTES_MAX],
        };
        channel.commit_request = channel.request(&set_path(set, "commit"), "");
        let request = channel.request(&set_path(set, "open"), "");
        let deadline = Instant::now() + http.timeouts.request;
        channel.exchange(&request, deadline, deadline)?;
        Ok(channel)
    }

    fn request(&self, path: &str, body: &str) -> Vec<u8> {
        let Self { host_field, authorization, .. } = self;
        format!(
            "POST {path} HTTP/1.1\r\nHost: {host_field}\r\nAuthorization: {authorization}\r\nUser-Agent: lunshadow\r\n\
             Accept: application/json\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }

    /// Sends a request and reads its answer until `read_until`. A connection that is lost before `repeat_until` is replaced once.
    fn exchange(&mut self, request: &[u8], repeat_until: Instant, read_until: Instant) -> Result<(), ArrayError> {
        let first = self.attempt(request, read_until);
        let answered = match first {
            Err(error) if may_be_repeated(&error) && Instant::now() < repeat_until => {
                self.attempt(request, repeat_until)
            }
            first => first,
        };
        let (status, body_at, end) = match answered {
            Ok(answered) => answered,
            Err(error) => {
                self.connection = None;
                return Err(unreachable(&self.host_field, &error));
            }
        };
        let answer: Result<OutcomeAnswer, _> = answer::read(status, &self.answer[body_at..end]);
        answer.map(drop)
    }

    /// The status, and where the body begins and ends.
    fn attempt(&mut self, request: &[u8], deadline: Instant) -> io::Result<(u16, usize, usize)> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let connect_until = deadline.min(Instant::now() + self.timeouts.connect);
                Connection::open(self.peer, &self.tls, connect_until)?
            }
        };
        connection.send(request, deadline)?;
        let answered = connection.receive(&mut self.answer, deadline)?;
        self.connection = Some(connection);
        Ok(answered)
    }
}

impl CommitChannel for HttpsCommitChannel {
    fn arm(&mut self, commit_at_most: Duration) -> Result<(), ArrayError> {
        self.commit_at_most = commit_at_most;
        let commit_at_most_ms = u64::try_from(commit_at_most.as_millis()).unwrap_or(u64::MAX);
        let body = serde_json::to_string(&ArmRequest { commit_at_most_ms }).expect("a number is JSON");
        let request = self.request(&self.arm_path, &body);
        let deadline = Instant::now() + self.timeouts.arm;
        self.exchange(&request, deadline, deadline)
    }

    fn commit(&mut self) -> Result<(), ArrayError> {
        let deadline = Instant::now() + self.commit_at_most;
        let request = std::mem::take(&mut self.commit_request);
        let committed = self.exchange(&request, deadline, deadline + GRACE);
        self.commit_request = request;
        committed
    }
}

/// Whether the array may not have had the request, or its answer was lost.
fn may_be_repeated(error: &io::Error) -> bool {
    WrongCertificate::in_io(error).is_none() && error.kind() != io::ErrorKind::TimedOut
}

fn unreachable(address: &str, error: &io::Error) -> ArrayError {
    let detail = match WrongCertificate::in_io(error) {
        Some(wrong) => format!("{address}: {wrong}"),
        None => format!("{address}: {error}"),
    };
    ArrayError::Unreachable { detail }
}

/// One connection in TLS, with a deadline on everything.
struct Connection(StreamOwned<ClientConnection, TcpStream>);

impl Connection {
    fn open(peer: SocketAddr, tls: &Arc<ClientConfig>, deadline: Instant) -> io::Result<Self> {
        let socket = TcpStream::connect_timeout(&peer, left(deadline)?)?;
        socket.set_nodelay(true)?;
        let tls = ClientConnection::new(Arc::clone(tls), server_name()).map_err(io::Error::other)?;
        let mut connection = Self(StreamOwned::new(tls, socket));
        connection.limit(deadline)?;
        let StreamOwned { conn, sock } = &mut connection.0;
        while conn.is_handshaking() {
            conn.complete_io(sock).map_err(timed_out)?;
        }
        Ok(connection)
    }

    fn send(&mut self, request: &[u8], deadline: Instant) -> io::Result<()> {
        self.limit(deadline)?;
        self.0.write_all(request).and_then(|()| self.0.flush()).map_err(timed_out)
    }

    /// Reads one answer into `buffer`. The status, and where the body begins and ends.
    fn receive(&mut self, buffer: &mut [u8], deadline: Instant) -> io::Result<(u16, usize, usize)> {
        let mut filled = 0;
        loop {
            self.limit(deadline)?;
            let count = self.0.read(&mut buffer[filled..]).map_err(timed_out)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            filled += count;
            if let Some(answer) = whole_answer(&buffer[..filled])? {
                return Ok(answer);
            }
            if filled == buffer.len() {
                return Err(malformed("its answer is too long"));
            }
        }
    }

    /// The socket itself takes time-outs only, so what is left until the deadline is set before each step.
    fn limit(&self, deadline: Instant) -> io::Result<()> {
        let left = left(deadline)?;
        self.0.sock.set_read_timeout(Some(left))?;
        self.0.sock.set_write_timeout(Some(left))
    }
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// A socket's time-out is `WouldBlock` on Unix.
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The status of an HTTP answer and where its body begins and ends, as soon as all of it is there.
fn whole_answer(bytes: &[u8]) -> io::Result<Option<(u16, usize, usize)>> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(body_at) = head.parse(bytes).map_err(|_| malformed("its answer is not HTTP"))?
    else {
        return Ok(None);
    };
    let length = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|field| std::str::from_utf8(field.value).ok()?.trim().parse::<usize>().ok());
    let length = length.ok_or_else(|| malformed("its answer has no length"))?;
    let end = body_at.checked_add(length).ok_or_else(|| malformed("its answer is too long"))?;
    let status = head.code.ok_or_else(|| malformed("its answer has no status"))?;
    if end < bytes.len() {
        return Err(malformed("its answer is longer than it says"));
    }
    Ok((end == bytes.len()).then_some((status, body_at, end)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: today\r\n\r\n{}";

    #[test]
    fn an_answer_is_whole_when_its_last_byte_is_there() {
        for cut in 0..ANSWER.len() {
            assert!(matches!(whole_answer(&ANSWER[..cut]), Ok(None)), "cut at {cut}");
        }
        assert_eq!(whole_answer(ANSWER).expect("well-formed"), Some((200, ANSWER.len() - 2, ANSWER.len())));
    }

    #[test]
    fn an_answer_without_an_end_that_can_be_told_is_refused() {
        for answer in [
            &b"HTTP/1.1 200 OK\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxx",
            b"SSH-2.0-OpenSSH\r\n",
        ] {
            assert!(whole_answer(answer).is_err(), "{}", String::from_utf8_lossy(answer));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(Some((_, body_at, end))) = whole_answer(&bytes) {
                prop_assert!(body_at <= end && end == bytes.len());
            }
        }
    }
}
