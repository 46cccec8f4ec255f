//! What a provider with a fault remembers, in order to do the wrong thing at the right time.

use std::collections::{BTreeSet, HashMap};
use std::thread::JoinHandle;

use lunshadow_vss::{Async, HResult, LunInformation, SnapshotSetId, StorageIdentifier};

use crate::lab::serial;

/// How far a set is, by the calls that were answered with success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Preparing,
    Prepared,
    Precommitted,
    Committed,
    PostCommitted,
    Created,
}

/// A shadow LUN that was announced.
#[derive(Clone)]
pub(super) struct Announced {
    pub(super) set: Option<SnapshotSetId>,
    pub(super) process: u32,
    pub(super) source: LunInformation,
    /// As the sound provider announced it.
    pub(super) genuine: LunInformation,
    /// As it was announced.
    pub(super) altered: LunInformation,
}

#[derive(Default)]
pub(super) struct Memory {
    pub(super) current: Option<SnapshotSetId>,
    pub(super) steps: HashMap<SnapshotSetId, Step>,
    pub(super) volumes: HashMap<SnapshotSetId, usize>,
    /// The serial numbers of the current set's LUNs.
    pub(super) members: BTreeSet<String>,
    pub(super) announced: Vec<Announced>,
    /// Serial numbers of LUNs, by the process that was told of them.
    pub(super) located: BTreeSet<(u32, String)>,
    pub(super) masked: BTreeSet<(u32, String)>,
    pub(super) deleted: BTreeSet<String>,
    /// Serial numbers of LUNs, and the process that was first to be asked to delete them.
    pub(super) begun: HashMap<String, u32>,
    /// Waits that go on behind the caller's back.
    pub(super) waits: HashMap<SnapshotSetId, JoinHandle<Result<(), HResult>>>,
    pub(super) abandoned: Vec<Box<dyn Async>>,
}

impl Memory {
    pub(super) fn step(&self, set: SnapshotSetId) -> Option<Step> {
        self.steps.get(&set).copied()
    }

    pub(super) fn all_shadows(&self) -> Vec<LunInformation> {
        self.announced.iter().map(|announced| announced.genuine.clone()).collect()
    }

    pub(super) fn shadows_of(&self, set: SnapshotSetId) -> Vec<LunInformation> {
        let of_set = self.announced.iter().filter(|announced| announced.set == Some(set));
        of_set.map(|announced| announced.genuine.clone()).collect()
    }

    /// All announcements of a shadow LUN, the last one first, however its serial number is spelt.
    fn all_of(&self, shadow: &LunInformation) -> impl Iterator<Item = &Announced> + use<'_> {
        let wanted = serial(shadow).trim().to_owned();
        self.announced.iter().rev().filter(move |announced| serial(&announced.genuine).eq_ignore_ascii_case(&wanted))
    }

    /// The last announcement of a shadow LUN.
    pub(super) fn find(&self, shadow: &LunInformation) -> Option<&Announced> {
        self.all_of(shadow).next()
    }

    /// A LUN without the identifiers that it was announced with and does not have.
    pub(super) fn genuine(&self, lun: &LunInformation) -> LunInformation {
        let is_made_up = |identifier: &StorageIdentifier| {
            let made_up = |it: &Announced| {
                it.altered.identifiers.contains(identifier) && !it.genuine.identifiers.contains(identifier)
            };
            self.all_of(lun).any(made_up)
        };
        let mut genuine = lun.clone();
        genuine.identifiers.retain(|identifier| !is_made_up(identifier));
        genuine
    }
}
