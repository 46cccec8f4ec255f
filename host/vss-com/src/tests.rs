//! Structures both ways, with a memory that counts its blocks and runs dry when it is told to.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ptr::NonNull;

use lunshadow_vss::{BusType, DiskSignature, Interconnect, LunInformation, StorageIdentifier};
use uuid::Uuid;
use windows::Win32::Storage::VirtualDiskService::VDS_LUN_INFORMATION;

use crate::build::build;
use crate::task_memory::Blocks;
use crate::{ComTaskMemory, StructureError, TaskMemory, read_devices, read_luns, write_back};

#[derive(Default)]
struct Counting {
    live: RefCell<BTreeSet<NonNull<u8>>>,
    allocations: Cell<usize>,
    /// After how many allocations there is no more.
    dry_after: Cell<Option<usize>>,
}

impl TaskMemory for Counting {
    fn allocate(&self, bytes: usize) -> Option<NonNull<u8>> {
        if self.dry_after.get().is_some_and(|limit| self.allocations.get() >= limit) {
            return None;
        }
        self.allocations.set(self.allocations.get() + 1);
        let block = ComTaskMemory.allocate(bytes)?;
        assert!(self.live.borrow_mut().insert(block), "a block was given out twice");
        Some(block)
    }

    unsafe fn free(&self, block: NonNull<u8>) {
        assert!(self.live.borrow_mut().remove(&block), "freed twice, or never allocated");
        // SAFETY: promised by the caller.
        unsafe { ComTaskMemory.free(block) };
    }
}

fn lun(texts: &str, identifiers: &[&[u8]]) -> LunInformation {
    let text = || (!texts.is_empty()).then(|| texts.to_owned());
    LunInformation {
        version: 1,
        device_type: 0,
        device_type_modifier: 0,
        command_queueing: true,
        bus_type: BusType::SCSI,
        vendor_id: text(),
        product_id: text(),
        product_revision: text(),
        serial_number: text(),
        disk_signature: DiskSignature(Uuid::from_u128(1)),
        descriptor_version: 1,
        identifiers: identifiers
            .iter()
            .map(|bytes| StorageIdentifier { code_set: 1, kind: 3, bytes: bytes.to_vec() })
            .collect(),
        interconnects: vec![Interconnect { address_type: 1, port: vec![1; 3], address: Vec::new() }],
    }
}

/// Structures with all that hangs below them.
struct Built<'a> {
    luns: Vec<VDS_LUN_INFORMATION>,
    _blocks: Blocks<'a>,
}

impl<'a> Built<'a> {
    fn new(memory: &'a dyn TaskMemory, luns: &[LunInformation]) -> Self {
        let mut blocks = Blocks::new(memory);
        let luns = luns.iter().map(|lun| build(&mut blocks, lun)).collect::<Result<_, _>>().expect("memory");
        Self { luns, _blocks: blocks }
    }

    fn read(&self) -> Vec<LunInformation> {
        // SAFETY: built here.
        unsafe { read_luns(self.luns.len(), self.luns.as_ptr()) }.expect("in bounds")
    }

    fn change(&mut self, memory: &dyn TaskMemory, to: &[LunInformation]) -> Result<(), StructureError> {
        let before = self.read();
        // SAFETY: built here, and read in the line above.
        unsafe { write_back(memory, self.luns.as_mut_ptr(), &before, to) }
    }
}

/// Frees what hangs below structures that were filled, each block by itself.
fn free_filled(memory: &Counting, luns: &[VDS_LUN_INFORMATION]) {
    let mut blocks = Blocks::new(memory);
    for lun in luns {
        let descriptor = &lun.m_deviceIdDescriptor;
        // SAFETY: filled here.
        let identifiers = unsafe { crate::read::identifiers_of(lun) }.expect("in bounds");
        let buffers = identifiers.iter().map(|identifier| identifier.m_rgbIdentifier);
        let texts = [lun.m_szVendorId, lun.m_szProductId, lun.m_szProductRevision, lun.m_szSerialNumber];
        for block in buffers.chain(texts).chain([descriptor.m_rgIdentifiers.cast()]) {
            // SAFETY: allocated by this memory, and nobody else frees it.
            unsafe { blocks.adopt(block) };
        }
    }
}

