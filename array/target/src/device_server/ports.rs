//! The ports through which initiators reach the units.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU16;

use lunshadow_scsi::TaskManagementFunctions;

/// A target portal group, by its tag. To SCSI it is one target port (RFC 7143 4.4.2), whose RELATIVE TARGET PORT IDENTIFIER is the tag, and by
/// itself a target port group (SPC-4 5.15) of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortalGroup(pub NonZeroU16);

impl PortalGroup {
    /// The group of portals of which nothing else is said.
    pub const FIRST: Self = Self(NonZeroU16::MIN);

    /// The tag.
    #[must_use]
    pub const fn tag(self) -> u16 {
        self.0.get()
    }
}

impl Default for PortalGroup {
    fn default() -> Self {
        Self::FIRST
    }
}

impl fmt::Display for PortalGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The ports through which initiators reach the units, as page 0x83 names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetPorts {
    /// The iSCSI name of the target.
    pub target_name: String,
    /// The portal groups.
    pub groups: BTreeSet<PortalGroup>,
    /// The task management functions that the transport has.
    pub functions: TaskManagementFunctions,
}

impl TargetPorts {
    /// The SCSI name of a port.
    // RFC 7143 §4.4.2 MUST: the SCSI name of a target port is the iSCSI name with the portal group tag in hexadecimal digits.
    pub(super) fn name_of(&self, group: PortalGroup) -> String {
        format!("{},t,0x{:04x}", self.target_name, group.tag())
    }

    /// The group with a tag.
    pub(super) fn with_tag(&self, tag: u16) -> Option<PortalGroup> {
        NonZeroU16::new(tag).map(PortalGroup).filter(|group| self.groups.contains(group))
    }

    /// Whether initiators have a choice. Only then do they set asymmetric access states: a unit with one port is always reached through it.
    pub(super) fn are_several(&self) -> bool {
        self.groups.len() > 1
    }
}
