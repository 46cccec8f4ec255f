//! The mode page that says when an initiator is told of what a thin logical unit has left.

use zerocopy::big_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// SBC-3 6.5.8, Logical Block Provisioning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProvisioningPage {
    /// SITUA: only one nexus gets the unit attention.
    pub single_attention: bool,
    /// The thresholds.
    pub thresholds: Vec<Threshold>,
}

/// A threshold descriptor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Threshold {
    /// ENABLED.
    pub enabled: bool,
    /// THRESHOLD TYPE: 0 is one of counts.
    pub kind: u8,
    /// THRESHOLD ARMING: 0 if the resource gets less on its way to the threshold, 1 if it gets more.
    pub arming: u8,
    /// THRESHOLD RESOURCE: which one, by the parameter of the log page that has its count.
    pub resource: u8,
    /// THRESHOLD COUNT, in units of two to the power of THRESHOLD EXPONENT blocks.
    pub count: u32,
}

impl ProvisioningPage {
    pub(super) fn body(&self) -> Vec<u8> {
        let mut body = vec![0; HEADER_LEN];
        body[0] = u8::from(self.single_attention);
        for threshold in &self.thresholds {
            let flags = u8::from(threshold.enabled) << 7 | (threshold.kind & 7) << 3 | threshold.arming & 7;
            let (resource, count) = (threshold.resource, threshold.count.into());
            body.extend(Descriptor { flags, resource, reserved: [0; 2], count }.as_bytes());
        }
        body
    }

    /// `None` if it is not of the form.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let (header, descriptors) = body.split_at_checked(HEADER_LEN)?;
        let descriptors = <[Descriptor]>::ref_from_bytes(descriptors).ok()?;
        let thresholds = descriptors.iter().map(|descriptor| Threshold {
            enabled: descriptor.flags & 0x80 != 0,
            kind: descriptor.flags >> 3 & 7,
            arming: descriptor.flags & 7,
            resource: descriptor.resource,
            count: descriptor.count.get(),
        });
        Some(Self { single_attention: header[0] & 1 != 0, thresholds: thresholds.collect() })
    }
}

/// What comes before the descriptors, without the header that all pages have.
const HEADER_LEN: usize = 12;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Descriptor {
    flags: u8,
    resource: u8,
    reserved: [u8; 2],
    count: U32,
}
const _: () = assert!(size_of::<Descriptor>() == 8);
