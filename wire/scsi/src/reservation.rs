//! Persistent reservations: what is asked for, and what is reported (SPC-4 5.9, 6.15, 6.16).

mod full_status;
mod parameters;

pub use full_status::{FullStatus, RegistrationStatus};
pub use parameters::{MoveParameters, ReserveParameters};

use zerocopy::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::response::{ResponseError, prefix};

/// Declares an enum of service actions with their codes.
macro_rules! actions {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $code:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant),* }

        impl $name {
            /// SERVICE ACTION.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self { $(Self::$variant => $code),* }
            }
        }
    };
}

actions!(
    /// SPC-4 table 204, the service actions of PERSISTENT RESERVE IN.
    ReserveInAction {
        /// All reservation keys.
        ReadKeys = 0x00,
        /// The reservation and its holder's key.
        ReadReservation = 0x01,
        /// What of persistent reservations there is.
        ReportCapabilities = 0x02,
        /// All registrations with their initiators.
        ReadFullStatus = 0x03,
    }
);

actions!(
    /// SPC-4 table 215, the service actions of PERSISTENT RESERVE OUT.
    ReserveOutAction {
        /// Registers a key, changes it, or unregisters.
        Register = 0x00,
        /// Makes a reservation.
        Reserve = 0x01,
        /// Ends one's own reservation.
        Release = 0x02,
        /// Ends everything.
        Clear = 0x03,
        /// Removes others' registrations, and takes over the reservation.
        Preempt = 0x04,
        /// The same, and aborts their commands.
        PreemptAndAbort = 0x05,
        /// Registers whatever key there was before.
        RegisterAndIgnoreExistingKey = 0x06,
        /// Registers another initiator and gives it the reservation.
        RegisterAndMove = 0x07,
    }
);

/// SPC-4 table 209, TYPE. Types that are not named here are kept as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReservationKind(pub u8);

impl ReservationKind {
    /// Others only read.
    pub const WRITE_EXCLUSIVE: Self = Self(0x1);
    /// Others neither read nor write.
    pub const EXCLUSIVE_ACCESS: Self = Self(0x3);
    /// Who is not registered only reads.
    pub const WRITE_EXCLUSIVE_REGISTRANTS_ONLY: Self = Self(0x5);
    /// Who is not registered neither reads nor writes.
    pub const EXCLUSIVE_ACCESS_REGISTRANTS_ONLY: Self = Self(0x6);
    /// As write exclusive - registrants only; all who are registered hold it.
    pub const WRITE_EXCLUSIVE_ALL_REGISTRANTS: Self = Self(0x7);
    /// As exclusive access - registrants only; all who are registered hold it.
    pub const EXCLUSIVE_ACCESS_ALL_REGISTRANTS: Self = Self(0x8);

    /// All types that the standard has.
    pub const ALL: [Self; 6] = [
        Self::WRITE_EXCLUSIVE,
        Self::EXCLUSIVE_ACCESS,
        Self::WRITE_EXCLUSIVE_REGISTRANTS_ONLY,
        Self::EXCLUSIVE_ACCESS_REGISTRANTS_ONLY,
        Self::WRITE_EXCLUSIVE_ALL_REGISTRANTS,
        Self::EXCLUSIVE_ACCESS_ALL_REGISTRANTS,
    ];

    /// Whether everybody who is registered holds the reservation.
    #[must_use]
    pub fn is_all_registrants(self) -> bool {
        matches!(self, Self::WRITE_EXCLUSIVE_ALL_REGISTRANTS | Self::EXCLUSIVE_ACCESS_ALL_REGISTRANTS)
    }

    /// Whether whoever is registered may do what the holder may.
    #[must_use]
    pub fn admits_registrants(self) -> bool {
        self.is_all_registrants()
            || matches!(self, Self::WRITE_EXCLUSIVE_REGISTRANTS_ONLY | Self::EXCLUSIVE_ACCESS_REGISTRANTS_ONLY)
    }

