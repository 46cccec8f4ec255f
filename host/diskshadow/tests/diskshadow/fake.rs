//! A VSS and a machine in memory: they note what they are asked, and fail where they are told to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use lunshadow_diskshadow::{
    CreatedSet, CreationOrder, Fault, Flow, Imported, Machine, MachineFailure, Metadata, Place, RegisteredProvider,
    ScriptError, Session, ShadowCopy, Volume, Vss, VssFailure, WriterNotice, WriterReport, run_script,
};
use lunshadow_vss::{BreakOptions, Context, HResult, ProviderId, RecoveryOptions, SnapshotId, SnapshotSetId};
use uuid::Uuid;

pub(crate) const PROVIDER: ProviderId = ProviderId(Uuid::from_u128(0xb));

/// A VSS with the volumes C: to F: and two writers.
#[derive(Default)]
pub(crate) struct FakeVss {
    pub(crate) calls: Vec<String>,
    pub(crate) shadows: Vec<ShadowCopy>,
    /// Calls that fail, by their first word.
    pub(crate) failing: BTreeSet<&'static str>,
    /// How many shadow copies can be deleted before one cannot.
    pub(crate) deletable: Option<usize>,
    /// Transportable copies by the text of their document, as `import` will bring them.
    pub(crate) documents: BTreeMap<String, Vec<ShadowCopy>>,
    loaded: Option<String>,
    ids: u128,
}

impl FakeVss {
    fn call(&mut self, call: String) -> Result<(), VssFailure> {
        let name = call.split(' ').next().unwrap_or_default().to_owned();
        self.calls.push(call);
        if self.failing.contains(name.as_str()) {
            return Err(VssFailure { code: HResult::VSS_E_PROVIDER_VETO, detail: format!("{name} failed") });
        }
        Ok(())
    }

    fn id(&mut self) -> Uuid {
        self.ids += 1;
        Uuid::from_u128(0x1000 + self.ids)
    }

    pub(crate) fn find(&mut self, id: SnapshotId) -> &mut ShadowCopy {
        self.shadows.iter_mut().find(|shadow| shadow.id == id).expect("it is there")
    }
}

impl Vss for FakeVss {
    fn volume(&mut self, name: &str) -> Result<Volume, VssFailure> {
        let letter = name.chars().next().unwrap_or_default().to_ascii_uppercase();
        if ('C'..='F').contains(&letter) && name.len() == 2 {
            return Ok(Volume { name: format!("volume-{letter}"), mounted_at: Some(format!("{letter}:")) });
        }
        let detail = format!("there is no volume {name}");
        Err(VssFailure { code: HResult::VSS_E_OBJECT_NOT_FOUND, detail })
    }

    fn check_volume(&mut self, volume: &str, context: Context, provider: Option<ProviderId>) -> Result<(), VssFailure> {
        let wanted = provider.map(|id| format!(" by {id}")).unwrap_or_default();
        self.call(format!("check {volume} {:#x}{wanted}", context.bits()))
    }

    fn create(&mut self, order: &CreationOrder) -> Result<CreatedSet, VssFailure> {
        let volumes: Vec<_> = order.volumes.iter().map(|(volume, _)| volume.as_str()).collect();
        let kind = if order.is_full_backup { "full" } else { "copy" };
        let excluded = order.excluded.join(",");
        self.call(format!("create {kind} {:#x} {} without [{excluded}]", order.context.bits(), volumes.join("+")))?;
        let set = SnapshotSetId(self.id());
        let mut copies = Vec::new();
        for volume in &volumes {
            let id = SnapshotId(self.id());
            let seconds = u64::try_from(self.ids).expect("few");
            copies.push(ShadowCopy {
                id,
                set,
                original_count: volumes.len(),
                volume: Volume {
                    name: (*volume).to_owned(),
                    mounted_at: volume.strip_prefix("volume-").map(|it| format!("{it}:")),
                },
                created: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
                devices: vec![format!("disk-{}", self.ids)],
                provider: PROVIDER,
                attributes: order.context | Context::HARDWARE_ASSISTED,
                exposed_at: None,
            });
        }
        let shadows = copies.iter().map(|copy| copy.id).collect();
        if order.context.contains(Context::TRANSPORTABLE) {
            let document = format!("document of {set}");
            self.documents.insert(document.clone(), copies);
            return Ok(CreatedSet { set, shadows, document: Some(document) });
        }
        self.shadows.extend(copies);
        Ok(CreatedSet { set, shadows, document: None })
    }

