//! The heart of a trial: the load runs, the coordinator creates the set, the proofs are gathered, the set is deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use lunshadow_array_client::Array;
use lunshadow_coordinator::disk::{DiskIo, Witness, pick_witness, read_layout, read_shadow_flags};
use lunshadow_coordinator::{
    Activity, Coordinator, Deletion, Platform, Requester, Settings, ShadowLun, SnapshotProperties, SystemClock,
    Timeline, VolumeName, Window,
};
use lunshadow_vss::{Context, DeviceName, SnapshotSetId};
use tokio::runtime::Runtime;

use super::content::{VolumeContent, file_hash, listing, read_volumes};
use super::host::TrialHost;
use super::load::{CommitMarks, Load};
use super::proof;
use super::stage::{RECORD_SLOTS, Stage, TrialLun, lun_report};
use super::text::Narrator;
use crate::provider;
use crate::records::Mark;
use crate::report::{Proof, SetReport, SpaceReport};

/// The run of the record writer that fills the areas once, and the one that the shadow copy is taken of.
const FILLING_RUN: u64 = 1;
const PROVEN_RUN: u64 = 2;

/// How many records are written between the start of the load and the shadow copy, and how many after it.
const RECORDS_AROUND: u64 = 2_000;

/// Volumes that one set may have (section 7 of the contract); the companion has one of them.
const VOLUMES_MAX: usize = lunshadow_coordinator::VOLUMES_PER_SET_MAX - 1;

/// What a creation works with.
pub(super) struct Creation<'a> {
    /// The array's inside.
    pub stage: &'a Stage,
    /// The array, as the provider reaches it.
    pub array: &'a Arc<dyn Array>,
    /// The host.
    pub host: &'a TrialHost,
    /// The load.
    pub load: &'a Load,
    /// Where async code runs.
    pub runtime: &'a Runtime,
}

/// What came of it.
pub(super) struct Evidence {
    /// The set.
    pub set: SetReport,
    /// The proofs.
    pub proofs: Vec<Proof>,
    /// The space, unless everything was kept.
    pub space: Option<SpaceReport>,
}

/// A file that is changed on the source before and after the instant.
struct WitnessFile {
    witness: Witness,
    device: DeviceName,
}

