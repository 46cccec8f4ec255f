//! The reader task: takes the target's PDUs and brings each to the task that it is about.

use bytes::{Bytes, BytesMut};
use lunshadow_iscsi::pdu::{
    AsyncEvent, Bhs, DataIn, NopIn, NopOut, Opcode, Operation, Pdu, PduDecoder, RejectReason, Response, ScsiResponse,
    Tag, TextResponse,
};
use tokio::io::{AsyncRead, AsyncReadExt};
use zerocopy::FromBytes;

use crate::connection::Connection;
use crate::error::{ConnectionError, InitiatorError};
use crate::task::{ScsiTask, Task};
use crate::writer::Outgoing;

/// Room that the buffer has at least before each read, in bytes: many small PDUs come in one go.
const READ_BYTES_MIN: usize = 64 << 10;

/// Takes PDUs until the connection fails or is logged out; `buffer` has what came behind the login.
pub(crate) async fn run(
    mut stream: impl AsyncRead + Unpin,
    mut buffer: BytesMut,
    connection: &Connection,
) -> ConnectionError {
    let parameters = &connection.session.parameters;
    let mut decoder = PduDecoder::new(0);
    decoder.reconfigure(parameters.digests(), parameters.initiator_max_recv_data_segment_length as usize);
    loop {
        match decoder.decode(&mut buffer) {
            Ok(Some(pdu)) => {
                if let Err(ending) = connection.note_numbers(&pdu).and_then(|()| take(connection, pdu)) {
                    return ending;
                }
                continue;
            }
            Ok(None) => {}
            Err(error) => return error.into(),
        }
        buffer.reserve(READ_BYTES_MIN);
        match stream.read_buf(&mut buffer).await {
            Ok(0) => return ConnectionError::Closed,
            Ok(_) => {}
            Err(error) => return ConnectionError::io(error),
        }
    }
}

/// Brings one PDU to its task; an error ends the connection.
fn take(connection: &Connection, pdu: Pdu) -> Result<(), ConnectionError> {
    let invalid = |reason| Err(ConnectionError::Protocol { opcode: pdu.bhs.opcode(), reason });
    match pdu.bhs.response() {
        Response::DataIn(header) => data_in(connection, header, pdu.data.clone()),
        Response::Scsi(header) => scsi_response(connection, header, &pdu.data),
        Response::ReadyToTransfer(header) => {
            let burst_max = connection.session.parameters.max_burst_length;
            let sequence = with_scsi(connection, Opcode::READY_TO_TRANSFER, header.itt, |task| {
                task.ready_to_transfer(header, burst_max)
            })?;
            connection.send(Outgoing::Data(sequence?));
            Ok(())
        }
        Response::NopIn(header) => nop_in(connection, header, &pdu.data),
        Response::Text(header) => text(connection, header, &pdu.data),
        Response::TaskManagement(header) => match connection.take_task(header.itt) {
            Some(Task::Management(reply)) => {
                drop(reply.send(Ok(header.response)));
                Ok(())
            }
            _ => invalid("no task management request has its tag"),
        },
        Response::Logout(header) => match connection.take_task(header.itt) {
            Some(Task::Logout(reply)) => {
                // The caller gets to know before everything that is still under way fails.
                drop(reply.send(Ok(())));
                Err(ConnectionError::LoggedOut)
            }
            _ => invalid("no logout has its tag"),
        },
        Response::Async(header) => {
            tracing::info!(event = ?header.event, "asynchronous message from the target");
            match header.event {
                AsyncEvent::LOGOUT_REQUESTED => connection.drain(),
                AsyncEvent::CONNECTION_DROPPED | AsyncEvent::SESSION_DROPPED => return Err(ConnectionError::Dropped),
                _ => {}
            }
            Ok(())
        }
        Response::Reject(header) => {
            reject(connection, header.reason, &pdu.data);
            Ok(())
        }
        Response::Login(_) | Response::Other(_) => invalid("it does not belong into the full feature phase"),
    }
}

