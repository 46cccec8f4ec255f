//! The commands that name a range of blocks: READ, WRITE, VERIFY and what is made of them.

use super::table::{form, invalid_bit, layout};
use super::{BlockRange, ByteCheck, CdbError, CdbForm, Command, CommandForm};
use crate::cdb::{BlockCdb6, BlockCdb10, BlockCdb12, BlockCdb16, CompareAndWriteCdb, WriteAtomicCdb, opcode};

/// The usage data of the forms; `$flags` are the bits of byte 1 that count. GROUP NUMBER is taken
/// as it is: it only says what to count together, and nothing is counted.
macro_rules! ten {
    ($name:literal, $opcode:ident, $flags:literal, $parse:expr) => {
        form!($name, [opcode::$opcode, $flags, 0xff, 0xff, 0xff, 0xff, 0x1f, 0xff, 0xff, 0], $parse)
    };
}
macro_rules! twelve {
    ($name:literal, $opcode:ident, $flags:literal, $parse:expr) => {
        form!($name, [opcode::$opcode, $flags, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f, 0], $parse)
    };
}
macro_rules! sixteen {
    ($name:literal, $opcode:ident, $flags:literal, $parse:expr) => {
        form!(
            $name,
            [opcode::$opcode, $flags, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f, 0],
            $parse
        )
    };
}

pub(super) const FORMS: &[CommandForm] = &[
    form!("READ(6)", [opcode::READ_6, 0x1f, 0xff, 0xff, 0xff, 0], read),
    ten!("READ(10)", READ_10, 0x18, read),
    twelve!("READ(12)", READ_12, 0x18, read),
    sixteen!("READ(16)", READ_16, 0x18, read),
    form!("WRITE(6)", [opcode::WRITE_6, 0x1f, 0xff, 0xff, 0xff, 0], write),
    ten!("WRITE(10)", WRITE_10, 0x18, write),
    twelve!("WRITE(12)", WRITE_12, 0x18, write),
    sixteen!("WRITE(16)", WRITE_16, 0x18, write),
    ten!("VERIFY(10)", VERIFY_10, 0x16, verify),
    twelve!("VERIFY(12)", VERIFY_12, 0x16, verify),
    sixteen!("VERIFY(16)", VERIFY_16, 0x16, verify),
    ten!("WRITE AND VERIFY(10)", WRITE_AND_VERIFY_10, 0x16, write_and_verify),
    twelve!("WRITE AND VERIFY(12)", WRITE_AND_VERIFY_12, 0x16, write_and_verify),
    sixteen!("WRITE AND VERIFY(16)", WRITE_AND_VERIFY_16, 0x16, write_and_verify),
    // SYNC_NV, which is obsolete, asks for less than what is done anyway.
    ten!("SYNCHRONIZE CACHE(10)", SYNCHRONIZE_CACHE_10, 0x06, synchronize_cache),
    sixteen!("SYNCHRONIZE CACHE(16)", SYNCHRONIZE_CACHE_16, 0x06, synchronize_cache),
    ten!("PRE-FETCH(10)", PRE_FETCH_10, 0x02, pre_fetch),
    sixteen!("PRE-FETCH(16)", PRE_FETCH_16, 0x02, pre_fetch),
    ten!("WRITE SAME(10)", WRITE_SAME_10, 0x18, write_same),
    sixteen!("WRITE SAME(16)", WRITE_SAME_16, 0x19, write_same),
    sixteen!("ORWRITE(16)", OR_WRITE_16, 0x18, or_write),
    form!(
        "COMPARE AND WRITE",
        [opcode::COMPARE_AND_WRITE, 0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0xff, 0x1f, 0],
        compare_and_write
    ),
    sixteen!("WRITE ATOMIC(16)", WRITE_ATOMIC_16, 0x18, write_atomic),
];

fn read(cdb: &[u8]) -> Result<Command, CdbError> {
    let (range, flags) = block_range(cdb)?;
    Ok(Command::Read { range, fua: flags.without_protection()?.fua() })
}

fn write(cdb: &[u8]) -> Result<Command, CdbError> {
    let (range, flags) = block_range(cdb)?;
    Ok(Command::Write { range, fua: flags.without_protection()?.fua() })
}

fn verify(cdb: &[u8]) -> Result<Command, CdbError> {
    let (range, flags) = block_range(cdb)?;
    let check = flags.without_protection()?.byte_check()?;
    Ok(Command::Verify { range, check })
}

