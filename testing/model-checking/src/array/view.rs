//! What tells a state of the array from others: all that decides how it goes on, by names that do not depend on the ids that were drawn.
//!
//! Two states are one if they differ only in
//!
//! * which host, set and source LUN is called the first and which the last;
//! * how many shadow LUNs there were once of which nothing is left, and how many points in time earlier sets of the same id had: what there is of a source
//!   in a set is numbered anew, in the order in which it was drawn;
//! * whether of two sets something was asked of the pool about the one first or about the other: the search lets either go on. What is about the same set
//!   keeps its order, and so does what is asked of the array, where those who wait for the same lock get it in their order.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher as _};

use lunshadow_catalog::{RecordChange, RecordKey, SetState, Table};
use lunshadow_control::{HostId, LunId, ShadowSetId};
use lunshadow_lun::ShadowMember;
use serde::Deserialize;
use uuid::Uuid;

use super::pool::Content;
use super::request::Request;
use super::witness::Witness;
use super::{ArraySystem, Boot, Name, PoolWork};

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
    prepared: BTreeSet<(u8, BTreeSet<Name>)>,
    captures: BTreeMap<u8, u32>,
    standing: BTreeMap<u8, Vec<(u8, BTreeSet<Name>, bool)>>,
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
        let content = self.pool.content();
        let names = self.names_in_use(&content);
        let name = |name: Name| self.renamed(renumbered(name, &names), naming);
        let renamed = |names: &BTreeSet<Name>| names.iter().copied().map(name).collect();
        let witness = |(place, witness): (u8, &Witness)| {
            let (armed, told) = (renamed(&witness.armed), witness.told.as_ref().map(renamed));
            (set(place), Witness { armed, told, captured_before: 0, ..witness.clone() })
        };
        let mut standing = BTreeMap::<u8, Vec<_>>::new();
        for (work, members, happened) in self.pool.standing_with_members() {
            let (kind, of, luns) = match self.named_work(work) {
                PoolWork::Prepare(set) => (0, set, self.names_of(&members)),
                PoolWork::Commit(set) => (1, set, self.names_of(&members)),
                PoolWork::Delete(lun @ Name::Shadow { set, .. }) => (2, set, vec![lun]),
                PoolWork::Delete(lun @ Name::Source(_)) => (2, u8::MAX, vec![lun]),
            };
            // The order of members is that of the ids that were drawn.
            let luns: BTreeSet<Name> = luns.into_iter().map(name).collect();
            standing.entry(set(of)).or_default().push((kind, luns, happened));
        }
        let prepared = content
            .prepared
            .iter()
            .map(|(of, members)| (set(self.place_of(*of)), self.names_of(members).into_iter().map(name).collect()));
        let captures = (0..).zip(&self.witnesses).map(|(of, witness)| {
            let captures = content.captures.get(&self.set_id(of)).copied().unwrap_or(0);
            (set(of), captures.saturating_sub(witness.captured_before))
        });
        View {
            remembered: self.remembered(&name, naming),
            quiet: self.asking_for_quiet().map(set).collect(),
            mapped: self.mapped().into_iter().map(|(host, lun)| (self.renamed_host(host, naming), name(lun))).collect(),
            stored: self.stored(&name, naming),
            landing: self.records.standing().map(|changes| self.landing(&changes, &name, naming)),
            luns: content.luns.keys().map(|lun| name(self.name_of(*lun))).collect(),
            prepared: prepared.collect(),
            captures: captures.collect(),
            standing,
            asked: self.asked.iter().map(|asked| (set(asked.set), asked.request, asked.disturbed)).collect(),
            reaping: self.reaping.len(),
            witnesses: (0..).zip(&self.witnesses).map(witness).collect(),
            crashes_left: self.crashes_left,
            failures_left: self.failures_left,
        }
    }

    /// All names of LUNs that anything refers to.
    fn names_in_use(&self, content: &Content) -> BTreeSet<Name> {
        let names = RefCell::new(BTreeSet::new());
        let note = |name: Name| {
            names.borrow_mut().insert(name);
            name
        };
        self.remembered(&note, Naming::AsTheyAre);
        self.stored(&note, Naming::AsTheyAre);
        if let Some(changes) = self.records.standing() {
            self.landing(&changes, &note, Naming::AsTheyAre);
        }
        let mut names = names.into_inner();
        names.extend(self.mapped().into_iter().map(|(_, name)| name));
        names.extend(content.luns.keys().map(|lun| self.name_of(*lun)));
        names.extend(content.prepared.values().flat_map(|members| self.names_of(members)));
        for (work, members, _) in self.pool.standing_with_members() {
            names.extend(self.names_of(&members));
            if let PoolWork::Delete(lun) = self.named_work(work) {
                names.insert(lun);
            }
        }
        for Witness { armed, told, .. } in &self.witnesses {
            names.extend(armed.iter().chain(told.iter().flatten()));
        }
        names
    }

    fn names_of(&self, members: &[ShadowMember]) -> Vec<Name> {
        members.iter().map(|member| self.name_of(member.shadow)).collect()
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

    fn remembered(&self, name: &impl Fn(Name) -> Name, naming: Naming) -> BTreeSet<Remembered> {
        let (_, sets) = self.catalog().administered_sets();
        let remembered = sets.iter().map(|administered| {
            let place = self.place_of(administered.summary.set);
            let plan = &self.setup.sets[usize::from(place)];
            let state = self.catalog().set_state(self.host(plan.host), administered.summary.set);
            Remembered {
                set: naming.of(place, self.setup.sets.len()),
                state: state.map_or(u8::MAX, number_of),
                members: administered.luns.iter().map(|lun| name(self.name_of(lun.shadow))).collect(),
                leased: administered.summary.lease_left_ms.is_some(),
            }
        });
        remembered.collect()
    }

    fn stored(&self, name: &impl Fn(Name) -> Name, naming: Naming) -> BTreeSet<Stored> {
        let content = self.records.content();
        content.iter().map(|(key, value)| self.stored_as(key, Some(value), name, naming)).collect()
    }

    /// What stands still on its way to the records, in its order.
    fn landing(&self, changes: &[RecordChange], name: &impl Fn(Name) -> Name, naming: Naming) -> Vec<Stored> {
        let landing = changes.iter().map(|change| match change {
            RecordChange::Put(record) => self.stored_as(&record.key, Some(&record.value), name, naming),
            RecordChange::Drop(key) => self.stored_as(key, None, name, naming),
        });
        landing.collect()
    }

    fn stored_as(
        &self,
        key: &RecordKey,
        value: Option<&Vec<u8>>,
        name: &impl Fn(Name) -> Name,
        naming: Naming,
    ) -> Stored {
        match key.table {
            Table::Sets => {
                let stored = value.and_then(|value| serde_json::from_slice::<StoredSet>(value).ok());
                let set = naming.of(self.place_of(ShadowSetId(Uuid::from_u128(key.id))), self.setup.sets.len());
                let (state, members, ever_mapped) = stored.map_or((u8::MAX, Vec::new(), false), |stored| {
                    (number_of(stored.state), stored.members, stored.ever_mapped)
                });
                let members = members.iter().map(|member| name(self.name_of(member.shadow))).collect();
                Stored::Set { set, state, members, ever_mapped }
            }
            Table::Mappings => {
                let host = self.place_of_host(HostId(Uuid::from_u128(key.id)));
                let lun = value.and_then(|value| <[u8; 16]>::try_from(value.as_slice()).ok());
                let lun = lun.map(|lun| self.name_of(LunId::from_u128(u128::from_be_bytes(lun))));
                Stored::Mapping { host: self.renamed_host(host, naming), lun: lun.map(name) }
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

/// A name by which it is the nth of those that are in use.
fn renumbered(name: Name, in_use: &BTreeSet<Name>) -> Name {
    let Name::Shadow { set, source, nth } = name else { return name };
    let before = Name::Shadow { set, source, nth: 0 }..Name::Shadow { set, source, nth };
    Name::Shadow { set, source, nth: u8::try_from(in_use.range(before).count()).unwrap_or(u8::MAX) }
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
