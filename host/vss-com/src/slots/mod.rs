//! An object's slots, called by their numbers, with memory that shows what the call did to it.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::c_void;
use std::ptr::{NonNull, null_mut, with_exposed_provenance};
use std::sync::{Arc, Mutex, PoisonError};

use lunshadow_vss::{Argument, HResult, Slot, SlotAnswer, Slots, Traces};
use uuid::Uuid;
use windows::Win32::Storage::VirtualDiskService::VDS_LUN_INFORMATION;
use windows::Win32::System::Com::{CoGetMalloc, IMalloc};
use windows_core::{GUID, HRESULT, IUnknown, Interface, Result};

use crate::build::build;
use crate::read::{pointers_of, read_lun, until_zero};
use crate::surface::next;
use crate::task_memory::Blocks;
use crate::{ComTaskMemory, StructureError, TaskMemory, activate, code_of, guid};

/// How much room there is behind each buffer, and what it is filled with.
const SLACK_BYTES: usize = 64;
const SLACK: u8 = 0xa5;

/// What is written over a buffer before it is freed.
const POISON: u8 = 0xdd;

/// How many UTF-16 units a device's name may have when it is read again.
const DEVICE_NAME_AT_MOST: usize = 32 * 1024;

/// An object in another process, whose slots are called.
pub struct SlotCaller {
    object: IUnknown,
}

// SAFETY: a proxy of the multi-threaded apartment may be used from every thread of it, and `join_mta` makes all threads such.
unsafe impl Send for SlotCaller {}
// SAFETY: as above.
unsafe impl Sync for SlotCaller {}

impl SlotCaller {
    /// Makes an object of the class, in its local server, which COM starts if it does not run.
    ///
    /// # Errors
    /// What COM says.
    pub fn create(class: Uuid) -> Result<Self> {
        activate(class, |object| Ok(Self { object: object.clone() }))
    }
}

impl Slots for SlotCaller {
    fn call(&self, slot: Slot, arguments: &[Argument]) -> std::result::Result<SlotAnswer, HResult> {
        if cfg!(not(target_arch = "x86_64")) {
            // Elsewhere ids by value are passed in other ways.
            return Err(HResult::E_NOTIMPL);
        }
        let interface = next(&self.object, slot.interface.id())?;
        let memory = Guarded::default();
        let mut passed = Vec::with_capacity(arguments.len());
        for argument in arguments {
            passed.push(Passed::new(&memory, argument).map_err(code_of)?);
        }
        let words: Vec<usize> = passed.iter_mut().map(Passed::word).collect();
        // SAFETY: the interface has this slot, by the headers, and the arguments are of the kinds that the caller says. They outlive the call.
        let code = unsafe { invoke(interface.as_raw(), slot.number, &words) }.ok_or(HResult::E_INVALIDARG)?;
        let mut answer =
            SlotAnswer { code: HResult(code.0), arguments: Vec::new(), object: None, memory: Traces::default() };
        answer.memory.overrun = memory.overrun();
        let mut seen = BTreeSet::new();
        for passed in &mut passed {
            passed.take_over(&memory, &mut seen, &mut answer.memory).map_err(code_of)?;
            answer.arguments.push(passed.read().map_err(code_of)?);
            if let Some(object) = passed.object() {
                answer.object = Some(Arc::new(Self { object }));
            }
        }
        Ok(answer)
    }
}

/// Task memory with slack behind each block, which remembers its blocks and overwrites them before they are freed.
#[derive(Default)]
struct Guarded(Mutex<BTreeMap<usize, usize>>);

impl Guarded {
    fn has(&self, address: usize) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&address)
    }

    /// The blocks behind whose end something was written.
    fn overrun(&self) -> usize {
        let blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_whole = |(address, length): (&usize, &usize)| {
            let slack = with_exposed_provenance::<u8>(*address).wrapping_add(*length);
            // SAFETY: the block is this long with its slack, and is freed only when this is dropped from the list.
            let slack = unsafe { std::slice::from_raw_parts(slack, SLACK_BYTES) };
            slack.iter().all(|byte| *byte == SLACK)
        };
        blocks.iter().filter(|block| !is_whole(*block)).count()
    }
}

