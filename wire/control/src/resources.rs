//! The resources: LUNs and their identities, hosts, shadow sets.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{HostId, InitiatorName, LunId, ProblemCode, ShadowSetId};

/// What a control action did. Every action may be repeated: the second time it was `AlreadySo`, which is no error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The action changed something.
    Done,
    /// Things were already as asked.
    AlreadySo,
}

/// What the bytes of a designator are (SPC-4 7.8.6.1, CODE SET). Codes that are not named here are kept as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct CodeSet(pub u8);

impl CodeSet {
    /// Binary values.
    pub const BINARY: Self = Self(1);
    /// ASCII printable characters.
    pub const ASCII: Self = Self(2);
    /// UTF-8.
    pub const UTF8: Self = Self(3);
}

/// What a designator names (SPC-4 7.8.6.1, ASSOCIATION).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Association(pub u8);

impl Association {
    /// The addressed logical unit.
    pub const LUN: Self = Self(0);
    /// The target port that received the command.
    pub const TARGET_PORT: Self = Self(1);
    /// The target device that contains the logical unit.
    pub const TARGET_DEVICE: Self = Self(2);
}

/// The form of a designator (SPC-4 7.8.6.1, DESIGNATOR TYPE).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct DesignatorKind(pub u8);

impl DesignatorKind {
    /// T10 vendor identification: 8 bytes of vendor, then what the vendor likes.
    pub const T10_VENDOR_ID: Self = Self(1);
    /// EUI-64 based.
    pub const EUI64: Self = Self(2);
    /// NAA.
    pub const NAA: Self = Self(3);
    /// Relative target port identifier.
    pub const RELATIVE_TARGET_PORT: Self = Self(4);
    /// Target port group.
    pub const TARGET_PORT_GROUP: Self = Self(5);
    /// SCSI name string.
    pub const SCSI_NAME: Self = Self(8);
}

/// One designation descriptor of the Device Identification page (SPC-4 7.8.6).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct Designator {
    /// How to read `bytes`.
    pub code_set: CodeSet,
    /// What is named.
    pub association: Association,
    /// The form of the name.
    pub kind: DesignatorKind,
    /// The name itself, without padding.
    pub bytes: Vec<u8>,
}

/// Who a LUN is, as every initiator sees it in standard INQUIRY data and in the VPD pages 0x80 and 0x83. It never changes
/// during the life of the LUN and is the same on every path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LunIdentity {
    /// T10 VENDOR IDENTIFICATION, without padding.
    pub vendor: String,
    /// PRODUCT IDENTIFICATION, without padding.
    pub product: String,
    /// PRODUCT REVISION LEVEL, without padding.
    pub revision: String,
    /// The unit serial number of page 0x80.
    pub serial: String,
    /// The LUN-associated designators of page 0x83, in the order of the page.
    pub designators: Vec<Designator>,
}

/// What a host knows of a disk that may or may not be a LUN of the array.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LunQuery {
    /// The serial number of page 0x80, in whatever spelling the host's storage stack gives it.
    pub serial: Option<String>,
    /// The LUN-associated designators of page 0x83.
    pub designators: Vec<Designator>,
}

/// What a LUN is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LunRole {
    /// A LUN of its own.
    Source,
    /// A shadow LUN: the state of `source` at the instant of `set`.
    Shadow {
        /// The LUN that was captured.
        source: LunId,
        /// The shadow set that it belongs to.
        set: ShadowSetId,
    },
}

/// A LUN, as the array describes it to a host that may see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LunRecord {
    /// Its id.
    pub lun: LunId,
    /// How initiators see it.
    pub identity: LunIdentity,
    /// Source or shadow.
    pub role: LunRole,
    /// Whether a shadow LUN of it could be made now: there is room, the limits are not reached, the pool takes writes.
    pub can_shadow: bool,
    /// Whether that shadow LUN could be a full copy, together with those of the other LUNs that were asked about.
    #[serde(default)]
    pub can_copy: bool,
}

/// How a shadow LUN stands to the LUN that it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ShadowKind {
    /// It shares all blocks that neither of them has changed.
    #[default]
    Sharing,
    /// It shares nothing: all of its content is copied, before the commit is answered.
    FullCopy,
}

impl ShadowKind {
    /// Whether it is what is made if nothing is said.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A shadow LUN of a committed set and what it was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShadowTarget {
    /// The captured LUN.
    pub source: LunId,
    /// The shadow LUN.
    pub shadow: LunId,
    /// How initiators will see the shadow LUN.
    pub identity: LunIdentity,
}

/// A host, as the array knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostRecord {
    /// Its id.
    pub host: HostId,
    /// The administrator's name for it.
    pub name: String,
    /// Its initiators.
    pub initiators: Vec<InitiatorName>,
}

/// What a host tells the array about shadow LUNs that it uses. It is kept for administrators; only `ReadWrite` changes what the array does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ShadowUse {
    /// Recovery is about to write to it.
    Recovering,
    /// Recovery is done; it is read-only for applications.
    Recovered,
    /// It was broken out of its set and is written to for good: from now on it is not released as a shadow LUN.
    ReadWrite,
}

/// One LUN of a resync: `target` gets the content of `shadow`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResyncPair {
    /// The shadow LUN, which stays as it is.
    pub shadow: LunId,
    /// The LUN that is overwritten. It keeps its identity.
    pub target: LunId,
}

/// How a resync stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum ResyncState {
    /// It runs.
    Running,
    /// All targets have the content of their shadow LUNs.
    Finished,
    /// It was cancelled before anything was changed.
    Cancelled,
    /// It failed, and nothing was changed.
    Failed {
        /// What it is, for decisions.
        code: ProblemCode,
        /// What it is, for people.
        detail: String,
    },
}

/// How far a shadow set is, as the array keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SetPhase {
    /// LUNs are being taken in, or are all in.
    Prepared,
    /// The commit comes next.
    Armed,
    /// The point in time is fixed; the set lives by its lease.
    Committed,
    /// The set lives until its shadow LUNs are released.
    Kept,
    /// The set was given up.
    Aborted,
}

/// A shadow set of a host, for people to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetSummary {
    /// Its id.
    pub set: ShadowSetId,
    /// How far it is.
    pub phase: SetPhase,
    /// How many shadow LUNs it has or will have.
    pub lun_count: u32,
    /// How long its lease still lasts, if it has one, in milliseconds.
    pub lease_left_ms: Option<u64>,
    /// When it was committed, in milliseconds since 1970 by the array's clock.
    pub committed_at_unix_ms: Option<u64>,
    /// How long the commit took at the array, until it was durable, in microseconds.
    pub commit_took_us: Option<u64>,
}

/// A LUN that is mapped to a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MappedLun {
    /// The number by which the host addresses it.
    pub number: u8,
    /// Its id.
    pub lun: LunId,
    /// The administrator's name for it; a shadow LUN has none.
    pub name: Option<String>,
    /// Its length in bytes.
    pub len_bytes: u64,
    /// Source or shadow.
    pub role: LunRole,
}

/// All that concerns one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostOverview {
    /// The host.
    pub host: HostRecord,
    /// The array's clock, in milliseconds since 1970.
    pub now_unix_ms: u64,
    /// What is mapped to it, by number.
    pub luns: Vec<MappedLun>,
    /// Its shadow sets, the youngest first; of those that are over only the last ones.
    pub sets: Vec<SetSummary>,
}