    /// Whether those who are kept from writing may read.
    #[must_use]
    pub fn admits_reading(self) -> bool {
        matches!(
            self,
            Self::WRITE_EXCLUSIVE | Self::WRITE_EXCLUSIVE_REGISTRANTS_ONLY | Self::WRITE_EXCLUSIVE_ALL_REGISTRANTS
        )
    }
}

/// SPC-4 6.15.2, READ KEYS parameter data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReservationKeys {
    /// PRGENERATION: counts the changes of registrations.
    pub generation: u32,
    /// The key of each registration.
    pub keys: Vec<u64>,
}

/// SPC-4 6.15.3, READ RESERVATION parameter data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReservationReport {
    /// PRGENERATION.
    pub generation: u32,
    /// The key of the holder, 0 if all registrants hold it, and the type.
    pub reservation: Option<(u64, ReservationKind)>,
}

/// SPC-4 6.15.4, REPORT CAPABILITIES parameter data: the fields that are in use here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReservationCapabilities {
    /// ATP_C: a registration may be for all target ports.
    pub all_target_ports: bool,
    /// PTPL_C: registrations may be kept over a loss of power.
    pub persist_through_power_loss: bool,
    /// PTPL_A: they are at present.
    pub persist_active: bool,
    /// The types that are supported, if TMV says that they are listed: a bit for each code.
    pub kinds: Option<u16>,
}

impl ReservationKeys {
    /// The parameter data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = header(self.generation, self.keys.len() * 8);
        bytes.extend(self.keys.iter().flat_map(|key| key.to_be_bytes()));
        bytes
    }

    /// Reads parameter data, whole keys of it.
    ///
    /// # Errors
    /// Less than the header of 8 bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, ResponseError> {
        let (generation, list) = listed("READ KEYS data", bytes)?;
        let keys = list.chunks_exact(8).filter_map(|key| Some(U64::read_from_bytes(key).ok()?.get()));
        Ok(Self { generation, keys: keys.collect() })
    }
}

impl ReservationReport {
    /// The parameter data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let Some((key, kind)) = self.reservation else { return header(self.generation, 0) };
        let descriptor = ReservationDescriptor {
            key: key.into(),
            obsolete_8: [0; 4],
            reserved: 0,
            scope_and_type: kind.0 & 0x0f,
            obsolete_14: [0; 2],
        };
        let mut bytes = header(self.generation, size_of::<ReservationDescriptor>());
        bytes.extend(descriptor.as_bytes());
        bytes
    }

    /// Reads parameter data.
    ///
    /// # Errors
    /// Less than the header of 8 bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, ResponseError> {
        let (generation, list) = listed("READ RESERVATION data", bytes)?;
        let descriptor = ReservationDescriptor::ref_from_prefix(list).ok();
        let reservation = descriptor.map(|(d, _)| (d.key.get(), ReservationKind(d.scope_and_type & 0x0f)));
        Ok(Self { generation, reservation })
    }
}

impl ReservationCapabilities {
    /// Type masks of all types.
    #[must_use]
    pub fn all_kinds() -> u16 {
        ReservationKind::ALL.into_iter().fold(0, |kinds, kind| kinds | 1 << kind.0)
    }

    /// The parameter data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let flags = u8::from(self.all_target_ports) << 2 | u8::from(self.persist_through_power_loss);
        let active = u8::from(self.kinds.is_some()) << 7 | u8::from(self.persist_active);
        // The mask has types 0 to 7 in its first byte and 8 to 15 in its second.
        let [second, first] = self.kinds.unwrap_or(0).to_be_bytes();
        vec![0, 8, flags, active, first, second, 0, 0]
    }

    /// Reads parameter data.
    ///
    /// # Errors
    /// Less than 8 bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, ResponseError> {
        let (&[_, _, flags, active, first, second, _, _], _): (&[u8; 8], _) =
            prefix("REPORT CAPABILITIES data", bytes)?;
        Ok(Self {
            all_target_ports: flags & 0x04 != 0,
            persist_through_power_loss: flags & 0x01 != 0,
            persist_active: active & 0x01 != 0,
            kinds: (active & 0x80 != 0).then(|| u16::from_be_bytes([second, first])),
        })
    }
}

