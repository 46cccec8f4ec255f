//! What an administrator is shown: hosts, LUNs and shadow sets with names.

use lunshadow_control::{HostRecord, LunId, SetSummary, ShadowUse};
use lunshadow_lun::{BlockCount, LunNumber, Pool, Presentation};

use crate::hosts::record_of;
use crate::overview::{summary, youngest_first};
use crate::records::LunPhase;
use crate::shadow_set::ShadowSet;
use crate::state::State;
use crate::{AbortReason, Catalog, Moment};

/// A host, for an administrator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdministeredHost {
    /// The host.
    pub record: HostRecord,
    /// Whether it has a credential.
    pub enrolled: bool,
    /// The names of the hosts whose shadow LUNs it may import.
    pub imports_from: Vec<String>,
    /// How many LUNs are mapped to it.
    pub lun_count: usize,
    /// The CHAP name that its initiators have to prove, if they have to prove one.
    pub chap_name: Option<String>,
}

/// A LUN that is no shadow LUN of a set, for an administrator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdministeredLun {
    /// Its id.
    pub lun: LunId,
    /// Its name.
    pub name: String,
    /// Its length.
    pub block_count: BlockCount,
    /// Which hosts see it, by name, under which number.
    pub mappings: Vec<(String, LunNumber)>,
    /// How many shadow LUNs of it there are or will be.
    pub shadow_count: usize,
    /// How initiators see it.
    pub presentation: Presentation,
}

/// A shadow set, for an administrator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdministeredSet {
    /// The name of the host that made it, unless that host was removed.
    pub host: Option<String>,
    /// How it stands.
    pub summary: SetSummary,
    /// When it was begun, in milliseconds since 1970.
    pub created_at_unix_ms: u64,
    /// Why it is over, if it was aborted.
    pub reason: Option<AbortReason>,
    /// Its shadow LUNs.
    pub luns: Vec<AdministeredShadowLun>,
}

/// A shadow LUN of a set, for an administrator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdministeredShadowLun {
    /// The captured LUN.
    pub source: LunId,
    /// Its name, if it still exists.
    pub source_name: Option<String>,
    /// The shadow LUN.
    pub shadow: LunId,
    /// Which hosts see it, by name, under which number.
    pub mappings: Vec<(String, LunNumber)>,
    /// What a host has told about its use.
    pub used: Option<ShadowUse>,
}

impl<P: Pool> Catalog<P> {
    /// All hosts, by name.
    #[must_use]
    pub fn administered_hosts(&self) -> Vec<AdministeredHost> {
        let state = self.inner.state.lock();
        let name_of = |host| state.hosts.get(host).map(|entry| entry.doc.name.to_string());
        let mut hosts: Vec<_> = state
            .hosts
            .iter()
            .map(|(host, entry)| AdministeredHost {
                record: record_of(*host, entry),
                enrolled: entry.doc.credential.is_some(),
                imports_from: entry.doc.imports_from.iter().filter_map(name_of).collect(),
                lun_count: entry.mappings.len(),
                chap_name: entry.doc.chap.as_ref().map(|accounts| accounts.initiator.name.clone()),
            })
            .collect();
        hosts.sort_by_key(|host| host.record.name.to_ascii_lowercase());
        hosts
    }

    /// All LUNs that are no shadow LUNs of a set, by name.
    #[must_use]
    pub fn administered_luns(&self) -> Vec<AdministeredLun> {
        let state = self.inner.state.lock();
        let shadow_counts = state.shadow_counts();
        let live = state.luns.iter().filter(|(_, doc)| doc.phase == LunPhase::Live);
        let mut luns: Vec<_> = live
            .map(|(lun, doc)| AdministeredLun {
                lun: *lun,
                name: doc.name.to_string(),
                block_count: doc.block_count(),
                mappings: mappings(&state, *lun),
                shadow_count: shadow_counts.get(lun).copied().unwrap_or(0),
                presentation: doc.presentation(),
            })
            .collect();
        luns.sort_by_key(|lun| lun.name.to_ascii_lowercase());
        luns
    }

    /// The time of day in milliseconds since 1970, and the sets of all hosts, the youngest first: all that live, and the youngest of
    /// each host that are over.
    #[must_use]
    pub fn administered_sets(&self) -> (u64, Vec<AdministeredSet>) {
        let clock = &self.inner.settings.clock;
        let (now, now_unix_ms) = (clock.now(), clock.unix_ms());
        let state = self.inner.state.lock();
        let sets = youngest_first(state.sets.values());
        (now_unix_ms, sets.into_iter().map(|set| administered(&state, set, now)).collect())
    }
}

fn mappings(state: &State, lun: LunId) -> Vec<(String, LunNumber)> {
    let named = |(host, number)| Some((state.hosts.get(&host)?.doc.name.to_string(), LunNumber(number)));
    state.slots_of(lun).into_iter().filter_map(named).collect()
}

fn administered(state: &State, set: &ShadowSet, now: Moment) -> AdministeredSet {
    let luns = set.members.iter().map(|member| AdministeredShadowLun {
        source: member.source,
        source_name: state.luns.get(&member.source).map(|doc| doc.name.to_string()),
        shadow: member.shadow,
        mappings: mappings(state, member.shadow),
        used: set.uses.get(&member.shadow).copied(),
    });
    AdministeredSet {
        host: state.hosts.get(&set.owner).map(|entry| entry.doc.name.to_string()),
        summary: summary(set, now),
        created_at_unix_ms: set.created_at_unix_ms,
        reason: set.reason,
        luns: luns.collect(),
    }
}
