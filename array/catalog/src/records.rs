//! What the database keeps: one record per LUN, host and shadow set, as JSON, so that a later version can add fields.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use lunshadow_control::{ChapAccounts, HostId, InitiatorName, LunId, ShadowSetId, ShadowUse};
use lunshadow_lun::{BlockCount, ShadowMember};
use serde::{Deserialize, Serialize};

use crate::enrolment::SecretDigest;
use crate::internal::WorkDoc;
use crate::scrub::ScrubDoc;
use crate::{AbortReason, Name, SetState};

/// How far a LUN is. Creation and deletion are noted before the pool is asked, so that a crash in between leaves nothing
/// unexplained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LunPhase {
    Creating,
    /// A copy or an import fills it, and nobody sees it.
    Filling,
    Live,
    Deleting,
}

/// A source LUN.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LunDoc {
    pub(crate) name: Name,
    pub(crate) block_count: u64,
    pub(crate) phase: LunPhase,
}

impl LunDoc {
    pub(crate) fn new(name: Name, block_count: BlockCount) -> Self {
        Self { name, block_count: block_count.0, phase: LunPhase::Creating }
    }

    pub(crate) fn block_count(&self) -> BlockCount {
        BlockCount(self.block_count)
    }

    /// The same LUN with another length.
    pub(crate) fn with_block_count(&self, block_count: BlockCount) -> Self {
        Self { block_count: block_count.0, ..self.clone() }
    }

    /// The same LUN in another phase.
    pub(crate) fn in_phase(&self, phase: LunPhase) -> Self {
        Self { phase, ..self.clone() }
    }
}

/// A host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct HostDoc {
    pub(crate) name: Name,
    pub(crate) initiators: Vec<InitiatorName>,
    /// The LUN number that was given out last, so that one which was taken away is not given to another LUN at once.
    pub(crate) last_number: u8,
    /// Its last enrolment token.
    #[serde(default)]
    pub(crate) token: Option<TokenDoc>,
    #[serde(default)]
    pub(crate) credential: Option<SecretDigest>,
    /// The hosts whose shadow LUNs it may import.
    #[serde(default)]
    pub(crate) imports_from: BTreeSet<HostId>,
    /// What its initiators have to prove. CHAP needs the secrets as they are, so that whoever can read the database can read them.
    #[serde(default)]
    pub(crate) chap: Option<ChapAccounts>,
}

impl HostDoc {
    pub(crate) fn new(name: Name, initiators: Vec<InitiatorName>) -> Self {
        Self {
            name,
            initiators,
            last_number: 0,
            token: None,
            credential: None,
            imports_from: BTreeSet::new(),
            chap: None,
        }
    }
}

/// An enrolment token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TokenDoc {
    pub(crate) digest: SecretDigest,
    pub(crate) expires_at_unix_ms: u64,
    /// It is kept when it is used, so that whoever comes second can be told.
    pub(crate) used: bool,
}

/// One LUN of a set.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct MemberDoc {
    pub(crate) source: LunId,
    pub(crate) shadow: LunId,
}

impl From<ShadowMember> for MemberDoc {
    fn from(member: ShadowMember) -> Self {
        Self { source: member.source, shadow: member.shadow }
    }
}

impl From<MemberDoc> for ShadowMember {
    fn from(member: MemberDoc) -> Self {
        Self { source: member.source, shadow: member.shadow }
    }
}

/// A shadow set. Leases are not kept: after a restart a set gets a new one or is over.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SetDoc {
    pub(crate) owner: HostId,
    pub(crate) members: Vec<MemberDoc>,
    pub(crate) state: SetState,
    pub(crate) reason: Option<AbortReason>,
    pub(crate) ever_mapped: bool,
    /// The order in which sets ended, by which they are forgotten.
    pub(crate) ended: Option<u64>,
    #[serde(default)]
    pub(crate) created_at_unix_ms: u64,
    #[serde(default)]
    pub(crate) committed_at_unix_ms: Option<u64>,
    #[serde(default)]
    pub(crate) commit_took_us: Option<u64>,
    /// What the host has told about shadow LUNs of the set.
    #[serde(default)]
    pub(crate) uses: BTreeMap<LunId, ShadowUse>,
}

/// One step of a transaction.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    PutLun(LunId, LunDoc),
    DropLun(LunId),
    PutHost(HostId, HostDoc),
    DropHost(HostId),
    PutMapping(HostId, u8, LunId),
    DropMapping(HostId, u8),
    PutSet(ShadowSetId, SetDoc),
    DropSet(ShadowSetId),
    /// What the target keeps of a LUN's persistent reservations.
    PutReservations(LunId, Bytes),
    DropReservations(LunId),
    PutScrub(ScrubDoc),
    PutWork(LunId, WorkDoc),
    DropWork(LunId),
}

/// The whole content.
#[derive(Debug, Default)]
pub(crate) struct Content {
    pub(crate) luns: Vec<(LunId, LunDoc)>,
    pub(crate) hosts: Vec<(HostId, HostDoc)>,
    pub(crate) mappings: Vec<(HostId, u8, LunId)>,
    pub(crate) sets: Vec<(ShadowSetId, SetDoc)>,
    pub(crate) reservations: Vec<(LunId, Bytes)>,
    pub(crate) scrub: Option<ScrubDoc>,
    pub(crate) work: Vec<(LunId, WorkDoc)>,
}
