//! Data-Out: planned and cut at the initiator; asked for and checked at the target.

use std::collections::VecDeque;
use std::ops::Range;

use lunshadow_scsi::LunAddress;

use crate::negotiation::SessionParameters;
use crate::pdu::{DataOut, ScsiCommand, Tag};

/// How an initiator sends a write's data before it is asked for any. Ranges are in bytes of the task's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WritePlan {
    /// What the command's own PDU carries.
    pub immediate: Range<u32>,
    /// What follows in Data-Out PDUs of its own accord, [cut](data_out_slices) like an answer to an R2T.
    pub unsolicited: Range<u32>,
}

/// One Data-Out PDU. Offsets and lengths are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataOutSlice {
    /// DataSN.
    pub data_sn: u32,
    /// Where the slice begins in the task's data.
    pub offset: u32,
    /// Its length.
    pub length: u32,
    /// F bit: the last slice of its sequence.
    pub is_final: bool,
}

impl WritePlan {
    /// Plans a write of `length` bytes: as much immediate and unsolicited data as the session allows.
    #[must_use]
    pub fn new(parameters: &SessionParameters, length: u32) -> Self {
        let first_burst = length.min(parameters.first_burst_length);
        let immediate =
            if parameters.immediate_data { first_burst.min(parameters.target_max_recv_data_segment_length) } else { 0 };
        let unsolicited = if parameters.initial_r2t { immediate } else { first_burst };
        Self { immediate: 0..immediate, unsolicited: immediate..unsolicited }
    }
}

/// Cuts a sequence of Data-Out, unsolicited or asked for by an R2T, to what the target takes.
pub fn data_out_slices(
    parameters: &SessionParameters,
    sequence: Range<u32>,
) -> impl Iterator<Item = DataOutSlice> + use<> {
    let slice_max = parameters.target_max_recv_data_segment_length;
    let mut data_sn = 0;
    let mut offset = sequence.start;
    std::iter::from_fn(move || {
        let left = sequence.end.checked_sub(offset).filter(|&left| left > 0)?;
        let length = left.min(slice_max);
        let slice = DataOutSlice { data_sn, offset, length, is_final: length == left };
        data_sn += 1;
        offset += length;
        Some(slice)
    })
}

/// The target's side of one write's data: which data may come, which R2Ts to send.
///
/// Immediate data comes first, then unsolicited Data-Outs up to the F bit, then what R2Ts ask for, all in order of offset
/// (DataPDUInOrder and DataSequenceInOrder are Yes).
#[derive(Clone, Debug)]
pub struct WriteTransfer {
    lun: LunAddress,
    /// How much data the target asks for at most: what the initiator announced, or less.
    wanted: u32,
    max_burst_length: u32,
    /// Where unsolicited data has to end at the latest; only while it still comes.
    unsolicited_end: Option<u32>,
    unsolicited_data_sn: u32,
    /// R2Ts under way in the order that they were sent, which is the order that their data comes in.
    open: VecDeque<OpenR2t>,
    open_max: usize,
    next_r2t_sn: u32,
    /// Up to where data has been asked for or has come unasked.
    requested: u32,
    received: u32,
}

#[derive(Clone, Debug)]
struct OpenR2t {
    ttt: Tag,
    end: u32,
    next_data_sn: u32,
}

/// What an R2T asks for. Offsets and lengths are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadyToTransferGrant {
    /// The unit of the task.
    pub lun: LunAddress,
    /// Target Transfer Tag.
    pub ttt: Tag,
    /// R2TSN.
    pub r2t_sn: u32,
    /// Buffer Offset.
    pub offset: u32,
    /// Desired Data Transfer Length.
    pub length: u32,
}

/// Where the data of an accepted Data-Out belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataOutPlacement {
    /// Bytes of the task's data.
    pub range: Range<usize>,
    /// Whether this ended a sequence, so that another R2T may be due.
    pub ends_sequence: bool,
}

