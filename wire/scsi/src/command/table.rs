//! The table of all commands, one row for each layout of a CDB: it reads CDBs, and is what REPORT SUPPORTED OPERATION CODES reports.

use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::{
    CdbError, CdbForm, Command, mode, primary, provisioning, reports, reservation, sanitize, third_party_copy, transfer,
};
use crate::FieldPointer;

/// One row: how the CDB of a command is laid out.
#[derive(Debug)]
pub struct CommandForm {
    /// The standard's name of the command.
    pub name: &'static str,
    /// SERVICE ACTION, if the operation code stands for several commands.
    pub service_action: Option<u8>,
    /// CDB usage data (SPC-4 6.35.3): the operation code, then a bit for each bit of the CDB that is looked at. Where there is a
    /// service action, that stands in its place.
    pub usage: &'static [u8],
    pub(super) parse: Parser,
}

pub(super) type Parser = fn(&[u8]) -> Result<Command, CdbError>;

/// The families. Rows of one operation code stand together.
static FAMILIES: [&[CommandForm]; 8] = [
    transfer::FORMS,
    primary::FORMS,
    provisioning::FORMS,
    mode::FORMS,
    reports::FORMS,
    reservation::FORMS,
    sanitize::FORMS,
    third_party_copy::FORMS,
];

/// Where the rows of an operation code begin: its family and its place there.
static FIRST_ROWS: [Option<(u8, u8)>; 256] = first_rows();

#[expect(
    clippy::cast_possible_truncation,
    reason = "the table has fewer rows than a byte counts, and `const` has no TryFrom"
)]
const fn first_rows() -> [Option<(u8, u8)>; 256] {
    let mut rows = [None; 256];
    let mut family = FAMILIES.len();
    while family > 0 {
        family -= 1;
        let mut row = FAMILIES[family].len();
        while row > 0 {
            row -= 1;
            rows[FAMILIES[family][row].opcode() as usize] = Some((family as u8, row as u8));
        }
    }
    rows
}

impl CommandForm {
    /// All rows.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        FAMILIES.iter().copied().flatten()
    }

    /// The rows of an operation code: several if it has service actions, none if it is unknown.
    pub fn of_opcode(opcode: u8) -> impl Iterator<Item = &'static Self> {
        let rows = FIRST_ROWS[usize::from(opcode)]
            .map_or(&[][..], |(family, row)| &FAMILIES[usize::from(family)][usize::from(row)..]);
        rows.iter().take_while(move |row| row.opcode() == opcode)
    }

    /// The row of a CDB.
    ///
    /// # Errors
    /// What the device server has to answer.
    pub fn of_cdb(cdb: &[u8]) -> Result<&'static Self, CdbError> {
        let opcode = *cdb.first().ok_or(CdbError::InvalidOperationCode(0))?;
        let action = cdb.get(1).map(|byte| byte & SERVICE_ACTION);
        let mut rows = Self::of_opcode(opcode).peekable();
        rows.peek().ok_or(CdbError::InvalidOperationCode(opcode))?;
        let fits = |row: &&Self| row.service_action.is_none() || row.service_action == action;
        rows.find(fits).ok_or(invalid_bit(1, 4))
    }

    /// OPERATION CODE.
    #[must_use]
    pub const fn opcode(&self) -> u8 {
        self.usage[0]
    }

    /// Reads a CDB of this form. Bytes that follow it are padding and not looked at.
    ///
    /// # Errors
    /// What the device server has to answer: fields that have a value that is not supported, and bits that are set without having
    /// a meaning.
    pub fn parse(&self, cdb: &[u8]) -> Result<Command, CdbError> {
        let len = self.usage.len();
        let cdb = cdb.get(..len).ok_or(invalid_byte(cdb.len()))?;
        // NACA in the CONTROL byte, which is the last one (SAM-5 5.2): there is no ACA here.
        if cdb[len - 1] & 0x04 != 0 {
            return Err(invalid_bit(len - 1, 2));
        }
        let command = (self.parse)(cdb)?;
        self.check_reserved(cdb)?;
        Ok(command)
    }

    /// Bits that no field of the form has must be zero (SPC-4 4.2.1 leaves that to the device server: it is how an initiator
    /// finds out that something newer than this is not there).
    fn check_reserved(&self, cdb: &[u8]) -> Result<(), CdbError> {
        for (at, byte) in cdb.iter().enumerate().skip(1) {
            let used = self.used_bits(at);
            let set = byte & !used;
            if set != 0 {
                return Err(if used == 0 { invalid_byte(at) } else { invalid_bit(at, field_above(used, set)) });
            }
        }
        Ok(())
    }

    fn used_bits(&self, at: usize) -> u8 {
        match at {
            1 if self.service_action.is_some() => self.usage[1] | SERVICE_ACTION,
            _ if at + 1 == self.usage.len() => CONTROL_VENDOR_BITS,
            _ => self.usage[at],
        }
    }
}

impl Command {
    /// Reads a command from its CDB. Bytes that follow it are padding and not looked at.
    ///
    /// # Errors
    /// What the device server has to answer.
    pub fn parse(cdb: &[u8]) -> Result<Self, CdbError> {
        CommandForm::of_cdb(cdb)?.parse(cdb)
    }
}

/// SERVICE ACTION in byte 1.
const SERVICE_ACTION: u8 = 0x1f;
/// The vendor specific bits of CONTROL: ours have no meaning, whatever an initiator thinks.
const CONTROL_VENDOR_BITS: u8 = 0xc0;

/// The most significant bit of the reserved field that the highest bit of `set` is in.
fn field_above(used: u8, set: u8) -> u8 {
    let highest = 7 - u8::try_from(set.leading_zeros()).unwrap_or(7).min(7);
    (highest..8).take_while(|bit| used >> bit & 1 == 0).last().unwrap_or(highest)
}

impl CdbForm {
    pub(super) const fn of_len(len: usize) -> Self {
        match len {
            6 => Self::Six,
            10 => Self::Ten,
            12 => Self::Twelve,
            _ => Self::Sixteen,
        }
    }
}

pub(super) fn invalid_byte(byte: usize) -> CdbError {
    CdbError::InvalidField(FieldPointer::byte(byte))
}

pub(super) fn invalid_bit(byte: usize, bit: u8) -> CdbError {
    CdbError::InvalidField(FieldPointer::bit(byte, bit))
}

/// The CDB as a layout; the row has checked the length.
pub(super) fn layout<T: FromBytes + KnownLayout + Immutable + Unaligned>(cdb: &[u8]) -> Result<&T, CdbError> {
    T::ref_from_bytes(cdb).map_err(|_| invalid_byte(cdb.len()))
}

/// A row of the table.
macro_rules! form {
    ($name:literal, [$($usage:expr),* $(,)?], $parse:expr) => {
        CommandForm { name: $name, service_action: None, usage: &[$($usage),*], parse: $parse }
    };
    ($name:literal, action [$($usage:expr),* $(,)?], $parse:expr) => {{
        const USAGE: &[u8] = &[$($usage),*];
        CommandForm { name: $name, service_action: Some(USAGE[1] & 0x1f), usage: USAGE, parse: $parse }
    }};
}
pub(super) use form;
