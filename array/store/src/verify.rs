//! Data on the medium, compared with the checks that the maps have of it: for the check as for the scrub.

use std::io;

use lunshadow_lun::AlignedBuffer;

use crate::check::BlockSet;
use crate::page::{BLOCK_BYTES, BLOCK_LEN, Entry};

/// Reads a run of adjacent blocks at once and verifies those that were not verified before; how many that were. The bad ones are named to
/// `damaged`.
pub(crate) fn verify_run(
    read_at: impl Fn(u64, &mut [u8]) -> io::Result<()>,
    run: &[Entry],
    verified: &mut BlockSet,
    mut damaged: impl FnMut(u64),
) -> u64 {
    let Some(first) = run.first() else { return 0 };
    let mut buffer = AlignedBuffer::of_len(run.len() * BLOCK_BYTES);
    let whole = read_at(first.block() * BLOCK_LEN, &mut buffer);
    let mut count = 0;
    for (entry, content) in run.iter().zip(buffer.chunks_exact_mut(BLOCK_BYTES)) {
        if !verified.insert(entry.block()) {
            continue;
        }
        // One bad place fails the whole reading, so each block is tried by itself then.
        let read = if whole.is_ok() { Ok(()) } else { read_at(entry.block() * BLOCK_LEN, content) };
        count += 1;
        if read.is_err() || !entry.matches(content) {
            damaged(entry.block());
        }
    }
    count
}
