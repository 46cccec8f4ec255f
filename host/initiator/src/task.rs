//! What is under way: commands and requests that wait for their response.

use bytes::{Bytes, BytesMut};
use lunshadow_iscsi::discovery::InitiatorTextExchange;
use lunshadow_iscsi::pdu::{self, DataIn, DataOut, ReadyToTransfer, ServiceResponse, TaskResponse};
use lunshadow_iscsi::text::TextKeys;
use lunshadow_iscsi::transfer::ReadTransfer;
use lunshadow_scsi::{LunAddress, Sense, SenseKey, Status};
use tokio::sync::oneshot;

use crate::error::{ConnectionError, InitiatorError};
use crate::writer::DataOutSequence;

/// Which way a command's data goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataDirection {
    /// There is none.
    None,
    /// At most this many bytes come from the target.
    In(u32),
    /// These bytes go to the target.
    Out(Bytes),
}

/// How a SCSI command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScsiResponse {
    /// The status.
    pub status: Status,
    /// The sense data of a CHECK CONDITION, if it can be read.
    pub sense: Option<Sense>,
    /// The data of a read, from the beginning without a gap.
    pub data: Bytes,
    /// How far the data that was announced is from the data that the command has.
    pub residual: Residual,
}

/// Data that the initiator announced against data that the command has (RFC 7143 11.4.5), in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residual {
    /// They are the same.
    None,
    /// The command has so many fewer.
    Underflow(u32),
    /// The command has so many more.
    Overflow(u32),
}

/// Something that a logical unit had to report (SAM-5 5.14), once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitAttention {
    /// The logical unit whose command was told.
    pub lun: LunAddress,
    /// What it had to report.
    pub sense: Sense,
}

/// Where the outcome of a request goes. Nobody may be waiting for it any more.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, InitiatorError>>;

/// A request that waits for its response.
pub(crate) enum Task {
    Scsi(ScsiTask),
    Text(InitiatorTextExchange, Reply<TextKeys>),
    Management(Reply<TaskResponse>),
    Ping(Reply<Bytes>),
    Logout(Reply<()>),
}

/// A SCSI command that waits for its response.
pub(crate) struct ScsiTask {
    pub(crate) lun: LunAddress,
    pub(crate) reply: Reply<ScsiResponse>,
    pub(crate) write_data: Bytes,
    read: ReadTransfer,
    read_segments: Vec<Bytes>,
    next_r2t_sn: u32,
}

impl Task {
    /// Ends the request without a response.
    pub(crate) fn fail(self, error: InitiatorError) {
        // A receiver that is gone has lost interest, which is its right.
        match self {
            Self::Scsi(task) => drop(task.reply.send(Err(error))),
            Self::Text(_, reply) => drop(reply.send(Err(error))),
            Self::Management(reply) => drop(reply.send(Err(error))),
            Self::Ping(reply) => drop(reply.send(Err(error))),
            Self::Logout(reply) => drop(reply.send(Err(error))),
        }
    }
}

impl ScsiTask {
    pub(crate) fn new(lun: LunAddress, direction: &DataDirection, reply: Reply<ScsiResponse>) -> Self {
        let (read_length, write_data) = match direction {
            DataDirection::None => (0, Bytes::new()),
            DataDirection::In(length) => (*length, Bytes::new()),
            DataDirection::Out(data) => (0, data.clone()),
        };
        let read = ReadTransfer::new(read_length);
        Self { lun, reply, write_data, read, read_segments: Vec::new(), next_r2t_sn: 0 }
    }

    /// Takes a part of a read's data.
    pub(crate) fn data_in(&mut self, header: &DataIn, data: Bytes) -> Result<(), ConnectionError> {
        self.read.accept(header, data.len())?;
        self.read_segments.push(data);
        Ok(())
    }

    /// The sequence of Data-Out that an R2T asks for.
    pub(crate) fn ready_to_transfer(
        &mut self,
        r2t: &ReadyToTransfer,
        burst_max: u32,
    ) -> Result<DataOutSequence, ConnectionError> {
        let invalid = |reason| ConnectionError::Protocol { opcode: pdu::Opcode::READY_TO_TRANSFER, reason };
        if r2t.r2t_sn.get() != self.next_r2t_sn {
            return Err(invalid("its R2TSN is out of sequence"));
        }
        self.next_r2t_sn += 1;
        let (start, length) = (r2t.buffer_offset.get(), r2t.desired_data_transfer_length.get());
        let end = start.checked_add(length).filter(|&end| end as usize <= self.write_data.len());
        let end = end.ok_or(invalid("it asks for data beyond the end"))?;
        if length == 0 || length > burst_max {
            return Err(invalid("it asks for no data, or for more than was agreed"));
        }
        let template = DataOut { lun: r2t.lun, itt: r2t.itt, ttt: r2t.ttt, ..DataOut::default() };
        Ok(DataOutSequence { template, data: self.write_data.clone(), range: start..end })
    }

    /// Ends the command by a status that came with its last data.
    pub(crate) fn end_with_data(self, header: &DataIn) -> Option<UnitAttention> {
        let residual = residual_of(header.flags, header.residual_count.get());
        self.end(Status(header.status), None, residual)
    }

    /// Ends the command by a response of its own.
    pub(crate) fn end_with_response(self, header: &pdu::ScsiResponse, data: &[u8]) -> Option<UnitAttention> {
        if header.response != ServiceResponse::COMMAND_COMPLETED {
            drop(self.reply.send(Err(InitiatorError::TargetFailure)));
            return None;
        }
        let residual = residual_of(header.flags, header.residual_count.get());
        self.end(Status(header.status), sense_of(data), residual)
    }

    fn end(self, status: Status, sense: Option<Sense>, residual: Residual) -> Option<UnitAttention> {
        let data = joined(self.read_segments);
        drop(self.reply.send(Ok(ScsiResponse { status, sense, data, residual })));
        let sense = sense.filter(|sense| status == Status::CHECK_CONDITION && sense.key == SenseKey::UNIT_ATTENTION)?;
        Some(UnitAttention { lun: self.lun, sense })
    }
}

/// RFC 7143 11.4.7: two bytes of length, then sense data.
fn sense_of(data: &[u8]) -> Option<Sense> {
    let (&length, sense) = data.split_first_chunk()?;
    let sense = sense.get(..usize::from(u16::from_be_bytes(length)))?;
    Sense::parse(sense).ok()
}

fn residual_of(flags: u8, count: u32) -> Residual {
    if flags & pdu::ScsiResponse::UNDERFLOW != 0 {
        Residual::Underflow(count)
    } else if flags & pdu::ScsiResponse::OVERFLOW != 0 {
        Residual::Overflow(count)
    } else {
        Residual::None
    }
}

/// One segment is handed on as it came; several are copied together.
fn joined(mut segments: Vec<Bytes>) -> Bytes {
    match segments.len() {
        0 => Bytes::new(),
        1 => segments.remove(0),
        _ => {
            let mut whole = BytesMut::with_capacity(segments.iter().map(Bytes::len).sum());
            segments.iter().for_each(|segment| whole.extend_from_slice(segment));
            whole.freeze()
        }
    }
}
