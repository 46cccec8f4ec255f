//! Operations on a set that is there: each is cut everywhere, once and twice, and then done again.

use std::sync::Arc;

use lunshadow_catalog::SetState;
use lunshadow_control::LunId;
use lunshadow_coordinator::disk::set_shadow_flags;
use lunshadow_coordinator::{
    BackupDocument, DocumentLun, DocumentSnapshot, Platform as _, Requester, SnapshotProperties,
};
use lunshadow_vss::{
    BreakOptions, Context, CreateSnapshotSet as _, DeviceName, HResult, HardwareProvider as _, LunInformation,
    MatchLevel, SnapshotId, SnapshotSetId,
};
use uuid::Uuid;

use super::cutter::{Cut, Passed, Who};
use super::stage::{Boot, Side, Stage};

/// What an operation is about.
pub(super) struct Subject {
    pub(super) document: BackupDocument,
    /// What the host's service knows of the set.
    pub(super) known: Vec<SnapshotProperties>,
    pub(super) shadows: Vec<LunId>,
    pub(super) options: BreakOptions,
}

/// An operation that is cut. It can be repeated by another requester.
pub(super) trait Sequence {
    /// The host that it is done on.
    fn side(&self) -> Side;

    /// Gets a set to where the operation can begin.
    fn begin(&mut self, stage: &Stage) -> Subject;

    fn operate(subject: &Subject, requester: &Requester) -> Result<(), HResult>;

    /// Whether a code says that what is repeated had been done already.
    fn is_done(code: HResult) -> bool;

    /// What must hold after a crash, before anything is repeated.
    fn check_half_way(&self, stage: &Stage, subject: &Subject, place: &str);

    /// What must hold in the end, besides that the same is left as without a cut.
    fn check(&self, _stage: &Stage, _boot: &Boot, _subject: &Subject, _place: &str) {}

    /// Removes what is left.
    fn clean_up(&self, stage: &Stage, boot: &Boot, subject: &Subject, place: &str);
}

/// What is left of an operation, where it is, and what is known of it.
#[derive(PartialEq, Debug)]
struct Ledger {
    set: Option<SetState>,
    /// How many LUNs there are in the array with a name, and how many in all.
    luns: (usize, usize),
    orphans: usize,
    /// How many shadow LUNs each host sees.
    mapped: [usize; 2],
    disks: usize,
    copies: Vec<(String, Context, Vec<MatchLevel>)>,
}

impl Ledger {
    fn of(stage: &Stage, boot: &Boot, set: SnapshotSetId) -> Self {
        let catalog = stage.rig.array.catalog();
        let luns = catalog.luns();
        let copy = |copy: &SnapshotProperties| {
            let levels = copy.luns.iter().map(|lun| lun.match_level).collect();
            (copy.volume.0.clone(), copy.attributes, levels)
        };
        let known = boot.coordinator.query();
        let mut copies: Vec<_> = known.iter().filter(|copy| copy.set == set).map(copy).collect();
        // An import that was cut may have brought the second first.
        copies.sort_by(|one, other| one.0.cmp(&other.0));
        Self {
            set: stage.rig.set_state(set),
            luns: (luns.iter().filter(|lun| lun.name.is_some()).count(), luns.len()),
            orphans: catalog.orphans().len(),
            mapped: [Side::Production, Side::Backup].map(|side| stage.mapped(side).len()),
            disks: boot.host.rescan().unwrap().len(),
            copies,
        }
    }
}

/// Breaks off at every call of a sequence that is wanted, before and after it, once and twice in a row. Answers how many cuts that were.
pub(super) fn cut_everywhere<S: Sequence>(
    mut sequence: S,
    stage: &Stage,
    who: Who,
    is_wanted: impl Fn(&str) -> bool,
) -> usize {
    let shadows = stage.rig.shadows();
    let nowhere = Cut { who, call: usize::MAX, is_after: false };
    let (expected, passed) = run(&mut sequence, stage, nowhere, 1, None);
    let mut count = 0;
    for (call, place) in passed.calls.into_iter().enumerate().filter(|(_, place)| is_wanted(place)) {
        for (is_after, times) in [(false, 1), (false, 2), (true, 1), (true, 2)] {
            let cut = Cut { who, call, is_after };
            let (_, passed) = run(&mut sequence, stage, cut, times, Some(&expected));
            assert_eq!(passed.reached, Some(place), "{cut:?}");
            count += 1;
        }
    }
    assert_eq!(stage.rig.shadows(), shadows, "{who:?}: something is left");
    count
}

/// One run on a set of its own, with the cut in so many attempts and then without.
fn run<S: Sequence>(
    sequence: &mut S,
    stage: &Stage,
    cut: Cut,
    times: usize,
    expected: Option<&Ledger>,
) -> (Ledger, Passed) {
    let (side, subject) = (sequence.side(), Arc::new(sequence.begin(stage)));
    let mut boot = stage.boot(side, subject.known.clone());
    let mut first = Passed::default();
    let mut place = format!("{cut:?}");
    for time in 0..times {
        let (of_thread, requester) = (Arc::clone(&subject), boot.coordinator.requester());
        let attempt = stage.attempt(&boot, Some(cut), requester, move |requester| S::operate(&of_thread, requester));
        if time == 0 {
            first = attempt.passed;
            place = format!("{cut:?} in {:?}, {times} times", first.reached);
        }
        match attempt.answer {
            // The requester goes, and another one comes.
            Some((_, answer)) => assert!(expected.is_some() || answer == Ok(()), "{place}: {answer:?}"),
            None => boot = stage.boot(side, boot.coordinator.query()),
        }
        sequence.check_half_way(stage, &subject, &place);
    }
    let (of_thread, requester) = (Arc::clone(&subject), boot.coordinator.requester());
    let again = stage.attempt(&boot, None, requester, move |requester| S::operate(&of_thread, requester));
    let (_, answer) = again.answer.expect("nobody dies without a cut");
    assert!(answer.is_ok() || answer.is_err_and(S::is_done), "{place}: the repetition failed: {answer:?}");
    sequence.check(stage, &boot, &subject, &place);
    let ledger = Ledger::of(stage, &boot, subject.document.set);
    if let Some(expected) = expected {
        assert_eq!(ledger, *expected, "{place}: something else is left than without a cut");
    }
    sequence.clean_up(stage, &boot, &subject, &place);
    stage.rig.assert_sources_are_free(&place);
    (ledger, first)
}

