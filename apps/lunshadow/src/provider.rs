//! The provider in this process, as a simulated host has it registered.

use std::sync::Arc;
use std::time::Instant;

use lunshadow_array_client::Array;
use lunshadow_coordinator::ProviderRegistration;
use lunshadow_provider::{Event, EventLog, PROVIDER_ID, Provider, ProviderConfig, Severity};

use crate::console;

/// A simulated host has no event log: what the provider warns of goes to the console. That all is well, others say.
struct ConsoleEvents;

impl EventLog for ConsoleEvents {
    fn record(&self, event: Event) {
        if event.severity() != Severity::Information {
            console::complain(&format!("provider event {}: {event}", event.id.number()));
        }
    }
}

/// A provider for this array.
#[must_use]
pub(crate) fn registration(array: Arc<dyn Array>) -> ProviderRegistration {
    let origin = Instant::now();
    let clock = Arc::new(move || origin.elapsed());
    let provider = Provider::new(array, Arc::new(ConsoleEvents), clock, ProviderConfig::default());
    ProviderRegistration { id: PROVIDER_ID, name: "Lunshadow".to_owned(), provider: Arc::new(provider) }
}
