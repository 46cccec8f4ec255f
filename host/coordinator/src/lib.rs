//! Plays VSS: provider choice, sequencing, clocks, import and deletion over a simulated Windows host.
//!
//! A [`Coordinator`] drives any [`HardwareProvider`](lunshadow_vss::HardwareProvider) as the Volume Shadow Copy Service does, over
//! a [`Platform`] that does what Windows does below VSS. A [`Requester`] is a backup program's side of it:
//!
//! ```text
//!  Requester ──▶ Coordinator ──▶ HardwareProvider, SoftwareProvider (one or more)
//!                  │   └───────▶ Timeline (what happened when)
//!                  ├──▶ Clock (the 10 s of the hold, the 60 s of the freeze)
//!                  └──▶ Platform (volumes, writers, hold, flags, disks)
//! ```
//!
//! Everything blocks, and runs on the caller's thread; only an expired limit acts from a thread of its own. Every failure carries
//! the code that VSS would answer with. After any failure of a creation no write is held, no source LUN is flagged, no writer
//! is frozen, and every provider of the set has had its AbortSnapshots.

mod breaking;
mod clock;
mod creation;
mod deletion;
pub mod disk;
mod document;
mod exclusive;
mod failure;
mod import;
mod platform;
mod provider_calls;
mod recovery;
mod requester;
mod service;
mod settings;
mod simulated_host;
mod software_provider;
mod sources;
mod stand_in;
mod timeline;
mod transport;

pub use breaking::BreakError;
pub use clock::{Alarm, Clock, ManualClock, Ring, SystemClock};
pub use deletion::Deletion;
pub use document::{BackupDocument, DocumentError, DocumentLun, DocumentSnapshot};
pub use failure::{CreationError, CreationFailure, DeletionError, DeletionFailure, RequestError};
pub use platform::{
    DiskExtent, DiskIdentity, HoldError, HostDisk, Platform, PlatformError, ShadowVolume, VolumeLun, VolumeName,
    WriterError, WriterEvent,
};
pub use provider_calls::{ProviderFailure, ProviderRegistration};
pub use recovery::RecoveryError;
pub use requester::{Requester, VOLUMES_PER_SET_MAX};
pub use service::{Coordinator, ShadowLun, SnapshotProperties};
pub use settings::{FillMode, FinalOrder, LocateArray, Mangling, MatchMode, Settings, TransportableRecovery};
pub use simulated_host::{
    AdapterDisk, AdapterFuture, ApplicationDisk, AttachedLun, GateCounts, HostAdapter, HostVolume, IscsiAdapter,
    OpenDisk, SimulatedHost, Writer,
};
pub use software_provider::{SoftwareKind, SoftwareProvider, SoftwareRegistration};
pub use stand_in::{StandInFault, StandInProvider};
pub use timeline::{Activity, Ending, Entry, Phase, Timeline, TimelineObserver, Window};
pub use transport::{ImportError, ImportedSet};
