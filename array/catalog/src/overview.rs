//! All that concerns one host, for people to look at.

use std::collections::BTreeMap;

use lunshadow_control::{HostId, HostOverview, LunRole, MappedLun, SetPhase, SetSummary};
use lunshadow_lun::Pool;

use crate::hosts::record_of;
use crate::shadow_set::{SetState, ShadowSet};
use crate::{Catalog, CatalogError, Moment};

/// How many sets of a host that are over are shown.
const ENDED_SETS_SHOWN: usize = 32;

impl<P: Pool> Catalog<P> {
    /// What is mapped to the asking host, and its sets: all that live, and the youngest of those that are over.
    ///
    /// # Errors
    /// `UnknownHost`.
    pub fn overview(&self, host: HostId) -> Result<HostOverview, CatalogError> {
        let clock = &self.inner.settings.clock;
        let (now, now_unix_ms) = (clock.now(), clock.unix_ms());
        let state = self.inner.state.lock();
        let entry = state.host(host)?;
        let luns = entry.mappings.iter().map(|(number, lun)| MappedLun {
            number: *number,
            lun: *lun,
            name: state.luns.get(lun).map(|doc| doc.name.to_string()),
            len_bytes: state.handles.get(lun).map_or(0, |handle| handle.block_count().bytes()),
            role: state.role_of(*lun).unwrap_or(LunRole::Source),
        });
        let luns = luns.collect();
        let sets = youngest_first(state.sets.values().filter(|set| set.owner == host));
        let sets = sets.into_iter().map(|set| summary(set, now)).collect();
        Ok(HostOverview { host: record_of(host, entry), now_unix_ms, luns, sets })
    }
}

/// All sets that live, and of those that are over the youngest ones of each host.
pub(crate) fn youngest_first<'a>(sets: impl Iterator<Item = &'a ShadowSet>) -> Vec<&'a ShadowSet> {
    let mut sets: Vec<&ShadowSet> = sets.collect();
    sets.sort_by_key(|set| std::cmp::Reverse((set.created_at_unix_ms, set.ended)));
    let mut ended_shown: BTreeMap<HostId, usize> = BTreeMap::new();
    sets.retain(|set| {
        let shown = ended_shown.entry(set.owner).or_default();
        *shown += usize::from(set.ended.is_some());
        set.ended.is_none() || *shown <= ENDED_SETS_SHOWN
    });
    sets
}

pub(crate) fn summary(set: &ShadowSet, now: Moment) -> SetSummary {
    let left = |lease: Moment| u64::try_from(lease.0.saturating_sub(now.0).as_millis()).unwrap_or(u64::MAX);
    SetSummary {
        set: set.set,
        phase: match set.state {
            SetState::Prepared => SetPhase::Prepared,
            SetState::Armed | SetState::Committing => SetPhase::Armed,
            SetState::Committed => SetPhase::Committed,
            SetState::Kept => SetPhase::Kept,
            SetState::Aborted => SetPhase::Aborted,
        },
        lun_count: u32::try_from(set.members.len()).unwrap_or(u32::MAX),
        lease_left_ms: set.lease.map(left),
        committed_at_unix_ms: set.committed_at_unix_ms,
        commit_took_us: set.commit_took_us,
    }
}