#[test]
fn what_is_built_is_read_again() {
    let memory = Counting::default();
    let luns = [lun("text", &[b"one", b"", b"three"]), lun("", &[])];
    assert_eq!(Built::new(&memory, &luns).read(), luns);
    assert!(memory.live.borrow().is_empty());
}

#[test]
fn p_018_p_020_p_021_empty_structures_are_filled_whole_or_not_at_all() {
    let memory = Counting::default();
    let targets: Vec<LunInformation> = (0..3_u8)
        .map(|number| LunInformation { interconnects: Vec::new(), ..lun("target", &[&[number; 8], &[number; 40]]) })
        .collect();
    let empty = vec![VDS_LUN_INFORMATION::default(); targets.len()];
    let fill = |luns: &mut Vec<VDS_LUN_INFORMATION>| {
        // SAFETY: empty structures of this test.
        let before = unsafe { read_luns(luns.len(), luns.as_ptr()) }.expect("in bounds");
        // SAFETY: as above.
        unsafe { write_back(&memory, luns.as_mut_ptr(), &before, &targets) }
    };
    let mut needed = 0;
    loop {
        memory.dry_after.set(Some(needed));
        memory.allocations.set(0);
        let mut luns = empty.clone();
        let outcome = fill(&mut luns);
        if outcome.is_ok() {
            // SAFETY: filled here.
            assert_eq!(unsafe { read_luns(luns.len(), luns.as_ptr()) }, Ok(targets.clone()));
            free_filled(&memory, &luns);
            assert!(memory.live.borrow().is_empty(), "something was not reachable");
            break;
        }
        assert_eq!(outcome, Err(StructureError::OutOfMemory));
        assert_eq!(luns, empty, "half built after {needed} allocations");
        assert!(memory.live.borrow().is_empty(), "leaked after {needed} allocations");
        needed += 1;
    }
    // Four strings, two identifiers and their array for each.
    assert_eq!(needed, 3 * 7);
}

#[test]
fn p_018_a_change_that_runs_out_of_memory_changes_nothing() {
    let (memory, other) = (Counting::default(), Counting::default());
    let mut seen = lun("a longer text", &[b"12345678"]);
    seen.product_id = None;
    let mut built = Built::new(&memory, &[seen.clone(), lun("", &[])]);
    other.dry_after.set(Some(1));
    let outcome = built.change(&other, &[lun("text", &[b"1"]), lun("text", &[b"1"])]);
    assert_eq!(outcome, Err(StructureError::OutOfMemory));
    assert_eq!(built.read(), [seen, lun("", &[])]);
    assert!(other.live.borrow().is_empty());
}

#[test]
fn values_that_fit_are_written_where_the_old_ones_are() {
    let memory = Counting::default();
    let mut built = Built::new(&memory, &[lun("longer", &[b"12345678", b"1234"])]);
    let places = built.luns.clone();
    let wanted = lun("short", &[b"abcd", b"xy"]);
    built.change(&memory, std::slice::from_ref(&wanted)).expect("nothing is allocated");
    assert_eq!(built.read(), [wanted]);
    assert_eq!(built.luns[0].m_szVendorId, places[0].m_szVendorId);
    assert_eq!(built.luns[0].m_deviceIdDescriptor.m_rgIdentifiers, places[0].m_deviceIdDescriptor.m_rgIdentifiers);
}