    fn shadows(&mut self) -> Vec<ShadowCopy> {
        self.shadows.clone()
    }

    fn providers(&mut self) -> Vec<RegisteredProvider> {
        vec![RegisteredProvider { id: PROVIDER, name: "Lunshadow".to_owned() }]
    }

    fn writers(&mut self) -> Vec<WriterReport> {
        let writer = |id: &str, name: &str, components: &[&str]| WriterReport {
            id: id.to_owned(),
            name: name.to_owned(),
            components: components.iter().map(|it| (*it).to_owned()).collect(),
            state: "stable",
            failure: None,
        };
        vec![writer("{1}", "SqlServerWriter", &["accounts", "stock"]), writer("{2}", "System Writer", &[])]
    }

    fn notify_writers(&mut self, notice: WriterNotice) -> Result<(), VssFailure> {
        self.call(format!("notify {notice:?}"))
    }

    fn load_document(&mut self, document: &str) -> Result<(), VssFailure> {
        self.call(format!("load {document}"))?;
        self.loaded = Some(document.to_owned());
        Ok(())
    }

    fn import(&mut self) -> Result<Imported, VssFailure> {
        self.call("import".to_owned())?;
        let loaded = self.loaded.clone().expect("the session sees to it");
        let mut copies = self.documents[&loaded].clone();
        copies.iter_mut().for_each(|copy| copy.attributes |= Context::IMPORTED);
        let missing =
            if self.failing.contains("half") { vec![copies.pop().expect("there are two").id] } else { vec![] };
        let (set, shadows) = (copies[0].set, copies.iter().map(|copy| copy.id).collect());
        self.shadows.extend(copies);
        Ok(Imported { set, shadows, missing })
    }

    fn expose(&mut self, shadow: SnapshotId, place: &Place) -> Result<String, VssFailure> {
        self.call(format!("expose {shadow} {place}"))?;
        self.find(shadow).exposed_at = Some(place.clone());
        Ok(format!("{shadow} is at {place}"))
    }

    fn unexpose(&mut self, shadow: SnapshotId) -> Result<(), VssFailure> {
        self.call(format!("unexpose {shadow}"))?;
        self.find(shadow).exposed_at = None;
        Ok(())
    }

    fn break_set(&mut self, set: SnapshotSetId, options: BreakOptions) -> Result<(), VssFailure> {
        self.call(format!("break {:#x}", options.bits()))?;
        self.shadows.retain(|shadow| shadow.set != set);
        Ok(())
    }

    fn revert(&mut self, shadow: SnapshotId) -> Result<(), VssFailure> {
        self.call(format!("revert {shadow}"))
    }

    fn add_to_recovery_set(&mut self, shadow: SnapshotId, destination: Option<&str>) -> Result<(), VssFailure> {
        self.call(format!("recovery of {shadow} to {}", destination.unwrap_or("its volume")))
    }

    fn recover(&mut self, options: RecoveryOptions) -> Result<(), VssFailure> {
        self.call(format!("recover {:#x}", options.bits()))
    }

    fn delete(&mut self, shadow: SnapshotId) -> Result<(), VssFailure> {
        if self.deletable == Some(0) {
            self.failing.insert("delete");
        }
        self.deletable = self.deletable.map(|left| left.saturating_sub(1));
        self.call(format!("delete {shadow}"))?;
        self.shadows.retain(|it| it.id != shadow);
        Ok(())
    }

    fn reset(&mut self) -> Result<(), VssFailure> {
        self.call("reset".to_owned())?;
        self.shadows.retain(|shadow| shadow.attributes.contains(Context::NO_AUTO_RELEASE));
        Ok(())
    }
}

