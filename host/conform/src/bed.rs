//! What stands around a provider under test: hosts with their disks, an array with its objects, an event log, a clock.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lunshadow_coordinator::disk::DiskIo;
use lunshadow_coordinator::{Clock, Platform, VolumeName};
use lunshadow_vss::{HResult, HardwareProvider, LunInformation, Slots};
use uuid::Uuid;

use crate::stranger::Stranger;

/// Why the bed could not do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BedError(
    /// What, in words.
    pub String,
);

/// How grave an event in the provider's log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gravity {
    /// Something succeeded.
    Information,
    /// Somebody should look.
    Warning,
    /// A call failed.
    Error,
}

/// Where a provider under test writes its events: the Application log on Windows.
pub trait EventSink: Send + Sync {
    /// One event, with all of its text.
    fn event(&self, gravity: Gravity, text: &str);
}

/// What the array is made to do, one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It works.
    Sound,
    /// It cannot be reached.
    Unreachable,
    /// It says of every LUN that there is no room for a shadow copy, and cannot prepare or resync any.
    Full,
    /// Preparations do not come to their end.
    Preparing,
    /// Commits fail.
    CommitFails,
    /// A commit succeeds after this time.
    CommitTakes(Duration),
    /// Resyncs run and do not come to their end.
    Resyncing,
    /// Resyncs begin, and fail.
    ResyncFails,
    /// Deletions do not come to their end. What becomes of those that were begun when it works again is the array's affair: it may carry them out or not.
    Deleting,
}

/// The objects of the array, by the serial numbers that hosts see. What is compared is compared as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Shadow LUNs that exist.
    pub shadows: BTreeSet<String>,
    /// LUNs that are mapped to the host of the question, sources too.
    pub mapped: BTreeSet<String>,
    /// How many sets are neither kept nor gone.
    pub unfinished_sets: usize,
}

/// A host, as a coordinator finds it.
pub struct BelowVss {
    /// What Windows does.
    pub platform: Arc<dyn Platform>,
    /// Its volumes, each on a source of its own.
    pub volumes: Vec<VolumeName>,
    /// The clock by which the coordinator keeps its limits. It goes on by itself.
    pub clock: Arc<dyn Clock>,
}

/// The class of a provider behind COM, as a client of COM sees it.
pub trait ComClass: Send + Sync {
    /// What `QueryInterface` on an object of the class answers about an interface.
    ///
    /// # Errors
    /// If there is no object.
    fn query(&self, interface: Uuid) -> Result<HResult, BedError>;

    /// Whether one object has the same `IUnknown` before and after it was asked for these interfaces, for each on the one before.
    ///
    /// # Errors
    /// If there is no object, or it lacks one of the interfaces.
    fn keeps_its_identity(&self, interfaces: &[Uuid]) -> Result<bool, BedError>;

    /// What COM answers when an object is to be made in the caller's own process.
    ///
    /// # Errors
    /// If COM cannot be asked.
    fn create_in_process(&self) -> Result<HResult, BedError>;

    /// How a caller without rights fares, who wants an object of the class and calls each of its methods.
    ///
    /// # Errors
    /// If there can be no such caller.
    fn ask_as_stranger(&self) -> Result<Stranger, BedError>;

    /// An object of the class in the process that serves it, to be called by the numbers of its slots.
    ///
    /// # Errors
    /// If there is no object.
    fn slots(&self) -> Result<Arc<dyn Slots>, BedError>;
}

/// A host with the provider under test.
pub trait TestHost: Send + Sync {
    /// The provider, as a process that has just started and knows nothing of an earlier one.
    ///
    /// # Errors
    /// If it cannot be started.
    fn start_provider(&self, events: Arc<dyn EventSink>) -> Result<Arc<dyn HardwareProvider>, BedError>;

    /// The LUNs that the suite may copy, as the host sees them.
    ///
    /// # Errors
    /// If the host cannot see its disks.
    fn sources(&self) -> Result<Vec<LunInformation>, BedError>;

    /// The disk that is this LUN, after a rescan, with the length that it has by now. `None` if the host does not see it.
    ///
    /// # Errors
    /// If the host cannot look.
    fn disk(&self, lun: &LunInformation) -> Result<Option<Arc<dyn DiskIo>>, BedError>;

    /// What the host itself knows of the disk that is this LUN, after a rescan.
    ///
    /// # Errors
    /// If the host cannot look.
    fn seen(&self, lun: &LunInformation) -> Result<Option<LunInformation>, BedError>;

    /// Makes one of the [`sources`](Self::sources) longer, with all that it has. It may stay so. Answers whether this bed can.
    ///
    /// # Errors
    /// If it should be able to, and the array does not do it.
    fn grow(&self, source: &LunInformation, by_bytes: u64) -> Result<bool, BedError>;

    /// Where on every source the suite may write: an offset and a length in bytes, both of whole MiB, at least 1 MiB long.
    fn scratch(&self) -> (u64, u64);

    /// What a coordinator needs to play VSS here; `None` where there is no such thing.
    fn below_vss(&self) -> Option<BelowVss>;

    /// The array's objects, with the mappings of this host.
    ///
    /// # Errors
    /// If the array cannot be asked.
    fn ledger(&self) -> Result<Ledger, BedError>;
}

/// Everything around the provider under test.
pub trait TestBed: Send + Sync {
    /// The host on which the suite runs.
    fn host(&self) -> Arc<dyn TestHost>;

    /// A host that may import the shadow copies of [`host`](Self::host). Where one machine plays both, starting its provider ends the other's, so it is
    /// the last that a check starts.
    fn importer(&self) -> Option<Arc<dyn TestHost>>;

    /// A host with 64 sources, which need not be disks that it sees.
    fn crowded_host(&self) -> Option<Arc<dyn TestHost>>;

    /// The clock by which calls are measured, and by which the provider goes if the bed can give it one.
    fn clock(&self) -> Arc<dyn Clock>;

    /// Whether the sinks of [`TestHost::start_provider`] are given the provider's events.
    fn hears_events(&self) -> bool;

    /// The class of the provider, where it is behind COM.
    fn com_class(&self) -> Option<Arc<dyn ComClass>>;

    /// The memory that is the own of the provider's process, in bytes; `None` where nobody can look at it.
    fn provider_memory_bytes(&self) -> Option<u64>;

    /// Lets time pass for whoever goes by [`clock`](Self::clock): a simulated clock jumps, another one is waited for.
    fn pass(&self, time: Duration);

    /// Makes the array do something. Answers whether this bed can.
    fn set_condition(&self, condition: Condition) -> bool;

    /// Ends what a check has left behind: no shadow LUN and no unfinished set remains, and the array is [`Condition::Sound`].
    ///
    /// # Errors
    /// If something remains.
    fn clean_up(&self) -> Result<(), BedError>;
}
