//! REPORT TARGET PORT GROUPS and SET TARGET PORT GROUPS: through which ports a unit is reached, and how well (SPC-4 6.37 and 6.45).

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::FieldPointer;
use crate::response::{ResponseError, prefix};

/// SPC-4 6.37, a target port group descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetPortGroup {
    /// TARGET PORT GROUP.
    pub group: u16,
    /// PREF: this group is to be used rather than others in the same state.
    pub preferred: bool,
    /// ASYMMETRIC ACCESS STATE.
    pub state: AccessState,
    /// The support bits of the states, T_SUP to AO_SUP.
    pub supported_states: u8,
    /// RELATIVE TARGET PORT IDENTIFIER of each port.
    pub ports: Vec<u16>,
}

/// SPC-4 table 274, ASYMMETRIC ACCESS STATE. States that are not named here are kept as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AccessState(pub u8);

impl AccessState {
    /// Active/optimized.
    pub const ACTIVE_OPTIMIZED: Self = Self(0x0);
    /// Active/non-optimized.
    pub const ACTIVE_NON_OPTIMIZED: Self = Self(0x1);
    /// Standby.
    pub const STANDBY: Self = Self(0x2);
    /// Unavailable.
    pub const UNAVAILABLE: Self = Self(0x3);

    /// The bit of the state among the support bits of [`TargetPortGroup`]; 0 if it is none of those above.
    #[must_use]
    pub const fn support_bit(self) -> u8 {
        if self.0 <= Self::UNAVAILABLE.0 { 1 << self.0 } else { 0 }
    }
}

/// SPC-4 6.45, a set target port group descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetTargetPortGroup {
    /// TARGET PORT GROUP OR TARGET PORT. The states that are named here are those of groups.
    pub group: u16,
    /// ASYMMETRIC ACCESS STATE.
    pub state: AccessState,
}

impl SetTargetPortGroup {
    /// The length of a parameter list with so many descriptors in bytes.
    #[must_use]
    pub const fn list_len(groups: usize) -> usize {
        LIST_HEADER_LEN + groups * size_of::<SetDescriptor>()
    }

    /// The parameter list.
    #[must_use]
    pub fn list_to_bytes(groups: &[Self]) -> Vec<u8> {
        let mut list = vec![0; LIST_HEADER_LEN];
        for group in groups {
            let descriptor = SetDescriptor { state: group.state.0 & 0x0f, reserved: 0, group: group.group.into() };
            list.extend(descriptor.as_bytes());
        }
        list
    }

    /// Reads a parameter list.
    ///
    /// # Errors
    /// `None` if it is not a header with whole descriptors, else the reserved field in which something stands.
    pub fn parse_list(bytes: &[u8]) -> Result<Vec<Self>, Option<FieldPointer>> {
        let (header, rest) = bytes.split_at_checked(LIST_HEADER_LEN).ok_or(None)?;
        if let Some(byte) = header.iter().position(|byte| *byte != 0) {
            return Err(Some(FieldPointer::byte(byte)));
        }
        let descriptors = <[SetDescriptor]>::ref_from_bytes(rest).map_err(|_| None)?;
        let read = |(index, descriptor): (usize, &SetDescriptor)| match descriptor {
            SetDescriptor { state: 0x10.., .. } => Err(Some(FieldPointer::bit(Self::list_len(index), 7))),
            SetDescriptor { reserved: 1.., .. } => Err(Some(FieldPointer::byte(Self::list_len(index) + 1))),
            SetDescriptor { state, group, .. } => Ok(Self { group: group.get(), state: AccessState(*state) }),
        };
        descriptors.iter().enumerate().map(read).collect()
    }
}

impl TargetPortGroup {
    /// The parameter data for groups, with or without the extended header. Nothing is said of how long a transition takes.
    #[must_use]
    pub fn list_to_bytes(groups: &[Self], extended: bool) -> Vec<u8> {
        let mut list = if extended { vec![EXTENDED_FORMAT, 0, 0, 0] } else { Vec::new() };
        for group in groups {
            let descriptor = Descriptor {
                state: u8::from(group.preferred) << 7 | group.state.0 & 0x0f,
                supported: group.supported_states,
                group: group.group.into(),
                reserved: 0,
                status: 0,
                vendor_specific: 0,
                port_count: u8::try_from(group.ports.len()).expect("a group has at most 255 ports"),
            };
            list.extend(descriptor.as_bytes());
            for port in &group.ports {
                list.extend([0, 0]);
                list.extend(port.to_be_bytes());
            }
        }
        let len = u32::try_from(list.len()).expect("groups are few");
        [&len.to_be_bytes()[..], &list].concat()
    }

    /// Reads parameter data of either format, whole groups of it.
    ///
    /// # Errors
    /// Less than the header of 4 bytes.
    pub fn parse_list(bytes: &[u8], extended: bool) -> Result<Vec<Self>, ResponseError> {
        let (len, rest): (&U32, _) = prefix("REPORT TARGET PORT GROUPS data", bytes)?;
        let rest = &rest[..rest.len().min(usize::try_from(len.get()).unwrap_or(usize::MAX))];
        let mut rest = if extended { rest.get(4..).unwrap_or_default() } else { rest };
        let mut groups = Vec::new();
        while let Ok((descriptor, following)) = Descriptor::ref_from_prefix(rest) {
            let Some((ports, next)) = following.split_at_checked(usize::from(descriptor.port_count) * 4) else { break };
            groups.push(Self {
                group: descriptor.group.get(),
                preferred: descriptor.state & 0x80 != 0,
                state: AccessState(descriptor.state & 0x0f),
                supported_states: descriptor.supported,
                ports: ports.chunks_exact(4).map(|port| u16::from_be_bytes([port[2], port[3]])).collect(),
            });
            rest = next;
        }
        Ok(groups)
    }
}

/// FORMAT TYPE of the extended header.
const EXTENDED_FORMAT: u8 = 0x10;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Descriptor {
    state: u8,
    supported: u8,
    group: U16,
    reserved: u8,
    status: u8,
    vendor_specific: u8,
    port_count: u8,
}
const _: () = assert!(size_of::<Descriptor>() == 8);

/// What stands before the descriptors of SET TARGET PORT GROUPS: nothing but zeros.
const LIST_HEADER_LEN: usize = 4;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct SetDescriptor {
    state: u8,
    reserved: u8,
    group: U16,
}
const _: () = assert!(size_of::<SetDescriptor>() == 4);
