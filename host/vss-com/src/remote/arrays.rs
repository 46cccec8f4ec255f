//! The arrays of one call to another process: made of task memory, read when it returns, freed at the end.

use std::ptr::{null, null_mut};

use lunshadow_vss::{DeviceName, HResult, LunInformation};
use windows::Win32::Storage::VirtualDiskService::VDS_LUN_INFORMATION;
use windows_core::HSTRING;

use crate::build::build;
use crate::read::pointers_of;
use crate::task_memory::Blocks;
use crate::{ComTaskMemory, StructureError, read_luns};

/// The code for a structure that cannot be passed, or that came back as it must not.
pub(crate) fn code_of(error: StructureError) -> HResult {
    match error {
        StructureError::OutOfMemory => HResult::E_OUTOFMEMORY,
        StructureError::NullPointer | StructureError::CountOutOfRange | StructureError::TextTooLong => {
            HResult::E_INVALIDARG
        }
    }
}

/// An array of LUNs; an empty one is NULL.
pub(super) struct LunArray {
    luns: Vec<VDS_LUN_INFORMATION>,
    blocks: Blocks<'static>,
}

impl LunArray {
    pub(super) fn new(luns: &[LunInformation]) -> Result<Self, HResult> {
        let mut blocks = Blocks::new(&ComTaskMemory);
        let luns = luns.iter().map(|lun| build(&mut blocks, lun)).collect::<Result<_, _>>().map_err(code_of)?;
        Ok(Self { luns, blocks })
    }

    /// Empty structures, for the other side to fill.
    pub(super) fn zeroed(count: usize) -> Self {
        Self { luns: vec![VDS_LUN_INFORMATION::default(); count], blocks: Blocks::new(&ComTaskMemory) }
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut VDS_LUN_INFORMATION {
        if self.luns.is_empty() { null_mut() } else { self.luns.as_mut_ptr() }
    }

    /// The count, as an interface wants it.
    pub(super) fn count<C: TryFrom<usize>>(&self) -> Result<C, HResult> {
        C::try_from(self.luns.len()).map_err(|_| HResult::E_INVALIDARG)
    }

    /// What the structures say after the call.
    pub(super) fn read(&self) -> Result<Vec<LunInformation>, HResult> {
        // SAFETY: what was built here, and what the stub put in its place: counts belong to their arrays.
        unsafe { read_luns(self.luns.len(), self.luns.as_ptr()) }.map_err(code_of)
    }
}

impl Drop for LunArray {
    /// Frees what the stub allocated, too. What was built here is in the list of blocks, whether a structure still points to it or not.
    fn drop(&mut self) {
        for lun in &self.luns {
            // SAFETY: as in `read`. A structure that is out of bounds was not made by a stub that works; what hangs below it stays.
            for pointer in unsafe { pointers_of(lun) }.unwrap_or_default() {
                // SAFETY: a task allocation of this process that is this array's.
                unsafe { self.blocks.adopt(pointer) };
            }
        }
    }
}

/// Device names; an empty array is NULL.
pub(super) struct Devices {
    _names: Vec<HSTRING>,
    pointers: Vec<*const u16>,
}

impl Devices {
    /// An array is as long as that of the LUNs, or is not there.
    pub(super) fn new(names: &[DeviceName], luns: usize) -> Result<Self, HResult> {
        if !names.is_empty() && names.len() != luns {
            return Err(HResult::E_INVALIDARG);
        }
        let names: Vec<HSTRING> = names.iter().map(|name| HSTRING::from(&*name.0)).collect();
        let pointers = names.iter().map(|name| name.as_ptr()).collect();
        Ok(Self { _names: names, pointers })
    }

    pub(super) fn as_ptr(&self) -> *const *const u16 {
        if self.pointers.is_empty() { null() } else { self.pointers.as_ptr() }
    }
}