impl TaskMemory for Guarded {
    fn allocate(&self, bytes: usize) -> Option<NonNull<u8>> {
        let block = ComTaskMemory.allocate(bytes + SLACK_BYTES)?;
        // SAFETY: the block has room for both.
        let slack = unsafe { block.add(bytes) };
        // SAFETY: as above.
        unsafe { slack.write_bytes(SLACK, SLACK_BYTES) };
        let address = block.as_ptr().expose_provenance();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(address, bytes);
        Some(block)
    }

    unsafe fn free(&self, block: NonNull<u8>) {
        let address = block.as_ptr().expose_provenance();
        let own = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&address);
        if let Some(bytes) = own {
            // SAFETY: allocated above with this length.
            unsafe { block.write_bytes(POISON, bytes) };
        }
        // SAFETY: promised by the caller.
        unsafe { ComTaskMemory.free(block) };
    }
}

/// One argument in memory.
enum Passed<'a> {
    Null,
    Number(u32),
    Id(Box<GUID>, Uuid),
    Device(Vec<u16>),
    Devices { texts: Vec<Vec<u16>>, pointers: Vec<*const u16> },
    Luns { luns: Vec<VDS_LUN_INFORMATION>, blocks: Blocks<'a>, goes_in_only: bool },
    Place(Box<u32>),
    LongPlace(Box<u64>),
    ObjectPlace(Box<*mut c_void>),
}

fn units(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

impl<'a> Passed<'a> {
    fn new(memory: &'a Guarded, argument: &Argument) -> std::result::Result<Self, StructureError> {
        Ok(match argument {
            Argument::Null => Self::Null,
            Argument::Number(number) => Self::Number(*number),
            Argument::Id(id) => Self::Id(Box::new(guid(*id)), *id),
            Argument::Device(name) => Self::Device(units(name)),
            Argument::Devices(names) => {
                let texts: Vec<Vec<u16>> = names.iter().map(|name| units(name)).collect();
                let pointers = texts.iter().map(|text| text.as_ptr()).collect();
                Self::Devices { texts, pointers }
            }
            Argument::Luns(luns) | Argument::LunsInOut(luns) => {
                let mut blocks = Blocks::new(memory);
                let luns = luns.iter().map(|lun| build(&mut blocks, lun)).collect::<std::result::Result<_, _>>()?;
                Self::Luns { luns, blocks, goes_in_only: argument.is_in_only() }
            }
            Argument::Place(number) => Self::Place(Box::new(*number)),
            Argument::LongPlace(number) => Self::LongPlace(Box::new(*number)),
            Argument::ObjectPlace => Self::ObjectPlace(Box::new(null_mut())),
        })
    }

    /// As it is passed: in a register, or as one word of the stack.
    fn word(&mut self) -> usize {
        match self {
            Self::Null => 0,
            Self::Number(number) => *number as usize,
            Self::Id(id, _) => (&raw mut **id).expose_provenance(),
            Self::Device(text) => text.as_mut_ptr().expose_provenance(),
            Self::Devices { pointers, .. } if pointers.is_empty() => 0,
            Self::Devices { pointers, .. } => pointers.as_mut_ptr().expose_provenance(),
            Self::Luns { luns, .. } if luns.is_empty() => 0,
            Self::Luns { luns, .. } => luns.as_mut_ptr().expose_provenance(),
            Self::Place(place) => (&raw mut **place).expose_provenance(),
            Self::LongPlace(place) => (&raw mut **place).expose_provenance(),
            Self::ObjectPlace(place) => (&raw mut **place).expose_provenance(),
        }
    }

    /// Looks at the pointers that came back, and takes over what is task memory.
    fn take_over(
        &mut self,
        memory: &Guarded,
        seen: &mut BTreeSet<usize>,
        traces: &mut Traces,
    ) -> std::result::Result<(), StructureError> {
        let Self::Luns { luns, blocks, .. } = self else { return Ok(()) };
        for lun in &*luns {
            // SAFETY: what was built here, and what the stub put in its place: counts belong to their arrays.
            for pointer in unsafe { pointers_of(lun) }? {
                let address = pointer.expose_provenance();
                if pointer.is_null() || memory.has(address) {
                    continue;
                }
                traces.returned += 1;
                if !is_task_memory(pointer) || !seen.insert(address) {
                    traces.strays += 1;
                    continue;
                }
                // SAFETY: a task allocation that is named here for the first time, and nobody else's.
                unsafe { blocks.adopt(pointer) };
            }
        }
        Ok(())
    }

    /// What stands there now.
    fn read(&self) -> std::result::Result<Argument, StructureError> {
        Ok(match self {
            Self::Null => Argument::Null,
            Self::Number(number) => Argument::Number(*number),
            Self::Id(_, id) => Argument::Id(*id),
            Self::Device(text) => Argument::Device(text_of(text.as_ptr())?),
            Self::Devices { pointers, .. } => Argument::Devices(
                pointers.iter().map(|pointer| text_of(*pointer)).collect::<std::result::Result<_, _>>()?,
            ),
            Self::Luns { luns, goes_in_only, .. } => {
                // SAFETY: as for `pointers_of`.
                let luns = luns.iter().map(|lun| unsafe { read_lun(lun) }).collect::<std::result::Result<_, _>>()?;
                if *goes_in_only { Argument::Luns(luns) } else { Argument::LunsInOut(luns) }
            }
            Self::Place(place) => Argument::Place(**place),
            Self::LongPlace(place) => Argument::LongPlace(**place),
            Self::ObjectPlace(_) => Argument::ObjectPlace,
        })
    }

    /// The object that was put into a place for one.
    fn object(&mut self) -> Option<IUnknown> {
        let Self::ObjectPlace(place) = self else { return None };
        let object = std::mem::replace(&mut **place, null_mut());
        // SAFETY: it is a reference that is ours, and taken once.
        (!object.is_null()).then(|| unsafe { IUnknown::from_raw(object) })
    }
}

impl Drop for Passed<'_> {
    /// Buffers of structures are overwritten by their memory.
    fn drop(&mut self) {
        match self {
            Self::Device(text) => text.fill(POISON.into()),
            Self::Devices { texts, .. } => texts.iter_mut().for_each(|text| text.fill(POISON.into())),
            _ => {}
        }
    }
}

