//! The contract between the Volume Shadow Copy Service and a hardware provider, as safe Rust.
//!
//! Only types and rules live here: no I/O, no clock, no threads, nothing that needs Windows. `host/provider` implements
//! [`HardwareProvider`], `host/coordinator` drives it, `host/provider-com` will expose it over COM. Names are VSS words.

mod attributes;
mod hresult;
mod ids;
mod lun_information;
mod provider;

pub use attributes::{Context, LunStateChange};
pub use hresult::HResult;
pub use ids::{ProviderId, SnapshotId, SnapshotSetId};
pub use lun_information::{
    BusType, DeviceName, DiskSignature, Interconnect, LUN_INFORMATION_VERSION, LunInformation, StorageIdentifier,
};
pub use provider::{Async, AsyncStatus, HardwareProvider};
