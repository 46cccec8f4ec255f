//! What tells a state of the array from others: all that decides how it goes on, by names that do not depend on the ids that were drawn.
//!
//! Two states are one if they differ only in
//!
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

use super::begun::{Begun, Steps};
use super::pool::{Content, StandingWork};
use super::request::Request;
use super::witness::Witness;
use super::{ArraySystem, Asked, Boot, GivenUp, Name, PoolWork, Reaping};

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

/// What has begun and not come to its end.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct UnderWay {
    what: Task,
    /// How often the times have passed that anything is waited for.
    waited: u64,
    steps: Steps,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Task {
    Asked {
        request: Request,
        disturbed: bool,
    },
    GivenUp(Request),
    /// The one who ends leases, whichever set he is at.
    Reaper,
    Pool {
        kind: u8,
        luns: BTreeSet<Name>,
        happened: bool,
        failed_before: bool,
    },
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
    /// The shadow LUNs of each set in the order of their ids, in which the array goes through them.
    order: BTreeMap<u8, Vec<Name>>,
    prepared: BTreeSet<(u8, BTreeSet<Name>)>,
    captures: BTreeMap<u8, u32>,
    under_way: BTreeMap<Option<u8>, Vec<UnderWay>>,
    asked: Vec<(u8, Request)>,
    tasks_alive: usize,
    reaping: Vec<UnderWay>,
    witnesses: BTreeMap<u8, Witness>,
    crashes_left: u8,
    failures_left: u8,
}

