//! All that the catalog knows, in memory: the questions that the use cases ask of it. The database has the durable part.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use lunshadow_control::{DesignatorKind, HostId, LunId, LunRole, ShadowSetId};
use lunshadow_lun::{LunHandle, Pool, PresentationCell, identity_of};

use crate::records::{Change, HostDoc, LunDoc, LunPhase};
use crate::shadow_set::ShadowSet;
use crate::{CatalogError, IdSource};

/// A host and what is mapped to it.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) doc: HostDoc,
    /// By LUN number.
    pub(crate) mappings: BTreeMap<u8, LunId>,
}

impl Host {
    /// Under which number the host sees a LUN.
    pub(crate) fn number_of(&self, lun: LunId) -> Option<u8> {
        self.mappings.iter().find(|(_, mapped)| **mapped == lun).map(|(number, _)| *number)
    }
}

/// The memory of the catalog.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Source LUNs.
    pub(crate) luns: BTreeMap<LunId, LunDoc>,
    pub(crate) hosts: BTreeMap<HostId, Host>,
    pub(crate) sets: BTreeMap<ShadowSetId, ShadowSet>,
    /// Shadow LUNs that are being deleted, and that nobody can map any more.
    pub(crate) releasing: HashSet<LunId>,
    /// LUNs that are the array's own for a while.
    pub(crate) internal: HashSet<LunId>,
    /// INVARIANT: has every source LUN and every mapped shadow LUN, unless the pool does not have it.
    pub(crate) handles: HashMap<LunId, LunHandle>,
    /// How LUNs that were mapped since the catalog was opened are seen.
    pub(crate) presentations: HashMap<LunId, Arc<PresentationCell>>,
    /// Which set a shadow LUN belongs to, whatever the set's state.
    pub(crate) set_of_shadow: HashMap<LunId, ShadowSetId>,
    /// All ids by the only designator that does not hold the whole of them.
    lun_by_naa: HashMap<Vec<u8>, LunId>,
    pub(crate) next_ended: u64,
    pub(crate) generation: u64,
}

impl State {
    pub(crate) fn host(&self, host: HostId) -> Result<&Host, CatalogError> {
        self.hosts.get(&host).ok_or(CatalogError::UnknownHost(host))
    }

    /// A set, if the host exists and owns it.
    pub(crate) fn set_of(&self, host: HostId, set: ShadowSetId) -> Result<&ShadowSet, CatalogError> {
        self.host(host)?;
        self.sets.get(&set).filter(|found| found.owner == host).ok_or(CatalogError::UnknownSet(set))
    }

    /// The same, to change it.
    pub(crate) fn set_of_mut(&mut self, host: HostId, set: ShadowSetId) -> Result<&mut ShadowSet, CatalogError> {
        self.host(host)?;
        self.sets.get_mut(&set).filter(|found| found.owner == host).ok_or(CatalogError::UnknownSet(set))
    }

    /// Whether it is a source LUN that can be used.
    pub(crate) fn is_live_source(&self, lun: LunId) -> bool {
        self.luns.get(&lun).is_some_and(|doc| doc.phase == LunPhase::Live)
    }

    /// What a LUN is there for, if the catalog knows it: also of shadow LUNs that do not exist yet or any more.
    pub(crate) fn role_of(&self, lun: LunId) -> Option<LunRole> {
        if self.is_live_source(lun) {
            return Some(LunRole::Source);
        }
        let set = self.sets.get(self.set_of_shadow.get(&lun)?)?;
        let member = set.members.iter().find(|member| member.shadow == lun)?;
        Some(LunRole::Shadow { source: member.source, set: set.set })
    }

    /// Whether a host may see a LUN of that role, leaving open whether the LUN exists already or still.
    pub(crate) fn may_see(&self, host: HostId, lun: LunId, role: LunRole) -> bool {
        let Some(asking) = self.hosts.get(&host) else { return false };
        let mapped = |lun| asking.number_of(lun).is_some();
        match role {
            LunRole::Source => mapped(lun),
            LunRole::Shadow { source, set } => {
                let owner = self.sets.get(&set).map(|set| set.owner);
                owner.is_some_and(|owner| owner == host || asking.doc.imports_from.contains(&owner))
                    || mapped(source)
                    || mapped(lun)
            }
        }
    }

    /// How many shadow LUNs exist, or will, of each source that has some. All sets are looked through once, since there can be many.
    pub(crate) fn shadow_counts(&self) -> HashMap<LunId, usize> {
        let mut counts = HashMap::new();
        let alive = self.sets.values().filter(|set| set.reason.is_none());
        for member in alive.flat_map(|set| set.members.iter().chain(&set.joining)) {
            *counts.entry(member.source).or_default() += 1;
        }
        counts
    }

    /// How much full copies of LUNs take, with their maps.
    pub(crate) fn bytes_to_copy<'a>(&self, luns: impl IntoIterator<Item = &'a LunId>) -> u64 {
        let usages = luns.into_iter().filter_map(|lun| self.handles.get(lun)?.usage());
        let mapped_bytes = usages.fold(0_u64, |sum, usage| sum.saturating_add(usage.mapped_bytes));
        mapped_bytes.saturating_add(mapped_bytes / 64)
    }

    /// Draws an id whose designators no other LUN has, and takes it.
    pub(crate) fn draw_id(&mut self, ids: &dyn IdSource, pool: &impl Pool) -> LunId {
        loop {
            let lun = LunId::from_u128(ids.draw());
            if !self.lun_by_naa.contains_key(&naa_of(lun)) && pool.summary(lun).is_none() {
                self.know_id(lun);
                return lun;
            }
        }
    }

    /// Takes an id that was drawn before.
    pub(crate) fn know_id(&mut self, lun: LunId) {
        self.lun_by_naa.insert(naa_of(lun), lun);
    }

    /// Gives up an id.
    pub(crate) fn forget_id(&mut self, lun: LunId) {
        self.lun_by_naa.remove(&naa_of(lun));
        self.set_of_shadow.remove(&lun);
        self.handles.remove(&lun);
        self.presentations.remove(&lun);
    }

    /// The LUN with that NAA designator.
    pub(crate) fn lun_by_naa(&self, naa: &[u8]) -> Option<LunId> {
        self.lun_by_naa.get(naa).copied()
    }

    /// Where a LUN is mapped.
    pub(crate) fn slots_of(&self, lun: LunId) -> Vec<(HostId, u8)> {
        let slots = self.hosts.iter().filter_map(|(host, entry)| entry.number_of(lun).map(|number| (*host, number)));
        slots.collect()
    }

    /// How a mapping stands now, as a step of a transaction.
    pub(crate) fn slot_change(&self, host: HostId, number: u8) -> Change {
        match self.hosts.get(&host).and_then(|entry| entry.mappings.get(&number)) {
            Some(lun) => Change::PutMapping(host, number, *lun),
            None => Change::DropMapping(host, number),
        }
    }

    /// How a set stands now, as a step of a transaction.
    pub(crate) fn set_change(&self, set: ShadowSetId) -> Change {
        self.sets.get(&set).map_or(Change::DropSet(set), |found| Change::PutSet(set, found.to_doc()))
    }
}

fn naa_of(lun: LunId) -> Vec<u8> {
    let designators = identity_of(lun).designators;
    let naa = designators.into_iter().find(|designator| designator.kind == DesignatorKind::NAA);
    naa.expect("every LUN has an NAA designator").bytes
}
