//! Task memory: what crosses COM is allocated by one side and freed by the other.

use std::ptr::{NonNull, null_mut};

use windows::Win32::System::Com::{CoTaskMemAlloc, CoTaskMemFree};

use crate::StructureError;

/// Where blocks come from. Tests have one that runs dry.
pub trait TaskMemory {
    /// A block of this many bytes, if there is room.
    fn allocate(&self, bytes: usize) -> Option<NonNull<u8>>;

    /// Gives a block back.
    ///
    /// # Safety
    /// The block was allocated here, and nobody has it any more.
    unsafe fn free(&self, block: NonNull<u8>);
}

/// COM's own.
#[derive(Clone, Copy, Debug, Default)]
pub struct ComTaskMemory;

impl TaskMemory for ComTaskMemory {
    fn allocate(&self, bytes: usize) -> Option<NonNull<u8>> {
        // SAFETY: any length may be asked for.
        NonNull::new(unsafe { CoTaskMemAlloc(bytes) }.cast())
    }

    unsafe fn free(&self, block: NonNull<u8>) {
        // SAFETY: promised by the caller.
        unsafe { CoTaskMemFree(Some(block.as_ptr().cast())) };
    }
}

/// Blocks that are freed again unless they are kept: all of a structure, or nothing.
pub(crate) struct Blocks<'a> {
    memory: &'a dyn TaskMemory,
    blocks: Vec<NonNull<u8>>,
}

impl<'a> Blocks<'a> {
    pub(crate) fn new(memory: &'a dyn TaskMemory) -> Self {
        Self { memory, blocks: Vec::new() }
    }

    /// A block with a copy of `items`; NULL for none.
    pub(crate) fn copy<T: Copy>(&mut self, items: &[T]) -> Result<*mut T, StructureError> {
        if items.is_empty() {
            return Ok(null_mut());
        }
        let block = self.memory.allocate(size_of_val(items)).ok_or(StructureError::OutOfMemory)?;
        self.blocks.push(block);
        let place = block.as_ptr().cast::<T>();
        // SAFETY: the block has room for all items, and task memory is aligned for all of these structures.
        unsafe { place.copy_from_nonoverlapping(items.as_ptr(), items.len()) };
        Ok(place)
    }

    /// A block with a string and its zero; NULL for none.
    pub(crate) fn text(&mut self, text: Option<&str>) -> Result<*mut u8, StructureError> {
        let Some(text) = text else { return Ok(null_mut()) };
        let bytes: Vec<u8> = text.bytes().take_while(|byte| *byte != 0).chain([0]).collect();
        self.copy(&bytes)
    }

    /// Takes over a block that somebody else allocated, unless it is here already.
    ///
    /// # Safety
    /// It is NULL or a block of this memory, which nobody else frees.
    pub(crate) unsafe fn adopt<T>(&mut self, block: *mut T) {
        if let Some(block) = NonNull::new(block.cast::<u8>())
            && !self.blocks.contains(&block)
        {
            self.blocks.push(block);
        }
    }

    /// Leaves the blocks to whoever has pointers to them.
    pub(crate) fn keep(mut self) {
        self.blocks.clear();
    }
}

impl Drop for Blocks<'_> {
    fn drop(&mut self) {
        for block in self.blocks.drain(..) {
            // SAFETY: allocated by this memory, or adopted, and in the list once; nobody was told to keep it.
            unsafe { self.memory.free(block) };
        }
    }
}
