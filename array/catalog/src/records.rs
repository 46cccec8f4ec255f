//! What the database keeps: one record per LUN, host and shadow set, as JSON, so that a later version can add fields.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;

use bytes::Bytes;
use lunshadow_control::{ChapAccounts, HostId, InitiatorName, LunId, PortalGroupState, ShadowSetId, ShadowUse};
use lunshadow_lun::{BlockCount, Presentation, ShadowMember, UnitRecord};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::enrolment::SecretDigest;
use crate::internal::WorkDoc;
use crate::record_store::{Record, RecordChange, RecordKey, Table};
use crate::scrub::ScrubDoc;
use crate::{AbortReason, DatabaseError, Name, SetState};

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
    #[serde(default)]
    pub(crate) removable: bool,
    #[serde(default)]
    pub(crate) write_protected: bool,
    /// The host that has made it a LUN of its own, if it was a shadow LUN. VSS may still mask it there.
    #[serde(default)]
    pub(crate) broken_off_by: Option<HostId>,
}

impl LunDoc {
    pub(crate) fn new(name: Name, block_count: BlockCount) -> Self {
        let phase = LunPhase::Creating;
        Self { name, block_count: block_count.0, phase, removable: false, write_protected: false, broken_off_by: None }
    }

    pub(crate) fn block_count(&self) -> BlockCount {
        BlockCount(self.block_count)
    }

    pub(crate) fn presentation(&self) -> Presentation {
        Presentation { removable: self.removable, write_protected: self.write_protected }
    }

    /// The same LUN, seen otherwise.
    pub(crate) fn with_presentation(&self, presentation: Presentation) -> Self {
        let Presentation { removable, write_protected } = presentation;
        Self { removable, write_protected, ..self.clone() }
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
    /// What the target keeps of a LUN, or that it keeps nothing.
    SetUnitRecord(LunId, UnitRecord, Option<Bytes>),
    /// What is decided about a target portal group, or that nothing is.
    SetPortalGroup(NonZeroU16, Option<PortalGroupState>),
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
    pub(crate) unit_records: Vec<(LunId, UnitRecord, Bytes)>,
    pub(crate) portal_groups: Vec<(NonZeroU16, PortalGroupState)>,
    pub(crate) scrub: Option<ScrubDoc>,
    pub(crate) work: Vec<(LunId, WorkDoc)>,
}

impl Content {
    /// What records say.
    pub(crate) fn from_records(records: Vec<Record>) -> Result<Self, DatabaseError> {
        let mut content = Self::default();
        for Record { key: RecordKey { table, id, number }, value } in records {
            let lun = LunId::from_u128(id);
            match table {
                Table::Luns => content.luns.push((lun, decode(&value, table)?)),
                Table::Hosts => content.hosts.push((HostId(Uuid::from_u128(id)), decode(&value, table)?)),
                Table::Sets => content.sets.push((ShadowSetId(Uuid::from_u128(id)), decode(&value, table)?)),
                Table::Reservations => content.unit_records.push((lun, UnitRecord::Reservations, value.into())),
                Table::Sanitize => content.unit_records.push((lun, UnitRecord::Sanitize, value.into())),
                Table::PortGroups => content.unit_records.push((lun, UnitRecord::PortGroups, value.into())),
                Table::Work => content.work.push((lun, decode(&value, table)?)),
                Table::PortalGroups => {
                    // There is no tag that is none: whoever made the record had one.
                    let tag = u16::try_from(id).ok().and_then(NonZeroU16::new);
                    content.portal_groups.extend(tag.zip(decode(&value, table)?));
                }
                Table::Scrub => content.scrub = Some(decode(&value, table)?),
                Table::Mappings => {
                    let mapped = value.as_slice().try_into().map_err(|_| DatabaseError::Mapping)?;
                    let mapped = LunId::from_u128(u128::from_be_bytes(mapped));
                    content.mappings.push((HostId(Uuid::from_u128(id)), number, mapped));
                }
            }
        }
        Ok(content)
    }
}

/// Where what the target keeps of LUNs is.
const fn table_of(record: UnitRecord) -> Table {
    match record {
        UnitRecord::Reservations => Table::Reservations,
        UnitRecord::Sanitize => Table::Sanitize,
        UnitRecord::PortGroups => Table::PortGroups,
    }
}

impl Change {
    /// The target keeps nothing of a LUN any more.
    pub(crate) fn drop_unit_records(lun: LunId) -> impl Iterator<Item = Self> {
        UnitRecord::ALL.into_iter().map(move |record| Self::SetUnitRecord(lun, record, None))
    }

