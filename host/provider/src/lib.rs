//! The provider's decisions: a VSS call in, array requests out.
//!
//! [`Provider`] implements [`HardwareProvider`](lunshadow_vss::HardwareProvider) over an [`Array`](lunshadow_array_client::Array). It
//! holds no truth but the state of the set that is being created; everything else comes from the LUN information that it is handed and
//! from the array, so a fresh process on any host can answer for any set. This is the one place where VSS words are translated into array
//! words. Everything that is wrong is told to VSS by a code that is legal for the method, and to the administrator by an [`Event`].

mod aborting;
mod codes;
mod creation;
mod events;
mod journal;
mod luns;
mod provider;
mod resync;
mod translation;

use lunshadow_vss::ProviderId;
use uuid::uuid;

pub use events::{Event, EventId, EventLog, Severity};
pub use provider::{Clock, Provider, ProviderConfig};
pub use translation::lun_information;

/// Who the provider is to VSS (`ProviderId` of `IVssAdmin::RegisterProvider`), on every host.
pub const PROVIDER_ID: ProviderId = ProviderId(uuid!("c0853dd8-8a59-4782-84fb-14a9bad59c10"));
