//! The parameter lists of PERSISTENT RESERVE OUT.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::IscsiTransportId;
use crate::FieldPointer;

/// SPC-4 6.16.3, the basic parameter list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReserveParameters {
    /// RESERVATION KEY: the key that the initiator has registered.
    pub key: u64,
    /// SERVICE ACTION RESERVATION KEY: the key that the action is about.
    pub action_key: u64,
    /// SPEC_I_PT: the list goes on with other initiators to register.
    pub specify_initiators: bool,
    /// ALL_TG_PT: the registration is for all target ports.
    pub all_target_ports: bool,
    /// APTPL: keep registrations over a loss of power.
    pub persist: bool,
}

/// SPC-4 6.16.4, the parameter list of REGISTER AND MOVE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveParameters {
    /// RESERVATION KEY: the key that the initiator has registered.
    pub key: u64,
    /// SERVICE ACTION RESERVATION KEY: the key that the other initiator gets.
    pub action_key: u64,
    /// UNREG: unregister the initiator itself afterwards.
    pub unregister: bool,
    /// APTPL: keep registrations over a loss of power.
    pub persist: bool,
    /// RELATIVE TARGET PORT IDENTIFIER through which the other initiator comes.
    pub relative_port: u16,
    /// The other initiator.
    pub initiator: IscsiTransportId,
}

impl ReserveParameters {
    /// The length of the list in bytes.
    pub const LEN: usize = size_of::<Basic>();

    /// The parameter list.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let flags =
            u8::from(self.specify_initiators) << 3 | u8::from(self.all_target_ports) << 2 | u8::from(self.persist);
        let basic = Basic {
            key: self.key.into(),
            action_key: self.action_key.into(),
            obsolete_16: [0; 4],
            flags,
            reserved: 0,
            obsolete_22: [0; 2],
        };
        basic.as_bytes().to_vec()
    }

    /// Reads a parameter list; `None` if it has less than its 24 bytes.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (basic, _) = Basic::ref_from_prefix(bytes).ok()?;
        let flag = |bit: u8| basic.flags >> bit & 1 != 0;
        Some(Self {
            key: basic.key.get(),
            action_key: basic.action_key.get(),
            specify_initiators: flag(3),
            all_target_ports: flag(2),
            persist: flag(0),
        })
    }
}

impl MoveParameters {
    /// The parameter list.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let initiator = self.initiator.to_bytes();
        let head = MoveHead {
            key: self.key.into(),
            action_key: self.action_key.into(),
            reserved: 0,
            flags: u8::from(self.unregister) << 1 | u8::from(self.persist),
            relative_port: self.relative_port.into(),
            transport_id_len: u32::try_from(initiator.len()).expect("a TransportID is short").into(),
        };
        [head.as_bytes(), &initiator].concat()
    }

    /// Reads a parameter list.
    ///
    /// # Errors
    /// `None` if it is shorter than its header says, else the field that is invalid.
    pub fn parse(bytes: &[u8]) -> Result<Self, Option<FieldPointer>> {
        let (head, rest) = MoveHead::ref_from_prefix(bytes).map_err(|_| None)?;
        let len = usize::try_from(head.transport_id_len.get()).unwrap_or(usize::MAX);
        let transport_id = rest.get(..len).ok_or(None)?;
        let (initiator, _) =
            IscsiTransportId::read(transport_id).ok_or(Some(FieldPointer::byte(size_of::<MoveHead>())))?;
        Ok(Self {
            key: head.key.get(),
            action_key: head.action_key.get(),
            unregister: head.flags & 2 != 0,
            persist: head.flags & 1 != 0,
            relative_port: head.relative_port.get(),
            initiator,
        })
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Basic {
    key: U64,
    action_key: U64,
    obsolete_16: [u8; 4],
    flags: u8,
    reserved: u8,
    obsolete_22: [u8; 2],
}
const _: () = assert!(size_of::<Basic>() == 24);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct MoveHead {
    key: U64,
    action_key: U64,
    reserved: u8,
    flags: u8,
    relative_port: U16,
    transport_id_len: U32,
}
const _: () = assert!(size_of::<MoveHead>() == 24);
