//! Data-In: cut into PDUs at the target, checked at the initiator.

use std::ops::Range;

use crate::negotiation::SessionParameters;
use crate::pdu::DataIn;

/// One Data-In PDU of a read. Offsets and lengths are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataInSlice {
    /// DataSN.
    pub data_sn: u32,
    /// Where the slice begins in the task's data.
    pub offset: u32,
    /// Its length.
    pub length: u32,
    /// F bit: the slice ends a sequence, which is never longer than MaxBurstLength.
    pub ends_sequence: bool,
    /// The slice ends the task's data, so that a status may ride on it.
    pub is_last: bool,
}

/// Cuts `length` bytes of read data to what the initiator takes.
// RFC 7143 §13.12 MUST: a data segment is no longer than the other end's MaxRecvDataSegmentLength.
// RFC 7143 §4.2.2.4 MUST: the Data-Ins and R2Ts of a command are numbered from 0.
// RFC 7143 §13.19 MUST: the sequences of a command's data come in the order of their offsets.
pub fn data_in_slices(parameters: &SessionParameters, length: u32) -> impl Iterator<Item = DataInSlice> + use<> {
    let slice_max = parameters.initiator_max_recv_data_segment_length;
    let burst_max = parameters.max_burst_length;
    let mut data_sn = 0;
    let mut offset = 0;
    std::iter::from_fn(move || {
        let left = length.checked_sub(offset).filter(|&left| left > 0)?;
        // RFC 7143 §11.7.1 MUST NOT: a sequence of Data-In is longer than MaxBurstLength.
        let burst_left = burst_max - offset % burst_max;
        let slice_length = left.min(slice_max).min(burst_left);
        let is_last = slice_length == left;
        let ends_sequence = is_last || slice_length == burst_left;
        let slice = DataInSlice { data_sn, offset, length: slice_length, ends_sequence, is_last };
        data_sn += 1;
        offset += slice_length;
        Some(slice)
    })
}

/// The initiator's check of one read's Data-In PDUs.
#[derive(Clone, Debug)]
pub struct ReadTransfer {
    expected_length: u32,
    next_data_sn: u32,
    next_offset: u32,
}

/// A Data-In that does not fit its task. The session cannot be trusted any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// A DataSN out of sequence: a PDU is missing.
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
    /// More data than the command asked for.
    #[error("data ends at {end} in a read of {expected_length} bytes")]
    TooLong {
        /// Where the segment ends.
        end: u64,
        /// What was asked for.
        expected_length: u32,
    },
}

impl ReadTransfer {
    /// A read that expects `expected_length` bytes at most.
    #[must_use]
    pub const fn new(expected_length: u32) -> Self {
        Self { expected_length, next_data_sn: 0, next_offset: 0 }
    }

    /// Takes a Data-In with `length` bytes and answers where in the task's data they belong.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn accept(&mut self, header: &DataIn, length: usize) -> Result<Range<usize>, ReadError> {
        let data_sn = header.data_sn.get();
        if data_sn != self.next_data_sn {
            return Err(ReadError::DataSn { expected: self.next_data_sn, received: data_sn });
        }
        let offset = header.buffer_offset.get();
        if offset != self.next_offset {
            return Err(ReadError::Offset { expected: self.next_offset, received: offset });
        }
        let end = u64::from(offset) + length as u64;
        let Some(next_offset) = u32::try_from(end).ok().filter(|&next| next <= self.expected_length) else {
            return Err(ReadError::TooLong { end, expected_length: self.expected_length });
        };
        self.next_data_sn = data_sn.wrapping_add(1);
        self.next_offset = next_offset;
        Ok(offset as usize..next_offset as usize)
    }

    /// Bytes that have come, from the beginning without a gap.
    #[must_use]
    pub const fn received(&self) -> u32 {
        self.next_offset
    }
}