fn write_and_verify(cdb: &[u8]) -> Result<Command, CdbError> {
    let (range, flags) = block_range(cdb)?;
    match flags.without_protection()?.byte_check()? {
        // There is as much data-out as blocks, whatever is compared.
        ByteCheck::OneBlock => Err(invalid_bit(1, 2)),
        check => Ok(Command::WriteAndVerify { range, check }),
    }
}

fn synchronize_cache(cdb: &[u8]) -> Result<Command, CdbError> {
    let (range, flags) = block_range(cdb)?;
    Ok(Command::SynchronizeCache { range, immediate: flags.immediate() })
}

fn pre_fetch(cdb: &[u8]) -> Result<Command, CdbError> {
    let (range, flags) = block_range(cdb)?;
    Ok(Command::PreFetch { range, immediate: flags.immediate() })
}

fn write_same(cdb: &[u8]) -> Result<Command, CdbError> {
    let (range, flags) = block_range(cdb)?;
    let Flags(flags) = flags.without_protection()?;
    Ok(Command::WriteSame {
        range,
        anchor: flags & 0x10 != 0,
        unmap: flags & 0x08 != 0,
        no_data_out: range.form() == CdbForm::Sixteen && flags & 0x01 != 0,
    })
}

fn or_write(cdb: &[u8]) -> Result<Command, CdbError> {
    let (range, flags) = block_range(cdb)?;
    Ok(Command::OrWrite { range, fua: flags.without_protection()?.fua() })
}

fn compare_and_write(cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &CompareAndWriteCdb = layout(cdb)?;
    let fua = Flags(cdb.flags).without_protection()?.fua();
    Ok(Command::CompareAndWrite { lba: cdb.lba.get(), block_count: cdb.count, fua })
}

fn write_atomic(cdb: &[u8]) -> Result<Command, CdbError> {
    let cdb: &WriteAtomicCdb = layout(cdb)?;
    let fua = Flags(cdb.flags).without_protection()?.fua();
    let (boundary, block_count) = (cdb.boundary.get(), cdb.count.get());
    Ok(Command::WriteAtomic { lba: cdb.lba.get(), boundary, block_count, fua })
}

/// Byte 1 of a command on blocks.
#[derive(Clone, Copy)]
struct Flags(u8);

impl Flags {
    /// RDPROTECT, WRPROTECT and VRPROTECT, the upper three bits, must be 0 where no LUN has protection information.
    fn without_protection(self) -> Result<Self, CdbError> {
        if self.0 >> 5 == 0 { Ok(self) } else { Err(invalid_bit(1, 7)) }
    }

    fn fua(self) -> bool {
        self.0 & 0x08 != 0
    }

    fn immediate(self) -> bool {
        self.0 & 0x02 != 0
    }

    fn byte_check(self) -> Result<ByteCheck, CdbError> {
        match self.0 >> 1 & 3 {
            0 => Ok(ByteCheck::Medium),
            1 => Ok(ByteCheck::Blocks),
            3 => Ok(ByteCheck::OneBlock),
            _ => Err(invalid_bit(1, 2)),
        }
    }
}

fn block_range(cdb: &[u8]) -> Result<(BlockRange, Flags), CdbError> {
    let form = CdbForm::of_len(cdb.len());
    let range = |lba, block_count| BlockRange { form, lba, block_count };
    Ok(match form {
        CdbForm::Six => {
            let cdb: &BlockCdb6 = layout(cdb)?;
            let [high, middle, low] = cdb.lba;
            let lba = u64::from(u32::from_be_bytes([0, high & 0x1f, middle, low]));
            let block_count = if cdb.count == 0 { 256 } else { u32::from(cdb.count) };
            (range(lba, block_count), Flags(0))
        }
        CdbForm::Ten => {
            let cdb: &BlockCdb10 = layout(cdb)?;
            (range(u64::from(cdb.lba.get()), u32::from(cdb.count.get())), Flags(cdb.flags))
        }
        CdbForm::Twelve => {
            let cdb: &BlockCdb12 = layout(cdb)?;
            (range(u64::from(cdb.lba.get()), cdb.count.get()), Flags(cdb.flags))
        }
        CdbForm::Sixteen => {
            let cdb: &BlockCdb16 = layout(cdb)?;
            (range(cdb.lba.get(), cdb.count.get()), Flags(cdb.flags))
        }
    })
}
