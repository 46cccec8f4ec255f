//! The class, through COM.

use std::sync::Arc;

use lunshadow_conform::{BedError, ComClass, Stranger, first_that_lets_in};
use lunshadow_vss::{HResult, HardwareProvider, Method, Slots};
use lunshadow_vss_com::{
    RemoteProvider, SlotCaller, Surface, com_asks_who_calls, private_bytes_of, run_without_rights,
};
use uuid::Uuid;

use crate::bed::Class;

/// What this program is told to be the caller without rights, with the class behind it.
const AS_STRANGER: &str = "--as-stranger";

/// The class of which this program is to be the caller without rights, if it was started for that.
#[must_use]
pub fn asked_as_stranger(mut arguments: impl Iterator<Item = String>) -> Option<Uuid> {
    (arguments.next()? == AS_STRANGER).then(|| arguments.next()?.parse().ok())?
}

/// Asks for an object of the class, and calls each of its methods. The answer is an exit code, for whoever has this program's rights.
#[must_use]
pub fn fare_as_stranger(class: Uuid) -> i32 {
    match RemoteProvider::create(class) {
        Err(error) => error.code().0,
        Ok(provider) => {
            let method = first_that_lets_in(&provider);
            let number = Method::ALL.iter().zip(1..).find(|(it, _)| Some(**it) == method);
            number.map_or(0, |(_, number)| number)
        }
    }
}

/// What such an exit code says: COM's own code, which is negative, the number of a method, or 0.
fn stranger_of(code: u32) -> Option<Stranger> {
    match usize::try_from(code.cast_signed()) {
        Err(_) => Some(Stranger::GetsNoObject(HResult::from_bits(code))),
        Ok(0) => Some(Stranger::IsRefused),
        Ok(number) => Method::ALL.get(number - 1).map(|method| Stranger::IsLetIn(*method)),
    }
}

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

    fn ask_as_stranger(&self) -> Result<Stranger, BedError> {
        let code = run_without_rights(&format!("{AS_STRANGER} {}", self.0))
            .map_err(|error| BedError(format!("no program can be run without rights: {error}")))?;
        let fares =
            stranger_of(code).ok_or_else(|| BedError(format!("the program without rights ended with {code}")))?;
        // One that is refused all the same was refused by the provider.
        let is_refused = matches!(fares, Stranger::GetsNoObject(_) | Stranger::IsRefused);
        Ok(if is_refused || com_asks_who_calls() { fares } else { Stranger::IsNotKnown })
    }

    fn slots(&self) -> Result<Arc<dyn Slots>, BedError> {
        let caller = SlotCaller::create(self.0).map_err(|error| self.failed(&error))?;
        Ok(Arc::new(caller))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_code_says_how_a_stranger_fares() {
        assert_eq!(stranger_of(0x8007_0005), Some(Stranger::GetsNoObject(HResult::E_ACCESSDENIED)));
        assert_eq!(stranger_of(0), Some(Stranger::IsRefused));
        for (number, method) in (1..).zip(Method::ALL) {
            assert_eq!(stranger_of(number), Some(Stranger::IsLetIn(*method)));
        }
        assert_eq!(stranger_of(101), None, "it has panicked");
    }
}
