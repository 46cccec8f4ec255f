//! The test bed: a machine whose provider is behind COM, and which plays a second host too if that is described.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lunshadow_conform::{BedError, BelowVss, ComClass, Condition, EventSink, Ledger, TestBed, TestHost};
use lunshadow_coordinator::Clock;
use lunshadow_coordinator::disk::DiskIo;
use lunshadow_vss::{HardwareProvider, LunInformation};
use tokio::runtime::Runtime;

use crate::announced::Announced;
use crate::array::ArrayView;
use crate::description::Description;
use crate::disks::Disks;
use crate::heard::{EventLog, StandingClock};
use crate::machine::{Machine, Role};
use crate::trouble::Trouble;

/// The class of a provider.
pub trait Class: ComClass {
    /// An object of the class, in the process that serves it or in a new one.
    ///
    /// # Errors
    /// If COM cannot make one.
    fn create(&self) -> Result<Arc<dyn HardwareProvider>, BedError>;

    /// The memory that is the own of the processes which run a program, in bytes, if there are any and they can be looked at.
    fn memory_bytes_of(&self, program: &str) -> Option<u64>;
}

/// The bed.
pub struct ComBed {
    class: Arc<dyn Class>,
    host: Arc<Host>,
    crowded: Option<Arc<Host>>,
    importer: Option<Arc<Host>>,
    trouble: Trouble,
    /// What the provider logs, if somebody tells.
    events: Option<Arc<EventLog>>,
    /// The file that the provider's process runs.
    program: Option<String>,
    clock: Arc<dyn Clock>,
}

/// A host. The first one is there twice where it has a crowd of LUNs for sets of many besides those that are written to.
struct Host {
    class: Arc<dyn Class>,
    disks: Disks,
    array: Option<Arc<ArrayView>>,
    announced: Announced,
    events: Option<Arc<EventLog>>,
    machine: Arc<Machine>,
    role: Role,
    /// What the array calls the second host.
    name: Option<String>,
    /// Whether the check that runs has been given a process.
    is_started: AtomicBool,
}

impl ComBed {
    /// Reaches what the file describes.
    ///
    /// # Errors
    /// If the LUNs or the control service cannot be reached.
    pub fn set_up(class: Arc<dyn Class>, description: &Description, runtime: &Runtime) -> anyhow::Result<Self> {
        let standing = Arc::new(StandingClock::new());
        let clock: Arc<dyn Clock> = Arc::<StandingClock>::clone(&standing);
        let command = &description.provider.events;
        let log = (!command.is_empty()).then(|| EventLog::open(command, standing));
        let events = log.transpose()?.map(Arc::new);
        let disks = Disks::open(description, runtime, &clock)?;
        let crowd = disks.crowd(description)?;
        let disks_there = Disks::of_importer(description, runtime, &clock)?;
        let name = description.importer.as_ref().and_then(|importer| importer.host.clone());
        let open = |array| ArrayView::open(array, name.as_deref(), description.serials());
        let array = description.array.as_ref().map(open).transpose()?.map(Arc::new);
        let (announced, machine) = (Announced::default(), Arc::new(Machine::new(description)));
        let host = |role, disks| {
            Arc::new(Host {
                class: Arc::clone(&class),
                disks,
                array: array.clone(),
                announced: announced.clone(),
                events: events.clone(),
                machine: Arc::clone(&machine),
                role,
                name: name.clone().filter(|_| role == Role::Importer),
                is_started: AtomicBool::new(false),
            })
        };
        let crowded = crowd.map(|disks| host(Role::Creator, disks));
        let importer = disks_there.map(|disks| host(Role::Importer, disks));
        let host = host(Role::Creator, disks);
        let trouble = Trouble::new(description.trouble.clone());
        let program = description.provider.program.clone();
        Ok(Self { class, host, crowded, importer, trouble, events, program, clock })
    }

    /// Leaves the array as it was.
    ///
    /// # Errors
    /// If it cannot be reached any more.
    pub fn tear_down(&self, runtime: &Runtime) -> anyhow::Result<()> {
        self.clean_up()?;
        let mut hosts = std::iter::once(&self.host).chain(&self.importer);
        hosts.try_for_each(|host| host.disks.log_out(runtime))
    }
}