    /// The same, as a step of a transaction of the store.
    pub(crate) fn to_record_change(&self) -> Result<RecordChange, DatabaseError> {
        let of_lun = |table, lun: &LunId| RecordKey { table, id: lun.as_u128(), number: 0 };
        let of_host = |host: &HostId| RecordKey { table: Table::Hosts, id: host.0.as_u128(), number: 0 };
        let of_set = |set: &ShadowSetId| RecordKey { table: Table::Sets, id: set.0.as_u128(), number: 0 };
        let of_slot = |host: &HostId, number: u8| RecordKey { table: Table::Mappings, id: host.0.as_u128(), number };
        let of_group = |group: NonZeroU16| RecordKey { table: Table::PortalGroups, id: group.get().into(), number: 0 };
        Ok(match self {
            Self::PutLun(lun, doc) => put(of_lun(Table::Luns, lun), doc)?,
            Self::DropLun(lun) => RecordChange::Drop(of_lun(Table::Luns, lun)),
            Self::PutHost(host, doc) => put(of_host(host), doc)?,
            Self::DropHost(host) => RecordChange::Drop(of_host(host)),
            Self::PutMapping(host, number, lun) => {
                let value = lun.as_u128().to_be_bytes().to_vec();
                RecordChange::Put(Record { key: of_slot(host, *number), value })
            }
            Self::DropMapping(host, number) => RecordChange::Drop(of_slot(host, *number)),
            Self::PutSet(set, doc) => put(of_set(set), doc)?,
            Self::DropSet(set) => RecordChange::Drop(of_set(set)),
            Self::SetUnitRecord(lun, record, Some(bytes)) => {
                RecordChange::Put(Record { key: of_lun(table_of(*record), lun), value: bytes.to_vec() })
            }
            Self::SetUnitRecord(lun, record, None) => RecordChange::Drop(of_lun(table_of(*record), lun)),
            Self::SetPortalGroup(group, Some(state)) => put(of_group(*group), state)?,
            Self::SetPortalGroup(group, None) => RecordChange::Drop(of_group(*group)),
            Self::PutScrub(doc) => put(RecordKey { table: Table::Scrub, id: 0, number: 0 }, doc)?,
            Self::PutWork(lun, doc) => put(of_lun(Table::Work, lun), doc)?,
            Self::DropWork(lun) => RecordChange::Drop(of_lun(Table::Work, lun)),
        })
    }
}

fn put(key: RecordKey, doc: &impl Serialize) -> Result<RecordChange, DatabaseError> {
    let encoded = serde_json::to_vec(doc);
    let value = encoded.map_err(|source| DatabaseError::Record { kind: kind_of(key.table), source })?;
    Ok(RecordChange::Put(Record { key, value }))
}

fn decode<T: DeserializeOwned>(bytes: &[u8], table: Table) -> Result<T, DatabaseError> {
    serde_json::from_slice(bytes).map_err(|source| DatabaseError::Record { kind: kind_of(table), source })
}

/// What a record of a table is a record of, for people.
const fn kind_of(table: Table) -> &'static str {
    match table {
        Table::Luns => "LUN",
        Table::Hosts => "host",
        Table::Mappings => "mapping",
        Table::Sets => "shadow set",
        Table::Reservations => "reservation",
        Table::Sanitize => "SANITIZE",
        Table::PortGroups => "target port group",
        Table::PortalGroups => "target portal group",
        Table::Scrub => "scrub",
        Table::Work => "copy, import or export",
    }
}
