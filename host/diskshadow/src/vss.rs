//! What the language needs of a VSS, and of the machine that it runs on.

use std::time::SystemTime;

use lunshadow_vss::{BreakOptions, Context, HResult, ProviderId, RecoveryOptions, SnapshotId, SnapshotSetId};

use crate::command::Place;

/// What VSS refused, or could not do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{detail} [{code}]")]
pub struct VssFailure {
    /// The code that a requester sees.
    pub code: HResult,
    /// What it means here, with all causes.
    pub detail: String,
}

/// What the machine could not do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct MachineFailure(pub String);

/// A volume of the machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Volume {
    /// `\\?\Volume{…}\`.
    pub name: String,
    /// Its drive letter or mount point.
    pub mounted_at: Option<String>,
}

/// A set to be created.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreationOrder {
    /// How.
    pub context: Context,
    /// A full backup, not a copy.
    pub is_full_backup: bool,
    /// Of what, and by whom if that matters.
    pub volumes: Vec<(String, Option<ProviderId>)>,
    /// Writers and components that take no part, as they were named.
    pub excluded: Vec<String>,
}

/// A set that was created.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreatedSet {
    /// Its id.
    pub set: SnapshotSetId,
    /// Its shadow copies, in the order of the volumes.
    pub shadows: Vec<SnapshotId>,
    /// What another host needs to import it, if it is transportable.
    pub document: Option<String>,
}

/// A shadow copy that exists on this machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShadowCopy {
    /// Its id.
    pub id: SnapshotId,
    /// Its set.
    pub set: SnapshotSetId,
    /// How many copies the set had when it was created.
    pub original_count: usize,
    /// What it is a copy of.
    pub volume: Volume,
    /// When it was created.
    pub created: SystemTime,
    /// The disks that it lies on.
    pub devices: Vec<String>,
    /// Who made it.
    pub provider: ProviderId,
    /// What it is like.
    pub attributes: Context,
    /// Where it is exposed.
    pub exposed_at: Option<Place>,
}

/// A provider that is registered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RegisteredProvider {
    /// Its id.
    pub id: ProviderId,
    /// Its name.
    pub name: String,
}

/// A writer of the machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WriterReport {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it has that can be backed up by itself.
    pub components: Vec<String>,
    /// What it is doing.
    pub state: &'static str,
    /// How its last part failed.
    pub failure: Option<String>,
}

/// What an import has brought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Imported {
    /// The set.
    pub set: SnapshotSetId,
    /// What is here now.
    pub shadows: Vec<SnapshotId>,
    /// What did not arrive.
    pub missing: Vec<SnapshotId>,
}

/// What becomes of writers at the end of a backup, and around a restore.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriterNotice {
    /// `OnBackupComplete`.
    BackupComplete,
    /// `OnPreRestore`.
    PreRestore,
    /// `OnPostRestore`.
    PostRestore,
}

/// The content of a metadata file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Metadata {
    /// The backup components document, if the set is transportable.
    pub document: Option<String>,
    /// The aliases at the time, in their order.
    pub aliases: Vec<(String, String)>,
    /// The writers that took part, by name.
    pub writers: Vec<String>,
}

/// A VSS. Calls block until what they ask for is done.
pub trait Vss {
    /// The volume of a drive letter, a mount point or a name.
    ///
    /// # Errors
    /// [`HResult::VSS_E_OBJECT_NOT_FOUND`].
    fn volume(&mut self, name: &str) -> Result<Volume, VssFailure>;

    /// Whether a volume could be in a set of this context.
    ///
    /// # Errors
    /// What `AddToSnapshotSet` would answer.
    fn check_volume(&mut self, volume: &str, context: Context, provider: Option<ProviderId>) -> Result<(), VssFailure>;

    /// Creates a set. What is not persistent lives until [`reset`](Self::reset).
    ///
    /// # Errors
    /// Then there is no set.
    fn create(&mut self, order: &CreationOrder) -> Result<CreatedSet, VssFailure>;

