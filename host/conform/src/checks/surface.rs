//! The class as COM sees it: interfaces, identity, and where its objects may live. Nothing of it can be seen where there is no COM.

use lunshadow_vss::{HResult, Interface};
use uuid::{Uuid, uuid};

use super::Group;
use crate::bed::ComClass;
use crate::finding::{Checked, Finding, Setback, demand, held};
use crate::stranger::Stranger;

pub(super) const CHECKS: Group = &[
    (1, |lab| the_interfaces_are_there(&*lab.class()?)),
    (2, |lab| the_extended_interface_is_there(&*lab.class()?)),
    (3, |lab| identity_is_one(&*lab.class()?)),
    (5, |lab| objects_are_in_another_process(&*lab.class()?)),
    (10, |lab| strangers_are_refused(&*lab.class()?)),
];

// `unknwn.h` of the Windows SDK.
const UNKNOWN: Uuid = uuid!("00000000-0000-0000-c000-000000000046");
const HARDWARE: Uuid = Interface::Hardware.id();
const HARDWARE_EX: Uuid = Interface::HardwareEx.id();
const CREATE_SNAPSHOT_SET: Uuid = Interface::CreateSnapshotSet.id();

/// An interface that nobody has.
const NOBODYS: Uuid = uuid!("7e9a6b3a-2c54-4c58-9c1e-0f7a7a4f6c11");

fn the_interfaces_are_there(class: &dyn ComClass) -> Checked {
    for (name, interface) in [
        ("IUnknown", UNKNOWN),
        ("IVssHardwareSnapshotProvider", HARDWARE),
        ("IVssProviderCreateSnapshotSet", CREATE_SNAPSHOT_SET),
    ] {
        let answer = class.query(interface)?;
        demand!(answer == HResult::S_OK, "QueryInterface for {name} was answered with {answer}");
    }
    held("IUnknown, IVssHardwareSnapshotProvider and IVssProviderCreateSnapshotSet")
}

fn the_extended_interface_is_there(class: &dyn ComClass) -> Checked {
    let answer = class.query(HARDWARE_EX)?;
    demand!(answer == HResult::S_OK, "QueryInterface for IVssHardwareSnapshotProviderEx was answered with {answer}");
    held("IVssHardwareSnapshotProviderEx")
}

fn identity_is_one(class: &dyn ComClass) -> Checked {
    let ways: [&[Uuid]; 4] = [
        &[UNKNOWN],
        &[HARDWARE, HARDWARE],
        &[HARDWARE, CREATE_SNAPSHOT_SET, HARDWARE],
        &[CREATE_SNAPSHOT_SET, UNKNOWN, HARDWARE, UNKNOWN, CREATE_SNAPSHOT_SET],
    ];
    for way in ways {
        demand!(class.keeps_its_identity(way)?, "after QueryInterface for {way:?} the object has another IUnknown");
    }
    let unknown = class.query(NOBODYS)?;
    demand!(unknown == HResult::E_NOINTERFACE, "an interface that nobody has was answered with {unknown}");
    held("there and back between the interfaces the object had one IUnknown; E_NOINTERFACE for an unknown interface")
}

fn objects_are_in_another_process(class: &dyn ComClass) -> Checked {
    let answer = class.create_in_process()?;
    demand!(answer.is_failure(), "an object was made in the caller's own process");
    held(format!("in the caller's own process there is no object: {answer}"))
}

fn strangers_are_refused(class: &dyn ComClass) -> Checked {
    match class.ask_as_stranger()? {
        Stranger::GetsNoObject(HResult::E_ACCESSDENIED) => held("COM gives a caller without rights no object"),
        Stranger::GetsNoObject(code) => {
            Err(Setback(format!("COM gives a caller without rights no object, but for another reason: {code}")))
        }
        Stranger::IsRefused => held("every method refuses a caller without rights"),
        Stranger::IsLetIn(method) => {
            Ok(Finding::Broken(format!("{method} does not answer a caller without rights with E_ACCESSDENIED")))
        }
        Stranger::IsNotKnown => Err(Setback("COM does not ask here who calls".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lunshadow_vss::{Method, Slots};

    use super::*;
    use crate::bed::BedError;

    /// A class that lacks an interface, or has what it must not have.
    struct Odd {
        lacks: Option<Uuid>,
        has_all: bool,
        splits: bool,
        in_process: bool,
        stranger: Stranger,
    }

    const SOUND: Odd =
        Odd { lacks: None, has_all: false, splits: false, in_process: false, stranger: Stranger::IsRefused };

    impl ComClass for Odd {
        fn query(&self, interface: Uuid) -> Result<HResult, BedError> {
            let has = self.has_all || interface != NOBODYS && self.lacks != Some(interface);
            Ok(if has { HResult::S_OK } else { HResult::E_NOINTERFACE })
        }

        fn keeps_its_identity(&self, _interfaces: &[Uuid]) -> Result<bool, BedError> {
            Ok(!self.splits)
        }

        fn create_in_process(&self) -> Result<HResult, BedError> {
            Ok(if self.in_process { HResult::S_OK } else { HResult::from_bits(0x8004_0154) })
        }

        fn ask_as_stranger(&self) -> Result<Stranger, BedError> {
            Ok(self.stranger)
        }

        fn slots(&self) -> Result<Arc<dyn Slots>, BedError> {
            Err(BedError("this class shows its surface only".to_owned()))
        }
    }

    fn broken(class: &Odd) -> Vec<u16> {
        let judged: [(u16, Checked); 5] = [
            (1, the_interfaces_are_there(class)),
            (2, the_extended_interface_is_there(class)),
            (3, identity_is_one(class)),
            (5, objects_are_in_another_process(class)),
            (10, strangers_are_refused(class)),
        ];
        judged.into_iter().filter(|(_, it)| !matches!(it, Ok(Finding::Held(_)))).map(|(number, _)| number).collect()
    }

    #[test]
    fn each_wrong_class_is_found_by_its_statement() {
        assert_eq!(broken(&SOUND), [] as [u16; 0]);
        for interface in [UNKNOWN, HARDWARE, CREATE_SNAPSHOT_SET] {
            assert_eq!(broken(&Odd { lacks: Some(interface), ..SOUND }), [1], "{interface}");
        }
        assert_eq!(broken(&Odd { lacks: Some(HARDWARE_EX), ..SOUND }), [2]);
        assert_eq!(broken(&Odd { splits: true, ..SOUND }), [3]);
        assert_eq!(broken(&Odd { has_all: true, ..SOUND }), [3]);
        assert_eq!(broken(&Odd { in_process: true, ..SOUND }), [5]);
        assert_eq!(broken(&Odd { stranger: Stranger::IsLetIn(Method::OnUnload), ..SOUND }), [10]);
        let kept_out = Stranger::GetsNoObject(HResult::E_ACCESSDENIED);
        assert_eq!(broken(&Odd { stranger: kept_out, ..SOUND }), [] as [u16; 0]);
    }

    #[test]
    fn nothing_is_said_of_strangers_whom_nobody_could_have_refused() {
        for stranger in [Stranger::IsNotKnown, Stranger::GetsNoObject(HResult::E_NOINTERFACE)] {
            assert!(strangers_are_refused(&Odd { stranger, ..SOUND }).is_err(), "{stranger:?}");
        }
    }
}
