//! The language over our own coordinator.

mod creation;
mod writers;

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use lunshadow_coordinator::{BackupDocument, Coordinator, Deletion, Requester, SnapshotProperties, VolumeName};
use lunshadow_vss::{BreakOptions, Context, HResult, ProviderId, RecoveryOptions, SnapshotId, SnapshotSetId};

use crate::command::Place;
use crate::vss::{
    CreatedSet, CreationOrder, Imported, RegisteredProvider, ShadowCopy, Volume, Vss, VssFailure, WriterNotice,
    WriterReport,
};
pub use writers::{RehearsedWriter, WriterStep};

/// A volume with the place at which its host has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MountedVolume {
    /// A drive letter with its colon, or a path.
    pub mounted_at: String,
    /// The volume.
    pub name: VolumeName,
}

/// Where the shadow copies of a host are remembered that outlive the program.
pub trait KeptShadows {
    /// Remembers these, and none besides.
    ///
    /// # Errors
    /// What kept it from doing so.
    fn keep(&mut self, copies: &[SnapshotProperties]) -> Result<(), Box<dyn Error + Send + Sync>>;
}

/// How the files of a shadow copy are shown.
pub trait Exposer {
    /// Shows them, and says how they can be reached.
    ///
    /// # Errors
    /// Why they cannot be shown there.
    fn expose(&mut self, copy: &SnapshotProperties, place: &Place) -> Result<String, Box<dyn Error + Send + Sync>>;

    /// Shows them no longer.
    ///
    /// # Errors
    /// Then they may still be there.
    fn unexpose(&mut self, copy: SnapshotId) -> Result<(), Box<dyn Error + Send + Sync>>;
}

/// A host with its coordinator, as DiskShadow sees it.
pub struct CoordinatedVss {
    coordinator: Coordinator,
    volumes: Vec<MountedVolume>,
    writers: Vec<Arc<RehearsedWriter>>,
    kept: Box<dyn KeptShadows>,
    exposer: Box<dyn Exposer>,
    exposed: BTreeMap<SnapshotId, Place>,
    /// Those whose shadow copies go with them.
    requesters: Vec<Requester>,
    /// The one that has the loaded document.
    loaded: Option<Requester>,
}

impl CoordinatedVss {
    /// The coordinator of a host. `writers` are those that the host has been given.
    #[must_use]
    pub fn new(
        coordinator: Coordinator,
        volumes: Vec<MountedVolume>,
        writers: Vec<Arc<RehearsedWriter>>,
        kept: Box<dyn KeptShadows>,
        exposer: Box<dyn Exposer>,
    ) -> Self {
        let (exposed, requesters, loaded) = (BTreeMap::new(), Vec::new(), None);
        Self { coordinator, volumes, writers, kept, exposer, exposed, requesters, loaded }
    }

    fn mounted(&self, name: &VolumeName) -> Volume {
        let mounted = self.volumes.iter().find(|volume| volume.name == *name);
        Volume { name: name.0.clone(), mounted_at: mounted.map(|volume| volume.mounted_at.clone()) }
    }

    fn shadow_copy(&self, copy: &SnapshotProperties) -> ShadowCopy {
        let exposed_at = self.exposed.get(&copy.snapshot).cloned();
        let exposed = if exposed_at.is_some() { Context::EXPOSED_LOCALLY } else { Context::empty() };
        ShadowCopy {
            id: copy.snapshot,
            set: copy.set,
            original_count: copy.snapshot_count,
            volume: self.mounted(&copy.volume),
            created: copy.created,
            devices: copy.luns.iter().map(|lun| lun.device.0.clone()).collect(),
            provider: copy.provider,
            attributes: copy.attributes | exposed,
            exposed_at,
        }
    }

    /// Remembers what is persistent now.
    fn keep(&mut self) -> Result<(), VssFailure> {
        let mut copies = self.coordinator.query();
        copies.retain(|copy| copy.attributes.contains(Context::NO_AUTO_RELEASE));
        self.kept.keep(&copies).map_err(|error| failure(HResult::VSS_E_UNEXPECTED, &*error))
    }

    /// The requester that has the loaded document.
    fn loaded(&self) -> Result<&Requester, VssFailure> {
        let detail = "no backup document is loaded".to_owned();
        self.loaded.as_ref().ok_or(VssFailure { code: HResult::VSS_E_BAD_STATE, detail })
    }
}

