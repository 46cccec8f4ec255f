//! How the end of a command travels: Data-In PDUs, the SCSI Response, residuals.

use bytes::{BufMut, Bytes, BytesMut};
use lunshadow_iscsi::negotiation::SessionParameters;
use lunshadow_iscsi::pdu::{DataIn, FINAL, Pdu, ScsiResponse};
use lunshadow_iscsi::transfer::data_in_slices;
use lunshadow_scsi::{Sense, SenseFormat, Status};
use smallvec::SmallVec;

use crate::Completion;
use crate::tasks::Accepted;

/// The PDUs that end a command. A status of GOOD rides on the last Data-In (RFC 7143 4.2.4.4, phase collapse).
pub(crate) fn pdus(parameters: &SessionParameters, accepted: &Accepted, completion: Completion) -> SmallVec<[Pdu; 1]> {
    let command = &accepted.command;
    let expected_len = command.expected_data_transfer_length.get();
    let Completion { status, sense, data_in } = completion;
    let whole_len = u32::try_from(data_in.len()).expect("a command's data is bounded");
    let sent_len = if command.is_read() { whole_len.min(expected_len) } else { 0 };
    let residual = Residual::of(accepted, whole_len);

    let mut pdus: SmallVec<[Pdu; 1]> = data_in_slices(parameters, sent_len)
        .map(|slice| {
            let header = DataIn {
                // RFC 7143 §11.7.2 MUST NOT: a Data-In asks for an acknowledgment.
                flags: if slice.ends_sequence { FINAL } else { 0 },
                itt: command.itt,
                data_sn: slice.data_sn.into(),
                buffer_offset: slice.offset.into(),
                ..DataIn::default()
            };
            // RFC 7143 §11.7.3 MUST: a Data-In with a status has its F bit set.
            // RFC 7143 §11.7.3 MUST: a command that fails is answered with a SCSI Response, never with a Data-In.
            let collapse = slice.is_last && status == Status::GOOD;
            let header = if collapse { with_status(header, residual) } else { header };
            let start = slice.offset as usize;
            Pdu::new(header, data_in.slice(start..start + slice.length as usize))
        })
        .collect();
    // RFC 7143 §11.4.7 MUST: a SCSI Response with CHECK CONDITION has the sense data of its command.
    if status != Status::GOOD || sent_len == 0 {
        let header = ScsiResponse {
            flags: FINAL | residual.flags(),
            status: status.0,
            itt: command.itt,
            // RFC 7143 §11.4.8 MUST: ExpDataSN is 0 if no Data-In was sent for the command.
            exp_data_sn: u32::try_from(pdus.len()).expect("bounded by the data").into(),
            residual_count: residual.count().into(),
            ..ScsiResponse::default()
        };
        pdus.push(Pdu::new(header, sense.map_or_else(Bytes::new, |sense| sense_segment(sense, accepted.sense_format))));
    }
    pdus
}

/// How much the command would have moved against what the initiator expected (RFC 7143 11.4.5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Residual {
    None,
    Over(u32),
    Under(u32),
}

impl Residual {
    fn of(accepted: &Accepted, data_in_len: u32) -> Self {
        let command = &accepted.command;
        let moves_data = command.is_read() || command.is_write();
        let expected = if moves_data { command.expected_data_transfer_length.get() } else { 0 };
        // A command moves data in one direction; what it moves in the other than the initiator thinks is not moved.
        let actual = if command.is_write() { accepted.data_out_len } else { data_in_len.max(accepted.data_out_len) };
        // RFC 7143 §11.4.5.2 MUST: a command that would move more than was expected has the O bit and the difference.
        if actual > expected {
            Self::Over(actual - expected)
        // RFC 7143 §11.4.5.2 MUST: a command that would move less than was expected has the U bit and the difference.
        } else if actual < expected {
            Self::Under(expected - actual)
        } else {
            Self::None
        }
    }

    const fn flags(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Over(_) => ScsiResponse::OVERFLOW,
            Self::Under(_) => ScsiResponse::UNDERFLOW,
        }
    }

    const fn count(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Over(count) | Self::Under(count) => count,
        }
    }
}

fn with_status(mut header: DataIn, residual: Residual) -> DataIn {
    header.flags |= DataIn::STATUS | residual.flags();
    header.status = Status::GOOD.0;
    header.residual_count = residual.count().into();
    header
}

/// RFC 7143 11.4.7: SenseLength, then sense data.
fn sense_segment(sense: Sense, format: SenseFormat) -> Bytes {
    let sense = sense.to_bytes(format);
    let mut segment = BytesMut::with_capacity(2 + sense.len());
    segment.put_u16(u16::try_from(sense.len()).expect("sense data is short"));
    segment.put_slice(&sense);
    segment.freeze()
}
