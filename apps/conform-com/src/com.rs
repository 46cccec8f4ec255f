//! The class, through COM.

use std::sync::Arc;

use lunshadow_conform::{BedError, ComClass};
use lunshadow_vss::{HResult, HardwareProvider, Slots};
use lunshadow_vss_com::{RemoteProvider, SlotCaller, Surface, private_bytes_of};
use uuid::Uuid;

use crate::bed::Class;

/// A class that is registered on this machine.
pub struct RegisteredClass(pub Uuid);

impl RegisteredClass {
    fn object(&self) -> Result<Surface, BedError> {
        Surface::create(self.0).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &dyn std::fmt::Display) -> BedError {
        BedError(format!("COM makes no object of the class {}: {error}", self.0.braced()))
    }
}

impl Class for RegisteredClass {
    fn create(&self) -> Result<Arc<dyn HardwareProvider>, BedError> {
        let provider = RemoteProvider::create(self.0).map_err(|error| self.failed(&error))?;
        Ok(Arc::new(provider))
    }

    fn memory_bytes_of(&self, program: &str) -> Option<u64> {
        private_bytes_of(program)
    }
}

impl ComClass for RegisteredClass {
    fn query(&self, interface: Uuid) -> Result<HResult, BedError> {
        Ok(self.object()?.query(interface))
    }

    fn keeps_its_identity(&self, interfaces: &[Uuid]) -> Result<bool, BedError> {
        let kept = self.object()?.keeps_its_identity(interfaces);
        kept.map_err(|code| BedError(format!("QueryInterface was answered with {code}")))
    }

    fn create_in_process(&self) -> Result<HResult, BedError> {
        Surface::create_in_process(self.0).map_err(|error| self.failed(&error))
    }

    fn slots(&self) -> Result<Arc<dyn Slots>, BedError> {
        let caller = SlotCaller::create(self.0).map_err(|error| self.failed(&error))?;
        Ok(Arc::new(caller))
    }
}
