//! Sense data: why a command ended with CHECK CONDITION, and what a unit has to report (SPC-4 4.5).

use std::fmt;

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::response::{ResponseError, prefix};

mod codes;
pub use codes::AdditionalSense;

/// Sense data, independent of its format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sense {
    /// SENSE KEY: the class of the condition.
    pub key: SenseKey,
    /// ADDITIONAL SENSE CODE and its QUALIFIER.
    pub code: AdditionalSense,
    /// INFORMATION, for block commands the first block that the condition is about.
    pub information: Option<u64>,
    /// Where the invalid field is, for ILLEGAL REQUEST.
    pub pointer: Option<SensePointer>,
    /// PROGRESS INDICATION, for NOT READY and NO SENSE: how much of 65536 parts is done of what the unit is busy with.
    pub progress: Option<u16>,
    /// Whether it is about an earlier command (response codes 71h and 73h).
    pub deferred: bool,
}

impl Sense {
    /// Sense data of the current command without details.
    #[must_use]
    pub const fn new(key: SenseKey, code: AdditionalSense) -> Self {
        Self { key, code, information: None, pointer: None, progress: None, deferred: false }
    }

    /// What REQUEST SENSE answers when there is nothing to report.
    pub const NONE: Self = Self::new(SenseKey::NO_SENSE, AdditionalSense::NONE);

    /// The same with INFORMATION.
    #[must_use]
    pub const fn with_information(self, information: u64) -> Self {
        Self { information: Some(information), ..self }
    }

    /// The same with the place of the invalid field.
    #[must_use]
    pub const fn with_pointer(self, pointer: SensePointer) -> Self {
        Self { pointer: Some(pointer), ..self }
    }

    /// The same with PROGRESS INDICATION.
    #[must_use]
    pub const fn with_progress(self, progress: u16) -> Self {
        Self { progress: Some(progress), ..self }
    }

    /// In the given format. INFORMATION that does not fit into the 32 bits of the fixed format is left out there.
    #[must_use]
    pub fn to_bytes(&self, format: SenseFormat) -> Vec<u8> {
        match format {
            SenseFormat::Fixed => self.to_fixed(),
            SenseFormat::Descriptor => self.to_descriptors(),
        }
    }

    /// Reads sense data of either format.
    ///
    /// # Errors
    /// Too few bytes for a sense key, or a response code that is none of sense data.
    pub fn parse(bytes: &[u8]) -> Result<Self, ResponseError> {
        let truncated = |needed_len| ResponseError::Truncated { what: "sense data", needed_len, len: bytes.len() };
        let response_code = *bytes.first().ok_or(truncated(1))? & 0x7f;
        let mut sense = match response_code {
            0x70 | 0x71 => Self::parse_fixed(bytes)?,
            0x72 | 0x73 => Self::parse_descriptors(bytes)?,
            other => return Err(ResponseError::NotSense(other)),
        };
        sense.deferred = response_code & 1 != 0;
        Ok(sense)
    }

    fn to_fixed(self) -> Vec<u8> {
        let information = self.information.and_then(|information| u32::try_from(information).ok());
        let fixed = FixedSense {
            response_code: 0x70 | u8::from(self.deferred) | u8::from(information.is_some()) << 7,
            key: self.key.0,
            information: information.unwrap_or(0).into(),
            additional_len: 10,
            code: self.code,
            specific: self.specific().unwrap_or_default(),
            ..FixedSense::default()
        };
        fixed.as_bytes().to_vec()
    }

    fn to_descriptors(self) -> Vec<u8> {
        let mut bytes = vec![0x72 | u8::from(self.deferred), self.key.0, self.code.asc, self.code.ascq, 0, 0, 0, 0];
        if let Some(information) = self.information {
            bytes.extend([descriptor::INFORMATION, 10, 0x80, 0]);
            bytes.extend(information.to_be_bytes());
        }
        if let Some(specific) = self.specific() {
            bytes.extend([descriptor::KEY_SPECIFIC, 6, 0, 0]);
            bytes.extend(specific.as_bytes());
            bytes.push(0);
        }
        bytes[7] = u8::try_from(bytes.len() - 8).expect("two short descriptors");
        bytes
    }

    /// What is specific for the key: a pointer, or how far something is.
    fn specific(self) -> Option<KeySpecific> {
        self.pointer.map(KeySpecific::of_pointer).or_else(|| self.progress.map(KeySpecific::of_progress))
    }

