//! The commands that need more than an answer: those on the medium, and those whose parameters are data.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use lunshadow_lun::{BlockCount, LOGICAL_BLOCK_BYTES, Lba, LunError, LunHandle};
use lunshadow_scsi::{BlockRange, ByteCheck, CdbForm, ModeForm, Sense};

use super::capacity::LBA_STATUS_BYTES_MAX;
use super::extended_copy::ExtendedCopy;
use super::nexus::{Nexus, Nexuses};
use super::offload::Offload;
use super::port_groups::SetPortGroups;
use super::reservation_commands::ReserveOut;
use super::sanitize::Sanitize;
use super::start_stop::Move;
use super::unit::Disk;
use super::{Completion, atomic, capacity, invalid_field, mode, read_write, sense_of, start_stop, unmap, write_same};

/// MAXIMUM TRANSFER LENGTH: 4 MiB in one command, which bounds the memory that it needs.
pub const TRANSFER_BLOCKS_MAX: u32 = 4 * 1024 * 1024 / LOGICAL_BLOCK_BYTES;

/// How much is read or written at a time by commands whose own length is not bound by that.
pub(super) const PIECE_BLOCKS: u32 = 1024 * 1024 / LOGICAL_BLOCK_BYTES;

pub(super) const BLOCK_BYTES: usize = LOGICAL_BLOCK_BYTES as usize;

/// A command on a LUN that has to run.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) disk: Disk,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Read { at: Lba, blocks: u32, fua: bool },
    Write { at: Lba, blocks: u32, fua: bool },
    WriteAndVerify { at: Lba, blocks: u32, check: ByteCheck },
    Verify { at: Lba, blocks: u32, check: ByteCheck },
    CompareAndWrite { at: Lba, blocks: u32, fua: bool },
    WriteAtomic { at: Lba, blocks: u32, fua: bool },
    Or { at: Lba, blocks: u32, fua: bool },
    WriteSame { at: Lba, blocks: u32, no_data_out: bool },
    PreFetch { at: Lba, blocks: u32 },
    LbaStatus { at: Lba, allocation_len: u32 },
    Flush,
    Nothing,
    Tray { to: Move, nexus: Arc<Nexus>, nexuses: Arc<Nexuses> },
    Unmap { parameter_len: u16 },
    ModeSelect { form: ModeForm, parameter_len: u16, nexus: Arc<Nexus>, nexuses: Arc<Nexuses> },
    ReserveOut(Box<ReserveOut>),
    SetPortGroups(Box<SetPortGroups>),
    Offload(Box<Offload>),
    ExtendedCopy(Box<ExtendedCopy>),
    Sanitize(Box<Sanitize>),
}

impl Operation {
    /// All of the LUN is made durable, whatever the range, and before the answer even with IMMED: SBC-3 5.26 allows both.
    pub(super) fn synchronize_cache(disk: Disk, range: BlockRange) -> Result<Self, Sense> {
        start(&disk.lun, range)?;
        Ok(Self { disk, kind: Kind::Flush })
    }

    /// How many bytes of data-out the command takes.
    pub(super) fn data_out_len(&self) -> u32 {
        match &self.kind {
            Kind::Write { blocks, .. }
            | Kind::WriteAndVerify { blocks, .. }
            | Kind::WriteAtomic { blocks, .. }
            | Kind::Or { blocks, .. }
            | Kind::Verify { blocks, check: ByteCheck::Blocks, .. } => blocks * LOGICAL_BLOCK_BYTES,
            Kind::CompareAndWrite { blocks, .. } => 2 * blocks * LOGICAL_BLOCK_BYTES,
            Kind::Verify { check: ByteCheck::OneBlock, .. } | Kind::WriteSame { no_data_out: false, .. } => {
                LOGICAL_BLOCK_BYTES
            }
            Kind::Unmap { parameter_len } | Kind::ModeSelect { parameter_len, .. } => u32::from(*parameter_len),
            Kind::ReserveOut(reserve) => reserve.parameter_len,
            Kind::SetPortGroups(set) => set.parameter_len,
            Kind::Offload(offload) => offload.parameter_len,
            Kind::ExtendedCopy(copy) => copy.parameter_len,
            Kind::Sanitize(sanitize) => u32::from(sanitize.parameter_len),
            Kind::Read { .. }
            | Kind::Verify { .. }
            | Kind::WriteSame { .. }
            | Kind::PreFetch { .. }
            | Kind::LbaStatus { .. }
            | Kind::Flush
            | Kind::Nothing
            | Kind::Tray { .. } => 0,
        }
    }

    /// Whether the initiator has to offer exactly the data-out that the command takes. Where the CDB's count of blocks is not the
    /// length of the data-out, another length means that the two ends understand the command differently.
    pub(super) fn takes_exactly(&self) -> bool {
        matches!(
            self.kind,
            Kind::CompareAndWrite { .. }
                | Kind::WriteAtomic { .. }
                | Kind::WriteSame { no_data_out: false, .. }
                | Kind::Or { .. }
        )
    }

    /// Whether what the command begins goes on by itself, so that nobody has to wait for it once the command is not wanted.
    pub(super) const fn goes_on_alone(&self) -> bool {
        matches!(self.kind, Kind::Sanitize(_))
    }

    /// How many bytes of data-in the command produces.
    pub(super) fn data_in_len(&self) -> u32 {
        match self.kind {
            Kind::Read { blocks, .. } => blocks * LOGICAL_BLOCK_BYTES,
            Kind::LbaStatus { allocation_len, .. } => allocation_len.min(LBA_STATUS_BYTES_MAX),
            _ => 0,
        }
    }

