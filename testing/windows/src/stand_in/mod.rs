//! A stand-in for the registration side of VSS: `IVssAdmin` under the coordinator's own class id, in a process of its own.
//!
//! It does what section 2.5 of the contract tells, and writes the keys of section 6.2. What it is to pretend comes from values under
//! [`PRETENCE_KEY`], since it is another process than whoever wants it:
//!
//! * `ClientEdition` = 1: `RegisterProvider` refuses hardware providers with `E_INVALIDARG`, as a Windows that is no server does;
//! * `InUse` = 1: `UnregisterProvider` answers `VSS_E_PROVIDER_IN_USE`;
//! * `RegisterFails` = a code: `RegisterProvider` answers it.

mod admin;
mod providers;
mod server;

pub use server::{register_class, serve};

/// The class id of the coordinator of VSS.
pub const COORDINATOR_CLASS: &str = "{E579AB5F-1CC4-44B4-BED9-DE0991FF0623}";

/// Below HKEY_LOCAL_MACHINE: what to pretend.
pub const PRETENCE_KEY: &str = r"Software\Lunshadow tests\VSS";

/// Below HKEY_LOCAL_MACHINE: where VSS keeps the registered providers.
pub const PROVIDERS_KEY: &str = r"SYSTEM\CurrentControlSet\Services\VSS\Providers";