impl TestBed for ComBed {
    fn host(&self) -> Arc<dyn TestHost> {
        Arc::clone(&self.host) as _
    }

    fn importer(&self) -> Option<Arc<dyn TestHost>> {
        Some(Arc::clone(self.importer.as_ref()?) as _)
    }

    fn crowded_host(&self) -> Option<Arc<dyn TestHost>> {
        Some(Arc::clone(self.crowded.as_ref()?) as _)
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    fn hears_events(&self) -> bool {
        self.events.is_some()
    }

    fn com_class(&self) -> Option<Arc<dyn ComClass>> {
        Some(Arc::clone(&self.class) as _)
    }

    fn provider_memory_bytes(&self) -> Option<u64> {
        self.class.memory_bytes_of(self.program.as_deref()?)
    }

    fn pass(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn set_condition(&self, condition: Condition) -> bool {
        self.trouble.set(condition)
    }

    fn clean_up(&self) -> Result<(), BedError> {
        for host in std::iter::once(&self.host).chain(&self.crowded).chain(&self.importer) {
            host.is_started.store(false, Ordering::SeqCst);
        }
        self.trouble.end().map_err(failed)?;
        self.host.machine.play(Role::Creator).map_err(failed)?;
        match &self.host.array {
            Some(array) => array.clean_up().map_err(failed)?,
            None if self.host.announced.are_none() => {}
            None => self.host.announced.delete(&*self.class.create()?),
        }
        self.events.as_ref().map_or(Ok(()), |events| events.pass()).map_err(failed)
    }
}

impl TestHost for Host {
    /// The first process of a check may be the last one of the check before: VSS starts no other one either. Nor does it for other LUNs.
    fn start_provider(&self, events: Arc<dyn EventSink>) -> Result<Arc<dyn HardwareProvider>, BedError> {
        let is_new = self.machine.play(self.role).map_err(failed)?;
        if self.is_started.swap(true, Ordering::SeqCst) && !is_new {
            self.machine.end_process().map_err(failed)?;
        }
        let provider = self.announced.by(self.class.create()?);
        Ok(match &self.events {
            Some(log) => log.by(provider, events),
            None => provider,
        })
    }

    fn sources(&self) -> Result<Vec<LunInformation>, BedError> {
        self.disks.sources()
    }

    fn disk(&self, lun: &LunInformation) -> Result<Option<Arc<dyn DiskIo>>, BedError> {
        self.disks.disk(lun)
    }

    fn seen(&self, lun: &LunInformation) -> Result<Option<LunInformation>, BedError> {
        self.disks.seen(lun)
    }

    fn grow(&self, source: &LunInformation, by_bytes: u64) -> Result<bool, BedError> {
        let Some((array, serial)) = self.array.as_ref().zip(source.serial_number.as_ref()) else { return Ok(false) };
        array.grow(serial, by_bytes).map_err(failed)?;
        Ok(true)
    }

    fn scratch(&self) -> (u64, u64) {
        self.disks.scratch()
    }

    fn below_vss(&self) -> Option<BelowVss> {
        self.disks.below_vss()
    }

    fn ledger(&self) -> Result<Ledger, BedError> {
        let array = self.array.as_ref();
        let missing = || BedError("the file names no control service that could list the array's objects".to_owned());
        array.ok_or_else(missing)?.ledger(self.name.as_deref()).map_err(failed)
    }
}

fn failed(error: anyhow::Error) -> BedError {
    BedError(format!("{error:#}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lunshadow_conform::{Fault, Number, Plan, Verdict};

    use super::*;
    use crate::fake::Fake;

    const BED: &str = r#"
        [[lun]]
        vendor = "ACME"
        serial = "Z1"
        identifiers = [{ code-set = 1, type = 3, hex = "6001" }]

        [[lun]]
        vendor = "ACME"
        serial = "Z2"
    "#;

    /// Whoever is never told of an event.
    struct Deaf;

    impl EventSink for Deaf {
        fn event(&self, _gravity: lunshadow_conform::Gravity, _text: &str) {}
    }

    fn set_up(class: &Arc<Fake>, text: &str, runtime: &Runtime) -> ComBed {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bed.toml");
        std::fs::write(&path, text).unwrap();
        ComBed::set_up(Arc::clone(class) as _, &Description::read(&path).unwrap(), runtime).unwrap()
    }

    /// The verdict and its reason for each of these statements.
    fn judged(bed: &str, numbers: &[u16]) -> Judged {
        judged_of(&Arc::default(), None, bed, numbers)
    }

    type Judged = BTreeMap<u16, (Verdict, String)>;

    fn judged_of(class: &Arc<Fake>, fault: Option<Fault>, bed: &str, numbers: &[u16]) -> Judged {
        let runtime = Runtime::new().unwrap();
        let bed = Arc::new(set_up(class, bed, &runtime));
        let plan = Plan { fault, only: numbers.iter().copied().map(Number).collect(), ..Plan::default() };
        let report = lunshadow_conform::run(&(Arc::clone(&bed) as _), &plan, &|_| ());
        bed.tear_down(&runtime).unwrap();
        let statements = report.statements.into_iter();
        statements.map(|item| (item.statement.number.0, (item.verdict, item.evidence))).collect()
    }

    #[test]
    fn a_provider_of_somebody_else_is_judged_by_its_answers() {
        let judged = judged(BED, &[1, 3, 5, 26, 30]);
        assert_eq!(with(&judged, Verdict::Held), [1, 26, 30], "{judged:#?}");
        assert_eq!(with(&judged, Verdict::Broken), [3, 5], "{judged:#?}");
    }

    fn with(judged: &Judged, wanted: Verdict) -> Vec<u16> {
        judged.iter().filter(|(_, (verdict, _))| *verdict == wanted).map(|(number, _)| *number).collect()
    }

    #[test]
    fn a_legacy_provider_lacks_what_one_statement_says_and_is_judged_by_the_others() {
        let broken = |class: Fake| with(&judged_of(&Arc::new(class), None, BED, &[]), Verdict::Broken);
        let (legacy, today) = (broken(Fake { is_legacy: true, ..Fake::default() }), broken(Fake::default()));
        let more: Vec<u16> = legacy.iter().filter(|number| !today.contains(number)).copied().collect();
        assert_eq!(more, [2], "{legacy:?} and {today:?}");
        let judged = judged_of(&Arc::new(Fake { is_legacy: true, ..Fake::default() }), None, BED, &[30, 99]);
        assert_eq!(with(&judged, Verdict::Held), [30], "{judged:#?}");
        let (verdict, evidence) = &judged[&99];
        assert!(
            *verdict == Verdict::NotTested && evidence.contains("no IVssHardwareSnapshotProviderEx"),
            "{judged:#?}"
        );
    }

    /// The statements about slots and memory.
    const OF_SLOTS: [u16; 7] = [4, 20, 21, 22, 36, 110, 121];

    const WITH_A_PROGRAM: &str = "[provider]\nprogram = \"fake.exe\"\n";

    #[test]
    fn slots_and_memory_are_judged_and_each_fault_is_found_by_its_statement() {
        let bed = format!("{BED}\n{WITH_A_PROGRAM}");
        let judged = judged(&bed, &OF_SLOTS);
        assert_eq!(with(&judged, Verdict::Held), OF_SLOTS, "{judged:#?}");
        for fault in Fault::ALL.iter().copied().filter(|fault| fault.is_of_slots()) {
            let judged = judged_of(&Arc::default(), Some(fault), &bed, &OF_SLOTS);
            let expected: Vec<u16> = fault.breaks().iter().map(|number| number.0).collect();
            assert_eq!(with(&judged, Verdict::Broken), expected, "{}: {judged:#?}", fault.name());
        }
    }

    #[test]
    fn a_process_that_grows_is_found_where_its_program_is_named() {
        let growing = Arc::new(Fake { growth_bytes: 16 << 20, ..Fake::default() });
        let judged = judged_of(&growing, None, &format!("{BED}\n{WITH_A_PROGRAM}"), &[21]);
        assert_eq!(with(&judged, Verdict::Broken), [21], "{judged:#?}");
        let judged = judged_of(&growing, None, BED, &[21]);
        assert_eq!(with(&judged, Verdict::NotTested), [21], "{judged:#?}");
    }

    #[test]
    fn a_crowd_is_a_host_of_its_own_without_another_process() {
        let crowd: String = (0..64).map(|number| format!("[[crowd]]\nserial = \"C{number}\"\n")).collect();
        let class = Arc::new(Fake::default());
        let judged = judged_of(&class, None, &format!("{BED}\n{crowd}"), &[45, 48, 49]);
        assert_eq!(with(&judged, Verdict::Held), [45, 48, 49], "{judged:#?}");
    }

    #[test]
    fn what_the_file_does_not_give_is_not_tested_for_a_reason() {
        let judged = judged(BED, &[14, 28, 33, 37, 49, 58, 71, 87, 92, 104, 111]);
        for (number, reason) in [
            (14, "does not hear the provider's events"),
            (28, "cannot be made to be so"),
            (33, "names no control service"),
            (49, "no host with 64 LUNs"),
            (58, "no way to their content"),
            (71, "no second host"),
            (87, "no way to their content"),
            (92, "no host for a coordinator"),
            (104, "no way to their content"),
            (111, "does not hear the provider's events"),
        ] {
            let (verdict, evidence) = &judged[&number];
            assert!(*verdict == Verdict::NotTested && evidence.contains(reason), "P-{number}: {verdict:?} {evidence}");
        }
        assert_eq!(judged[&37].0, Verdict::Held, "{judged:#?}");
    }

    #[test]
    fn a_lun_grows_only_where_a_control_service_is_described() {
        let (class, runtime) = (Arc::new(Fake::default()), Runtime::new().unwrap());
        let host = set_up(&class, BED, &runtime).host();
        assert_eq!(host.grow(&host.sources().unwrap()[0], 1 << 20), Ok(false));
    }

    #[test]
    fn what_was_announced_is_deleted_through_the_provider_once() {
        let (class, runtime) = (Arc::new(Fake::default()), Runtime::new().unwrap());
        let bed = set_up(&class, BED, &runtime);
        let deletions = || class.provider.calls().into_iter().filter(|method| *method == "OnLunEmpty").count();
        let host = bed.host();
        let provider = host.start_provider(Arc::new(Deaf)).unwrap();
        assert_eq!(provider.get_target_luns(&[], &host.sources().unwrap()).map(|targets| targets.len()), Ok(2));
        for _ in 0..2 {
            bed.clean_up().unwrap();
            assert_eq!(deletions(), 2);
        }
    }

    #[test]
    #[cfg(not(windows))]
    fn a_shortage_is_judged_where_there_is_a_way_to_make_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("full");
        let path = file.display();
        let bed = format!("{BED}\n[trouble]\nfull = [\"touch\", \"{path}\"]\nsound = [\"rm\", \"-f\", \"{path}\"]\n");
        let class = Arc::new(Fake { shortage: Some(file.clone()), ..Fake::default() });
        let judged = judged_of(&class, None, &bed, &[43, 105]);
        assert_eq!(with(&judged, Verdict::Held), [43, 105], "{judged:#?}");
        for (fault, breaks) in
            [(Fault::HidesTheShortage, 43), (Fault::ResyncHidesTheShortage, 105), (Fault::ResyncFindsTheShortage, 105)]
        {
            let judged = judged_of(&class, Some(fault), &bed, &[43, 105]);
            assert_eq!(with(&judged, Verdict::Broken), [breaks], "{}: {judged:#?}", fault.name());
        }
        assert!(!file.exists(), "the array is sound again");
    }

    /// A provider with a log, and the file in which a program is named that tells what is in it.
    #[cfg(not(windows))]
    fn with_a_log(folder: &std::path::Path) -> (Arc<Fake>, String) {
        let log = folder.join("log");
        std::fs::write(&log, "").unwrap();
        let newer = r#"$1 > after { sub(/^[0-9]+ /, ""); print }"#;
        let path = log.display();
        let bed =
            format!("{BED}\n[provider]\nevents = [\"awk\", \"-v\", \"after={{after}}\", '{newer}', \"{path}\"]\n");
        (Arc::new(Fake { log: Some(log), ..Fake::default() }), bed)
    }

    #[test]
    #[cfg(not(windows))]
    fn events_are_judged_where_a_program_tells_them() {
        let folder = tempfile::tempdir().unwrap();
        let (class, bed) = with_a_log(folder.path());
        let about_events = [14, 15, 19];
        let judged = judged_of(&class, None, &bed, &about_events);
        assert_eq!(with(&judged, Verdict::Held), about_events, "{judged:#?}");
        // What its provider does not tell is what is missing. Other faults add events.
        let judged = judged_of(&class, Some(Fault::SilentVeto), &bed, &about_events);
        assert_eq!(with(&judged, Verdict::Broken), [14], "{judged:#?}");
    }

    #[test]
    #[cfg(not(windows))]
    fn a_log_that_cannot_be_read_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (class, bed) = with_a_log(folder.path());
        let runtime = Runtime::new().unwrap();
        let bed = set_up(&class, &bed, &runtime);
        let provider = bed.host().start_provider(Arc::new(Deaf)).unwrap();
        std::fs::write(class.log.as_ref().unwrap(), "7 no event\n").unwrap();
        assert!(provider.get_target_luns(&[], &bed.host().sources().unwrap()).is_ok(), "the call is what it was");
        let failure = bed.clean_up().unwrap_err().to_string();
        assert!(failure.contains("awk does not print events as wevtutil does"), "{failure}");
        bed.tear_down(&runtime).unwrap();
    }

    /// The file with a second host, and what notes in another one what the machine is told.
    #[cfg(not(windows))]
    fn with_an_importer(folder: &std::path::Path, enters: bool) -> (String, std::path::PathBuf) {
        let notes = folder.join("notes");
        let note = |word: &str| format!("[\"sh\", \"-c\", \"echo {word} >> {}\"]", notes.display());
        let enter = if enters { note("enter") } else { "[\"false\"]".to_owned() };
        let (end, leave) = (note("end"), note("leave"));
        (format!("{BED}\n[provider]\nend = {end}\n[importer]\nenter = {enter}\nleave = {leave}\n"), notes)
    }

    #[test]
    #[cfg(not(windows))]
    fn a_second_host_is_played_by_the_same_machine() {
        let folder = tempfile::tempdir().unwrap();
        let (bed, notes) = with_an_importer(folder.path(), true);
        let judged = judged_of(&Arc::default(), None, &bed, &[31]);
        assert_eq!(with(&judged, Verdict::Held), [31], "{judged:#?}");
        let judged = judged_of(&Arc::default(), Some(Fault::LocatesOwnOnly), &bed, &[31]);
        assert_eq!(with(&judged, Verdict::Broken), [31], "{judged:#?}");
        let told = std::fs::read_to_string(&notes).unwrap();
        assert_eq!(told.replace('\n', " "), "enter end leave end ".repeat(2), "each run goes there and back, once");
    }

    #[test]
    #[cfg(not(windows))]
    fn a_machine_that_may_be_the_second_host_is_made_the_first_again() {
        let folder = tempfile::tempdir().unwrap();
        let (text, notes) = with_an_importer(folder.path(), false);
        let runtime = Runtime::new().unwrap();
        let bed = set_up(&Arc::default(), &text, &runtime);
        let failure = bed.importer().unwrap().start_provider(Arc::new(Deaf)).err().unwrap();
        assert!(failure.0.contains("false, which has the provider be the second host's, failed"), "{failure}");
        bed.tear_down(&runtime).unwrap();
        assert_eq!(std::fs::read_to_string(&notes).unwrap(), "leave\nend\n");
    }

    #[test]
    #[cfg(not(windows))]
    fn a_second_process_in_a_check_needs_the_end_of_the_first() {
        let ended_by = |program: &str| format!("[provider]\nend = [\"{program}\"]");
        for (end, starts) in [(String::new(), false), (ended_by("true"), true), (ended_by("false"), false)] {
            let (class, runtime) = (Arc::new(Fake::default()), Runtime::new().unwrap());
            let bed = set_up(&class, &format!("{BED}\n{end}"), &runtime);
            let start = || bed.host().start_provider(Arc::new(Deaf)).is_ok();
            assert_eq!((start(), start()), (true, starts), "{end}");
            bed.clean_up().unwrap();
            assert!(start(), "the next check begins with what is there");
            assert_eq!(class.made.load(Ordering::SeqCst), 2 + usize::from(starts));
        }
    }
}
