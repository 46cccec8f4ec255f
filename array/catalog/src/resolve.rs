//! Finding LUNs by what a host sees of them.

use std::collections::BTreeSet;

use lunshadow_control::{
    Association, DesignatorKind, HostId, LunId, LunQuery, LunRecord, LunRole, identity_of, lun_named_by,
};
use lunshadow_lun::Pool;

use crate::state::State;
use crate::{Catalog, CatalogError};

impl<P: Pool> Catalog<P> {
    /// Finds LUNs: element *i* of the answer belongs to query *i* and is `None` for a disk that is not a LUN of this array or
    /// not one that the asking host may see. LUNs that are asked about together are those of a volume: if there are more than a set takes,
    /// none of them can be captured.
    ///
    /// # Errors
    /// `UnknownHost`.
    pub fn resolve(&self, host: HostId, queries: &[LunQuery]) -> Result<Vec<Option<LunRecord>>, CatalogError> {
        let fits = self.inner.check_room().is_ok() && queries.len() <= self.inner.settings.limits.luns_in_set;
        let shadows_max = self.inner.settings.limits.shadows_of_lun;
        let state = self.inner.state.lock();
        state.host(host)?;
        let shadow_counts = state.shadow_counts();
        let may_have_more = |lun| shadow_counts.get(&lun).is_none_or(|count| *count < shadows_max);
        let record = |query: &LunQuery| {
            let lun = find(&state, query)?;
            let role = visible_role(&state, host, lun)?;
            let can_shadow = match role {
                LunRole::Source => fits && state.handles.contains_key(&lun) && may_have_more(lun),
                // Shadow copies of shadow copies are not offered.
                LunRole::Shadow { .. } => false,
            };
            Some(LunRecord { lun, identity: identity_of(lun), role, can_shadow, can_copy: false })
        };
        let mut records: Vec<Option<LunRecord>> = queries.iter().map(record).collect();
        let copied: BTreeSet<LunId> = records.iter().flatten().filter(|it| it.can_shadow).map(|it| it.lun).collect();
        if self.inner.check_room_for(state.bytes_to_copy(&copied)).is_ok() {
            records.iter_mut().flatten().for_each(|record| record.can_copy = record.can_shadow);
        }
        Ok(records)
    }
}

/// What the LUN is there for, if it exists and the host may see it.
fn visible_role(state: &State, host: HostId, lun: LunId) -> Option<LunRole> {
    let role = state.role_of(lun).filter(|role| state.may_see(host, lun, *role))?;
    let exists = match role {
        LunRole::Source => true,
        LunRole::Shadow { set, .. } => {
            !state.releasing.contains(&lun) && state.sets.get(&set)?.check_reachable("seen").is_ok()
        }
    };
    exists.then_some(role)
}

/// The LUN that the query names. All names in it have to agree: a disk with one foreign designator is not ours.
fn find(state: &State, query: &LunQuery) -> Option<LunId> {
    let mut named = Vec::new();
    for designator in query.designators.iter().filter(|designator| designator.association == Association::LUN) {
        match designator.kind {
            DesignatorKind::NAA => named.push(state.lun_by_naa(&designator.bytes)?),
            DesignatorKind::T10_VENDOR_ID => named.push(lun_named_by(designator)?),
            // Forms that our LUNs do not have, added by something on the way, say nothing.
            _ => {}
        }
    }
    // Windows gives the serial number padded, and some versions in capital letters. One that is cut off or rewritten says nothing as
    // long as there are designators.
    named.extend(query.serial.as_deref().and_then(lun_by_serial));
    let first = *named.first()?;
    named.iter().all(|lun| *lun == first).then_some(first)
}

fn lun_by_serial(text: &str) -> Option<LunId> {
    text.trim_matches(|c: char| c.is_whitespace() || c == '\0').parse().ok()
}
