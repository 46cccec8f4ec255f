//! Shadow sets between preparation and commit.

use std::collections::HashMap;

use lunshadow_lun::{LunId, PoolError, ShadowMember, ShadowSetId};

use crate::lun_table::LunTable;
use crate::record::LunSlot;

/// How many LUNs a set can have.
pub(crate) const MEMBERS_MAX: usize = 1024;

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

    /// Adds members to a set. False if it had all of them.
    pub(crate) fn prepare(
        &mut self,
        luns: &mut LunTable,
        set: ShadowSetId,
        members: &[ShadowMember],
    ) -> Result<bool, PoolError> {
        let known = self.prepared.get(&set);
        if luns.has_set(set) || known.is_some_and(|known| known.phase != Phase::Armed) {
            return Err(PoolError::SetCommitted(set));
        }
        let known = known.map_or(&[][..], |known| &known.members);
        let mut fresh: Vec<ShadowMember> = Vec::new();
        for member in members {
            if !luns.find(member.source).is_some_and(|(_, lun)| lun.is_live()) {
                return Err(PoolError::UnknownLun(member.source));
            }
            if fresh.contains(member) || known.iter().any(|known| known.member == *member) {
                continue;
            }
            let taken = luns.find(member.shadow).is_some() || self.promises(member.shadow);
            if taken || fresh.iter().any(|other| other.shadow == member.shadow) {
                return Err(PoolError::LunExists(member.shadow));
            }
            fresh.push(*member);
        }
        if known.len() + fresh.len() > MEMBERS_MAX {
            return Err(PoolError::LimitReached { what: "LUNs in a shadow set", limit: MEMBERS_MAX });
        }
        if fresh.is_empty() {
            return Ok(false);
        }
        let slots: Vec<LunSlot> = fresh.iter().map_while(|_| luns.take_slot()).collect();
        if slots.len() < fresh.len() {
            slots.into_iter().for_each(|slot| luns.return_slot(slot));
            return Err(PoolError::LimitReached { what: "LUNs", limit: crate::lun_table::LUNS_MAX });
        }
        let fresh = fresh.into_iter().zip(slots).map(|(member, slot)| PreparedMember { member, slot });
        let prepared = Prepared { members: Vec::new(), phase: Phase::Armed };
        self.prepared.entry(set).or_insert(prepared).members.extend(fresh);
        Ok(true)
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