/// RFC 7143 11.17.1: a request that is refused gets no other response; a command whose data is refused still gets one.
fn reject(connection: &Connection, reason: RejectReason, refused: &[u8]) {
    tracing::warn!(?reason, "the target rejected a PDU");
    let Ok((refused, _)) = Bhs::ref_from_prefix(refused) else { return };
    if refused.opcode() != Opcode::DATA_OUT
        && let Some(task) = connection.take_task(refused.itt)
    {
        task.fail(InitiatorError::Rejected { reason });
    }
}

fn data_in(connection: &Connection, header: &DataIn, data: Bytes) -> Result<(), ConnectionError> {
    with_scsi(connection, Opcode::DATA_IN, header.itt, |task| task.data_in(header, data))??;
    if header.has_status() {
        let task = take_scsi(connection, Opcode::DATA_IN, header.itt)?;
        if let Some(attention) = task.end_with_data(header) {
            connection.report(attention);
        }
    }
    Ok(())
}

fn scsi_response(connection: &Connection, header: &ScsiResponse, data: &[u8]) -> Result<(), ConnectionError> {
    let task = take_scsi(connection, Opcode::SCSI_RESPONSE, header.itt)?;
    if let Some(attention) = task.end_with_response(header, data) {
        connection.report(attention);
    }
    Ok(())
}

/// RFC 7143 11.19: a NOP-In with a transfer tag wants an answer with that tag; one with a task tag is the answer to a ping.
fn nop_in(connection: &Connection, header: &NopIn, data: &Bytes) -> Result<(), ConnectionError> {
    if !header.itt.is_reserved() {
        return match connection.take_task(header.itt) {
            Some(Task::Ping(reply)) => {
                drop(reply.send(Ok(data.clone())));
                Ok(())
            }
            _ => Err(ConnectionError::Protocol { opcode: Opcode::NOP_IN, reason: "no ping has its tag" }),
        };
    }
    if !header.ttt.is_reserved() {
        let operation = Operation::new(Opcode::NOP_OUT).immediate();
        let answer = NopOut { operation, lun: header.lun, itt: Tag::default(), ttt: header.ttt, ..NopOut::default() };
        connection.send(Outgoing::Immediate(Pdu::bare(answer)));
    }
    Ok(())
}

fn text(connection: &Connection, header: &TextResponse, data: &[u8]) -> Result<(), ConnectionError> {
    let handled = connection.with_task(header.itt, |task| match task {
        Task::Text(exchange, _) => Some(exchange.handle(header, data)),
        _ => None,
    });
    let outcome = match handled.flatten() {
        Some(Ok(Err(follow_up))) => {
            connection.send(Outgoing::Numbered(follow_up, None));
            return Ok(());
        }
        Some(Ok(Ok(keys))) => Ok(keys),
        Some(Err(error)) => Err(error.into()),
        None => {
            let reason = "no text request has its tag";
            return Err(ConnectionError::Protocol { opcode: Opcode::TEXT_RESPONSE, reason });
        }
    };
    if let Some(Task::Text(_, reply)) = connection.take_task(header.itt) {
        drop(reply.send(outcome));
    }
    Ok(())
}

fn with_scsi<T>(
    connection: &Connection,
    opcode: Opcode,
    itt: Tag,
    work: impl FnOnce(&mut ScsiTask) -> T,
) -> Result<T, ConnectionError> {
    let done = connection.with_task(itt, |task| match task {
        Task::Scsi(task) => Some(work(task)),
        _ => None,
    });
    done.flatten().ok_or(ConnectionError::Protocol { opcode, reason: "no command has its tag" })
}

fn take_scsi(connection: &Connection, opcode: Opcode, itt: Tag) -> Result<ScsiTask, ConnectionError> {
    match connection.take_task(itt) {
        Some(Task::Scsi(task)) => Ok(task),
        _ => Err(ConnectionError::Protocol { opcode, reason: "no command has its tag" }),
    }
}
