//! How LUNs are reached through the portal groups of a target, as an administrator has decided.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use lunshadow_control::PortalGroupState;
use parking_lot::RwLock;

/// The present states of portal groups, by their tags. Whoever serves LUNs looks here at every command, so that a change holds at once.
#[derive(Debug, Default)]
pub struct PortalGroupStates {
    /// Those that are not optimized.
    states: RwLock<BTreeMap<NonZeroU16, PortalGroupState>>,
    /// Whether a group is not active. Kept beside the states, so that the data path only looks here.
    restricted: AtomicBool,
    generation: AtomicU64,
}

impl PortalGroupStates {
    /// What an administrator has decided about a group.
    #[must_use]
    pub fn of(&self, group: NonZeroU16) -> PortalGroupState {
        self.states.read().get(&group).copied().unwrap_or_default()
    }

    /// All groups that are not optimized.
    #[must_use]
    pub fn all(&self) -> BTreeMap<NonZeroU16, PortalGroupState> {
        self.states.read().clone()
    }

    /// Whether there is a group through which data is not read and written.
    #[must_use]
    pub fn are_restricted(&self) -> bool {
        self.restricted.load(Ordering::Acquire)
    }

    /// Another number after each change.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Has a group be in a state.
    pub fn set(&self, group: NonZeroU16, state: PortalGroupState) {
        let mut states = self.states.write();
        states.insert(group, state);
        states.retain(|_, state| *state != PortalGroupState::Optimized);
        self.restricted.store(states.values().any(|state| !state.is_active()), Ordering::Release);
        self.generation.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_optimized_and_only_inactive_groups_restrict() {
        let (first, second) = (NonZeroU16::MIN, NonZeroU16::MAX);
        let states = PortalGroupStates::default();
        assert_eq!((states.of(first), states.are_restricted()), (PortalGroupState::Optimized, false));
        for (state, restricts) in [
            (PortalGroupState::NonOptimized, false),
            (PortalGroupState::Standby, true),
            (PortalGroupState::Unavailable, true),
            (PortalGroupState::Optimized, false),
        ] {
            let before = states.generation();
            states.set(second, state);
            assert_eq!((states.of(first), states.of(second)), (PortalGroupState::Optimized, state));
            assert_eq!(states.are_restricted(), restricts, "{state}");
            assert_ne!(states.generation(), before, "{state}");
        }
        assert_eq!(states.all(), BTreeMap::new());
    }
}