impl Vss for CoordinatedVss {
    fn volume(&mut self, name: &str) -> Result<Volume, VssFailure> {
        let plain = |name: &str| name.trim_end_matches(['\\', '/']).to_ascii_lowercase();
        let is_it = |volume: &&MountedVolume| {
            let names = [volume.mounted_at.as_str(), volume.name.0.as_str()];
            names.iter().any(|known| plain(known) == plain(name))
        };
        if let Some(volume) = self.volumes.iter().find(is_it) {
            return Ok(self.mounted(&volume.name));
        }
        // A volume of another host, or one without a place.
        if name.starts_with(r"\\?\Volume{") {
            return Ok(self.mounted(&VolumeName(format!(r"{}\", name.trim_end_matches('\\')))));
        }
        let places: Vec<_> = self.volumes.iter().map(|volume| volume.mounted_at.as_str()).collect();
        let detail = format!("there is no volume {name} on this host; it has {}", places.join(", "));
        Err(VssFailure { code: HResult::VSS_E_OBJECT_NOT_FOUND, detail })
    }

    fn check_volume(&mut self, volume: &str, context: Context, provider: Option<ProviderId>) -> Result<(), VssFailure> {
        creation::check(&self.coordinator, &VolumeName(volume.to_owned()), context, provider)
    }

    fn create(&mut self, order: &CreationOrder) -> Result<CreatedSet, VssFailure> {
        for writer in &self.writers {
            writer.take_part(!order.excluded.iter().any(|name| writer.is_named(name)));
        }
        let requester = self.coordinator.requester();
        let created = creation::create(&requester, order);
        self.requesters.push(requester);
        let created = created?;
        self.keep()?;
        Ok(created)
    }

    fn shadows(&mut self) -> Vec<ShadowCopy> {
        let mut shadows: Vec<_> = self.coordinator.query().iter().map(|copy| self.shadow_copy(copy)).collect();
        shadows.sort_by_key(|shadow| shadow.created);
        shadows
    }

    fn providers(&mut self) -> Vec<RegisteredProvider> {
        let providers = self.coordinator.providers();
        providers.into_iter().map(|it| RegisteredProvider { id: it.id, name: it.name }).collect()
    }

    fn writers(&mut self) -> Vec<WriterReport> {
        self.writers.iter().map(|writer| writer.report()).collect()
    }

    fn notify_writers(&mut self, notice: WriterNotice) -> Result<(), VssFailure> {
        // Every writer hears of it, whatever another one answers.
        let answers: Vec<_> = self.writers.iter().map(|writer| writer.notice(notice)).collect();
        let all: Result<(), _> = answers.into_iter().collect();
        all.map_err(|error| failure(error.code(), &error))
    }

    fn load_document(&mut self, document: &str) -> Result<(), VssFailure> {
        let document = BackupDocument::from_xml(document).map_err(|error| failure(error.code(), &error))?;
        let requester = self.coordinator.requester();
        requester.load_document(document);
        // What another one has imported goes with it, which is not wanted yet.
        self.requesters.extend(self.loaded.replace(requester));
        Ok(())
    }

    fn import(&mut self) -> Result<Imported, VssFailure> {
        let requester = self.loaded()?;
        let set = requester.document().map(|document| document.set);
        let imported = requester.import_snapshots().map_err(|error| failure(error.code(), &error))?;
        self.keep()?;
        let shadows: Vec<_> = imported.copies.iter().map(|copy| copy.snapshot).collect();
        let set = set.or_else(|| imported.copies.first().map(|copy| copy.set));
        let detail = "the imported set has no id".to_owned();
        let set = set.ok_or(VssFailure { code: HResult::VSS_E_UNEXPECTED, detail })?;
        Ok(Imported { set, shadows, missing: imported.missing })
    }

    fn expose(&mut self, shadow: SnapshotId, place: &Place) -> Result<String, VssFailure> {
        let copy = self.coordinator.query().into_iter().find(|copy| copy.snapshot == shadow);
        let detail = format!("there is no shadow copy {shadow}");
        let copy = copy.ok_or(VssFailure { code: HResult::VSS_E_OBJECT_NOT_FOUND, detail })?;
        let how = self.exposer.expose(&copy, place).map_err(|error| failure(HResult::VSS_E_UNEXPECTED, &*error))?;
        self.exposed.insert(shadow, place.clone());
        Ok(how)
    }

    fn unexpose(&mut self, shadow: SnapshotId) -> Result<(), VssFailure> {
        self.exposer.unexpose(shadow).map_err(|error| failure(HResult::VSS_E_UNEXPECTED, &*error))?;
        self.exposed.remove(&shadow);
        Ok(())
    }

    fn break_set(&mut self, set: SnapshotSetId, options: BreakOptions) -> Result<(), VssFailure> {
        let broken = self.coordinator.requester().break_set(set, options);
        broken.map_err(|error| failure(error.code(), &error))?;
        self.keep()
    }

    fn revert(&mut self, shadow: SnapshotId) -> Result<(), VssFailure> {
        // Such shadow copies are Windows' own provider's, which a simulated host does not have.
        let detail = format!("no provider of this host can revert a volume to {shadow}");
        Err(VssFailure { code: HResult::VSS_E_PROVIDER_NOT_REGISTERED, detail })
    }

    fn add_to_recovery_set(&mut self, shadow: SnapshotId, destination: Option<&str>) -> Result<(), VssFailure> {
        let destination = destination.map(|name| VolumeName(name.to_owned()));
        let added = self.loaded()?.add_to_recovery_set(shadow, destination.as_ref());
        added.map_err(|error| failure(error.code(), &error))
    }

    fn recover(&mut self, options: RecoveryOptions) -> Result<(), VssFailure> {
        self.loaded()?.recover(options).map_err(|error| failure(error.code(), &error))
    }

    fn delete(&mut self, shadow: SnapshotId) -> Result<(), VssFailure> {
        let deleted = self.coordinator.requester().delete_snapshots(Deletion::Snapshot(shadow));
        deleted.map_err(|error| failure(error.code(), &error.error))?;
        self.keep()
    }

    fn reset(&mut self) -> Result<(), VssFailure> {
        let mut all = Ok(());
        for requester in self.requesters.drain(..).chain(self.loaded.take()) {
            let released = requester.release().map(drop);
            all = all.and(released.map_err(|error| failure(error.code(), &error)));
        }
        all
    }
}

/// An error with what caused it, in one line.
pub(crate) fn failure(code: HResult, error: &dyn Error) -> VssFailure {
    let mut detail = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // A transparent error says what its cause says.
        if !detail.ends_with(&cause_text) {
            detail = format!("{detail}: {cause_text}");
        }
        next = cause.source();
    }
    VssFailure { code, detail }
}
