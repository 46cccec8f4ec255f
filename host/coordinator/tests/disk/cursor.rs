//! The cursor against a plain vector of bytes.

use std::io::{Cursor, Read, Seek, SeekFrom, Write};
use std::sync::LazyLock;

use lunshadow_coordinator::disk::{DiskCursor, DiskIo};
use proptest::prelude::*;

use crate::memory::{MemoryDisk, noise};

const DISK_LEN_BYTES: usize = 3 * 1024 * 1024 + 512;

/// Made once: it takes longer than all that is done with it.
static CONTENT: LazyLock<Vec<u8>> = LazyLock::new(|| noise(7, DISK_LEN_BYTES));

#[derive(Clone, Debug)]
enum Step {
    Read(usize),
    Write(usize),
    Seek(u64),
}

/// Positions near the places where something changes: the ends of the window and of the cache's chunks.
fn positions() -> impl Strategy<Value = u64> {
    (prop::sample::select(vec![0u64, 1 << 20, 2 << 20, 3 << 20]), 0..3000u64)
        .prop_map(|(base, near)| (base + near).saturating_sub(1500))
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let lens = prop_oneof![0..2000usize, Just(1_300_000)];
    let step =
        prop_oneof![lens.clone().prop_map(Step::Read), lens.prop_map(Step::Write), positions().prop_map(Step::Seek),];
    prop::collection::vec(step, 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_window_reads_and_writes_like_a_vector(
        start in prop::sample::select(vec![0usize, 512, 1536, 1 << 20]),
        len in prop::sample::select(vec![700usize, 1 << 20, 2_000_000]),
        steps in steps(),
    ) {
        let content = CONTENT.clone();
        let disk = MemoryDisk::new(content.clone());
        let mut model = Cursor::new(content[start..start + len].to_vec());
        let mut cursor = DiskCursor::read_write(&disk, start.try_into().unwrap(), len.try_into().unwrap());
        for (index, step) in steps.into_iter().enumerate() {
            match step {
                Step::Read(count) => {
                    let (mut expected, mut actual) = (Vec::new(), Vec::new());
                    Read::by_ref(&mut model).take(count.try_into().unwrap()).read_to_end(&mut expected).unwrap();
                    Read::by_ref(&mut cursor).take(count.try_into().unwrap()).read_to_end(&mut actual).unwrap();
                    prop_assert!(expected == actual);
                }
                Step::Write(count) => {
                    let room = len.saturating_sub(usize::try_from(model.position()).unwrap());
                    let bytes = &CONTENT[index * 1000..][..count];
                    // The model would grow; the window must not, and says so.
                    let fits = &bytes[..count.min(room)];
                    if !fits.is_empty() {
                        model.write_all(fits).unwrap();
                    }
                    prop_assert_eq!(cursor.write_all(bytes).is_ok(), count <= room);
                }
                Step::Seek(position) => {
                    model.seek(SeekFrom::Start(position)).unwrap();
                    prop_assert_eq!(cursor.seek(SeekFrom::Start(position)).unwrap(), position);
                }
            }
        }
        let mut expected = content;
        expected[start..start + len].copy_from_slice(model.get_ref());
        prop_assert!(disk.bytes() == expected);
    }
}

#[test]
fn small_reads_in_a_row_cost_one_read_of_the_disk_per_mebibyte() {
    let disk = MemoryDisk::zeroed(4 << 20);
    let mut cursor = DiskCursor::read_only(&disk, 0, disk.len_bytes());
    let mut sector = [0; 512];
    for _ in 0..8192 {
        cursor.read_exact(&mut sector).unwrap();
    }
    assert_eq!(disk.reads(), 4);
}

#[test]
fn a_read_only_cursor_refuses_to_write() {
    let disk = MemoryDisk::zeroed(4096);
    let refused = DiskCursor::read_only(&disk, 0, 4096).write_all(b"x").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
    assert_eq!(disk.bytes(), vec![0; 4096]);
}

#[test]
fn a_window_ends_with_the_disk_and_seeks_from_its_end() {
    let disk = MemoryDisk::zeroed(4096);
    let mut cursor = DiskCursor::read_only(&disk, 1024, u64::MAX);
    assert_eq!(cursor.len_bytes(), 3072);
    assert_eq!(cursor.seek(SeekFrom::End(-72)).unwrap(), 3000);
    assert_eq!(cursor.seek(SeekFrom::Current(-3000)).unwrap(), 0);
    assert!(cursor.seek(SeekFrom::Current(-1)).is_err());
    assert_eq!(DiskCursor::read_only(&disk, 9000, 10).len_bytes(), 0);
}
