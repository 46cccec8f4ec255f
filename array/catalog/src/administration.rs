//! What an administrator is shown: hosts and LUNs with names.

use lunshadow_control::{HostRecord, LunId};
use lunshadow_lun::{BlockCount, LunNumber, Pool};

use crate::Catalog;
use crate::hosts::record_of;
use crate::records::LunPhase;

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
            })
            .collect();
        hosts.sort_by_key(|host| host.record.name.to_ascii_lowercase());
        hosts
    }

    /// All LUNs that are no shadow LUNs of a set, by name.
    #[must_use]
    pub fn administered_luns(&self) -> Vec<AdministeredLun> {
        let state = self.inner.state.lock();
        let live = state.luns.iter().filter(|(_, doc)| doc.phase == LunPhase::Live);
        let mut luns: Vec<_> = live
            .map(|(lun, doc)| {
                let slots = state.slots_of(*lun).into_iter();
                let mappings = slots.filter_map(|(host, number)| {
                    Some((state.hosts.get(&host)?.doc.name.to_string(), LunNumber(number)))
                });
                AdministeredLun {
                    lun: *lun,
                    name: doc.name.to_string(),
                    block_count: doc.block_count(),
                    mappings: mappings.collect(),
                    shadow_count: state.shadow_count(*lun),
                }
            })
            .collect();
        luns.sort_by_key(|lun| lun.name.to_ascii_lowercase());
        luns
    }
}
