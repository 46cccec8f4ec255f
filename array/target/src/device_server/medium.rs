//! The commands that read and write the medium: READ, WRITE, VERIFY, SYNCHRONIZE CACHE, START STOP UNIT, UNMAP.

use bytes::Bytes;
use lunshadow_lun::{BlockCount, LOGICAL_BLOCK_BYTES, Lba, LunError, LunHandle};
use lunshadow_scsi::{AdditionalSense, BlockRange, ByteCheck, CdbForm, Power, Sense, SenseKey};

use super::{Completion, invalid_field, sense_of, unmap};

/// MAXIMUM TRANSFER LENGTH: 4 MiB in one command, which bounds the memory that it needs.
pub const TRANSFER_BLOCKS_MAX: u32 = 4 * 1024 * 1024 / LOGICAL_BLOCK_BYTES;

/// How much VERIFY reads at a time, since its own length has no bound.
const VERIFY_BLOCKS: u64 = 1024 * 1024 / LOGICAL_BLOCK_BYTES as u64;

/// A command on a LUN's data.
#[derive(Debug)]
pub(super) struct Operation {
    lun: LunHandle,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Read { at: Lba, blocks: u32, fua: bool },
    Write { at: Lba, blocks: u32, fua: bool },
    Verify { at: Lba, blocks: u32, check: ByteCheck },
    Flush,
    Nothing,
    Unmap { parameter_len: u16 },
}

impl Operation {
    pub(super) fn read(lun: LunHandle, range: BlockRange, fua: bool) -> Result<Self, Sense> {
        check_transfer(range)?;
        let at = start(&lun, range)?;
        Ok(Self { lun, kind: Kind::Read { at, blocks: range.block_count(), fua } })
    }

    pub(super) fn write(lun: LunHandle, range: BlockRange, fua: bool) -> Result<Self, Sense> {
        check_transfer(range)?;
        let at = start(&lun, range)?;
        Ok(Self { lun, kind: Kind::Write { at, blocks: range.block_count(), fua } })
    }

    pub(super) fn verify(lun: LunHandle, range: BlockRange, check: ByteCheck) -> Result<Self, Sense> {
        if check == ByteCheck::Blocks {
            check_transfer(range)?;
        }
        let at = start(&lun, range)?;
        Ok(Self { lun, kind: Kind::Verify { at, blocks: range.block_count(), check } })
    }

    /// All of the LUN is made durable, whatever the range, and before the answer even with IMMED: SBC-3 5.26 allows both.
    pub(super) fn synchronize_cache(lun: LunHandle, range: BlockRange) -> Result<Self, Sense> {
        start(&lun, range)?;
        Ok(Self { lun, kind: Kind::Flush })
    }

    /// The LUN may be shared, so stopping it for one host must not stop it for the others. All that a stop promises, that
    /// nothing is lost afterwards, holds.
    pub(super) fn start_stop(lun: LunHandle, power: Power) -> Result<Self, Sense> {
        match power {
            Power::Start => Ok(Self { lun, kind: Kind::Nothing }),
            Power::Stop => Ok(Self { lun, kind: Kind::Flush }),
            Power::Eject | Power::Load | Power::Condition(_) => Err(invalid_field(4)),
        }
    }

    pub(super) fn unmap(lun: LunHandle, anchor: bool, parameter_len: u16) -> Result<Self, Sense> {
        if anchor {
            return Err(invalid_field(1));
        }
        Ok(Self { lun, kind: Kind::Unmap { parameter_len } })
    }

    pub(super) const fn data_out_len(&self) -> u32 {
        match self.kind {
            Kind::Write { blocks, .. } | Kind::Verify { blocks, check: ByteCheck::Blocks, .. } => {
                blocks * LOGICAL_BLOCK_BYTES
            }
            Kind::Verify { check: ByteCheck::OneBlock, .. } => LOGICAL_BLOCK_BYTES,
            Kind::Unmap { parameter_len } => parameter_len as u32,
            Kind::Read { .. } | Kind::Verify { .. } | Kind::Flush | Kind::Nothing => 0,
        }
    }

    pub(super) const fn data_in_len(&self) -> u32 {
        if let Kind::Read { blocks, .. } = self.kind { blocks * LOGICAL_BLOCK_BYTES } else { 0 }
    }

