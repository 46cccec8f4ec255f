//! The contract between the Volume Shadow Copy Service and a hardware provider, as safe Rust.
//!
//! Only types and rules live here: no I/O, no clock, no threads, nothing that needs Windows. `host/provider` implements
//! [`HardwareProvider`], `host/coordinator` drives it, `host/provider-com` exposes it over COM. Names are VSS words.

mod attributes;
mod hresult;
mod ids;
mod interceptor;
mod lifecycle;
mod lun_information;
mod method;
mod open_enums;
mod provider;
mod slots;

pub use attributes::{BreakOptions, Context, LunStateChange, RecoveryOptions};
pub use hresult::HResult;
pub use ids::{ProviderId, SnapshotId, SnapshotSetId};
pub use interceptor::Interceptor;
pub use lifecycle::{Call, Lifecycle, ShadowLuns, Transition, Verdict};
pub use lun_information::{
    BusType, DeviceName, DiskSignature, Interconnect, LUN_INFORMATION_VERSION, LunInformation, MatchLevel,
    StorageIdentifier,
};
pub use method::{Method, is_legal, legal_codes, translate};
pub use open_enums::{ObjectType, ProviderType, SnapshotState};
pub use provider::{Async, AsyncStatus, CreateSnapshotSet, HardwareProvider};
pub use slots::{Argument, Interface, Slot, SlotAnswer, Slots, Traces};
