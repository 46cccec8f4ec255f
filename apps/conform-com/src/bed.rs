//! The test bed: one host, whose provider is behind COM.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use lunshadow_conform::{BedError, BelowVss, ComClass, Condition, EventSink, Ledger, TestBed, TestHost};
use lunshadow_coordinator::disk::DiskIo;
use lunshadow_coordinator::{Clock, SystemClock};
use lunshadow_vss::{HardwareProvider, LunInformation};
use tokio::runtime::Runtime;

use crate::announced::Announced;
use crate::array::ArrayView;
use crate::description::Description;
use crate::disks::Disks;

/// The class of a provider.
pub trait Class: ComClass {
    /// An object of the class, in the process that serves it or in a new one.
    ///
    /// # Errors
    /// If COM cannot make one.
    fn create(&self) -> Result<Arc<dyn HardwareProvider>, BedError>;
}

/// The bed.
pub struct ComBed {
    class: Arc<dyn Class>,
    host: Arc<Host>,
    clock: Arc<dyn Clock>,
}

/// The host, of which there is one.
struct Host {
    class: Arc<dyn Class>,
    disks: Disks,
    array: Option<ArrayView>,
    announced: Announced,
    /// What ends the provider's process.
    end: Vec<String>,
    /// Whether the check that runs has been given a process.
    is_started: AtomicBool,
}

impl ComBed {
    /// Reaches what the file describes.
    ///
    /// # Errors
    /// If the LUNs or the control service cannot be reached.
    pub fn set_up(class: Arc<dyn Class>, description: &Description, runtime: &Runtime) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let host = Host {
            class: Arc::clone(&class),
            disks: Disks::open(description, runtime, &clock)?,
            array: description.array.as_ref().map(|array| ArrayView::open(array, description.serials())).transpose()?,
            announced: Announced::default(),
            end: description.provider.end.clone(),
            is_started: AtomicBool::new(false),
        };
        Ok(Self { class, host: Arc::new(host), clock })
    }

    /// Leaves the array as it was.
    ///
    /// # Errors
    /// If it cannot be reached any more.
    pub fn tear_down(&self, runtime: &Runtime) -> anyhow::Result<()> {
        self.clean_up()?;
        self.host.disks.log_out(runtime)
    }
}

impl TestBed for ComBed {
    fn host(&self) -> Arc<dyn TestHost> {
        Arc::clone(&self.host) as _
    }

    fn importer(&self) -> Option<Arc<dyn TestHost>> {
        None
    }

