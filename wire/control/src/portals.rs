//! The portals by which initiators reach an array, for its administrators.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How LUNs are reached through a target portal group, from the best to the worst: the asymmetric access states of SPC-4 5.15.2.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PortalGroupState {
    /// As well as can be (active/optimized).
    #[default]
    Optimized,
    /// Hosts use other groups if they can (active/non-optimized).
    NonOptimized,
    /// Reads and writes are refused (standby).
    Standby,
    /// Everything is refused by which a host does not look for its paths (unavailable).
    Unavailable,
}

impl PortalGroupState {
    /// Whether data can be read and written.
    #[must_use]
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Optimized | Self::NonOptimized)
    }
}

impl fmt::Display for PortalGroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Optimized => "optimized",
            Self::NonOptimized => "non-optimized",
            Self::Standby => "standby",
            Self::Unavailable => "unavailable",
        })
    }
}

/// All target portal groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortalGroupsAnswer {
    /// By their tags.
    pub groups: Vec<PortalGroupRecord>,
}

/// A target portal group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortalGroupRecord {
    /// Its tag.
    pub group: u16,
    /// The addresses that are listened on in it, with ports. None if it is of an earlier run.
    pub portals: Vec<String>,
    /// How LUNs are reached through it, by the administrator's word. Initiators may have set a worse state for a LUN.
    pub state: PortalGroupState,
}

/// How LUNs are to be reached through a target portal group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PortalGroupRequest {
    /// All of them.
    pub state: PortalGroupState,
}
