//! A provider's interfaces as tables of slots, and what is passed to a slot: sections 2.1 to 2.4 and 2.6 of the contract.
//!
//! [`HardwareProvider`](crate::HardwareProvider) is what a provider decides. What it is to whoever calls it across COM is below that: numbers of
//! slots, pointers that may be NULL, places that are written to, and memory.

use std::sync::Arc;

use uuid::{Uuid, uuid};

use crate::{HResult, LunInformation, Method};

/// An interface with slots of its own behind the three of `IUnknown`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interface {
    /// `IVssHardwareSnapshotProvider`.
    Hardware,
    /// `IVssHardwareSnapshotProviderEx`, which begins with the slots of the former.
    HardwareEx,
    /// `IVssProviderCreateSnapshotSet`.
    CreateSnapshotSet,
    /// `IVssProviderNotifications`.
    Notifications,
    /// `IVssAsync`.
    Async,
}

impl Interface {
    /// Its identifier, of the headers of the Windows SDK.
    #[must_use]
    pub const fn id(self) -> Uuid {
        match self {
            Self::Hardware => uuid!("9593a157-44e9-4344-bbeb-44fbf9b06b10"),
            Self::HardwareEx => uuid!("7f5ba925-cdb1-4d11-a71f-339eb7e709fd"),
            Self::CreateSnapshotSet => uuid!("5f894e5b-1e39-4778-8e23-9abad9f0e08c"),
            Self::Notifications => uuid!("e561901f-03a5-4afe-86d0-72baeece7004"),
            Self::Async => uuid!("507c37b4-cf5b-4e95-b0af-14eb9767467e"),
        }
    }
}

/// One slot of a table, counted from 0 with those of `IUnknown`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// Whose table.
    pub interface: Interface,
    /// Its place there.
    pub number: usize,
}

impl Slot {
    /// `IVssAsync::Cancel`.
    pub const CANCEL: Self = Self::new(Interface::Async, 3);
    /// `IVssAsync::Wait`.
    pub const WAIT: Self = Self::new(Interface::Async, 4);
    /// `IVssAsync::QueryStatus`.
    pub const QUERY_STATUS: Self = Self::new(Interface::Async, 5);

    /// The slot of a number.
    #[must_use]
    pub const fn new(interface: Interface, number: usize) -> Self {
        Self { interface, number }
    }
}

impl Method {
    /// Where the method stands.
    #[must_use]
    pub const fn slot(self) -> Slot {
        use Interface::{CreateSnapshotSet, Hardware, HardwareEx, Notifications};
        let (interface, number) = match self {
            Self::AreLunsSupported => (Hardware, 3),
            Self::FillInLunInfo => (Hardware, 4),
            Self::BeginPrepareSnapshot => (Hardware, 5),
            Self::GetTargetLuns => (Hardware, 6),
            Self::LocateLuns => (Hardware, 7),
            Self::OnLunEmpty => (Hardware, 8),
            Self::GetProviderCapabilities => (HardwareEx, 9),
            Self::OnLunStateChange => (HardwareEx, 10),
            Self::ResyncLuns => (HardwareEx, 11),
            Self::OnReuseLuns => (HardwareEx, 12),
            Self::EndPrepareSnapshots => (CreateSnapshotSet, 3),
            Self::PreCommitSnapshots => (CreateSnapshotSet, 4),
            Self::CommitSnapshots => (CreateSnapshotSet, 5),
            Self::PostCommitSnapshots => (CreateSnapshotSet, 6),
            Self::PreFinalCommitSnapshots => (CreateSnapshotSet, 7),
            Self::PostFinalCommitSnapshots => (CreateSnapshotSet, 8),
            Self::AbortSnapshots => (CreateSnapshotSet, 9),
            Self::OnLoad => (Notifications, 3),
            Self::OnUnload => (Notifications, 4),
        };
        Slot::new(interface, number)
    }
}

/// One argument of a call, after the object itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Argument {
    /// A NULL pointer.
    Null,
    /// An id by value.
    Id(Uuid),
    /// A number or a `BOOL` by value.
    Number(u32),
    /// An `[in]` string: the name of a device.
    Device(String),
    /// An `[in]` array of such strings.
    Devices(Vec<String>),
    /// An `[in]` array of structures, each buffer below them a task allocation of its own.
    Luns(Vec<LunInformation>),
    /// An `[in, out]` array of structures, made in the same way. A member that is absent is NULL.
    LunsInOut(Vec<LunInformation>),
    /// A place for a number or a `BOOL`, with what stands there.
    Place(u32),
    /// A place for a number of 64 bits, with what stands there.
    LongPlace(u64),
    /// A place for a pointer to an object. NULL stands there.
    ObjectPlace,
}

impl Argument {
    /// Whether it is the caller's alone: the callee may look at it during the call, and that is all.
    #[must_use]
    pub const fn is_in_only(&self) -> bool {
        match self {
            Self::Null | Self::Id(_) | Self::Number(_) | Self::Device(_) | Self::Devices(_) | Self::Luns(_) => true,
            Self::LunsInOut(_) | Self::Place(_) | Self::LongPlace(_) | Self::ObjectPlace => false,
        }
    }
}

/// What a call came to.
#[derive(Clone)]
pub struct SlotAnswer {
    /// Its code.
    pub code: HResult,
    /// The arguments, as they stand in memory after the call.
    pub arguments: Vec<Argument>,
    /// What was put into [`Argument::ObjectPlace`].
    pub object: Option<Arc<dyn Slots>>,
    /// What became of the memory.
    pub memory: Traces,
}

/// What a call left in the memory of its caller.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Traces {
    /// Buffers of the caller behind whose end something was written.
    pub overrun: usize,
    /// Pointers that came back in structures and were not passed.
    pub returned: usize,
    /// Those among them that cannot be freed one by one as task memory: no task allocation, or one that came back before.
    pub strays: usize,
}

/// An object whose slots can be called by their numbers.
pub trait Slots: Send + Sync {
    /// Calls a slot. Buffers that are passed are overwritten before they are freed, after the call.
    ///
    /// # Errors
    /// What the object answers when it is asked for the interface; a code of the caller's own if something cannot be passed or read.
    fn call(&self, slot: Slot, arguments: &[Argument]) -> Result<SlotAnswer, HResult>;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the tables of the headers run: without a gap and nothing twice. An interface that begins with another goes on behind it.
    #[test]
    fn the_slots_of_each_table_are_all_there() {
        for (interface, numbers) in [
            (Interface::Hardware, 3..9),
            (Interface::HardwareEx, 9..13),
            (Interface::CreateSnapshotSet, 3..10),
            (Interface::Notifications, 3..5),
        ] {
            let slots = Method::ALL.iter().map(|method| method.slot()).filter(|slot| slot.interface == interface);
            let mut found: Vec<usize> = slots.map(|slot| slot.number).collect();
            found.sort_unstable();
            assert_eq!(found, numbers.collect::<Vec<_>>(), "{interface:?}");
        }
    }

    #[test]
    fn what_is_written_to_is_not_the_callers_alone() {
        assert!(Argument::Luns(Vec::new()).is_in_only() && Argument::Device(String::new()).is_in_only());
        assert!(!Argument::LunsInOut(Vec::new()).is_in_only() && !Argument::Place(1).is_in_only());
    }
}