    /// All shadow copies, the oldest first.
    fn shadows(&mut self) -> Vec<ShadowCopy>;

    /// All providers.
    fn providers(&mut self) -> Vec<RegisteredProvider>;

    /// All writers.
    fn writers(&mut self) -> Vec<WriterReport>;

    /// Tells all writers.
    ///
    /// # Errors
    /// The first writer's failure.
    fn notify_writers(&mut self, notice: WriterNotice) -> Result<(), VssFailure>;

    /// Takes a document for imports and resyncs.
    ///
    /// # Errors
    /// If it is none.
    fn load_document(&mut self, document: &str) -> Result<(), VssFailure>;

    /// Imports what the loaded document describes. Only called after [`load_document`](Self::load_document).
    ///
    /// # Errors
    /// Then nothing new is here.
    fn import(&mut self) -> Result<Imported, VssFailure>;

    /// Shows the files of a shadow copy, and says how they can be reached.
    ///
    /// # Errors
    /// Then it is not exposed.
    fn expose(&mut self, shadow: SnapshotId, place: &Place) -> Result<String, VssFailure>;

    /// Shows them no longer.
    ///
    /// # Errors
    /// Also if it is not exposed.
    fn unexpose(&mut self, shadow: SnapshotId) -> Result<(), VssFailure>;

    /// Breaks a set.
    ///
    /// # Errors
    /// Then the set is as it was, unless the failure says otherwise.
    fn break_set(&mut self, set: SnapshotSetId, options: BreakOptions) -> Result<(), VssFailure>;

    /// Gives a volume the content of its client-accessible shadow copy.
    ///
    /// # Errors
    /// Also if no provider here has such shadow copies.
    fn revert(&mut self, shadow: SnapshotId) -> Result<(), VssFailure>;

    /// Adds a shadow copy of the loaded document to what is resynced next.
    ///
    /// # Errors
    /// Then it is not added.
    fn add_to_recovery_set(&mut self, shadow: SnapshotId, destination: Option<&str>) -> Result<(), VssFailure>;

    /// Resyncs what was added.
    ///
    /// # Errors
    /// What was added stays so, for another attempt.
    fn recover(&mut self, options: RecoveryOptions) -> Result<(), VssFailure>;

    /// Deletes a shadow copy.
    ///
    /// # Errors
    /// Then it is still there.
    fn delete(&mut self, shadow: SnapshotId) -> Result<(), VssFailure>;

    /// Lets everything go that is not persistent.
    ///
    /// # Errors
    /// If something could not be deleted.
    fn reset(&mut self) -> Result<(), VssFailure>;
}

/// The machine: its files, its programs, its environment.
pub trait Machine {
    /// A variable of the environment.
    fn variable(&self, name: &str) -> Option<String>;

    /// The name of a metadata file for which none was given.
    fn metadata_name(&self) -> String;

    /// Sees to it that a metadata file can be written there, before there is anything to write.
    ///
    /// # Errors
    /// If it cannot.
    fn check_metadata(&mut self, file: &str) -> Result<(), MachineFailure>;

    /// Writes a metadata file as a whole, in place of one that may be there.
    ///
    /// # Errors
    /// Then what was there is there still.
    fn write_metadata(&mut self, file: &str, metadata: &Metadata) -> Result<(), MachineFailure>;

    /// Reads a metadata file.
    ///
    /// # Errors
    /// If it cannot be read, or is none.
    fn read_metadata(&mut self, file: &str) -> Result<Metadata, MachineFailure>;

    /// Runs a program to its end, with these variables besides its environment. Answers its status.
    ///
    /// # Errors
    /// If it cannot be started.
    fn run(&mut self, file: &str, variables: &[(String, String)]) -> Result<i32, MachineFailure>;
}

/// Where the interpreter says what happens.
pub trait Output {
    /// One line, without its end.
    fn say(&mut self, line: &str);
}

impl<F: FnMut(&str)> Output for F {
    fn say(&mut self, line: &str) {
        self(line);
    }
}