    pub(super) async fn run(self, data_out: Bytes) -> Completion {
        let done = match self.kind {
            Kind::Read { at, blocks, fua } => {
                return self.read_blocks(at, blocks, fua).await.map_or_else(Completion::check, Completion::data);
            }
            Kind::Write { at, fua, .. } => self.write_blocks(at, data_out, fua).await,
            Kind::Verify { at, blocks, check } => self.verify_blocks(at, blocks, check, &data_out).await,
            Kind::Flush => self.flush().await,
            Kind::Nothing => Ok(()),
            Kind::Unmap { .. } => unmap::unmap(&self.lun, data_out).await,
        };
        done.map_or_else(Completion::check, |()| Completion::good())
    }

    async fn read_blocks(&self, at: Lba, count: u32, fua: bool) -> Result<Bytes, Sense> {
        // FUA: what is read is what is on the medium, so what is newer has to get there first (SBC-3 4.15).
        if fua {
            self.flush().await?;
        }
        if count == 0 {
            return Ok(Bytes::new());
        }
        self.lun.read(at, blocks(count)).await.map_err(|error| self.report(&error))
    }

    async fn write_blocks(&self, at: Lba, mut data: Bytes, fua: bool) -> Result<(), Sense> {
        // The initiator may have had less to give than the CDB says; a part of a block cannot be written.
        data.truncate(data.len() - data.len() % BLOCK_BYTES);
        if !data.is_empty() {
            self.lun.write(at, data).await.map_err(|error| self.report(&error))?;
        }
        if fua { self.flush().await } else { Ok(()) }
    }

    async fn verify_blocks(&self, at: Lba, count: u32, check: ByteCheck, data: &[u8]) -> Result<(), Sense> {
        let (mut at, mut left) = (at, u64::from(count));
        let mut expected = data.chunks_exact(BLOCK_BYTES);
        let one_block = data.get(..BLOCK_BYTES);
        while left > 0 {
            let count = left.min(VERIFY_BLOCKS);
            let found = self.lun.read(at, BlockCount(count)).await.map_err(|error| self.report(&error))?;
            let matches = found.chunks_exact(BLOCK_BYTES).all(|found| match check {
                ByteCheck::Medium => true,
                // Blocks that the initiator had no data for are not compared.
                ByteCheck::Blocks => expected.next().is_none_or(|expected| expected == found),
                ByteCheck::OneBlock => one_block.is_none_or(|expected| expected == found),
            });
            if !matches {
                return Err(Sense::new(SenseKey::MISCOMPARE, AdditionalSense::MISCOMPARE_DURING_VERIFY));
            }
            at = Lba(at.0 + count);
            left -= count;
        }
        Ok(())
    }

    async fn flush(&self) -> Result<(), Sense> {
        self.lun.flush().await.map_err(|error| self.report(&error))
    }

    fn report(&self, error: &LunError) -> Sense {
        report(&self.lun, error)
    }
}

const BLOCK_BYTES: usize = LOGICAL_BLOCK_BYTES as usize;

fn blocks(count: u32) -> BlockCount {
    BlockCount(u64::from(count))
}

/// The sense of an error, which the log hears of if an administrator has to.
pub(super) fn report(lun: &LunHandle, error: &LunError) -> Sense {
    if let LunError::Damaged { .. } | LunError::Poisoned | LunError::Io(_) | LunError::OutOfSpace = error {
        tracing::warn!(lun = %lun.id(), error = error as &dyn std::error::Error, "a request to a LUN failed");
    }
    sense_of(error)
}

/// Blocks beyond the end are refused before data moves. A range of no blocks may begin where the LUN ends.
pub(super) fn check_range(lun: &LunHandle, at: Lba, count: BlockCount) -> Result<(), Sense> {
    let size = lun.block_count();
    match at.checked_add(count) {
        Some(end) if end.0 <= size.0 => Ok(()),
        _ => Err(sense_of(&LunError::OutOfRange { at, count, size })),
    }
}

fn start(lun: &LunHandle, range: BlockRange) -> Result<Lba, Sense> {
    check_range(lun, Lba(range.lba()), blocks(range.block_count())).map(|()| Lba(range.lba()))
}

/// Where TRANSFER LENGTH begins depends on the form.
fn check_transfer(range: BlockRange) -> Result<(), Sense> {
    if range.block_count() <= TRANSFER_BLOCKS_MAX {
        return Ok(());
    }
    Err(invalid_field(match range.form() {
        CdbForm::Six => 4,
        CdbForm::Ten => 7,
        CdbForm::Twelve => 6,
        CdbForm::Sixteen => 10,
    }))
}