/// What the provider is told of a volume's LUNs.
fn sources(copy: &DocumentSnapshot) -> (Vec<DeviceName>, Vec<LunInformation>) {
    copy.luns.iter().map(|lun| (lun.source_device.clone(), lun.source.clone())).unzip()
}

impl Stage {
    /// A transportable set of both volumes whose copies outlive their requesters. How one comes to be is cut elsewhere, so that here the
    /// provider alone is asked, which saves what the host does for each; the document is as that of a set that VSS has created.
    pub(super) fn transportable_set(&self) -> Subject {
        let mut document = self.template.get_or_init(|| self.created_by_vss()).clone();
        let provider = self.process(Side::Production);
        document.set = SnapshotSetId(Uuid::new_v4());
        for copy in &mut document.snapshots {
            copy.snapshot = SnapshotId(Uuid::new_v4());
            let (devices, mut luns) = sources(copy);
            let (set, context) = (document.set, document.context);
            provider.begin_prepare_snapshot(set, copy.snapshot, context, &devices, &mut luns).unwrap();
        }
        provider.end_prepare_snapshots(document.set).unwrap();
        provider.pre_commit_snapshots(document.set).unwrap();
        provider.commit_snapshots(document.set).unwrap();
        provider.post_commit_snapshots(document.set, 2).unwrap();
        for copy in &mut document.snapshots {
            let (devices, luns) = sources(copy);
            let shadows = provider.get_target_luns(&devices, &luns).unwrap();
            copy.luns.iter_mut().zip(shadows).for_each(|(lun, shadow)| lun.shadow = shadow);
        }
        provider.pre_final_commit_snapshots(document.set).unwrap();
        provider.post_final_commit_snapshots(document.set).unwrap();
        let shadows = self.luns_of(&document, |lun| &lun.shadow);
        Subject { document, known: Vec::new(), shadows, options: BreakOptions::empty() }
    }

    /// The document of such a set that VSS has created, and that is gone again.
    fn created_by_vss(&self) -> BackupDocument {
        let requester = self.boot(Side::Production, Vec::new()).coordinator.requester();
        requester.set_context(Context::CTX_NAS_ROLLBACK | Context::TRANSPORTABLE).unwrap();
        requester.start_snapshot_set().unwrap();
        for volume in &self.volumes {
            requester.add_to_snapshot_set(volume, None).unwrap();
        }
        requester.do_snapshot_set().unwrap();
        self.rig.delete_as_administrator(&self.rig.shadows());
        requester.document().unwrap()
    }

    /// Brings a set to a host by its document. Its service knows it from then on.
    pub(super) fn import(&self, side: Side, subject: &mut Subject) {
        let boot = self.boot(side, Vec::new());
        let requester = boot.coordinator.requester();
        requester.load_document(subject.document.clone());
        subject.known = requester.import_snapshots().unwrap().copies;
        assert_eq!(subject.known.len(), self.volumes.len());
    }

    /// The LUNs that a document describes, volume by volume.
    pub(super) fn luns_of(
        &self,
        document: &BackupDocument,
        which: impl Fn(&DocumentLun) -> &LunInformation,
    ) -> Vec<LunId> {
        let known = self.rig.array.catalog().luns();
        let luns = document.snapshots.iter().flat_map(|copy| &copy.luns);
        let lun = |lun: &DocumentLun| {
            let serial = which(lun).serial_number.clone().unwrap();
            known.iter().find(|it| it.lun.to_string() == serial).expect("the array has it").lun
        };
        luns.map(lun).collect()
    }

    /// Gives shadow LUNs the marks that VSS would have put on their sources for the time of the commit.
    pub(super) fn mark_as_copies(&self, subject: &Subject) {
        let (host, id) = self.host(Side::Production);
        let catalog = self.rig.array.catalog();
        self.rig.runtime.block_on(catalog.map(id, &subject.shadows)).unwrap();
        host.rescan().unwrap();
        let device = |shadow: &LunId| host.device_by_serial_number(&shadow.to_string()).unwrap();
        let devices: Vec<_> = subject.shadows.iter().map(device).collect();
        for device in &devices {
            set_shadow_flags(&*host.disk_io(device).unwrap()).unwrap();
        }
        self.rig.runtime.block_on(catalog.unmap(id, &subject.shadows)).unwrap();
        host.rescan().unwrap();
    }

    /// Those of the LUNs that are there, or are mapped, in order.
    pub(super) fn those_of(&self, subject: &Subject, luns: Vec<LunId>) -> Vec<LunId> {
        let mut those: Vec<_> = luns.into_iter().filter(|lun| subject.shadows.contains(lun)).collect();
        those.sort();
        those
    }
}
