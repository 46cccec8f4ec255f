//! Creation, and what writers have to do with backups and restores.

use lunshadow_coordinator::VOLUMES_PER_SET_MAX;
use lunshadow_vss::{Context, ProviderId};

use super::{AddedVolume, Session, Work};
use crate::command::{ContextChoice, Options, ShadowSelection};
use crate::fault::{Fault, StateError};
use crate::listing;
use crate::vss::{CreatedSet, CreationOrder, Metadata, WriterNotice, WriterReport};

/// The alias of a set that is created or loaded.
const SET_ALIAS: &str = "VSS_SHADOW_SET";

impl Session<'_> {
    pub(super) fn add_volume(
        &mut self,
        name: &str,
        alias: Option<&str>,
        provider: Option<ProviderId>,
    ) -> Result<(), Fault> {
        let volume = self.vss.volume(name)?;
        let added = &self.state.volumes;
        if added.iter().any(|other| other.volume.name == volume.name) {
            return Err(StateError::VolumeAdded(listing::volume(&volume)).into());
        }
        if added.len() >= VOLUMES_PER_SET_MAX {
            return Err(StateError::TooManyVolumes { max: VOLUMES_PER_SET_MAX }.into());
        }
        if let Some(alias) = alias {
            let is_it = |other: &&String| other.eq_ignore_ascii_case(alias);
            if added.iter().filter_map(|other| other.alias.as_ref()).any(|other| is_it(&other)) {
                return Err(StateError::AliasTaken(alias.to_owned()).into());
            }
        }
        self.vss.check_volume(&volume.name, self.state.context(), provider)?;
        self.state.volumes.push(AddedVolume { volume, alias: alias.map(str::to_owned), provider });
        Ok(())
    }

    pub(super) fn create(&mut self) -> Result<(), Fault> {
        match self.state.work {
            Work::Restore => return Err(StateError::RestoreBegun.into()),
            Work::Backup { is_created: true, .. } => return Err(StateError::BackupHasSet.into()),
            Work::Nothing | Work::Backup { .. } => (),
        }
        if self.state.volumes.is_empty() {
            return Err(StateError::NoVolumes.into());
        }
        if self.state.context == ContextChoice::ClientAccessible && self.state.options != Options::default() {
            return Err(StateError::OptionsOfClientAccessible.into());
        }
        let context = self.state.context();
        let has_writers = !context.contains(Context::NO_WRITERS);
        let included = if has_writers { self.included_writers() } else { Vec::new() };
        self.verify_writers(&included)?;
        self.tell_about_writers(&included);
        let file = match &self.state.metadata {
            Some(file) => Some(file.clone()),
            None => self.state.options.transportable.then(|| self.machine.metadata_name()),
        };
        if let Some(file) = &file {
            self.machine.check_metadata(file)?;
        }
        let volumes = self.state.volumes.iter().map(|it| (it.volume.name.clone(), it.provider)).collect();
        let is_full_backup = matches!(self.state.work, Work::Backup { .. });
        let excluded = self.state.excluded.clone();
        let created = self.vss.create(&CreationOrder { context, is_full_backup, volumes, excluded })?;
        if is_full_backup {
            self.state.work = Work::Backup { is_created: true, has_writers };
        }
        self.name_created(&created);
        self.tell_created(&created)?;
        let Some(file) = file else { return Ok(()) };
        let writers = included.into_iter().map(|writer| writer.name).collect();
        let metadata = Metadata { document: created.document, aliases: self.aliases.all().to_vec(), writers };
        if let Err(failure) = self.machine.write_metadata(&file, &metadata) {
            let is_transportable = metadata.document.is_some();
            return Err(if is_transportable {
                Fault::MetadataLost { set: created.set, failure }
            } else {
                failure.into()
            });
        }
        self.output.say(&format!("metadata is in {file}"));
        Ok(())
    }

    /// The next set begins without volumes.
    fn name_created(&mut self, created: &CreatedSet) {
        let volumes = std::mem::take(&mut self.state.volumes);
        let numbered = |number: usize| format!("VSS_SHADOW_{number}");
        let names = volumes.into_iter().enumerate().map(|(index, it)| it.alias.unwrap_or_else(|| numbered(index + 1)));
        let values = created.shadows.iter().map(ToString::to_string);
        let set = (SET_ALIAS.to_owned(), created.set.to_string());
        for (name, value) in names.zip(values).chain([set]) {
            self.output.say(&format!("alias %{name}% = {value}"));
            self.aliases.put(&name, value);
        }
    }

    fn tell_created(&mut self, created: &CreatedSet) -> Result<(), Fault> {
        if created.document.is_none() {
            return self.list_shadows(ShadowSelection::Set(created.set));
        }
        let count = created.shadows.len();
        self.output.say(&format!("number of transportable shadow copies created: {count}"));
        self.output.say("they are on no host before an `import`");
        Ok(())
    }

    fn included_writers(&mut self) -> Vec<WriterReport> {
        let excluded = &self.state.excluded;
        let is_excluded = |name: &str| excluded.iter().any(|other| other.eq_ignore_ascii_case(name));
        let mut writers = self.vss.writers();
        writers.retain(|writer| !is_excluded(&writer.name) && !is_excluded(&writer.id));
        for writer in &mut writers {
            writer.components.retain(|component| !is_excluded(component));
        }
        writers
    }

    fn verify_writers(&self, included: &[WriterReport]) -> Result<(), StateError> {
        let is_missing = |name: &&String| !included.iter().any(|writer| is_named(writer, name));
        self.state.verified.iter().find(is_missing).map_or(Ok(()), |name| Err(StateError::WriterMissing(name.clone())))
    }

    fn tell_about_writers(&mut self, included: &[WriterReport]) {
        if !self.state.is_verbose {
            return;
        }
        for writer in included {
            self.output.say(&format!("writer {} takes part", writer.name));
        }
        for name in &self.state.excluded {
            self.output.say(&format!("{name} is excluded"));
        }
    }

    /// Whether there is a writer or component of this name.
    pub(super) fn check_writer(&mut self, name: &str) -> Result<(), StateError> {
        let is_known = self.vss.writers().iter().any(|writer| is_named(writer, name));
        if is_known { Ok(()) } else { Err(StateError::NoSuchWriter(name.to_owned())) }
    }

    pub(super) fn begin_backup(&mut self) -> Result<(), Fault> {
        self.state.check_free()?;
        self.state.work = Work::Backup { is_created: false, has_writers: false };
        Ok(())
    }

    pub(super) fn end_backup(&mut self) -> Result<(), Fault> {
        let Work::Backup { has_writers, .. } = self.state.work else { return Err(StateError::NoBackup.into()) };
        self.state.work = Work::Nothing;
        if has_writers {
            self.vss.notify_writers(WriterNotice::BackupComplete)?;
        }
        Ok(())
    }

    pub(super) fn load_metadata(&mut self, file: &str) -> Result<(), Fault> {
        self.state.check_free()?;
        let metadata = self.machine.read_metadata(file)?;
        if let Some(document) = &metadata.document {
            self.vss.load_document(document)?;
        }
        self.state.recoveries.clear();
        for (name, value) in &metadata.aliases {
            self.output.say(&format!("alias %{name}% = {value}"));
            self.aliases.put(name, value.clone());
        }
        if self.state.is_verbose {
            metadata.writers.iter().for_each(|name| self.output.say(&format!("writer {name} took part")));
        }
        self.state.loaded = Some(metadata);
        Ok(())
    }

    pub(super) fn begin_restore(&mut self) -> Result<(), Fault> {
        self.state.check_free()?;
        self.check_writers_of_metadata()?;
        self.vss.notify_writers(WriterNotice::PreRestore)?;
        self.state.work = Work::Restore;
        Ok(())
    }

    pub(super) fn end_restore(&mut self) -> Result<(), Fault> {
        if self.state.work != Work::Restore {
            return Err(StateError::NoRestore.into());
        }
        self.state.work = Work::Nothing;
        Ok(self.vss.notify_writers(WriterNotice::PostRestore)?)
    }

    pub(super) fn simulate_restore(&mut self) -> Result<(), Fault> {
        self.state.check_free()?;
        self.check_writers_of_metadata()?;
        self.output.say("all writers of the metadata are here and could take part");
        Ok(())
    }

    fn check_writers_of_metadata(&mut self) -> Result<(), StateError> {
        let here = self.vss.writers();
        let is_gone = |name: &&String| !here.iter().any(|writer| writer.name.eq_ignore_ascii_case(name));
        let gone: Vec<_> = self.state.loaded()?.writers.iter().filter(is_gone).cloned().collect();
        if gone.is_empty() { Ok(()) } else { Err(StateError::WritersGone(gone.join(", "))) }
    }
}

/// Whether a writer has this name or id, or a component of this name.
fn is_named(writer: &WriterReport, name: &str) -> bool {
    let names = [&writer.name, &writer.id].into_iter().chain(&writer.components);
    names.into_iter().any(|known| known.eq_ignore_ascii_case(name))
}
