//! VSS across COM, for both ends.
//!
//! For a provider's shells: structures are copied in within bounds (`read_luns`), changed in place without growing, and empty ones filled
//! with task memory (`write_back`). For whoever plays VSS: `RemoteProvider`, a provider in another process as a `HardwareProvider`; `Surface`, what
//! its class is to COM; `SlotCaller`, its slots by their numbers; and `VssAdmin`, which providers VSS knows.
//!
//! The rule about memory is the same at both ends. What came in through a stub lies in the stub's buffer, so it is neither freed nor given
//! more than it has room for: on return the client's stub writes into what the client passed. NULL members are filled with task memory,
//! which the stub frees after it has sent it.
#![cfg(windows)]
#![expect(unsafe_code, reason = "structures that come through COM are pointers and counts")]

mod activation;
pub mod apartment;
mod build;
mod ids;
mod processes;
mod read;
mod remote;
mod slots;
mod surface;
mod task_memory;
#[cfg(test)]
mod tests;
mod vss_admin;
mod without_rights;
mod write_back;

pub use activation::activate;
pub use ids::{guid, uuid};
pub use processes::{private_bytes, private_bytes_of};
pub use read::{LUNS_AT_MOST, StructureError, read_device, read_devices, read_lun, read_luns};
pub use remote::RemoteProvider;
pub(crate) use remote::code_of;
pub use slots::SlotCaller;
pub use surface::Surface;
pub use task_memory::{ComTaskMemory, TaskMemory};
pub use vss_admin::{Registration, VssAdmin};
pub use without_rights::{com_asks_who_calls, run_without_rights};
pub use write_back::write_back;