impl Creation<'_> {
    /// Creates the set under load, proves it, and deletes it unless `keep`.
    ///
    /// # Errors
    /// If the creation or a look at a disk fails.
    pub(super) fn run(&self, keep: bool, narrator: &Narrator) -> anyhow::Result<Evidence> {
        let devices: Vec<DeviceName> =
            self.stage.luns.iter().map(|lun| self.host.device_of(lun)).collect::<Result<_, _>>()?;
        let [source, companion] = [self.host.disk(&devices[0])?, self.host.disk(&devices[1])?];
        let flags_before = read_shadow_flags(source.as_ref())?;
        let witness = self.witness(&devices[0], source.as_ref())?;

        self.fill_areas()?;
        let before_bytes = self.runtime.block_on(self.stage.used_bytes())?;

        let mut writer = {
            let _inside = self.runtime.enter();
            self.load.start(PROVEN_RUN)
        };
        let marks = Arc::new(CommitMarks::new(writer.progress()));
        self.runtime.block_on(writer.wait_for(RECORDS_AROUND))?;
        self.change(witness.as_ref(), 0x5a)?;
        let at_instant = self.content_of(&[source.as_ref(), companion.as_ref()])?;

        let announced_before = self.host.announcements();
        let coordinator = self.coordinator(Arc::clone(&marks))?;
        let requester = coordinator.requester();
        let set = create(&requester, &self.volumes_of(&devices)?).context("the shadow copy set was not created")?;
        let timeline = coordinator.timeline();

        self.change(witness.as_ref(), 0xa5)?;
        self.runtime.block_on(writer.wait_for(RECORDS_AROUND))?;
        let (written, in_flight) = self.runtime.block_on(writer.stop())?;
        narrator.creation(&timeline, written, in_flight);

        let announced = self.host.announcements() - announced_before;
        let taken = marks.taken()?;
        let shadows = Shadows::find(self.host, &set, &devices)?;
        let on_shadow = self.content_of(&shadows.disks())?;
        let mut proofs = vec![
            proof::arrival_announced(announced, shadows.luns.len()),
            proof::same_content(&at_instant, &on_shadow),
            proof::records_are_a_prefix(&shadows.areas(&self.stage.luns), PROVEN_RUN, taken)?,
            self.source_went_on(witness.as_ref(), source.as_ref(), &at_instant, taken.1, written)?,
        ];
        let (lun, shadow) = (&shadows.luns[0], shadows.disks()[0]);
        let (of_source, of_shadow) = (self.host.lun_information(&devices[0])?, self.host.lun_information(&lun.device)?);
        proofs.push(proof::own_identity((&of_source, source.as_ref()), (&of_shadow, shadow), lun.match_level)?);
        proofs.push(proof::flags(flags_before, source.as_ref(), shadow)?);
        self.restore(witness.as_ref())?;

        let report = self.report(&set, &timeline, &shadows, &on_shadow)?;
        let space = if keep { None } else { Some(self.delete(&coordinator, &requester, set[0].set, before_bytes)?) };
        proofs.extend(space.as_ref().map(proof::space_came_back));
        // The context is a persistent one: what was not deleted outlives its requester.
        requester.release().context("the requester could not be released")?;
        Ok(Evidence { set: report, proofs, space })
    }

    /// Writes each slot of the areas once, so that later records take no space that the shadow copy does not cost.
    fn fill_areas(&self) -> anyhow::Result<()> {
        let mut writer = {
            let _inside = self.runtime.enter();
            self.load.start(FILLING_RUN)
        };
        self.runtime.block_on(async {
            writer.wait_for(RECORD_SLOTS * self.stage.luns.len() as u64).await?;
            writer.stop().await
        })?;
        Ok(())
    }

    fn coordinator(&self, marks: Arc<CommitMarks>) -> anyhow::Result<Coordinator> {
        let platform = Arc::clone(&self.host.windows) as Arc<dyn Platform>;
        let coordinator = Coordinator::new(platform, Arc::new(SystemClock::new()), Settings::default());
        coordinator.register_provider(provider::registration(Arc::clone(self.array)))?;
        coordinator.set_observer(marks);
        Ok(coordinator)
    }

    fn volumes_of(&self, devices: &[DeviceName]) -> anyhow::Result<Vec<VolumeName>> {
        let mut names = Vec::new();
        for device in devices {
            names.extend(self.host.volumes(device)?.into_iter().take(VOLUMES_MAX).map(|volume| volume.name));
        }
        // The companion's volume comes last and has to be there.
        if names.len() > VOLUMES_MAX + 1 {
            names.drain(VOLUMES_MAX..names.len() - 1);
        }
        Ok(names)
    }

    fn content_of(&self, disks: &[&dyn DiskIo]) -> anyhow::Result<Vec<VolumeContent>> {
        let mut contents = Vec::new();
        for (disk, lun) in disks.iter().zip(&self.stage.luns) {
            contents.extend(read_volumes(*disk, lun.image_len_bytes)?);
        }
        Ok(contents)
    }

    fn witness(&self, device: &DeviceName, disk: &dyn DiskIo) -> anyhow::Result<Option<WitnessFile>> {
        let witness = pick_witness(disk, &read_layout(disk)?)?;
        Ok(witness.map(|witness| WitnessFile { witness, device: device.clone() }))
    }

    /// Changes the witness file in place, as an application of the host: through the gate that holds writes.
    fn change(&self, file: Option<&WitnessFile>, pattern: u8) -> anyhow::Result<()> {
        let Some(file) = file else { return Ok(()) };
        let changed: Vec<u8> = file.witness.original.iter().map(|byte| byte ^ pattern).collect();
        self.write_witness(file, changed)
    }

    fn restore(&self, file: Option<&WitnessFile>) -> anyhow::Result<()> {
        file.map_or(Ok(()), |file| self.write_witness(file, file.witness.original.to_vec()))
    }

    fn write_witness(&self, file: &WitnessFile, sector: Vec<u8>) -> anyhow::Result<()> {
        let disk = self.host.windows.application_disk(&file.device)?;
        self.runtime.block_on(async {
            disk.write_at(file.witness.offset_bytes, Bytes::from(sector)).await?;
            disk.flush().await
        })?;
        Ok(())
    }

    fn source_went_on(
        &self,
        witness: Option<&WitnessFile>,
        source: &dyn DiskIo,
        at_instant: &[VolumeContent],
        after: Mark,
        written: u64,
    ) -> anyhow::Result<Proof> {
        let Some(WitnessFile { witness, .. }) = witness else { return Ok(proof::source_went_on(None, after, written)) };
        let now = read_volumes(source, self.stage.luns[0].image_len_bytes)?;
        let (then, now) =
            (file_hash(at_instant, witness.volume, &witness.path)?, file_hash(&now, witness.volume, &witness.path)?);
        Ok(proof::source_went_on(Some((&witness.path, then != now)), after, written))
    }

    fn delete(
        &self,
        coordinator: &Coordinator,
        requester: &Requester,
        set: SnapshotSetId,
        before_bytes: u64,
    ) -> anyhow::Result<SpaceReport> {
        let earlier = coordinator.timeline().entries.len();
        let with_shadow_bytes = self.runtime.block_on(self.stage.used_bytes())?;
        requester.delete_snapshots(Deletion::Set(set)).context("the shadow copy set could not be deleted")?;
        let after_bytes = self.runtime.block_on(self.stage.used_bytes())?;
        let deletion = Timeline { entries: coordinator.timeline().entries.split_off(earlier) };
        Ok(SpaceReport { deletion, before_bytes, with_shadow_bytes, after_bytes })
    }

    fn report(
        &self,
        set: &[SnapshotProperties],
        timeline: &Timeline,
        shadows: &Shadows,
        content: &[VolumeContent],
    ) -> anyhow::Result<SetReport> {
        let window_us = |window| timeline.window(window).map_or(0, |entry| entry.duration_us);
        let is_commit = |activity: &Activity| matches!(activity, Activity::Call { method: "CommitSnapshots", .. });
        let commits = timeline.entries.iter().filter(|entry| is_commit(&entry.activity));
        let mappings = self.stage.storage.catalog.mappings(self.stage.host)?;
        let mut shadow_luns = Vec::new();
        for ((lun, disk), source) in shadows.luns.iter().zip(shadows.disks()).zip(&self.stage.luns) {
            let serial = lun.shadow.serial_number.clone().unwrap_or_default();
            let mapped = mappings.iter().find(|(_, lun)| lun.to_string() == serial);
            let (number, id) = mapped.context("the shadow LUN is not mapped to the host")?;
            shadow_luns.push(lun_report(*id, &format!("shadow of {}", source.name), number.0, disk.len_bytes()));
        }
        Ok(SetReport {
            id: set[0].set.to_string(),
            volumes: set.iter().map(|copy| copy.volume.to_string()).collect(),
            shadow_luns,
            freeze_us: window_us(Window::Freeze),
            hold_us: window_us(Window::Hold),
            commit_us: commits.map(|entry| entry.duration_us).sum(),
            files: listing(content),
            timeline: timeline.clone(),
        })
    }
}

