//! One connection: login, full feature phase, end.

mod attention;
mod command;
mod fence;
mod full_feature;
mod intake;
mod jobs;
mod login;
mod management;
mod pulse;
mod text;

pub(crate) use intake::settled;
pub(crate) use management::FUNCTIONS;

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use lunshadow_iscsi::login::{LoginStatus, OutOfLogin, SessionKind};
use lunshadow_iscsi::pdu::{DecodeError, DigestConfig, PduDecoder};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::InitiatorPort;
use crate::connection_threads::ThreadPlace;
use crate::places::LoginPlace;
use crate::portals::{Arrival, NetworkPortal};
use crate::session::{DiscoveryKey, DiscoveryRegistration, Session, SessionKey};
use crate::target::{Phase, Shared};
use attention::Attention;
use full_feature::FullFeature;
use login::LoggedIn;

/// Why a connection ended other than by logout or because its initiator closed it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    #[error("the connection failed")]
    Io(#[from] io::Error),
    #[error("the initiator did not log in in time")]
    LoginTime,
    #[error("the login was refused: {0}")]
    Refused(LoginStatus),
    #[error(transparent)]
    OutOfLogin(#[from] OutOfLogin),
    #[error("the initiator broke the protocol")]
    Decode(#[from] DecodeError),
    #[error("a command has data, or announces some, and says that it writes nothing")]
    Inconsistent,
    #[error("the login made room for a newer one")]
    Displaced,
    #[error("the session was reinstated on another connection")]
    Reinstated,
    #[error("the target was reset")]
    Reset,
    #[error("the initiator does not say whether it is still there")]
    Silent,
    #[error("the initiator does not send the data that it announced or was asked for")]
    DataTime,
    #[error("the target shuts down")]
    ShuttingDown,
    #[error("a command's task panicked")]
    Panicked,
}

/// Serves a connection until it ends. Its commands are over then.
pub(crate) async fn serve(
    Arrival { stream, group, .. }: Arrival,
    mut login_place: LoginPlace,
    shared: Arc<Shared>,
    mut phase: watch::Receiver<Phase>,
    thread_place: Option<ThreadPlace>,
) -> Result<(), ConnectionError> {
    let mut stream = TcpStream::from_std(stream)?;
    // A response that waits for more data to fill a segment costs the initiator 40 ms.
    stream.set_nodelay(true)?;
    let mut resets = shared.resets.subscribe();
    let mut buffer = BytesMut::new();
    let logging_in =
        tokio::time::timeout(shared.limits.login_time, login::log_in(&mut stream, &mut buffer, &shared, group));
    let logged_in = tokio::select! {
        logged_in = logging_in => logged_in.map_err(|_| ConnectionError::LoginTime)??,
        () = login_place.lost() => return Err(ConnectionError::Displaced),
        _ = resets.changed() => return Err(ConnectionError::Reset),
        _ = phase.changed() => return Err(ConnectionError::ShuttingDown),
    };
    let Some(LoggedIn { negotiated, initiator, response, place }) = logged_in else { return Ok(()) };
    let key = SessionKey { initiator: initiator.clone(), isid: negotiated.identity.isid, group };
    let reached = NetworkPortal { address: stream.local_addr()?, group };
    let mut discovery = None;
    let registration = match negotiated.identity.kind {
        SessionKind::Discovery => {
            let key = match negotiated.identity.target_name {
                Some(_) => DiscoveryKey::Named(key),
                None => DiscoveryKey::Unnamed { initiator: key.initiator, isid: key.isid, address: reached.address },
            };
            discovery = Some(shared.sessions.enter_discovery(key));
            None
        }
        SessionKind::Normal => {
            // Between the two questions an administrator may have removed the initiator.
            let port = InitiatorPort { name: initiator.clone(), isid: negotiated.identity.isid.0 };
            let Some(nexus) = shared.device_server.connect(port, group) else { return Ok(()) };
            let session = Session::new(negotiated.identity.tsih, nexus);
            Some(shared.sessions.enter(key, session).await)
        }
    };
    // Only now, so that an older session's commands are over before the initiator takes up this one.
    let mut response = response.encode(DigestConfig::default());
    let answering = tokio::time::timeout(shared.limits.answer_time, stream.write_all_buf(&mut response));
    answering.await.map_err(|_| ConnectionError::LoginTime)??;
    drop(login_place);

    let own_bytes_max = shared.preferences.max_recv_data_segment_length;
    let mut decoder = PduDecoder::new(0);
    decoder.reconfigure(negotiated.parameters.digests(), usize::try_from(own_bytes_max).unwrap_or(usize::MAX));
    let (mut reader, writer) = stream.into_split();
    let session = registration.as_ref().map(|registration| registration.session.clone());
    let mut full_feature = FullFeature::new(&shared, *negotiated, session.clone(), initiator, reached, writer);
    let attention = Attention::new(thread_place);
    let ending = tokio::select! {
        ending = full_feature.run(&mut reader, &decoder, buffer, phase, attention) => ending,
        () = closing(session.as_deref(), discovery.as_ref()) => Err(ConnectionError::Reinstated),
        _ = resets.changed() => Err(ConnectionError::Reset),
    };
    let ended = full_feature.end(ending).await;
    drop(place);
    ended
}

/// Resolves when the session is to be closed by force.
async fn closing(session: Option<&Session>, discovery: Option<&DiscoveryRegistration<'_>>) {
    match (session, discovery) {
        (Some(session), _) => session.closing().await,
        (None, Some(discovery)) => discovery.closing().await,
        (None, None) => std::future::pending().await,
    }
}