/// Data that does not fit its task. The target ends the task with sense data `0B/0C/0C` (unexpected unsolicited data) or `0B/0C/0D` (not
/// enough unsolicited data), or `0B/47/03` and the like, or ends the session (RFC 7143 11.4.7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Data came unasked that the session does not allow: ImmediateData=No, InitialR2T=Yes, or the F bit came before.
    #[error("data came that nobody asked for")]
    UnexpectedUnsolicited,
    /// Unsolicited data goes beyond FirstBurstLength or the command's length.
    #[error("unsolicited data ends at {end} where {limit} is the limit")]
    UnsolicitedTooLong {
        /// Where it ends.
        end: u64,
        /// Where it has to end.
        limit: u32,
    },
    /// The Target Transfer Tag and the LUN name no R2T, or not the one whose turn it is.
    #[error("the target transfer tag {ttt:#010x} with its LUN is not that of the R2T whose turn it is")]
    UnknownTransfer {
        /// The tag.
        ttt: u32,
    },
    /// A DataSN out of sequence.
    #[error("DataSN {received} came where {expected} was expected")]
    DataSn {
        /// The one that was expected.
        expected: u32,
        /// The one that came.
        received: u32,
    },
    /// Data that does not follow what came before.
    #[error("data at offset {received} came where {expected} was expected")]
    Offset {
        /// The offset that was expected.
        expected: u32,
        /// The one that came.
        received: u32,
    },
    /// A sequence is longer or shorter than its R2T asked for, by the F bit or by the data.
    #[error("the sequence ends at {end} where the R2T asked for data up to {asked}")]
    SequenceLength {
        /// Where the segment ends.
        end: u64,
        /// Where the sequence should end.
        asked: u32,
    },
}

impl WriteTransfer {
    /// Begins with a command and the `immediate_bytes` that came in its PDU. Those belong at offset 0 of the task's data.
    ///
    /// # Errors
    /// [`WriteError::UnexpectedUnsolicited`] and [`WriteError::UnsolicitedTooLong`].
    pub fn new(
        parameters: &SessionParameters,
        command: &ScsiCommand,
        immediate_bytes: usize,
    ) -> Result<Self, WriteError> {
        let limit = command.expected_data_transfer_length.get().min(parameters.first_burst_length);
        // RFC 7143 §13.11 MUST: data that comes unasked where ImmediateData is No and InitialR2T is Yes is refused.
        if immediate_bytes > 0 && !parameters.immediate_data {
            return Err(WriteError::UnexpectedUnsolicited);
        }
        let Some(received) = u32::try_from(immediate_bytes).ok().filter(|&bytes| bytes <= limit) else {
            return Err(WriteError::UnsolicitedTooLong { end: immediate_bytes as u64, limit });
        };
        if !command.is_final() && parameters.initial_r2t {
            return Err(WriteError::UnexpectedUnsolicited);
        }
        Ok(Self::begun(parameters, command, received))
    }

    /// What is left of a command whose immediate data [`new`](Self::new) does not take: the end of the data that it announced, to be
    /// [discarded](Self::discard).
    #[must_use]
    pub fn refused(parameters: &SessionParameters, command: &ScsiCommand, immediate_bytes: usize) -> Self {
        Self::begun(parameters, command, u32::try_from(immediate_bytes).unwrap_or(u32::MAX))
    }

    fn begun(parameters: &SessionParameters, command: &ScsiCommand, received: u32) -> Self {
        let expected_length = command.expected_data_transfer_length.get();
        let limit = expected_length.min(parameters.first_burst_length);
        Self {
            lun: command.lun,
            wanted: expected_length,
            max_burst_length: parameters.max_burst_length,
            unsolicited_end: (!command.is_final() && received < limit).then_some(limit),
            unsolicited_data_sn: 0,
            open: VecDeque::new(),
            open_max: parameters.max_outstanding_r2t as usize,
            next_r2t_sn: 0,
            requested: received,
            received,
        }
    }

    /// Asks for no more than `bytes`, for a command that needs less than the initiator announced. Unsolicited data beyond them
    /// is still taken, since the initiator was free to send it.
    pub fn want_only(&mut self, bytes: u32) {
        self.wanted = self.wanted.min(bytes);
    }

    /// The next R2T to send, if one is due: unsolicited data is over, some data has not been asked for, and fewer than
    /// MaxOutstandingR2T are open. `ttt` is used only if the answer is not `None`.
    pub fn next_r2t(&mut self, ttt: Tag) -> Option<ReadyToTransferGrant> {
        // RFC 7143 §11.8.4 MUST NOT: an R2T asks for more than MaxBurstLength.
        // RFC 7143 §11.8.4 MUST NOT: an R2T asks for no data.
        let length = self.wanted.saturating_sub(self.requested).min(self.max_burst_length);
        if self.unsolicited_end.is_some() || length == 0 || self.open.len() >= self.open_max {
            return None;
        }
        // RFC 7143 §11.8 MUST: the R2Ts of a command ask for ranges that follow each other.
        let offset = self.requested;
        self.requested += length;
        self.open.push_back(OpenR2t { ttt, end: self.requested, next_data_sn: 0 });
        // RFC 7143 §4.2.2.4 MUST: the Data-Ins and R2Ts of a command are numbered from 0.
        // RFC 7143 §13.19 MUST: the sequences of a command's data come in the order of their offsets.
        let r2t_sn = self.next_r2t_sn;
        self.next_r2t_sn += 1;
        // RFC 7143 §4.2.5.3 MUST: an R2T has the LUN of its command.
        Some(ReadyToTransferGrant { lun: self.lun, ttt, r2t_sn, offset, length })
    }

