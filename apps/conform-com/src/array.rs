//! The array's objects, as Lunshadow's control service lists them.

use std::collections::BTreeSet;

use anyhow::Context as _;
use lunshadow_array_client::{AdminClient, Endpoint, HttpsTimeouts};
use lunshadow_conform::Ledger;
use lunshadow_control::api::{AdminLun, AdminMapping, AdminSet, DeleteLunRequest};
use lunshadow_control::{LunId, Secret, SetPhase, ShadowSetId, identity_of};
use parking_lot::Mutex;

use crate::description::Array;

/// The array, of which one host's objects are looked at.
pub(crate) struct ArrayView {
    client: AdminClient,
    host: String,
    others: Others,
    /// All that were shadow LUNs of the host when somebody looked.
    seen: Mutex<BTreeSet<LunId>>,
}

/// What tells the suite's sets from those that are somebody's: these are neither counted nor deleted.
#[derive(Default)]
struct Others {
    /// The serial numbers of the LUNs that the suite copies.
    sources: BTreeSet<String>,
    /// The sets that were there before the suite began.
    sets: BTreeSet<ShadowSetId>,
}

impl Others {
    fn have(&self, set: ShadowSetId, sources: impl IntoIterator<Item = LunId>) -> bool {
        let is_foreign = |source: LunId| !self.sources.contains(&identity_of(source).serial);
        self.sets.contains(&set) || sources.into_iter().any(is_foreign)
    }
}

impl ArrayView {
    /// The array, the second host if there is one, and the LUNs that the suite copies.
    pub(crate) fn open(array: &Array, importer: Option<&str>, sources: BTreeSet<String>) -> anyhow::Result<Self> {
        let path = &array.credential_file;
        let credential = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the administrator's credential in {}", path.display()))?;
        let endpoint = Endpoint { address: array.control.clone(), fingerprint: array.fingerprint };
        let client = AdminClient::new(endpoint, Secret::new(credential.trim()), HttpsTimeouts::default());
        let hosts = client.hosts().context("the control service cannot be asked")?;
        for name in std::iter::once(&*array.host).chain(importer) {
            anyhow::ensure!(
                hosts.iter().any(|host| host.host.name == name),
                "the array knows no host {name}; `lunshadow host list` lists its hosts"
            );
        }
        let sets = client.sets().context("the control service cannot be asked")?.sets;
        let others = Others { sources, sets: sets.iter().map(|set| set.summary.set).collect() };
        Ok(Self { client, host: array.host.clone(), others, seen: Mutex::default() })
    }

    /// The suite's sets that are not over.
    fn sets(&self) -> anyhow::Result<Vec<AdminSet>> {
        let mut sets = self.client.sets()?.sets;
        sets.retain(|set| {
            set.host.as_ref() == Some(&self.host)
                && set.summary.phase != SetPhase::Aborted
                && !self.others.have(set.summary.set, set.luns.iter().map(|lun| lun.source))
        });
        self.seen.lock().extend(sets.iter().flat_map(|set| &set.luns).map(|lun| lun.shadow));
        Ok(sets)
    }

    /// All LUNs, and whether each was a shadow LUN of the host before it was made read-write.
    fn luns(&self) -> anyhow::Result<Vec<(AdminLun, bool)>> {
        let luns = self.client.luns()?;
        let seen = self.seen.lock();
        let judged = |lun: AdminLun| {
            let was_shadow = seen.contains(&lun.lun);
            (lun, was_shadow)
        };
        Ok(luns.into_iter().map(judged).collect())
    }

    /// What the array has, with the mappings of one host; of the first, if it is not named.
    pub(crate) fn ledger(&self, host: Option<&str>) -> anyhow::Result<Ledger> {
        let host = host.unwrap_or(&self.host);
        let is_mapped = |mappings: &[AdminMapping]| mappings.iter().any(|mapping| mapping.host == host);
        let (sets, luns) = (self.sets()?, self.luns()?);
        let serial = |lun: LunId| identity_of(lun).serial;
        let is_captured = |set: &&AdminSet| matches!(set.summary.phase, SetPhase::Committed | SetPhase::Kept);
        let shadows = || sets.iter().filter(is_captured).flat_map(|set| &set.luns);
        let broken_off = luns.iter().filter(|(_, was_shadow)| *was_shadow).map(|(lun, _)| lun.lun);
        let of_own = luns.iter().filter(|(lun, _)| is_mapped(&lun.hosts)).map(|(lun, _)| lun.lun);
        let located = shadows().filter(|shadow| is_mapped(&shadow.hosts)).map(|shadow| shadow.shadow);
        Ok(Ledger {
            shadows: shadows().map(|it| it.shadow).chain(broken_off).map(serial).collect(),
            mapped: of_own.chain(located).map(serial).collect(),
            unfinished_sets: sets.iter().filter(|set| set.summary.phase != SetPhase::Kept).count(),
        })
    }

    /// Makes a LUN longer that the suite copies.
    pub(crate) fn grow(&self, serial: &str, by_bytes: u64) -> anyhow::Result<()> {
        anyhow::ensure!(self.others.sources.contains(serial), "LUN {serial} is not the suite's to grow");
        let luns = self.client.luns()?;
        let lun = luns.iter().find(|lun| identity_of(lun.lun).serial == serial);
        let lun = lun.with_context(|| format!("the control service does not list LUN {serial}"))?;
        self.client.grow_lun(&lun.name, lun.len_bytes + by_bytes)?;
        Ok(())
    }

    /// Ends all sets of the suite, and deletes what has left them.
    pub(crate) fn clean_up(&self) -> anyhow::Result<()> {
        for set in self.sets()? {
            self.client.delete_set(set.summary.set)?;
        }
        let with_mappings = DeleteLunRequest { unmap: true, keep_shadows: false };
        for (lun, _) in self.luns()?.iter().filter(|(_, was_shadow)| *was_shadow) {
            self.client.delete_lun(&lun.name, &with_mappings)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn sets_of_others_are_left_alone() {
        let (ours, theirs) = (LunId::from_u128(1), LunId::from_u128(2));
        let (old, new) = (ShadowSetId(Uuid::from_u128(3)), ShadowSetId(Uuid::from_u128(4)));
        let others = Others { sources: [identity_of(ours).serial].into(), sets: [old].into() };
        assert!(others.have(old, [ours]), "it was there before");
        assert!(others.have(new, [ours, theirs]), "it has a LUN that the suite does not copy");
        assert!(!others.have(new, [ours]));
    }
}
