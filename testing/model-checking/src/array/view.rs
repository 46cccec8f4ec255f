//! What tells a state of the array from others: all that decides how it goes on, by names that do not depend on the ids that were drawn.
//!
//! Two states are one if they differ only in which host, set and source LUN is called the first and which the last.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher as _};

use lunshadow_catalog::{RecordChange, RecordKey, SetState, Table};
use lunshadow_control::{HostId, LunId, ShadowSetId};
use serde::Deserialize;
use uuid::Uuid;

use super::pool::Work;
use super::request::Request;
use super::witness::Witness;
use super::{ArraySystem, Boot, Name};

/// What the records say of a set.
#[derive(Deserialize)]
struct StoredSet {
    state: SetState,
    members: Vec<StoredMember>,
    ever_mapped: bool,
}

#[derive(Deserialize)]
struct StoredMember {
    shadow: LunId,
}

/// A record, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Stored {
    Set { set: u8, state: u8, members: BTreeSet<Name>, ever_mapped: bool },
    Mapping { host: u8, lun: Option<Name> },
    Other,
}

/// A set in the catalog's memory.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Remembered {
    set: u8,
    state: u8,
    members: BTreeSet<Name>,
    leased: bool,
}

/// A state, by names.
#[derive(Hash)]
struct View {
    remembered: BTreeSet<Remembered>,
    /// Sets for which transactions wait until some time has passed.
    quiet: BTreeSet<u8>,
    mapped: BTreeSet<(u8, Name)>,
    stored: BTreeSet<Stored>,
    landing: Option<Vec<Stored>>,
    luns: BTreeSet<Name>,
    prepared: BTreeSet<(u8, Vec<Name>)>,
    captures: BTreeMap<u8, u32>,
    standing: Vec<(u8, u8, Option<Name>, bool)>,
    asked: Vec<(u8, Request, bool)>,
    reaping: usize,
    witnesses: BTreeMap<u8, Witness>,
    crashes_left: u8,
    failures_left: u8,
}

/// Which names are given.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Naming {
    AsTheyAre,
    Mirrored,
}

impl Naming {
    fn of(self, place: u8, count: usize) -> u8 {
        match self {
            Self::AsTheyAre => place,
            Self::Mirrored => u8::try_from(count).unwrap_or(u8::MAX).saturating_sub(place + 1),
        }
    }
}

impl ArraySystem {
    pub(super) fn view_hash(&self) -> u64 {
        let as_they_are = self.hash_as(Naming::AsTheyAre);
        if self.setup.is_symmetric() { as_they_are.min(self.hash_as(Naming::Mirrored)) } else { as_they_are }
    }