    /// Takes a Data-Out of this task with `length` bytes and answers where they belong.
    ///
    /// # Errors
    /// See [`WriteError`]; the transfer cannot go on after one.
    pub fn accept(&mut self, header: &DataOut, length: usize) -> Result<DataOutPlacement, WriteError> {
        let end = u64::from(self.received) + length as u64;
        if header.ttt.is_reserved() {
            // RFC 7143 §11.7.7 MUST: a Data-Out without data is taken.
            let is_late_end = length == 0 && header.is_final() && self.unsolicited_data_sn > 0;
            if is_late_end && self.unsolicited_end.is_none() && header.data_sn.get() == self.unsolicited_data_sn {
                return Ok(self.place(self.received, true));
            }
            let limit = self.unsolicited_end.ok_or(WriteError::UnexpectedUnsolicited)?;
            check_place(header, self.unsolicited_data_sn, self.received)?;
            let end = u32::try_from(end).ok().filter(|&end| end <= limit);
            let end =
                end.ok_or(WriteError::UnsolicitedTooLong { end: u64::from(self.received) + length as u64, limit })?;
            self.unsolicited_data_sn += 1;
            self.requested = end;
            // Data that reaches the limit ends the sequence whether or not the F bit says so; nothing more may come.
            if header.is_final() || end == limit {
                self.unsolicited_end = None;
            }
            return Ok(self.place(end, self.unsolicited_end.is_none()));
        }
        let ttt = header.ttt;
        // RFC 7143 §4.2.5.3 MUST: a Data-Out for an R2T has the LUN of its command, or the command ends.
        let turn = self.open.front_mut().filter(|turn| turn.ttt == ttt && self.lun == header.lun);
        let turn = turn.ok_or(WriteError::UnknownTransfer { ttt: ttt.get() })?;
        check_place(header, turn.next_data_sn, self.received)?;
        let asked = turn.end;
        let within = u32::try_from(end).ok().filter(|&end| end <= asked);
        // The F bit may come later, on a Data-Out without data.
        let Some(end) = within.filter(|&end| !header.is_final() || end == asked) else {
            return Err(WriteError::SequenceLength { end, asked });
        };
        turn.next_data_sn += 1;
        if header.is_final() {
            self.open.pop_front();
        }
        Ok(self.place(end, header.is_final()))
    }

    /// Notes a Data-Out whose data is not taken: its F bit ends a sequence all the same. One with a tag that is not known stands for the one
    /// whose turn it is.
    pub fn discard(&mut self, header: &DataOut) {
        if !header.is_final() {
            return;
        }
        if header.ttt.is_reserved() {
            self.unsolicited_end = None;
        } else {
            let place = self.open.iter().position(|turn| turn.ttt == header.ttt);
            self.open.remove(place.unwrap_or(0));
        }
    }

    /// Whether data is on its way that was announced or asked for.
    #[must_use]
    pub fn is_awaiting(&self) -> bool {
        self.unsolicited_end.is_some() || !self.open.is_empty()
    }

    /// Whether all data has come.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.is_awaiting() && self.received >= self.wanted
    }

    /// Bytes that have come, from the beginning without a gap.
    #[must_use]
    pub const fn received(&self) -> u32 {
        self.received
    }

    /// R2Ts sent so far.
    #[must_use]
    pub const fn r2ts_sent(&self) -> u32 {
        self.next_r2t_sn
    }

    const fn place(&mut self, end: u32, ends_sequence: bool) -> DataOutPlacement {
        let range = self.received as usize..end as usize;
        self.received = end;
        DataOutPlacement { range, ends_sequence }
    }
}

fn check_place(header: &DataOut, data_sn: u32, offset: u32) -> Result<(), WriteError> {
    if header.data_sn.get() != data_sn {
        return Err(WriteError::DataSn { expected: data_sn, received: header.data_sn.get() });
    }
    if header.buffer_offset.get() != offset {
        return Err(WriteError::Offset { expected: offset, received: header.buffer_offset.get() });
    }
    Ok(())
}