    fn crowded_host(&self) -> Option<Arc<dyn TestHost>> {
        None
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    fn hears_events(&self) -> bool {
        false
    }

    fn com_class(&self) -> Option<Arc<dyn ComClass>> {
        Some(Arc::clone(&self.class) as _)
    }

    fn pass(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn set_condition(&self, condition: Condition) -> bool {
        condition == Condition::Sound
    }

    fn clean_up(&self) -> Result<(), BedError> {
        self.host.is_started.store(false, Ordering::SeqCst);
        match &self.host.array {
            Some(array) => array.clean_up().map_err(failed),
            None if self.host.announced.are_none() => Ok(()),
            None => {
                self.host.announced.delete(&*self.class.create()?);
                Ok(())
            }
        }
    }
}

impl Host {
    /// Ends the provider's process without its knowing, so that COM starts another one.
    fn end_process(&self) -> anyhow::Result<()> {
        let [program, arguments @ ..] = &self.end[..] else {
            anyhow::bail!("the file does not say what ends the provider's process");
        };
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let status = command.status().with_context(|| format!("cannot start {program}"))?;
        anyhow::ensure!(status.success(), "{program}, which is to end the provider's process, failed: {status}");
        Ok(())
    }
}

impl TestHost for Host {
    /// The first process of a check may be the last one of the check before: VSS starts no other one either.
    fn start_provider(&self, _events: Arc<dyn EventSink>) -> Result<Arc<dyn HardwareProvider>, BedError> {
        if self.is_started.swap(true, Ordering::SeqCst) {
            self.end_process().map_err(failed)?;
        }
        Ok(self.announced.by(self.class.create()?))
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

    fn scratch(&self) -> (u64, u64) {
        self.disks.scratch()
    }

    fn below_vss(&self) -> Option<BelowVss> {
        self.disks.below_vss()
    }

    fn ledger(&self) -> Result<Ledger, BedError> {
        let array = self.array.as_ref();
        let missing = || BedError("the file names no control service that could list the array's objects".to_owned());
        array.ok_or_else(missing)?.ledger().map_err(failed)
    }
}

fn failed(error: anyhow::Error) -> BedError {
    BedError(format!("{error:#}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::AtomicUsize;

    use lunshadow_conform::{Number, Plan, Verdict};
    use lunshadow_coordinator::StandInProvider;
    use lunshadow_vss::HResult;
    use uuid::Uuid;

    use super::*;

    const BED: &str = r#"
        [[lun]]
        vendor = "ACME"
        serial = "Z1"
        identifiers = [{ code-set = 1, type = 3, hex = "6001" }]

        [[lun]]
        vendor = "ACME"
        serial = "Z2"
    "#;

    /// Somebody else's provider, as if it were behind COM.
    struct Fake {
        provider: Arc<StandInProvider>,
        made: AtomicUsize,
    }

    impl Default for Fake {
        fn default() -> Self {
            let provider = Arc::new(StandInProvider::taking(["Z1", "Z2"].map(str::to_owned)));
            Self { provider, made: AtomicUsize::new(0) }
        }
    }

    impl Class for Fake {
        fn create(&self) -> Result<Arc<dyn HardwareProvider>, BedError> {
            self.made.fetch_add(1, Ordering::SeqCst);
            Ok(Arc::clone(&self.provider) as _)
        }
    }

    impl ComClass for Fake {
        fn query(&self, _interface: Uuid) -> Result<HResult, BedError> {
            Ok(HResult::S_OK)
        }

        fn keeps_its_identity(&self, _interfaces: &[Uuid]) -> Result<bool, BedError> {
            Ok(true)
        }

        fn create_in_process(&self) -> Result<HResult, BedError> {
            Ok(HResult::S_OK)
        }
    }

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
    fn judged(bed: &str, numbers: &[u16]) -> BTreeMap<u16, (Verdict, String)> {
        let runtime = Runtime::new().unwrap();
        let bed = Arc::new(set_up(&Arc::default(), bed, &runtime));
        let plan = Plan { only: numbers.iter().copied().map(Number).collect(), ..Plan::default() };
        let report = lunshadow_conform::run(&(Arc::clone(&bed) as _), &plan, &|_| ());
        bed.tear_down(&runtime).unwrap();
        let statements = report.statements.into_iter();
        statements.map(|item| (item.statement.number.0, (item.verdict, item.evidence))).collect()
    }

    #[test]
    fn a_provider_of_somebody_else_is_judged_by_its_answers() {
        let judged = judged(BED, &[1, 3, 5, 26, 30]);
        let with = |wanted| {
            let numbers = judged.iter().filter(|(_, (verdict, _))| *verdict == wanted).map(|(number, _)| *number);
            numbers.collect::<Vec<u16>>()
        };
        assert_eq!(with(Verdict::Held), [1, 26, 30], "{judged:#?}");
        assert_eq!(with(Verdict::Broken), [3, 5], "{judged:#?}");
    }

    #[test]
    fn what_the_file_does_not_give_is_not_tested_for_a_reason() {
        let judged = judged(BED, &[14, 28, 33, 37, 49, 58, 71, 92, 111]);
        for (number, reason) in [
            (14, "does not hear the provider's events"),
            (28, "cannot be made to be so"),
            (33, "names no control service"),
            (49, "no host with 64 LUNs"),
            (58, "no way to their content"),
            (71, "no second host"),
            (92, "no host for a coordinator"),
            (111, "does not hear the provider's events"),
        ] {
            let (verdict, evidence) = &judged[&number];
            assert!(*verdict == Verdict::NotTested && evidence.contains(reason), "P-{number}: {verdict:?} {evidence}");
        }
        assert_eq!(judged[&37].0, Verdict::Held, "{judged:#?}");
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
