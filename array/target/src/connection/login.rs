//! The login phase: who is let in.

use bytes::BytesMut;
use lunshadow_control::CHAP_SECRET_BYTES;
use lunshadow_iscsi::login::{
    Admission, Authentication, CHAP_SECRET_BYTES_MAX, CHAP_SECRET_BYTES_MIN, ChapChallenge, ChapCredential, ChapSecret,
    LoginIdentity, LoginStatus, NegotiatedSession, SecretLengthError, SessionKind, TargetLogin, TargetLoginConfig,
    TargetStep,
};
use lunshadow_iscsi::negotiation::DEFAULT_MAX_RECV_DATA_SEGMENT_LENGTH;
use lunshadow_iscsi::pdu::{DigestConfig, Pdu, PduDecoder};
use lunshadow_iscsi::serial::SerialNumber;
use lunshadow_lun::{ChapAccount, InitiatorName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::ConnectionError;
use crate::PortalGroup;
use crate::places::{Seat, SessionPlace};
use crate::session::SessionKey;
use crate::target::Shared;

/// An initiator that has been let in.
pub(super) struct LoggedIn {
    pub(super) negotiated: Box<NegotiatedSession>,
    pub(super) initiator: InitiatorName,
    /// The last Login Response, which is still to be sent.
    pub(super) response: Pdu,
    /// To be kept as long as the session is there.
    pub(super) place: SessionPlace,
}

/// Logs an initiator in through a portal of a group; `None` if it went away. `buffer` has what came behind the last Login Request.
pub(super) async fn log_in(
    stream: &mut TcpStream,
    buffer: &mut BytesMut,
    shared: &Shared,
    group: PortalGroup,
) -> Result<Option<LoggedIn>, ConnectionError> {
    let decoder = PduDecoder::new(DEFAULT_MAX_RECV_DATA_SEGMENT_LENGTH as usize);
    let mut login = TargetLogin::new(TargetLoginConfig {
        preferences: shared.preferences.clone(),
        command_window: shared.limits.command_window,
        first_stat_sn: SerialNumber(0),
    });
    let mut initiator = None;
    loop {
        let Some(request) = receive(stream, buffer, decoder.clone()).await? else { return Ok(None) };
        let mut step = login.handle(&request)?;
        if let TargetStep::Admit(identity) = &step {
            step = match admit(identity, shared, group) {
                Ok((name, admission)) => {
                    initiator = Some(name);
                    login.admit(admission)
                }
                Err(status) => login.refuse(status),
            };
        }
        match (step, &initiator) {
            (TargetStep::Send(response), _) => send(stream, &response).await?,
            (TargetStep::Complete { response, session }, Some(initiator)) => {
                let initiator = initiator.clone();
                // Only whoever has proved its name takes one of the places of that name.
                let Some(place) = shared.session_places.take(&initiator, seat_of(&session.identity, group)) else {
                    tracing::warn!(%initiator, "an initiator has too many sessions, or all have together");
                    let status = LoginStatus::OUT_OF_RESOURCES;
                    send(stream, &TargetLogin::withdrawal(&response, status)).await?;
                    return Err(ConnectionError::Refused(status));
                };
                tracing::info!(%initiator, kind = ?session.identity.kind, "an initiator has logged in");
                return Ok(Some(LoggedIn { negotiated: session, initiator, response, place }));
            }
            (TargetStep::Refused { response, status }, refused) => {
                if let (Some(initiator), LoginStatus::AUTHENTICATION_FAILURE) = (refused, status) {
                    tracing::warn!(%initiator, "an initiator has not proved that it has its name");
                }
                send(stream, &response).await?;
                return Err(ConnectionError::Refused(status));
            }
            // The machine asks once, and completes nothing before it has asked.
            (TargetStep::Admit(_) | TargetStep::Complete { .. }, _) => {
                return Err(ConnectionError::Refused(LoginStatus::TARGET_ERROR));
            }
        }
    }
}

const fn seat_of(identity: &LoginIdentity, group: PortalGroup) -> Seat {
    match identity.kind {
        SessionKind::Normal => Seat::Normal(identity.isid, group),
        SessionKind::Discovery => Seat::Discovery(identity.tsih),
    }
}

/// Decides about an initiator by its name.
fn admit(
    identity: &LoginIdentity,
    shared: &Shared,
    group: PortalGroup,
) -> Result<(InitiatorName, Admission), LoginStatus> {
    let initiator: InitiatorName = identity.initiator_name.parse().map_err(|_| LoginStatus::INITIATOR_ERROR)?;
    if identity.kind == SessionKind::Normal
        && !identity.target_name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(&shared.name))
    {
        return Err(LoginStatus::TARGET_NOT_FOUND);
    }
    if !shared.device_server.admits(&initiator) {
        tracing::warn!(%initiator, "an initiator that no host has was refused");
        return Err(LoginStatus::AUTHORIZATION_FAILURE);
    }
    if identity.tsih != 0 {
        // A session has one connection.
        let key = SessionKey { initiator, isid: identity.isid, group };
        let exists = shared.sessions.exists(&key, identity.tsih);
        return Err(if exists { LoginStatus::TOO_MANY_CONNECTIONS } else { LoginStatus::SESSION_DOES_NOT_EXIST });
    }
    let admission = Admission {
        tsih: shared.new_tsih(),
        portal_group_tag: group.tag(),
        target_alias: shared.alias.clone(),
        authentication: authentication(&initiator, shared)?,
    };
    Ok((initiator, admission))
}

// What an administrator may set and what a login can use are the same secrets, although neither crate knows the other.
const _: () = assert!(
    *CHAP_SECRET_BYTES.start() == CHAP_SECRET_BYTES_MIN && *CHAP_SECRET_BYTES.end() == CHAP_SECRET_BYTES_MAX,
    "an administrator could set a secret with which nobody can log in"
);

/// What an initiator has to prove before it is let in.
fn authentication(initiator: &InitiatorName, shared: &Shared) -> Result<Authentication, LoginStatus> {
    let Some(accounts) = shared.device_server.chap(initiator) else { return Ok(Authentication::None) };
    let credential = |account: ChapAccount| {
        let secret = ChapSecret::new(account.secret.expose())?;
        Ok(ChapCredential { name: account.name, secret })
    };
    let unusable = |error: SecretLengthError| {
        tracing::error!(%initiator, %error, "an initiator cannot be authenticated");
        LoginStatus::TARGET_ERROR
    };
    Ok(Authentication::Chap {
        initiator: credential(accounts.initiator).map_err(unusable)?,
        target: accounts.array.map(credential).transpose().map_err(unusable)?,
        challenge: ChapChallenge { identifier: rand::random(), bytes: rand::random() },
    })
}

async fn receive(
    stream: &mut TcpStream,
    buffer: &mut BytesMut,
    decoder: PduDecoder,
) -> Result<Option<Pdu>, ConnectionError> {
    loop {
        if let Some(pdu) = decoder.decode(buffer)? {
            return Ok(Some(pdu));
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

async fn send(stream: &mut TcpStream, pdu: &Pdu) -> Result<(), ConnectionError> {
    // Nothing is digested before the full feature phase.
    Ok(stream.write_all_buf(&mut pdu.encode(DigestConfig::default())).await?)
}