    fn hash_as(&self, naming: Naming) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.view(naming).hash(&mut hasher);
        hasher.finish()
    }

    fn view(&self, naming: Naming) -> View {
        let set = |set: u8| naming.of(set, self.setup.sets.len());
        let name = |name: Name| self.renamed(name, naming);
        let content = self.pool.content();
        let named = |lun: &LunId| name(self.name_of(*lun));
        let witness = |(place, witness): (usize, &Witness)| {
            let renamed = |names: &BTreeSet<Name>| names.iter().copied().map(name).collect();
            let witness =
                Witness { armed: renamed(&witness.armed), told: witness.told.as_ref().map(renamed), ..witness.clone() };
            (set(u8::try_from(place).unwrap_or(u8::MAX)), witness)
        };
        View {
            remembered: self.remembered(naming),
            quiet: self.asking_for_quiet().map(set).collect(),
            mapped: self.mapped().into_iter().map(|(host, lun)| (self.renamed_host(host, naming), name(lun))).collect(),
            stored: self.stored(naming),
            landing: self.records.standing().map(|changes| self.landing(&changes, naming)),
            luns: content.luns.keys().map(named).collect(),
            prepared: content
                .prepared
                .iter()
                .map(|(of, members)| {
                    let mut members: Vec<Name> = members.iter().map(|member| named(&member.shadow)).collect();
                    members.sort();
                    (set(self.place_of(*of)), members)
                })
                .collect(),
            captures: content.captures.iter().map(|(of, count)| (set(self.place_of(*of)), *count)).collect(),
            standing: self
                .pool
                .standing()
                .into_iter()
                .map(|(work, happened)| match work {
                    Work::Prepare(of) => (0, set(self.place_of(of)), None, happened),
                    Work::Commit(of) => (1, set(self.place_of(of)), None, happened),
                    Work::Delete(lun) => (2, 0, Some(named(&lun)), happened),
                })
                .collect(),
            asked: self.asked.iter().map(|asked| (set(asked.set), asked.request, asked.disturbed)).collect(),
            reaping: self.reaping.len(),
            witnesses: self.witnesses.iter().enumerate().map(witness).collect(),
            crashes_left: self.crashes_left,
            failures_left: self.failures_left,
        }
    }

    fn asking_for_quiet(&self) -> impl Iterator<Item = u8> {
        // The time by which it ends is that of the runtime.
        let Boot { catalog, runtime } = self.booted();
        let _time = runtime.enter();
        let asking: Vec<u8> = self.sets().filter(|set| catalog.asks_for_quiet(self.set_id(*set))).collect();
        asking.into_iter()
    }

    fn renamed_host(&self, host: u8, naming: Naming) -> u8 {
        naming.of(host, usize::from(self.setup.hosts))
    }

    fn renamed(&self, name: Name, naming: Naming) -> Name {
        let source = |source| naming.of(source, self.setup.sources.len());
        match name {
            Name::Source(place) => Name::Source(source(place)),
            Name::Shadow { set, source: of, nth } => {
                Name::Shadow { set: naming.of(set, self.setup.sets.len()), source: source(of), nth }
            }
        }
    }

    fn remembered(&self, naming: Naming) -> BTreeSet<Remembered> {
        let (_, sets) = self.catalog().administered_sets();
        let remembered = sets.iter().map(|administered| {
            let place = self.place_of(administered.summary.set);
            let plan = &self.setup.sets[usize::from(place)];
            let state = self.catalog().set_state(self.host(plan.host), administered.summary.set);
            Remembered {
                set: naming.of(place, self.setup.sets.len()),
                state: state.map_or(u8::MAX, number_of),
                members: administered.luns.iter().map(|lun| self.renamed(self.name_of(lun.shadow), naming)).collect(),
                leased: administered.summary.lease_left_ms.is_some(),
            }
        });
        remembered.collect()
    }

    fn stored(&self, naming: Naming) -> BTreeSet<Stored> {
        let content = self.records.content();
        content.iter().map(|(key, value)| self.stored_as(key, Some(value), naming)).collect()
    }

    /// What stands still on its way to the records, in its order.
    fn landing(&self, changes: &[RecordChange], naming: Naming) -> Vec<Stored> {
        let landing = changes.iter().map(|change| match change {
            RecordChange::Put(record) => self.stored_as(&record.key, Some(&record.value), naming),
            RecordChange::Drop(key) => self.stored_as(key, None, naming),
        });
        landing.collect()
    }

    fn stored_as(&self, key: &RecordKey, value: Option<&Vec<u8>>, naming: Naming) -> Stored {
        match key.table {
            Table::Sets => {
                let stored = value.and_then(|value| serde_json::from_slice::<StoredSet>(value).ok());
                let set = naming.of(self.place_of(ShadowSetId(Uuid::from_u128(key.id))), self.setup.sets.len());
                let (state, members, ever_mapped) = stored.map_or((u8::MAX, Vec::new(), false), |stored| {
                    (number_of(stored.state), stored.members, stored.ever_mapped)
                });
                let members = members.iter().map(|member| self.renamed(self.name_of(member.shadow), naming)).collect();
                Stored::Set { set, state, members, ever_mapped }
            }
            Table::Mappings => {
                let host = self.place_of_host(HostId(Uuid::from_u128(key.id)));
                let lun = value.and_then(|value| <[u8; 16]>::try_from(value.as_slice()).ok());
                let lun = lun.map(|lun| self.name_of(LunId::from_u128(u128::from_be_bytes(lun))));
                Stored::Mapping { host: self.renamed_host(host, naming), lun: lun.map(|lun| self.renamed(lun, naming)) }
            }
            Table::Luns
            | Table::Hosts
            | Table::Reservations
            | Table::Sanitize
            | Table::PortGroups
            | Table::Scrub
            | Table::Work => Stored::Other,
        }
    }
}

const fn number_of(state: SetState) -> u8 {
    match state {
        SetState::Prepared => 0,
        SetState::Armed => 1,
        SetState::Committing => 2,
        SetState::Committed => 3,
        SetState::Kept => 4,
        SetState::Aborted => 5,
    }
}
