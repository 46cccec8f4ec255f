//! Shadow sets between preparation and commit.

use std::collections::HashMap;

use lunshadow_lun::{LunId, PoolError, ShadowMember, ShadowSetId};

use crate::lun_table::{FAMILY_MAX, LunTable};
use crate::record::LunSlot;

/// How many LUNs a set can have.
pub(crate) const MEMBERS_MAX: usize = 1024;
/// What there can be [`FAMILY_MAX`] of.
pub(crate) const FAMILY: &str = "LUNs that come from one LUN";

/// A member and the slot that its shadow LUN gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PreparedMember {
    pub(crate) member: ShadowMember,
    pub(crate) slot: LunSlot,
}

/// How far a set is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing is captured.
    Armed,
    /// A commit with this number is about to capture it.
    Committing(u64),
    /// It is captured, and its shadow LUNs are hidden until that is durable.
    Captured(u64),
}

/// A set.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) members: Vec<PreparedMember>,
    pub(crate) phase: Phase,
}

/// The sets that are prepared.
#[derive(Debug, Default)]
pub(crate) struct Sets {
    prepared: HashMap<ShadowSetId, Prepared>,
    attempts: u64,
}

impl Sets {
    pub(crate) fn get(&self, set: ShadowSetId) -> Option<&Prepared> {
        self.prepared.get(&set)
    }

    /// Whether a prepared set has promised this id to a shadow LUN.
    pub(crate) fn promises(&self, id: LunId) -> bool {
        self.prepared.values().flat_map(|set| &set.members).any(|known| known.member.shadow == id)
    }

    /// Which members a set has not yet, if they can be added.
    pub(crate) fn plan(
        &self,
        luns: &LunTable,
        set: ShadowSetId,
        members: &[ShadowMember],
    ) -> Result<Vec<ShadowMember>, PoolError> {
        let known = self.prepared.get(&set);
        if luns.has_set(set) || known.is_some_and(|known| known.phase != Phase::Armed) {
            return Err(PoolError::SetCommitted(set));
        }
        let known = known.map_or(&[][..], |known| &known.members);
        let mut fresh: Vec<ShadowMember> = Vec::new();
        let mut families = Vec::new();
        for member in members {
            let source = luns.find(member.source).filter(|(_, lun)| lun.is_live());
            let (_, source) = source.ok_or(PoolError::UnknownLun(member.source))?;
            if fresh.contains(member) || known.iter().any(|known| known.member == *member) {
                continue;
            }
            let taken = luns.find(member.shadow).is_some() || self.promises(member.shadow);
            if taken || fresh.iter().any(|other| other.shadow == member.shadow) {
                return Err(PoolError::LunExists(member.shadow));
            }
            fresh.push(*member);
            families.push(source.family);
        }
        if known.len() + fresh.len() > MEMBERS_MAX {
            return Err(PoolError::LimitReached { what: "LUNs in a shadow set", limit: MEMBERS_MAX });
        }
        // What is prepared is to be captured as well.
        let prepared = self.prepared.values().flat_map(|set| &set.members);
        families.extend(prepared.filter_map(|known| luns.find(known.member.source)).map(|(_, source)| source.family));
        if !fresh.is_empty() && !luns.can_share(&families) {
            return Err(PoolError::LimitReached { what: FAMILY, limit: FAMILY_MAX });
        }
        Ok(fresh)
    }

    /// Adds members to a set, for which there are slots.
    pub(crate) fn add(&mut self, luns: &mut LunTable, set: ShadowSetId, fresh: Vec<ShadowMember>) {
        let with_slot = |member| luns.take_slot().map(|slot| PreparedMember { member, slot });
        let prepared = Prepared { members: Vec::new(), phase: Phase::Armed };
        self.prepared.entry(set).or_insert(prepared).members.extend(fresh.into_iter().filter_map(with_slot));
    }

    /// Begins the commit of an armed set; its number, which tells it from others of a set with the same id.
    pub(crate) fn begin_commit(&mut self, set: ShadowSetId) -> Option<u64> {
        let prepared = self.prepared.get_mut(&set).filter(|prepared| prepared.phase == Phase::Armed)?;
        self.attempts += 1;
        prepared.phase = Phase::Committing(self.attempts);
        Some(self.attempts)
    }

    /// The set is captured.
    pub(crate) fn captured(&mut self, set: ShadowSetId, attempt: u64) {
        if let Some(prepared) = self.prepared.get_mut(&set) {
            prepared.phase = Phase::Captured(attempt);
        }
    }

    /// Takes the set out.
    pub(crate) fn remove(&mut self, set: ShadowSetId) -> Option<Prepared> {
        self.prepared.remove(&set)
    }
}

#[cfg(test)]
mod tests {
    use lunshadow_lun::BlockCount;

    use super::*;
    use crate::lun_record::tree_for;
    use crate::lun_table::{Life, LunEntry};
    use crate::table_index::Site;

    /// A table in which a family has so many LUNs, of which the first has the id 1, and another LUN is alone.
    fn table(family_len: usize, alone: LunId) -> LunTable {
        let mut luns = LunTable::default();
        let length = BlockCount(8);
        for id in (1..).take(family_len).map(LunId::from_u128).chain([alone]) {
            if luns.free_count() == 0 {
                let lower = luns.index().growth() == Some(2);
                luns.grow(Site::of_fresh([1, 2], [3, 4]), lower.then(|| Site::of_fresh([5, 6], [7, 8])));
            }
            let slot = luns.take_slot().unwrap();
            let family = if id == alone { alone } else { LunId::from_u128(1) };
            luns.insert(
                slot,
                LunEntry {
                    id,
                    length,
                    shown_length: std::sync::Arc::default(),
                    tree: tree_for(length).unwrap(),
                    origin: lunshadow_lun::LunOrigin::Empty,
                    life: Life::Live,
                    mapped_blocks: 0,
                    family,
                    birth: 0,
                },
            );
        }
        luns
    }

    #[test]
    fn a_family_does_not_outgrow_the_counts() {
        let alone = LunId::from_u128(1 << 64);
        let mut luns = table(FAMILY_MAX - 2, alone);
        let mut sets = Sets::default();
        let set = |number: u128| ShadowSetId(uuid::Uuid::from_u128(number));
        let members = |sources: &[u128]| -> Vec<ShadowMember> {
            let member = |source| ShadowMember { source: LunId::from_u128(source), shadow: LunId::random() };
            sources.iter().copied().map(member).collect()
        };
        let refused = |planned: Result<Vec<ShadowMember>, PoolError>| {
            matches!(planned, Err(PoolError::LimitReached { what: FAMILY, limit: FAMILY_MAX }))
        };
        assert!(refused(sets.plan(&luns, set(1), &members(&[1, 2, 3]))));
        let fresh = sets.plan(&luns, set(1), &members(&[1, 9])).unwrap();
        sets.add(&mut luns, set(1), fresh);
        // What is prepared counts as well, and only in its own family.
        assert!(refused(sets.plan(&luns, set(2), &members(&[7]))));
        assert_eq!(sets.plan(&luns, set(2), &members(&[1 << 64])).unwrap().len(), 1);
        sets.remove(set(1));
        assert_eq!(sets.plan(&luns, set(2), &members(&[7, 8])).unwrap().len(), 2);
    }
}
