//! A provider with planted faults: the real one over an array in memory, and in front of it whatever a test wants to go wrong.
//!
//! It runs in a process of its own, `planted-provider`, behind the product's COM shells. Its standard input takes a [`Command`] a line,
//! its standard output answers each with a [`State`]; both are JSON.

mod faults;
mod memory_array;
#[cfg(windows)]
mod server;

use std::sync::Arc;
use std::time::Instant;

use lunshadow_control::{LunId, identity_of};
use lunshadow_provider::{Event, EventLog, Provider, ProviderConfig, lun_information};
use lunshadow_vss::LunInformation;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

pub use faults::{Fault, FaultyProvider};
pub use memory_array::{MemoryArray, ResyncEnd};
#[cfg(windows)]
pub use server::serve;

/// How many LUNs the array has.
pub const LUN_COUNT: u128 = 64;

/// What a test asks of the process.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Lets a method, by its name in the interface, fail from now on.
    Plant {
        /// The method.
        method: String,
        /// How.
        fault: Fault,
    },
    /// Ends all faults.
    Heal,
    /// Whether preparations take until this is said again with `false`.
    Preparing(bool),
    /// How the resync that runs ends.
    EndResync(ResyncEnd),
    /// Nothing but the state.
    Look,
    /// Ends the server in good order.
    Stop,
}

/// What the process has to show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The shadow LUNs that exist.
    pub shadows: usize,
    /// The LUNs that are mapped to the host.
    pub mapped: usize,
    /// The sets that are neither kept nor given up.
    pub unfinished_sets: usize,
    /// How many times a LUN was deleted.
    pub releases: usize,
    /// How many calls are being delayed by a fault.
    pub delayed: usize,
    /// The events since the last answer, by number, in order.
    pub events: Vec<u16>,
    /// The methods that panicked since the last answer.
    pub panics: Vec<String>,
}

/// LUN `number` of the array, 1 to [`LUN_COUNT`], as a host sees it.
#[must_use]
pub fn lun_of_the_array(number: u128) -> LunInformation {
    lun_information(&identity_of(memory_array::source(number)))
}

/// A disk of somebody else.
#[must_use]
pub fn foreign_lun() -> LunInformation {
    let mut lun = lun_information(&identity_of(LunId::from_u128(0xf0)));
    lun.vendor_id = Some("OTHER".to_owned());
    lun.product_id = Some("DISK".to_owned());
    lun.serial_number = Some("Z1D7".to_owned());
    for identifier in &mut lun.identifiers {
        identifier.bytes = b"OTHER   Z1D7".to_vec();
    }
    lun
}

/// Events and panics, until somebody asks.
#[derive(Default)]
pub struct Records {
    events: Mutex<Vec<Event>>,
    panics: Mutex<Vec<String>>,
}

impl EventLog for Records {
    fn record(&self, event: Event) {
        self.events.lock().push(event);
    }
}

/// The provider, and all that can be done to it.
pub struct Planted {
    array: MemoryArray,
    records: Arc<Records>,
    provider: Arc<FaultyProvider>,
}

impl Default for Planted {
    fn default() -> Self {
        Self::new()
    }
}

impl Planted {
    /// A provider without faults.
    #[must_use]
    pub fn new() -> Self {
        let array = MemoryArray::new(LUN_COUNT);
        let records = Arc::new(Records::default());
        let start = Instant::now();
        let clock = Arc::new(move || start.elapsed());
        let config = ProviderConfig::default();
        let provider = Provider::new(Arc::new(array.clone()), Arc::<Records>::clone(&records), clock, config);
        Self { array, records, provider: Arc::new(FaultyProvider::new(provider)) }
    }

    /// What goes behind the shells.
    #[must_use]
    pub fn provider(&self) -> Arc<FaultyProvider> {
        Arc::clone(&self.provider)
    }

    /// Takes note of a panic that the shells caught.
    #[must_use]
    pub fn panic_recorder(&self) -> Arc<dyn Fn(&str) + Send + Sync> {
        let (records, provider) = (Arc::clone(&self.records), Arc::clone(&self.provider));
        Arc::new(move |method| {
            records.panics.lock().push(method.to_owned());
            provider.record_panic(method);
        })
    }

    /// Does what a test asks. The error is a method that does not exist.
    ///
    /// # Errors
    /// If the command names a method that does not exist.
    pub fn obey(&self, command: &Command) -> Result<State, String> {
        match command {
            Command::Plant { method, fault } => self.provider.plant(method, *fault)?,
            Command::Heal => self.provider.heal(),
            Command::Preparing(preparing) => self.array.set_preparing(*preparing),
            Command::EndResync(end) => self.array.end_resync(*end),
            Command::Look | Command::Stop => {}
        }
        let counts = self.array.counts();
        Ok(State {
            shadows: counts.shadows,
            mapped: counts.mapped,
            unfinished_sets: counts.unfinished_sets,
            releases: counts.releases,
            delayed: self.provider.delayed(),
            events: self.records.events.lock().drain(..).map(|event| event.id.number()).collect(),
            panics: std::mem::take(&mut self.records.panics.lock()),
        })
    }
}
