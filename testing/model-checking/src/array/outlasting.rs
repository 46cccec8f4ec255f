//! What a crash of the array leaves: all that decides how it goes on, together with what was seen from outside.

use std::collections::BTreeMap;
use std::sync::Arc;

use lunshadow_catalog::{Clock as _, ManualClock, Moment};
use lunshadow_control::LunId;
use lunshadow_lun::Inventory;

use super::counting::Counting;
use super::pool::{self, ModelPool};
use super::records::{self, ModelRecords};
use super::setup::Setup;
use super::witness::Witness;
use super::{ArraySystem, Name};

/// See the module.
#[derive(Clone)]
pub struct Outlasting {
    pool: pool::Content,
    records: records::Content,
    now: Moment,
    last_id: u64,
    witnesses: Vec<Witness>,
    names: BTreeMap<LunId, Name>,
    stale: Vec<Arc<Inventory>>,
    crashes_left: u8,
    failures_left: u8,
}

impl Outlasting {
    /// What is there before the array runs for the first time.
    pub(super) fn at_the_beginning(setup: &Setup) -> Self {
        let (pool, records) = setup.content();
        Self {
            pool,
            records,
            now: ManualClock::default().now(),
            last_id: setup.last_id(),
            witnesses: vec![Witness::default(); setup.sets.len()],
            names: (0..).zip(&setup.sources).map(|(place, lun)| (*lun, Name::Source(place))).collect(),
            stale: vec![Arc::default(); usize::from(setup.hosts)],
            crashes_left: setup.crashes,
            failures_left: setup.failures,
        }
    }

    /// What a crash leaves now.
    pub(super) fn of(system: &ArraySystem) -> Self {
        Self {
            pool: system.pool.content(),
            records: system.records.content(),
            now: system.clock.now(),
            last_id: system.ids.last(),
            witnesses: system.witnesses.clone(),
            names: system.names.clone(),
            stale: system.stale.clone(),
            crashes_left: system.crashes_left,
            failures_left: system.failures_left,
        }
    }

    /// An array that does not run yet.
    pub(super) fn array(&self, setup: &Setup) -> ArraySystem {
        let Self { pool, records, now, last_id, witnesses, names, stale, crashes_left, failures_left } = self.clone();
        let clock = ManualClock::default();
        clock.advance(now.0);
        ArraySystem {
            setup: setup.clone(),
            boot: None,
            pool: Arc::new(ModelPool::new(pool, setup.fault)),
            records: Arc::new(ModelRecords::new(records, setup.fault)),
            clock: Arc::new(clock),
            ids: Arc::new(Counting::after(last_id)),
            asked: Vec::new(),
            given_up: Vec::new(),
            reaping: Vec::new(),
            witnesses,
            names,
            stale,
            crashes_left,
            failures_left,
            remains: None,
        }
    }
}