/// A machine whose programs end with what their names end with.
#[derive(Default)]
pub(crate) struct FakeMachine {
    pub(crate) files: BTreeMap<String, Metadata>,
    pub(crate) is_read_only: bool,
    pub(crate) is_full: bool,
    /// What was run, with its variables.
    pub(crate) runs: Vec<(String, Vec<(String, String)>)>,
}

impl Machine for FakeMachine {
    fn variable(&self, name: &str) -> Option<String> {
        name.eq_ignore_ascii_case("SystemDrive").then(|| "C:".to_owned())
    }

    fn metadata_name(&self) -> String {
        "by-itself.cab".to_owned()
    }

    fn check_metadata(&mut self, file: &str) -> Result<(), MachineFailure> {
        if self.is_read_only { Err(MachineFailure(format!("cannot write {file}"))) } else { Ok(()) }
    }

    fn write_metadata(&mut self, file: &str, metadata: &Metadata) -> Result<(), MachineFailure> {
        if self.is_full {
            return Err(MachineFailure(format!("no room for {file}")));
        }
        self.files.insert(file.to_owned(), metadata.clone());
        Ok(())
    }

    fn read_metadata(&mut self, file: &str) -> Result<Metadata, MachineFailure> {
        self.files.get(file).cloned().ok_or_else(|| MachineFailure(format!("there is no file {file}")))
    }

    fn run(&mut self, file: &str, variables: &[(String, String)]) -> Result<i32, MachineFailure> {
        self.runs.push((file.to_owned(), variables.to_vec()));
        let status = file.rsplit('-').next().and_then(|status| status.parse().ok());
        status.ok_or_else(|| MachineFailure(format!("{file} cannot be started")))
    }
}

/// All that a test looks at.
#[derive(Default)]
pub(crate) struct Rig {
    pub(crate) vss: FakeVss,
    pub(crate) machine: FakeMachine,
    pub(crate) said: Vec<String>,
}

impl Rig {
    /// Runs a script as a program of its own.
    pub(crate) fn script(&mut self, script: &str) -> Result<(), ScriptError> {
        let Self { vss, machine, said } = self;
        let mut output = |line: &str| said.push(line.to_owned());
        let mut session = Session::new(vss, machine, &mut output);
        let ran = run_script(&mut session, script);
        session.finish().expect("nothing keeps it from ending");
        ran
    }

    /// A script that has to succeed.
    pub(crate) fn succeed(&mut self, script: &str) {
        assert_eq!(self.script(script), Ok(()), "in\n{script}");
    }

    /// The fault that a script has to stop at, which has to be in its last line.
    pub(crate) fn fault(&mut self, script: &str) -> Fault {
        let error = self.script(script).expect_err(script);
        assert_eq!(error.line, script.trim_end().lines().count(), "{error}\nin\n{script}");
        error.fault
    }

    /// A prompt: every line is tried, until one ends it.
    pub(crate) fn prompt(&mut self, lines: &[&str]) -> Vec<Result<Flow, Fault>> {
        let Self { vss, machine, said } = self;
        let mut output = |line: &str| said.push(line.to_owned());
        let mut session = Session::new(vss, machine, &mut output);
        let mut answers = Vec::new();
        for line in lines {
            let answer = session.execute(line);
            let is_end = answer == Ok(Flow::Exit) || answer.as_ref().is_err_and(Fault::ends_prompt);
            answers.push(answer);
            if is_end {
                break;
            }
        }
        answers
    }

    /// The calls of VSS of this name, by the words after it.
    pub(crate) fn calls(&self, name: &str) -> Vec<&str> {
        self.vss.calls.iter().filter_map(|call| call.strip_prefix(name)).map(str::trim).collect()
    }

    /// Whether something was said that has these parts.
    pub(crate) fn has_said(&self, parts: &[&str]) -> bool {
        self.said.iter().any(|line| parts.iter().all(|part| line.contains(part)))
    }
}