#[test]
fn values_that_do_not_fit_leave_the_old_ones() {
    let memory = Counting::default();
    let seen = lun("text", &[b"12345678"]);
    for wanted in [lun("text", &[b"123456789"]), lun("text", &[b"1", b"2"]), lun("longer", &[b"12345678"])] {
        let mut built = Built::new(&memory, std::slice::from_ref(&seen));
        built.change(&memory, &[wanted]).expect("nothing is allocated");
        assert_eq!(built.read(), std::slice::from_ref(&seen));
    }
}

#[test]
fn an_absent_text_becomes_an_empty_one() {
    let memory = Counting::default();
    let mut built = Built::new(&memory, &[lun("text", &[])]);
    built.change(&memory, &[lun("", &[])]).expect("nothing is allocated");
    assert_eq!(built.read()[0].vendor_id.as_deref(), Some(""));
}

#[test]
fn identifiers_go_where_they_have_room() {
    let memory = Counting::default();
    let mut built = Built::new(&memory, &[lun("text", &[b"12345678", b"1", b"1234"])]);
    built.change(&memory, &[lun("text", &[b"x", b"abcdefgh", b""])]).expect("nothing is allocated");
    let bytes: Vec<Vec<u8>> = built.read().remove(0).identifiers.into_iter().map(|one| one.bytes).collect();
    assert_eq!(bytes, [b"abcdefgh".to_vec(), Vec::new(), b"x".to_vec()]);
}

#[test]
fn p_023_interconnects_are_never_written() {
    let memory = Counting::default();
    let mut built = Built::new(&memory, &[lun("text", &[])]);
    let changed = LunInformation { interconnects: Vec::new(), version: 7, ..lun("text", &[]) };
    built.change(&memory, &[changed]).expect("nothing is allocated");
    let read = built.read().remove(0);
    assert_eq!((read.version, read.interconnects.len()), (7, 1));
}

#[test]
fn what_was_not_changed_is_not_written() {
    let memory = Counting::default();
    let mut built = Built::new(&memory, &[lun("text", &[])]);
    // A byte that is no UTF-8 on the way in is the same byte on the way out.
    let vendor = built.luns[0].m_szVendorId;
    // SAFETY: there are four bytes and a zero.
    unsafe { vendor.write(0xe4) };
    let mut wanted = built.read();
    wanted[0].version = 2;
    built.change(&memory, &wanted).expect("nothing is allocated");
    // SAFETY: as above.
    assert_eq!(unsafe { vendor.read() }, 0xe4);
}

#[test]
fn p_024_p_025_pointers_and_counts_are_believed_within_bounds() {
    let memory = Counting::default();
    let mut built = Built::new(&memory, &vec![lun("text", &[b"1"]); 65]);
    // SAFETY: NULL or built here, with a count that is not more than there are or is refused.
    let read = |count: i64, luns: *const VDS_LUN_INFORMATION| unsafe { read_luns(count, luns) }.map(|luns| luns.len());
    let luns = built.luns.as_ptr();
    assert_eq!(read(64, luns), Ok(64));
    assert_eq!(read(0, luns), Ok(0));
    assert_eq!(read(0, std::ptr::null()), Ok(0));
    assert_eq!(read(1, std::ptr::null()), Err(StructureError::NullPointer));
    for count in [-1, 65, 10_000, i64::MAX] {
        assert_eq!(read(count, luns), Err(StructureError::CountOutOfRange), "{count}");
    }
    built.luns[0].m_deviceIdDescriptor.m_rgIdentifiers = std::ptr::null_mut();
    assert_eq!(read(1, built.luns.as_ptr()), Err(StructureError::NullPointer));
    built.luns[0].m_deviceIdDescriptor.m_cIdentifiers = u32::MAX;
    assert_eq!(read(1, built.luns.as_ptr()), Err(StructureError::CountOutOfRange));
    // SAFETY: the count is refused, or the array is not there.
    assert_eq!(unsafe { read_devices(-1, std::ptr::null()) }, Err(StructureError::CountOutOfRange));
    // SAFETY: as above.
    assert_eq!(unsafe { read_devices(7, std::ptr::null()) }, Ok(Vec::new()));
}
