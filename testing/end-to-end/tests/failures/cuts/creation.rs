//! Creations, of sets that arrive here and of transportable ones. After a crash nothing is held, nothing is left without an owner once the
//! leases have ended, every set was committed at most once, and the next set works.

use std::sync::atomic::Ordering;
use std::time::Duration;

use lunshadow_catalog::{Moment, SetState};
use lunshadow_coordinator::{Platform as _, Requester};
use lunshadow_vss::{Context, SnapshotSetId};

use super::cutter::{Cut, Who};
use super::stage::{Side, Stage};

/// Later than every lease.
const LONG_AFTER: Moment = Moment(Duration::from_secs(365 * 24 * 60 * 60));

/// Calls that every creation makes.
const SOME_CALLS: [&str; 3] = ["BeginPrepareSnapshot", "CommitSnapshots", "PostFinalCommitSnapshots"];

/// How a creation ended.
struct Ended {
    set: SnapshotSetId,
    reached: Option<&'static str>,
    commits: usize,
    /// The copies, with the requester that owns them; `None` if there are none, or nobody is left to answer.
    created: Option<(Requester, usize)>,
}

/// A system in which sets are created in one context.
struct Table {
    stage: Stage,
    context: Context,
}

impl Table {
    fn new(context: Context) -> Self {
        Self { stage: Stage::with_blank_volumes(), context }
    }

    fn create(&self, cut: Option<Cut>) -> Ended {
        let boot = self.stage.boot(Side::Production, Vec::new());
        let requester = boot.coordinator.requester();
        requester.set_context(self.context).unwrap();
        let set = requester.start_snapshot_set().unwrap();
        let volumes = self.stage.volumes.clone();
        let attempt = self.stage.attempt(&boot, cut, requester, move |requester| {
            for volume in &volumes {
                drop(requester.add_to_snapshot_set(volume, None));
            }
            requester.do_snapshot_set().map(|copies| copies.len())
        });
        let created = attempt.answer.and_then(|(requester, created)| Some((requester, created.ok()?)));
        let commits = boot.provider.commits.load(Ordering::SeqCst);
        Ended { set, reached: attempt.passed.reached, commits, created }
    }

    /// Nothing is held; what is left has an owner; and that can be removed by it.
    fn check(&self, ended: Ended, after: &str) {
        let Ended { set, commits, created, .. } = ended;
        let rig = &self.stage.rig;
        assert!(commits <= 1, "{after}: committed {commits} times");
        rig.assert_sources_are_free(after);
        rig.runtime.block_on(rig.array.catalog().reap(LONG_AFTER)).unwrap();
        let is_kept = rig.set_state(set) == Some(SetState::Kept);
        let left = if is_kept { rig.shadows() } else { self.stage.soon_no_shadows() };
        assert!(is_kept || left.is_empty(), "{after}: shadow LUNs without an owner are left");
        match created {
            Some((requester, count)) => {
                assert_eq!(left.len(), count, "{after}: the requester was told of copies that are not there");
                self.release(requester, count, after);
            }
            // VSS has no way to delete what it never saw, and the copies may be somebody's backup: an administrator decides.
            None => rig.delete_as_administrator(&left),
        }
        assert_eq!(self.stage.soon_no_shadows(), [], "{after}");
        rig.host.rescan().unwrap();
    }

    /// The copies go with their requester; transportable ones with the one that imports them by their document.
    fn release(&self, requester: Requester, count: usize, after: &str) {
        if !self.context.contains(Context::TRANSPORTABLE) {
            assert_eq!(requester.release().unwrap(), count, "{after}");
            return;
        }
        let document = requester.document().unwrap();
        assert_eq!(requester.release().unwrap(), 0, "{after}");
        let boot = self.stage.boot(Side::Backup, Vec::new());
        let importer = boot.coordinator.requester();
        importer.load_document(document);
        let imported = importer.import_snapshots().unwrap_or_else(|error| panic!("{after}: {error}"));
        assert_eq!(imported.copies.len(), count, "{after}");
        assert_eq!(importer.release().unwrap(), count, "{after}");
    }

    /// One creation, with everything that is promised after it. Answers the method that was cut.
    fn run(&self, cut: Option<Cut>, after: &str) -> Option<&'static str> {
        let ended = self.create(cut);
        let reached = ended.reached;
        let place = format!("{:?}, {after}, {cut:?} in {reached:?}", self.context);
        if cut.is_none() {
            assert!(matches!(ended.created, Some((_, 2))), "{place}: the set failed");
        }
        self.check(ended, &place);
        reached
    }

    /// Breaks off at every place, before and after the call, each in two sets in a row. The next set works.
    fn cut_everywhere(&self, who: Who) {
        let mut cut = [Vec::new(), Vec::new()];
        for call in 0.. {
            let mut is_over = true;
            for is_after in [false, true] {
                let here = Some(Cut { who, call, is_after });
                let Some(place) = self.run(here, "once") else { continue };
                self.run(here, "twice");
                cut[usize::from(is_after)].push(place);
                is_over = false;
            }
            self.run(None, &format!("after cuts of {who:?} at {call}"));
            if is_over {
                break;
            }
        }
        for call in SOME_CALLS {
            assert!(cut.iter().all(|places| places.contains(&call)), "{who:?}: {call} was not cut: {cut:?}");
        }
    }
}

#[test]
fn a_requester_may_break_off_at_any_call_of_a_creation() {
    Table::new(Context::CTX_BACKUP).cut_everywhere(Who::Requester);
}

#[test]
fn a_provider_may_break_off_at_any_call_of_a_creation() {
    Table::new(Context::CTX_BACKUP).cut_everywhere(Who::Provider);
}

#[test]
fn a_coordinator_may_break_off_at_any_call_of_a_creation() {
    Table::new(Context::CTX_BACKUP).cut_everywhere(Who::Coordinator);
}

#[test]
fn an_array_may_break_off_at_any_call_of_a_creation() {
    Table::new(Context::CTX_BACKUP).cut_everywhere(Who::Array);
}

#[test]
fn anybody_may_break_off_at_any_call_of_a_transportable_creation() {
    let table = Table::new(Context::CTX_BACKUP | Context::TRANSPORTABLE);
    for who in [Who::Requester, Who::Provider, Who::Coordinator, Who::Array] {
        table.cut_everywhere(who);
    }
}