impl ArraySystem {
    pub(super) fn view_hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.view().hash(&mut hasher);
        hasher.finish()
    }

    fn view(&self) -> View {
        let content = self.pool.content();
        let names = self.names_in_use(&content);
        let name = |name: Name| renumbered(name, &names);
        let renamed = |names: &BTreeSet<Name>| names.iter().copied().map(name).collect();
        let witness = |(place, witness): (u8, &Witness)| {
            let (armed, told) = (renamed(&witness.armed), witness.told.as_ref().map(renamed));
            (place, Witness { armed, told, captured_before: 0, ..witness.clone() })
        };
        let prepared = content
            .prepared
            .iter()
            .map(|(of, members)| (self.place_of(*of), self.names_of(members).into_iter().map(name).collect()));
        let captures = (0..).zip(&self.witnesses).map(|(of, witness)| {
            let captures = content.captures.get(&self.set_id(of)).copied().unwrap_or(0);
            (of, captures.saturating_sub(witness.captured_before))
        });
        let mut order = BTreeMap::<u8, Vec<Name>>::new();
        for known in self.names.values().filter(|known| names.contains(known)) {
            if let Name::Shadow { set: of, .. } = *known {
                order.entry(of).or_default().push(name(*known));
            }
        }
        View {
            remembered: self.remembered(&name),
            quiet: self.asking_for_quiet().collect(),
            mapped: self.mapped().into_iter().map(|(host, lun)| (host, name(lun))).collect(),
            stored: self.stored(&name),
            landing: self.records.standing().map(|changes| self.landing(&changes, &name)),
            luns: content.luns.keys().map(|lun| name(self.name_of(*lun))).collect(),
            order,
            prepared: prepared.collect(),
            captures: captures.collect(),
            under_way: self.under_way(&name),
            asked: self.asked.iter().map(|asked| (asked.set, asked.request)).collect(),
            tasks_alive: self.tasks_alive(),
            reaping: self.reaping.iter().map(|reaping| self.reaped_by(reaping).1).collect(),
            witnesses: (0..).zip(&self.witnesses).map(witness).collect(),
            crashes_left: self.crashes_left,
            failures_left: self.failures_left,
        }
    }

    /// What is under way for each set, in the order in which the tasks began that are at work on it.
    fn under_way(&self, name: &impl Fn(Name) -> Name) -> BTreeMap<Option<u8>, Vec<UnderWay>> {
        let mut under_way = BTreeMap::<_, Vec<(Begun, UnderWay)>>::new();
        let mut note = |set: Option<u8>, begun: Begun, steps: Steps, what: Task| {
            let seen = UnderWay { what, waited: self.pool.times().passed_since(begun), steps };
            under_way.entry(set).or_default().push((begun, seen));
        };
        for Asked { set, request, disturbed, begun, steps, .. } in &self.asked {
            note(Some(*set), *begun, *steps, Task::Asked { request: *request, disturbed: *disturbed });
        }
        for GivenUp { set, request, begun, steps } in &self.given_up {
            note(Some(*set), *begun, *steps, Task::GivenUp(*request));
        }
        for StandingWork { work, begun, members, happened, failed_before } in self.pool.standing_at_length() {
            let work = self.named_work(work);
            let (kind, luns) = match work {
                PoolWork::Prepare(_) => (0, self.names_of(&members)),
                PoolWork::Commit(_) => (1, self.names_of(&members)),
                PoolWork::Delete(lun) => (2, vec![lun]),
            };
            // The order of members is that of the ids that were drawn.
            let luns = luns.into_iter().map(name).collect();
            note(work.set(), begun, Steps::default(), Task::Pool { kind, luns, happened, failed_before });
        }
        let in_order = |mut of_set: Vec<(Begun, UnderWay)>| {
            of_set.extend(self.reaping.iter().map(|reaping| self.reaped_by(reaping)));
            of_set.sort_by_key(|(begun, _)| *begun);
            of_set.into_iter().map(|(_, under_way)| under_way).collect()
        };
        under_way.into_iter().map(|(set, of_set)| (set, in_order(of_set))).collect()
    }

    fn reaped_by(&self, Reaping { begun, steps, .. }: &Reaping) -> (Begun, UnderWay) {
        let waited = self.pool.times().passed_since(*begun);
        (*begun, UnderWay { what: Task::Reaper, waited, steps: *steps })
    }

    /// All names of LUNs that anything refers to.
    fn names_in_use(&self, content: &Content) -> BTreeSet<Name> {
        let names = RefCell::new(BTreeSet::new());
        let note = |name: Name| {
            names.borrow_mut().insert(name);
            name
        };
        self.remembered(&note);
        self.stored(&note);
        if let Some(changes) = self.records.standing() {
            self.landing(&changes, &note);
        }
        let mut names = names.into_inner();
        names.extend(self.mapped().into_iter().map(|(_, name)| name));
        names.extend(content.luns.keys().map(|lun| self.name_of(*lun)));
        names.extend(content.prepared.values().flat_map(|members| self.names_of(members)));
        for StandingWork { work, members, .. } in self.pool.standing_at_length() {
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

    fn remembered(&self, name: &impl Fn(Name) -> Name) -> BTreeSet<Remembered> {
        let (_, sets) = self.catalog().administered_sets();
        let remembered = sets.iter().map(|administered| {
            let place = self.place_of(administered.summary.set);
            let plan = &self.setup.sets[usize::from(place)];
            let state = self.catalog().set_state(self.host(plan.host), administered.summary.set);
            Remembered {
                set: place,
                state: state.map_or(u8::MAX, number_of),
                members: administered.luns.iter().map(|lun| name(self.name_of(lun.shadow))).collect(),
                leased: administered.summary.lease_left_ms.is_some(),
            }
        });
        remembered.collect()
    }

    fn stored(&self, name: &impl Fn(Name) -> Name) -> BTreeSet<Stored> {
        let content = self.records.content();
        content.iter().map(|(key, value)| self.stored_as(key, Some(value), name)).collect()
    }

    /// What stands still on its way to the records, in its order.
    fn landing(&self, changes: &[RecordChange], name: &impl Fn(Name) -> Name) -> Vec<Stored> {
        let landing = changes.iter().map(|change| match change {
            RecordChange::Put(record) => self.stored_as(&record.key, Some(&record.value), name),
            RecordChange::Drop(key) => self.stored_as(key, None, name),
        });
        landing.collect()
    }

    fn stored_as(&self, key: &RecordKey, value: Option<&Vec<u8>>, name: &impl Fn(Name) -> Name) -> Stored {
        match key.table {
            Table::Sets => {
                let stored = value.and_then(|value| serde_json::from_slice::<StoredSet>(value).ok());
                let set = self.place_of(ShadowSetId(Uuid::from_u128(key.id)));
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
                Stored::Mapping { host, lun: lun.map(name) }
            }
            Table::Luns
            | Table::Hosts
            | Table::Reservations
            | Table::Sanitize
            | Table::PortGroups
            | Table::PortalGroups
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