fn header(generation: u32, list_len: usize) -> Vec<u8> {
    let list_len = u32::try_from(list_len).expect("registrations are bounded").into();
    Header { generation: generation.into(), list_len }.as_bytes().to_vec()
}

/// PRGENERATION, and the list as far as it came.
fn listed<'a>(what: &'static str, bytes: &'a [u8]) -> Result<(u32, &'a [u8]), ResponseError> {
    let (header, rest): (&Header, _) = prefix(what, bytes)?;
    let len = usize::try_from(header.list_len.get()).unwrap_or(usize::MAX);
    Ok((header.generation.get(), &rest[..rest.len().min(len)]))
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    generation: U32,
    list_len: U32,
}
const _: () = assert!(size_of::<Header>() == 8);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ReservationDescriptor {
    key: U64,
    obsolete_8: [u8; 4],
    reserved: u8,
    scope_and_type: u8,
    obsolete_14: [u8; 2],
}
const _: () = assert!(size_of::<ReservationDescriptor>() == 16);

/// The TransportID of an iSCSI initiator port: names it by iSCSI name and ISID (SPC-4 7.6.4.6).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IscsiTransportId {
    /// The iSCSI name.
    pub name: String,
    /// The ISID, unless the whole initiator device is meant.
    pub isid: Option<[u8; 6]>,
}

impl IscsiTransportId {
    /// The TransportID.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = self.name.clone().into_bytes();
        if let Some(isid) = self.isid {
            text.extend(SEPARATOR.bytes());
            text.extend(isid.iter().flat_map(|byte| [hex_digit(byte >> 4), hex_digit(byte & 0x0f)]));
        }
        // It ends with a zero and is filled with zeros to a multiple of four, and to 20 bytes at least.
        let text_len = (text.len() + 1).next_multiple_of(4).max(20);
        text.resize(text_len, 0);
        let len = u16::try_from(text_len).expect("iSCSI names have at most 223 bytes").to_be_bytes();
        let format = if self.isid.is_some() { FORMAT_PORT } else { FORMAT_DEVICE };
        [&[format | ISCSI, 0, len[0], len[1]], &text[..]].concat()
    }

    /// Reads a TransportID and what follows it; `None` if it is none of iSCSI, or cut off.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let [format, _, high, low, rest @ ..] = bytes else { return None };
        let (text, next) = rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))?;
        if format & 0x0f != ISCSI {
            return None;
        }
        let text = std::str::from_utf8(&text[..text.iter().position(|byte| *byte == 0)?]).ok()?;
        let id = match format & 0xc0 {
            FORMAT_DEVICE => Self { name: text.to_owned(), isid: None },
            FORMAT_PORT => {
                let (name, isid) = text.rsplit_once(SEPARATOR)?;
                Self { name: name.to_owned(), isid: Some(isid_of(isid)?) }
            }
            _ => return None,
        };
        Some((id, next))
    }
}

/// PROTOCOL IDENTIFIER of iSCSI, and TPID FORMAT.
const ISCSI: u8 = 0x05;
const FORMAT_DEVICE: u8 = 0x00;
const FORMAT_PORT: u8 = 0x40;
const SEPARATOR: &str = ",i,0x";

fn hex_digit(value: u8) -> u8 {
    b"0123456789abcdef"[usize::from(value & 0x0f)]
}

/// Twelve digits; leading zeros may be left out.
fn isid_of(text: &str) -> Option<[u8; 6]> {
    if text.len() > 12 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let [_, _, isid @ ..] = u64::from_str_radix(text, 16).ok()?.to_be_bytes();
    Some(isid)
}