fn create(requester: &Requester, volumes: &[VolumeName]) -> anyhow::Result<Vec<SnapshotProperties>> {
    requester.set_context(Context::CTX_APP_ROLLBACK)?;
    requester.start_snapshot_set()?;
    for volume in volumes {
        requester.add_to_snapshot_set(volume, None).with_context(|| format!("volume {volume}"))?;
    }
    let set = requester.do_snapshot_set()?;
    anyhow::ensure!(!set.is_empty(), "the set is empty");
    Ok(set)
}

/// The shadow LUNs, in the order of the LUNs of the trial.
struct Shadows {
    luns: Vec<ShadowLun>,
    disks: Vec<Arc<dyn DiskIo>>,
}

impl Shadows {
    fn find(host: &TrialHost, set: &[SnapshotProperties], sources: &[DeviceName]) -> anyhow::Result<Self> {
        let by_source: BTreeMap<&DeviceName, &ShadowLun> =
            set.iter().flat_map(|copy| &copy.luns).map(|lun| (&lun.source_device, lun)).collect();
        let mut shadows = Self { luns: Vec::new(), disks: Vec::new() };
        for source in sources {
            let lun = *by_source.get(source).with_context(|| format!("there is no shadow LUN of {source}"))?;
            shadows.disks.push(host.disk(&lun.device)?);
            shadows.luns.push(lun.clone());
        }
        Ok(shadows)
    }

    fn disks(&self) -> Vec<&dyn DiskIo> {
        self.disks.iter().map(AsRef::as_ref).collect()
    }

    fn areas(&self, luns: &[TrialLun]) -> Vec<(TrialLun, &dyn DiskIo)> {
        luns.iter().cloned().zip(self.disks()).collect()
    }
}