fn text_of(pointer: *const u16) -> std::result::Result<String, StructureError> {
    // SAFETY: it points to a string that was built here, and ends with a zero unless somebody has written over it: longer than is read.
    let text = unsafe { until_zero(pointer, DEVICE_NAME_AT_MOST) }?;
    Ok(String::from_utf16_lossy(text.unwrap_or_default()))
}

/// Whether COM's allocator knows a block as its own. Where it cannot say, nothing speaks against it.
fn is_task_memory<T>(pointer: *const T) -> bool {
    // SAFETY: the parameter is the only one that there is.
    let allocator: Result<IMalloc> = unsafe { CoGetMalloc(1) };
    // SAFETY: any address may be asked about.
    allocator.is_ok_and(|allocator| unsafe { allocator.DidAlloc(Some(pointer.cast())) } != 0)
}

/// Calls a slot with as many words as there are, if there is a form for so many.
///
/// # Safety
/// The object's table has this slot, the words are what its method takes, and what they point to outlives the call.
unsafe fn invoke(object: *mut c_void, number: usize, words: &[usize]) -> Option<HRESULT> {
    // SAFETY: an object begins with the pointer to its table.
    let table = unsafe { object.cast::<*const *const c_void>().read() };
    // SAFETY: promised by the caller.
    let slot = unsafe { table.add(number) };
    // SAFETY: promised by the caller.
    let method = unsafe { slot.read() };
    macro_rules! with {
        ($($word:ident: $kind:ty),*) => {{
            type Form = unsafe extern "system" fn(*mut c_void, $($kind),*) -> HRESULT;
            // SAFETY: a method of COM with this many words behind its object.
            let method = unsafe { std::mem::transmute::<*const c_void, Form>(method) };
            // SAFETY: promised by the caller.
            Some(unsafe { method(object, $($word),*) })
        }};
    }
    match *words {
        [] => with!(),
        [a] => with!(a: usize),
        [a, b] => with!(a: usize, b: usize),
        [a, b, c] => with!(a: usize, b: usize, c: usize),
        [a, b, c, d] => with!(a: usize, b: usize, c: usize, d: usize),
        [a, b, c, d, e] => with!(a: usize, b: usize, c: usize, d: usize, e: usize),
        [a, b, c, d, e, f] => with!(a: usize, b: usize, c: usize, d: usize, e: usize, f: usize),
        _ => None,
    }
}
