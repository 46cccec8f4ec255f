//! Logins without end, logins that fail at every stage, and sessions that are cut off everywhere: nothing of them stays.
//!
//! `LUNSHADOW_LOGINS` is how many there are.

#[cfg(test)]
mod cuts;
#[cfg(test)]
#[expect(dead_code, reason = "the tests of the target use the rest")]
#[path = "../target/faulty.rs"]
mod faulty;
#[cfg(test)]
#[expect(dead_code, reason = "the tests of the target use the rest")]
#[path = "../target/memory.rs"]
mod memory;
#[cfg(test)]
#[expect(dead_code, reason = "the tests of the target use the rest")]
#[path = "../target/peer.rs"]
mod peer;

#[cfg(test)]
mod tests {
    use std::alloc::System;
    use std::net::SocketAddr;
    use std::time::{Duration, Instant};

    use bytes::{Buf as _, BytesMut};
    use cap::Cap;
    use lunshadow_iscsi::login::{InitiatorLogin, InitiatorLoginConfig, InitiatorStep, LoginPath};
    use lunshadow_iscsi::negotiation::Preferences;
    use lunshadow_iscsi::pdu::{DigestConfig, LogoutReason, LogoutRequest, Pdu, PduDecoder};
    use lunshadow_target::Limits;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use crate::cuts::cut_everywhere;
    use crate::peer::{Array, Peer, login};

    #[global_allocator]
    static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

    /// What may be different from one look to the next although nothing has grown: buffers and tables that are larger for a while.
    const SLACK_BYTES: usize = 256 * 1024;

    /// Whatever a test waits for is a bug if it takes longer.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn logins() -> usize {
        std::env::var("LUNSHADOW_LOGINS").ok().and_then(|count| count.parse().ok()).unwrap_or(1000)
    }

    /// Waits until the target has noticed that nobody is there, and memory is below a bound.
    pub(crate) async fn settled(array: &Array, bound_bytes: usize) {
        let begin = Instant::now();
        while array.target.sessions() > 0 || ALLOCATOR.allocated() > bound_bytes {
            assert!(
                begin.elapsed() < PATIENCE,
                "{} sessions, {} bytes where {bound_bytes} are the bound",
                array.target.sessions(),
                ALLOCATOR.allocated()
            );
            tokio::task::yield_now().await;
        }
    }

    async fn log_out(peer: &mut Peer) {
        let header = LogoutRequest { itt: peer.new_itt(), ..LogoutRequest::default() };
        peer.send(Pdu::bare(header.with_reason(LogoutReason::CLOSE_SESSION))).await;
        peer.expect().await;
        assert_eq!(peer.receive().await, None);
    }

    /// Each ends another way.
    async fn come_and_go(array: &Array, round: usize) {
        let config = login("one", Preferences::default());
        match round % 4 {
            0 => drop(Peer::log_in(array.address(), config).await.expect("a login")),
            1 => {
                // The second takes the session over.
                let mut first = Peer::log_in(array.address(), config.clone()).await.expect("a login");
                let mut second = Peer::log_in(array.address(), config).await.expect("a login");
                assert_eq!(first.receive().await, None);
                log_out(&mut second).await;
            }
            2 => {
                let stranger = login("stranger", Preferences::default());
                assert!(Peer::log_in(array.address(), stranger).await.is_err());
            }
            _ => {
                let mut peer = Peer::log_in(array.address(), config).await.expect("a login");
                assert_eq!(peer.ping(b"here").await, "here");
                log_out(&mut peer).await;
            }
        }
    }

    async fn come_and_go_without_end(array: &Array) {
        for round in 0..100 {
            come_and_go(array, round).await;
        }
        settled(array, usize::MAX).await;
        let before_bytes = ALLOCATOR.allocated();
        for round in 0..logins() {
            come_and_go(array, round).await;
        }
        settled(array, before_bytes + SLACK_BYTES).await;
    }

    /// Logs in up to the request of this number, of which only so many bytes are sent. Whether there is such a request.
    async fn cut_off(address: SocketAddr, config: InitiatorLoginConfig, stage: usize, cut_bytes: usize) -> bool {
        let mut stream = TcpStream::connect(address).await.expect("the target listens");
        let decoder = PduDecoder::new(8192);
        let mut buffer = BytesMut::new();
        let (mut login, mut request) = InitiatorLogin::start(config);
        for step in 0.. {
            let mut encoded = request.encode(DigestConfig::default());
            let bytes = encoded.copy_to_bytes(encoded.remaining());
            if step == stage {
                stream.write_all(&bytes[..cut_bytes.min(bytes.len())]).await.expect("it is open");
                return cut_bytes < bytes.len();
            }
            stream.write_all(&bytes).await.expect("it is open");
            let response = loop {
                if let Some(pdu) = decoder.decode(&mut buffer).expect("a PDU") {
                    break pdu;
                }
                assert!(stream.read_buf(&mut buffer).await.expect("it is open") > 0, "the target goes on");
            };
            match login.handle(&response).expect("it is let in") {
                InitiatorStep::Send(next) => request = next,
                InitiatorStep::Complete(_) => return false,
            }
        }
        unreachable!("a login ends")
    }

    async fn cut_off_everywhere(array: &Array) {
        settled(array, usize::MAX).await;
        let before_bytes = ALLOCATOR.allocated();
        let mut cuts = 0;
        for path in [LoginPath::SecurityThenOperational, LoginPath::OperationalOnly] {
            for stage in 0..3 {
                for cut_bytes in (0..2000).step_by(7) {
                    let config = InitiatorLoginConfig { path, ..login("one", Preferences::default()) };
                    if !cut_off(array.address(), config, stage, cut_bytes).await {
                        break;
                    }
                    cuts += 1;
                }
            }
        }
        assert!(cuts > 100, "{cuts} cuts");
        settled(array, before_bytes + SLACK_BYTES).await;
        array.peer("one").await;
    }

    async fn cut_sessions_off_everywhere(array: &Array) {
        settled(array, usize::MAX).await;
        let before_bytes = ALLOCATOR.allocated();
        let cuts = cut_everywhere(array).await;
        assert!(cuts > 100, "{cuts} cuts");
        settled(array, before_bytes + SLACK_BYTES).await;
    }

    /// One after the other: they share their memory.
    #[tokio::test]
    async fn logins_leave_nothing_behind() {
        let array = Array::new(Limits::default()).await;
        come_and_go_without_end(&array).await;
        cut_off_everywhere(&array).await;
        cut_sessions_off_everywhere(&array).await;
    }
}
