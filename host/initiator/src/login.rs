//! The login of a connection, before there are tasks.

use bytes::BytesMut;
use lunshadow_iscsi::login::{InitiatorLogin, InitiatorLoginConfig, InitiatorStep, NegotiatedSession};
use lunshadow_iscsi::negotiation::DEFAULT_MAX_RECV_DATA_SEGMENT_LENGTH;
use lunshadow_iscsi::pdu::{DigestConfig, Pdu, PduDecoder};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::error::{ConnectionError, InitiatorError};

/// Logs in over `stream`. What has been read behind the last login response is handed on.
pub(crate) async fn log_in(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    config: InitiatorLoginConfig,
) -> Result<(NegotiatedSession, BytesMut), InitiatorError> {
    let decoder = PduDecoder::new(DEFAULT_MAX_RECV_DATA_SEGMENT_LENGTH as usize);
    let mut buffer = BytesMut::new();
    let (mut login, mut request) = InitiatorLogin::start(config);
    loop {
        let mut encoded = request.encode(DigestConfig::default());
        stream.write_all_buf(&mut encoded).await.map_err(InitiatorError::io)?;
        let response = next_pdu(stream, decoder.clone(), &mut buffer).await?;
        match login.handle(&response)? {
            InitiatorStep::Send(next) => request = next,
            InitiatorStep::Complete(session) => return Ok((*session, buffer)),
        }
    }
}

async fn next_pdu(
    stream: &mut (impl AsyncRead + Unpin),
    decoder: PduDecoder,
    buffer: &mut BytesMut,
) -> Result<Pdu, ConnectionError> {
    loop {
        if let Some(pdu) = decoder.decode(buffer)? {
            return Ok(pdu);
        }
        if stream.read_buf(buffer).await.map_err(ConnectionError::io)? == 0 {
            return Err(ConnectionError::Closed);
        }
    }
}
