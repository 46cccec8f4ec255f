//! READ FULL STATUS: every registration with its initiator.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{IscsiTransportId, ReservationKind, header, listed};
use crate::response::ResponseError;

/// SPC-4 6.15.5, READ FULL STATUS parameter data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FullStatus {
    /// PRGENERATION.
    pub generation: u32,
    /// The registrations.
    pub registrations: Vec<RegistrationStatus>,
}

/// SPC-4 table 213, a full status descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrationStatus {
    /// RESERVATION KEY.
    pub key: u64,
    /// ALL_TG_PT: the registration is for all target ports.
    pub all_target_ports: bool,
    /// The type of the reservation, if R_HOLDER says that this registration holds it.
    pub holds: Option<ReservationKind>,
    /// RELATIVE TARGET PORT IDENTIFIER, not used if the registration is for all ports.
    pub relative_port: u16,
    /// The initiator.
    pub initiator: IscsiTransportId,
}

impl FullStatus {
    /// The parameter data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut list = Vec::new();
        for registration in &self.registrations {
            let initiator = registration.initiator.to_bytes();
            let descriptor = Descriptor {
                key: registration.key.into(),
                reserved_8: [0; 4],
                flags: u8::from(registration.all_target_ports) << 1 | u8::from(registration.holds.is_some()),
                scope_and_type: registration.holds.map_or(0, |kind| kind.0 & 0x0f),
                reserved_14: [0; 4],
                relative_port: registration.relative_port.into(),
                additional_len: u32::try_from(initiator.len()).expect("a TransportID is short").into(),
            };
            list.extend(descriptor.as_bytes());
            list.extend(initiator);
        }
        let mut bytes = header(self.generation, list.len());
        bytes.extend(list);
        bytes
    }

    /// Reads parameter data, whole descriptors of it; registrations of initiators that are none of iSCSI are left out.
    ///
    /// # Errors
    /// Less than the header of 8 bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, ResponseError> {
        let (generation, mut list) = listed("READ FULL STATUS data", bytes)?;
        let mut registrations = Vec::new();
        while let Ok((descriptor, following)) = Descriptor::ref_from_prefix(list) {
            let len = usize::try_from(descriptor.additional_len.get()).unwrap_or(usize::MAX);
            let Some((initiator, next)) = following.split_at_checked(len) else { break };
            list = next;
            let Some((initiator, _)) = IscsiTransportId::read(initiator) else { continue };
            let holds = descriptor.flags & 1 != 0;
            registrations.push(RegistrationStatus {
                key: descriptor.key.get(),
                all_target_ports: descriptor.flags & 2 != 0,
                holds: holds.then_some(ReservationKind(descriptor.scope_and_type & 0x0f)),
                relative_port: descriptor.relative_port.get(),
                initiator,
            });
        }
        Ok(Self { generation, registrations })
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Descriptor {
    key: U64,
    reserved_8: [u8; 4],
    flags: u8,
    scope_and_type: u8,
    reserved_14: [u8; 4],
    relative_port: U16,
    additional_len: U32,
}
const _: () = assert!(size_of::<Descriptor>() == 24);
