//! What is done with shadow copies that exist.

use lunshadow_vss::{BreakOptions, Context, RecoveryOptions, SnapshotId, SnapshotSetId};

use super::Session;
use crate::command::{BreakChoice, DeletionChoice, Exposed, Place, ShadowSelection};
use crate::fault::{Fault, StateError};
use crate::listing;
use crate::vss::ShadowCopy;

impl Session<'_> {
    pub(super) fn list_shadows(&mut self, which: ShadowSelection) -> Result<(), Fault> {
        let mut shadows = self.vss.shadows();
        match which {
            ShadowSelection::All => (),
            ShadowSelection::Set(set) => shadows = of_set(shadows, set)?,
            ShadowSelection::Id(id) => shadows = vec![find(shadows, id)?],
        }
        listing::shadows(self.output, &shadows, &self.aliases);
        Ok(())
    }

    pub(super) fn delete_shadows(&mut self, which: &DeletionChoice) -> Result<(), Fault> {
        let shadows = self.vss.shadows();
        let doomed = match which {
            DeletionChoice::All => shadows,
            DeletionChoice::Volume(name) => self.of_volume(shadows, name)?,
            DeletionChoice::Oldest(name) => {
                let mut of_volume = self.of_volume(shadows, name)?;
                of_volume.truncate(1);
                of_volume
            }
            DeletionChoice::Set(set) => of_set(shadows, *set)?,
            DeletionChoice::Id(id) => vec![find(shadows, *id)?],
            DeletionChoice::Exposed(place) => vec![exposed_at(shadows, place)?],
        };
        for (deleted, shadow) in doomed.iter().enumerate() {
            let unexposed = if shadow.exposed_at.is_some() { self.vss.unexpose(shadow.id) } else { Ok(()) };
            let gone = unexposed.and_then(|()| self.vss.delete(shadow.id));
            gone.map_err(|failure| Fault::Deletion { deleted, undeleted: shadow.id, failure })?;
        }
        self.output.say(&format!("number of shadow copies deleted: {}", doomed.len()));
        Ok(())
    }

    /// The shadow copies of a volume, the oldest first.
    fn of_volume(&mut self, shadows: Vec<ShadowCopy>, name: &str) -> Result<Vec<ShadowCopy>, Fault> {
        let volume = self.vss.volume(name)?;
        let mut of_volume: Vec<_> = shadows.into_iter().filter(|it| it.volume.name == volume.name).collect();
        of_volume.sort_by_key(|shadow| shadow.created);
        Ok(of_volume)
    }

    pub(super) fn import(&mut self) -> Result<(), Fault> {
        self.state.check_free()?;
        self.state.loaded_document()?;
        let imported = self.vss.import()?;
        self.list_shadows(ShadowSelection::Set(imported.set))?;
        for missing in &imported.missing {
            self.output.say(&format!("the shadow copy {missing} has not arrived; another `import` tries it again"));
        }
        Ok(())
    }

    pub(super) fn mask(&mut self, set: SnapshotSetId) -> Result<(), Fault> {
        self.let_go(set, BreakOptions::MASK_LUNS)?;
        self.output.say(&format!("the shadow copies of {set} are not on this host any more; their LUNs live on"));
        Ok(())
    }

    pub(super) fn break_set(&mut self, set: SnapshotSetId, choice: BreakChoice) -> Result<(), Fault> {
        let flags = [
            (choice.writable, BreakOptions::MAKE_READ_WRITE),
            (choice.mask, BreakOptions::MASK_LUNS),
            (choice.revert_signature == Some(true), BreakOptions::REVERT_IDENTITY_ALL),
            (choice.revert_signature == Some(false), BreakOptions::REVERT_IDENTITY_NONE),
        ];
        let options = flags.iter().filter(|(is, _)| *is).fold(BreakOptions::empty(), |all, (_, flag)| all | *flag);
        self.let_go(set, options)?;
        self.output.say(&format!("{set} is no shadow copy set any more; its volumes are ordinary ones"));
        Ok(())
    }

    /// Ends a set whose LUNs live on.
    fn let_go(&mut self, set: SnapshotSetId, options: BreakOptions) -> Result<(), Fault> {
        let exposed: Vec<_> =
            of_set(self.vss.shadows(), set)?.into_iter().filter(|it| it.exposed_at.is_some()).collect();
        exposed.iter().try_for_each(|shadow| self.vss.unexpose(shadow.id))?;
        Ok(self.vss.break_set(set, options)?)
    }

    pub(super) fn expose(&mut self, id: SnapshotId, place: &Place) -> Result<(), Fault> {
        let shadows = self.vss.shadows();
        if let Ok(taken) = exposed_at(shadows.clone(), place)
            && taken.id != id
        {
            return Err(StateError::PlaceTaken { shadow: taken.id, place: place.clone() }.into());
        }
        let shadow = find(shadows, id)?;
        if let Some(place) = shadow.exposed_at {
            return Err(StateError::ExposedAlready { shadow: id, place }.into());
        }
        if !shadow.attributes.contains(Context::PERSISTENT) {
            return Err(StateError::NotPersistent(id).into());
        }
        let how = self.vss.expose(id, place)?;
        self.output.say(&how);
        Ok(())
    }

    pub(super) fn unexpose(&mut self, which: &Exposed) -> Result<(), Fault> {
        let shadows = self.vss.shadows();
        let shadow = match which {
            Exposed::Id(id) => find(shadows, *id)?,
            Exposed::At(place) => exposed_at(shadows, place)?,
        };
        if shadow.exposed_at.is_none() {
            return Err(StateError::NotExposed(shadow.id).into());
        }
        Ok(self.vss.unexpose(shadow.id)?)
    }

    pub(super) fn revert(&mut self, id: SnapshotId) -> Result<(), Fault> {
        if !find(self.vss.shadows(), id)?.attributes.contains(Context::CLIENT_ACCESSIBLE) {
            return Err(StateError::NotClientAccessible(id).into());
        }
        Ok(self.vss.revert(id)?)
    }

    pub(super) fn add_shadow(&mut self, id: SnapshotId, destination: Option<&str>) -> Result<(), Fault> {
        self.state.loaded_document()?;
        let destination = destination.map(|name| self.vss.volume(name)).transpose()?;
        self.vss.add_to_recovery_set(id, destination.as_ref().map(|volume| volume.name.as_str()))?;
        self.state.recoveries.push(id);
        Ok(())
    }

    pub(super) fn resync(&mut self, revert_signature: bool, no_volume_check: bool) -> Result<(), Fault> {
        self.state.loaded_document()?;
        if self.state.recoveries.is_empty() {
            return Err(StateError::NothingToResync.into());
        }
        let mut options = RecoveryOptions::empty();
        options.set(RecoveryOptions::REVERT_IDENTITY_ALL, revert_signature);
        options.set(RecoveryOptions::NO_VOLUME_CHECK, no_volume_check);
        self.vss.recover(options)?;
        let count = std::mem::take(&mut self.state.recoveries).len();
        self.output.say(&format!("the content of {count} shadow copies is back"));
        Ok(())
    }
}

fn find(shadows: Vec<ShadowCopy>, id: SnapshotId) -> Result<ShadowCopy, StateError> {
    shadows.into_iter().find(|shadow| shadow.id == id).ok_or(StateError::NoSuchShadow(id))
}

fn of_set(shadows: Vec<ShadowCopy>, set: SnapshotSetId) -> Result<Vec<ShadowCopy>, StateError> {
    let of_set: Vec<_> = shadows.into_iter().filter(|shadow| shadow.set == set).collect();
    if of_set.is_empty() { Err(StateError::NoSuchSet(set)) } else { Ok(of_set) }
}

fn exposed_at(shadows: Vec<ShadowCopy>, place: &Place) -> Result<ShadowCopy, StateError> {
    let is_there = |shadow: &ShadowCopy| shadow.exposed_at.as_ref() == Some(place);
    shadows.into_iter().find(is_there).ok_or_else(|| StateError::NothingExposedAt(place.clone()))
}
