//! Faults below the methods: of slots, places and memory, where the provider is behind COM.

use std::sync::Arc;

use lunshadow_vss::{Argument, HResult, Method, Slot, SlotAnswer, Slots, Traces};

use super::Fault;

/// An object of a provider, with a fault in front of its slots.
pub(super) struct BrokenSlots {
    fault: Fault,
    inner: Arc<dyn Slots>,
}

impl BrokenSlots {
    pub(super) fn new(fault: Fault, inner: Arc<dyn Slots>) -> Self {
        Self { fault, inner }
    }

    /// A call that does nothing and is refused.
    fn refuse(arguments: &[Argument]) -> SlotAnswer {
        let arguments = arguments.to_vec();
        SlotAnswer { code: HResult::E_INVALIDARG, arguments, object: None, memory: Traces::default() }
    }
}

impl Slots for BrokenSlots {
    fn call(&self, slot: Slot, arguments: &[Argument]) -> Result<SlotAnswer, HResult> {
        let is = |method: Method| slot == method.slot();
        let slot = match self.fault {
            Fault::SwapsSlots if is(Method::PreCommitSnapshots) => Method::CommitSnapshots.slot(),
            Fault::SwapsSlots if is(Method::CommitSnapshots) => Method::PreCommitSnapshots.slot(),
            Fault::NeedsCallback if is(Method::OnLoad) && arguments == [Argument::Null] => {
                return Ok(Self::refuse(arguments));
            }
            Fault::NeedsReserved if slot == Slot::QUERY_STATUS && arguments.last() == Some(&Argument::Null) => {
                return Ok(Self::refuse(arguments));
            }
            _ => slot,
        };
        let mut answer = self.inner.call(slot, arguments)?;
        // What hangs on the object is wrong in the same way.
        answer.object = answer.object.map(|object| Arc::new(Self::new(self.fault, object)) as Arc<dyn Slots>);
        match self.fault {
            Fault::StrayPointers if is(Method::GetTargetLuns) => answer.memory.strays = answer.memory.returned,
            Fault::WritesInputs if is(Method::GetTargetLuns) => {
                for argument in &mut answer.arguments {
                    if let Argument::Luns(luns) = argument {
                        luns.iter_mut().for_each(|lun| lun.vendor_id = None);
                    }
                }
            }
            Fault::FailsAndAgrees if is(Method::AreLunsSupported) && answer.code.is_failure() => {
                for argument in &mut answer.arguments {
                    if let Argument::Place(supported) = argument {
                        *supported = 1;
                    }
                }
            }
            _ => {}
        }
        Ok(answer)
    }
}
