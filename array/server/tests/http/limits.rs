//! Peers that say nothing, that do not speak TLS, or that come in numbers; and the end of the service.

use std::time::Duration;

use lunshadow_server::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::rig::{Rig, answer, request};

const SHORT: Duration = Duration::from_millis(200);

/// RFC 9110 section 15.2.1.
const GO_ON: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

#[tokio::test]
async fn a_peer_that_does_not_speak_tls_does_not_keep_its_place() {
    let rig = Rig::new(Limits { connections: 1, handshake: SHORT, ..Limits::default() }).await;
    for says in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x40\x00"] {
        let mut peer = TcpStream::connect(rig.server.local_addr()).await.expect("it listens");
        peer.write_all(says).await.expect("it is sent");
        // There is one place only: this is answered when the peer has lost it.
        assert_eq!(rig.ask("GET", "/v1/host", Some(&rig.host), "").await.status, 200, "after {says:?}");
        // An alert may come first; then the connection ends, one way or the other.
        drop(peer.read_to_end(&mut Vec::new()).await);
    }
}

#[tokio::test]
async fn connections_above_the_limit_wait_until_one_ends() {
    let rig = Rig::new(Limits { connections: 2, ..Limits::default() }).await;
    let first = rig.connect().await;
    let second = rig.connect().await;
    let waiting = rig.ask("GET", "/v1/host", Some(&rig.host), "");
    tokio::pin!(waiting);
    let early = tokio::time::timeout(SHORT, &mut waiting).await;
    assert!(early.is_err(), "there was a third place: {early:?}");
    drop(first);
    assert_eq!(waiting.await.status, 200);
    drop(second);
}

#[tokio::test]
async fn a_connection_that_is_idle_too_long_is_closed() {
    let rig = Rig::new(Limits { idle: SHORT, ..Limits::default() }).await;
    let mut idle = rig.connect().await;
    let ended = tokio::time::timeout(Duration::from_secs(60), idle.read_to_end(&mut Vec::new())).await;
    assert!(ended.is_ok(), "it is still open");
}

#[tokio::test]
async fn the_end_waits_for_the_answer_that_is_under_way_and_for_nobody_who_is_silent() {
    let rig = Rig::new(Limits::default()).await;
    let silent = rig.connect().await;
    let mut asking = rig.connect().await;
    let whole = request("POST", "/v1/luns/resolve", Some(&rig.host), "{\"queries\":[]}");
    let whole = whole.replace("Connection: close", "Connection: close\r\nExpect: 100-continue");
    let (head, body) = whole.split_once("{").expect("a body");
    asking.write_all(head.as_bytes()).await.expect("it is sent");
    // By this the service says that it has the head and wants the body.
    let mut go_on = vec![0; GO_ON.len()];
    asking.read_exact(&mut go_on).await.expect("it wants the body");
    assert_eq!(go_on, GO_ON);
    let Rig { server, array, .. } = rig;
    let address = server.local_addr();
    let end = tokio::spawn(server.shutdown());
    asking.write_all(format!("{{{body}").as_bytes()).await.expect("it is sent");
    assert_eq!(answer(asking).await.body, "{\"luns\":[]}");
    end.await.expect("it ends");
    assert!(TcpStream::connect(address).await.is_err(), "it listens still");
    drop(silent);
    array.stop().await.expect("nobody holds the array any more");
}
