//! REPORT TARGET PORT GROUPS: through which ports a unit is reached, and how well (SPC-4 6.37).

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

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
}

impl TargetPortGroup {
    /// AO_SUP among the support bits.
    pub const SUPPORTS_ACTIVE_OPTIMIZED: u8 = 0x01;

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