    /// As [`run`](Self::run) of the commands that there are most of, if that takes nobody else and no waiting. The data-out again if not, or if anything is
    /// not as it should be.
    pub(super) fn run_now(&self, data_out: Bytes) -> Result<Completion, Bytes> {
        match self.kind {
            Kind::Read { at, blocks, fua: false } => {
                let read = read_write::read_now(&self.disk, at, blocks);
                read.map(Completion::data).ok_or(data_out)
            }
            Kind::Write { at, fua: false, .. } => {
                read_write::write_now(&self.disk, at, data_out).map(|()| Completion::good())
            }
            _ => Err(data_out),
        }
    }

    pub(super) async fn run(self, data_out: Bytes) -> Completion {
        let Self { disk, kind } = self;
        let done = match kind {
            Kind::Read { at, blocks, fua } => {
                return read_write::read(&disk, at, blocks, fua).await.map_or_else(Completion::check, Completion::data);
            }
            Kind::LbaStatus { at, allocation_len } => {
                let data = capacity::get_lba_status(&disk, at, allocation_len).await;
                return data.map_or_else(Completion::check, Completion::data);
            }
            Kind::ReserveOut(reserve) => return reserve.run(&disk, &data_out).await,
            Kind::Offload(offload) => return offload.run(&disk, &data_out).await,
            Kind::ExtendedCopy(copy) => return copy.run(&data_out).await,
            Kind::Sanitize(sanitize) => return sanitize.run(disk, &data_out).await,
            Kind::Write { at, fua, .. } => read_write::write(&disk, at, data_out, fua).await,
            Kind::WriteAtomic { at, blocks, fua } => atomic::write_atomic(&disk, at, blocks, fua, data_out).await,
            Kind::WriteAndVerify { at, blocks, check } => {
                read_write::write_and_verify(&disk, at, blocks, check, data_out).await
            }
            Kind::Verify { at, blocks, check } => read_write::verify(&disk, at, blocks, check, &data_out).await,
            Kind::CompareAndWrite { at, blocks, fua } => {
                atomic::compare_and_write(&disk, at, blocks, fua, data_out).await
            }
            Kind::Or { at, blocks, fua } => atomic::or_write(&disk, at, blocks, fua, &data_out).await,
            Kind::WriteSame { at, blocks, no_data_out } => {
                write_same::write_same(&disk, at, blocks, (!no_data_out).then_some(&data_out)).await
            }
            Kind::PreFetch { at, blocks } => read_write::pre_fetch(&disk, at, blocks).await,
            Kind::Flush => flush(&disk.lun).await,
            Kind::Nothing => Ok(()),
            Kind::Tray { to, nexus, nexuses } => start_stop::move_medium(&disk, to, &nexus, &nexuses).await,
            Kind::SetPortGroups(set) => set.run(&disk, &data_out).await,
            Kind::Unmap { .. } => unmap::unmap(&disk, data_out).await,
            Kind::ModeSelect { form, nexus, nexuses, .. } => {
                mode::mode_select(&disk, form, &data_out, &nexus, &nexuses)
            }
        };
        done.map_or_else(Completion::check, |()| Completion::good())
    }
}

pub(super) async fn flush(lun: &LunHandle) -> Result<(), Sense> {
    lun.flush().await.map_err(|error| report(lun, &error))
}

/// Ends a write: with a flush if it has to be durable.
pub(super) async fn written(disk: &Disk, fua: bool) -> Result<(), Sense> {
    if disk.writes_through(fua) { flush(&disk.lun).await } else { Ok(()) }
}

/// The sense of an error, which the log hears of if an administrator has to.
pub(super) fn report(lun: &LunHandle, error: &LunError) -> Sense {
    if let LunError::Damaged { .. } | LunError::Poisoned | LunError::Io(_) | LunError::OutOfSpace = error {
        tracing::warn!(lun = %lun.id(), error = error as &dyn std::error::Error, "a request to a LUN failed");
    }
    sense_of(error)
}

pub(super) fn blocks(count: u32) -> BlockCount {
    BlockCount(u64::from(count))
}

/// The blocks that a command is about, for what holds ranges of them. The range was checked.
pub(super) fn range_of(at: Lba, count: u32) -> Range<u64> {
    at.0..at.0 + u64::from(count)
}

/// Blocks beyond the end are refused before data moves. A range of no blocks may begin where the LUN ends.
pub(super) fn check_range(lun: &LunHandle, at: Lba, count: BlockCount) -> Result<(), Sense> {
    let size = lun.block_count();
    match at.checked_add(count) {
        Some(end) if end.0 <= size.0 => Ok(()),
        _ => Err(sense_of(&LunError::OutOfRange { at, count, size })),
    }
}

pub(super) fn start(lun: &LunHandle, range: BlockRange) -> Result<Lba, Sense> {
    check_range(lun, Lba(range.lba()), blocks(range.block_count())).map(|()| Lba(range.lba()))
}

/// A range whose data is transferred with the command.
pub(super) fn start_transfer(lun: &LunHandle, range: BlockRange) -> Result<(Lba, u32), Sense> {
    check_count(range, TRANSFER_BLOCKS_MAX)?;
    Ok((start(lun, range)?, range.block_count()))
}

/// Where the number of blocks stands depends on the form.
pub(super) fn check_count(range: BlockRange, blocks_max: u32) -> Result<(), Sense> {
    if range.block_count() <= blocks_max {
        return Ok(());
    }
    Err(invalid_count(range))
}

pub(super) fn invalid_count(range: BlockRange) -> Sense {
    invalid_field(match range.form() {
        CdbForm::Six => 4,
        CdbForm::Ten => 7,
        CdbForm::Twelve => 6,
        CdbForm::Sixteen => 10,
    })
}