    fn parse_fixed(bytes: &[u8]) -> Result<Self, ResponseError> {
        // Devices may cut sense data after the additional sense code or even after the key: what is missing is zero.
        if bytes.len() < 3 {
            return Err(ResponseError::Truncated { what: "fixed sense data", needed_len: 3, len: bytes.len() });
        }
        let mut padded = [0; size_of::<FixedSense>()];
        let len = bytes.len().min(padded.len());
        padded[..len].copy_from_slice(&bytes[..len]);
        let fixed = FixedSense::read_from_bytes(&padded).expect("the length is that of the layout");
        let key = SenseKey(fixed.key & 0x0f);
        Ok(Self {
            key,
            code: fixed.code,
            information: (fixed.response_code & 0x80 != 0).then(|| u64::from(fixed.information.get())),
            pointer: fixed.specific.pointer(key),
            progress: fixed.specific.progress(key),
            deferred: false,
        })
    }

    fn parse_descriptors(bytes: &[u8]) -> Result<Self, ResponseError> {
        let (header, mut rest): (&DescriptorSense, _) = prefix("sense data", bytes)?;
        let key = SenseKey(header.key & 0x0f);
        let mut sense = Self::new(key, header.code);
        rest = &rest[..rest.len().min(usize::from(header.additional_len))];
        while let [kind, len, body @ ..] = rest {
            let Some((body, next)) = body.split_at_checked(usize::from(*len)) else { break };
            match *kind {
                descriptor::INFORMATION => {
                    if let Ok((descriptor, _)) = prefix::<InformationDescriptor>("information", body)
                        && descriptor.valid & 0x80 != 0
                    {
                        sense.information = Some(descriptor.information.get());
                    }
                }
                descriptor::KEY_SPECIFIC => {
                    if let Ok((specific, _)) = prefix::<KeySpecificDescriptor>("sense key specific", body) {
                        sense.pointer = specific.specific.pointer(key);
                        sense.progress = specific.specific.progress(key);
                    }
                }
                _ => {}
            }
            rest = next;
        }
        Ok(sense)
    }
}

impl fmt::Display for Sense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.key, self.code)?;
        if let Some(information) = self.information {
            write!(f, ", information {information}")?;
        }
        Ok(())
    }
}

/// The two formats of sense data (SPC-4 4.5.2, 4.5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SenseFormat {
    /// 18 bytes, response codes 70h and 71h.
    Fixed,
    /// A list of descriptors, response codes 72h and 73h.
    Descriptor,
}

/// SPC-4 table 47, SENSE KEY. Keys that are not named here are kept as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SenseKey(pub u8);

impl SenseKey {
    /// Nothing to report.
    pub const NO_SENSE: Self = Self(0x0);
    /// The command succeeded after some recovery.
    pub const RECOVERED_ERROR: Self = Self(0x1);
    /// The logical unit cannot be accessed.
    pub const NOT_READY: Self = Self(0x2);
    /// The medium, or the data on it, is damaged.
    pub const MEDIUM_ERROR: Self = Self(0x3);
    /// The hardware failed.
    pub const HARDWARE_ERROR: Self = Self(0x4);
    /// The command or its parameters are wrong.
    pub const ILLEGAL_REQUEST: Self = Self(0x5);
    /// Something happened that the initiator has to know.
    pub const UNIT_ATTENTION: Self = Self(0x6);
    /// The data cannot be written or read because it is protected.
    pub const DATA_PROTECT: Self = Self(0x7);
    /// A third-party copy could not go on.
    pub const COPY_ABORTED: Self = Self(0xa);
    /// The command was aborted; the initiator may try again.
    pub const ABORTED_COMMAND: Self = Self(0xb);
    /// The data does not match what is on the medium.
    pub const MISCOMPARE: Self = Self(0xe);
}

impl fmt::Display for SenseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::NO_SENSE => "NO SENSE",
            Self::RECOVERED_ERROR => "RECOVERED ERROR",
            Self::NOT_READY => "NOT READY",
            Self::MEDIUM_ERROR => "MEDIUM ERROR",
            Self::HARDWARE_ERROR => "HARDWARE ERROR",
            Self::ILLEGAL_REQUEST => "ILLEGAL REQUEST",
            Self::UNIT_ATTENTION => "UNIT ATTENTION",
            Self::DATA_PROTECT => "DATA PROTECT",
            Self::COPY_ABORTED => "COPY ABORTED",
            Self::ABORTED_COMMAND => "ABORTED COMMAND",
            Self::MISCOMPARE => "MISCOMPARE",
            Self(key) => return write!(f, "sense key {key:X}h"),
        };
        f.write_str(name)
    }
}

/// Which field of a CDB or of parameter data is meant (SPC-4 4.5.2.4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldPointer {
    /// The first byte of the field.
    pub byte: u16,
    /// Its most significant bit, if it is not the whole byte.
    pub bit: Option<u8>,
}

impl FieldPointer {
    /// A field that begins with a byte. Fields beyond what 16 bits count do not exist; the pointer stays at the end of them.
    #[must_use]
    pub fn byte(byte: usize) -> Self {
        Self { byte: u16::try_from(byte).unwrap_or(u16::MAX), bit: None }
    }

    /// A field whose most significant bit is `bit` of `byte`.
    #[must_use]
    pub fn bit(byte: usize, bit: u8) -> Self {
        Self { bit: Some(bit & 7), ..Self::byte(byte) }
    }
}

/// A field pointer and what it points into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SensePointer {
    /// Into the CDB (C/D=1).
    Cdb(FieldPointer),
    /// Into the parameter list (C/D=0).
    ParameterList(FieldPointer),
}

mod descriptor {
    pub(super) const INFORMATION: u8 = 0x00;
    pub(super) const KEY_SPECIFIC: u8 = 0x02;
}

/// SPC-4 table 53, fixed format sense data.
#[derive(Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct FixedSense {
    response_code: u8,
    obsolete: u8,
    key: u8,
    information: U32,
    additional_len: u8,
    command_specific: [u8; 4],
    code: AdditionalSense,
    replaceable_unit: u8,
    specific: KeySpecific,
}
const _: () = assert!(size_of::<FixedSense>() == 18);

/// SPC-4 table 28, the header of descriptor format sense data.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct DescriptorSense {
    response_code: u8,
    key: u8,
    code: AdditionalSense,
    reserved: [u8; 3],
    additional_len: u8,
}
const _: () = assert!(size_of::<DescriptorSense>() == 8);

/// SPC-4 table 31 without type and length.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct InformationDescriptor {
    valid: u8,
    reserved: u8,
    information: zerocopy::big_endian::U64,
}
const _: () = assert!(size_of::<InformationDescriptor>() == 10);

/// SPC-4 table 33 without type and length.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct KeySpecificDescriptor {
    reserved: [u8; 2],
    specific: KeySpecific,
    reserved_5: u8,
}
const _: () = assert!(size_of::<KeySpecificDescriptor>() == 6);

/// SPC-4 tables 48 and 50, sense key specific information: a field pointer, or a progress indication.
#[derive(Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct KeySpecific {
    flags: u8,
    value: U16,
}
const _: () = assert!(size_of::<KeySpecific>() == 3);

impl KeySpecific {
    const VALID: u8 = 0x80;
    const IN_CDB: u8 = 0x40;
    const BIT_VALID: u8 = 0x08;

    fn of_pointer(pointer: SensePointer) -> Self {
        let (field, place) = match pointer {
            SensePointer::Cdb(field) => (field, Self::IN_CDB),
            SensePointer::ParameterList(field) => (field, 0),
        };
        let bit = field.bit.map_or(0, |bit| Self::BIT_VALID | bit & 7);
        Self { flags: Self::VALID | place | bit, value: field.byte.into() }
    }

    fn of_progress(progress: u16) -> Self {
        Self { flags: Self::VALID, value: progress.into() }
    }

    /// Only ILLEGAL REQUEST gives these bytes the meaning of a field pointer.
    fn pointer(&self, key: SenseKey) -> Option<SensePointer> {
        if self.flags & Self::VALID == 0 || key != SenseKey::ILLEGAL_REQUEST {
            return None;
        }
        let bit = (self.flags & Self::BIT_VALID != 0).then_some(self.flags & 7);
        let field = FieldPointer { byte: self.value.get(), bit };
        Some(if self.flags & Self::IN_CDB != 0 { SensePointer::Cdb(field) } else { SensePointer::ParameterList(field) })
    }

    /// And only these two give them the meaning of a progress.
    fn progress(&self, key: SenseKey) -> Option<u16> {
        let is_progress = self.flags & Self::VALID != 0 && matches!(key, SenseKey::NO_SENSE | SenseKey::NOT_READY);
        is_progress.then(|| self.value.get())
    }
}
