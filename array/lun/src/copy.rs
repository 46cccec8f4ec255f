//! Copying the content of one LUN to another, block by block: what makes a copy that shares nothing.

use bytes::Bytes;

use crate::{BlockCount, LOGICAL_BLOCK_BYTES, Lba, LunError, LunHandle, PHYSICAL_BLOCK_BYTES};

/// How much one step reads at most.
const STEP_BLOCKS: u64 = (4 << 20) / LOGICAL_BLOCK_BYTES as u64;

/// How much is moved at a time where blocks cannot be shared.
const PIECE_BLOCKS: u64 = (1 << 20) / LOGICAL_BLOCK_BYTES as u64;

const PHYSICAL_BYTES: usize = PHYSICAL_BLOCK_BYTES as usize;

/// Why a copy cannot go on. What was copied before is where it should be.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The LUN that is copied cannot be read.
    #[error("what is copied cannot be read: {0}")]
    Read(#[source] LunError),
    /// The copy cannot be written.
    #[error("the copy cannot be written: {0}")]
    Write(#[source] LunError),
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyStep {
    /// How far it went.
    pub passed: BlockCount,
    /// How much of that it read.
    pub read_bytes: u64,
    /// How much of that it wrote: zeros are not written.
    pub written_bytes: u64,
}

/// A copy under way. The LUN that it goes to is expected to be empty where it has not been yet: what is not mapped, and what is zeros, is
/// passed over; or, if the copy [catches up](Self::catching_up), to hold an older content. The LUN that it comes from should not change
/// meanwhile; a shadow LUN that nobody sees does not.
///
/// The copier keeps no time and no record. Whoever drives it decides how fast it is, and where it goes on after a restart.
#[derive(Debug)]
pub struct Copier {
    from: LunHandle,
    to: LunHandle,
    /// What the LUN that is copied to holds where the copy has not been yet, if that is not zeros.
    base: Option<LunHandle>,
    at: Lba,
    end: Lba,
}

impl Copier {
    /// A copy that goes on at `at`, up to the end of the shorter of both.
    #[must_use]
    pub fn new(from: LunHandle, to: LunHandle, at: Lba) -> Self {
        let end = Lba(from.block_count().0.min(to.block_count().0));
        Self { from, to, base: None, at, end }
    }

    /// A copy to a LUN that holds all that `base` does, an earlier content of the LUN that is copied. Only what has changed since is copied,
    /// as far as storage [can tell](LunHandle::compare).
    #[must_use]
    pub fn catching_up(from: LunHandle, base: LunHandle, to: LunHandle) -> Self {
        Self { base: Some(base), ..Self::new(from, to, Lba(0)) }
    }

    /// What is before this has been copied, durably once the LUN that it went to was flushed.
    #[must_use]
    pub const fn at(&self) -> Lba {
        self.at
    }

    /// Copies what is next, a few MiB at most; `None` at the end.
    ///
    /// # Errors
    /// [`CopyError`]. The step can be tried again.
    pub async fn step(&mut self) -> Result<Option<CopyStep>, CopyError> {
        if self.at >= self.end {
            return Ok(None);
        }
        let mut rest = BlockCount(self.end.0 - self.at.0);
        if let Some(base) = &self.base {
            let compared = self.from.compare(self.at, rest, base).await.map_err(CopyError::Read)?;
            if compared.same {
                self.at = Lba(self.at.0 + compared.count.0);
                return Ok(Some(CopyStep { passed: compared.count, read_bytes: 0, written_bytes: 0 }));
            }
            rest = compared.count;
        }
        let extent = self.from.extent(self.at, rest).await.map_err(CopyError::Read)?;
        let mut step = CopyStep { passed: extent.count, read_bytes: 0, written_bytes: 0 };
        if extent.mapped {
            step.passed = BlockCount(extent.count.0.min(STEP_BLOCKS));
            let data = self.from.read(self.at, step.passed).await.map_err(CopyError::Read)?;
            step.read_bytes = step.passed.bytes();
            if self.base.is_some() {
                // Zeros too: there may be something else.
                step.written_bytes = step.read_bytes;
                self.to.write(self.at, data).await.map_err(CopyError::Write)?;
            } else {
                step.written_bytes = write_sparse(&self.to, self.at, &data).await.map_err(CopyError::Write)?;
            }
        } else if self.base.is_some() {
            self.to.discard(self.at, extent.count).await.map_err(CopyError::Write)?;
        }
        self.at = Lba(self.at.0 + step.passed.0);
        Ok(Some(step))
    }
}

/// Copies blocks of a LUN to places of the same or another one, by [sharing](LunHandle::share) as far as storage can, and otherwise by
/// moving data in pieces. How many bytes it had to move.
///
/// What is copied is expected not to change meanwhile; blocks that lie in both ranges of one LUN are for a [pin](LunHandle::pin) of it.
///
/// # Errors
/// [`CopyError`]. What was copied before stays.
pub async fn copy_blocks(
    (from, mut from_at): (&LunHandle, Lba),
    (to, mut at): (&LunHandle, Lba),
    count: BlockCount,
) -> Result<u64, CopyError> {
    const PHYSICAL_BLOCKS: u64 = PHYSICAL_BLOCK_BYTES as u64 / LOGICAL_BLOCK_BYTES as u64;
    let (mut rest, mut moved_bytes) = (count.0, 0);
    while rest > 0 {
        let mut passed = to.share(at, from, from_at, BlockCount(rest)).await.map_err(CopyError::Write)?;
        if passed.0 == 0 {
            // Up to the next physical block first, since sharing may be possible from there on.
            let odd = at.0 % PHYSICAL_BLOCKS;
            let piece = if odd == 0 { PIECE_BLOCKS } else { PHYSICAL_BLOCKS - odd };
            passed = BlockCount(piece.min(rest));
            let data = from.read(from_at, passed).await.map_err(CopyError::Read)?;
            to.write(at, data).await.map_err(CopyError::Write)?;
            moved_bytes += passed.bytes();
        }
        rest -= passed.0;
        (from_at, at) = (Lba(from_at.0 + passed.0), Lba(at.0 + passed.0));
    }
    Ok(moved_bytes)
}

/// Writes what is not zeros of `data`; how many bytes that was. Places that are left out have to read as zeros already.
///
/// # Errors
/// Any [`LunError`] of writing.
pub async fn write_sparse(to: &LunHandle, at: Lba, data: &Bytes) -> Result<u64, LunError> {
    let mut written = 0;
    for run in data_runs(data) {
        let at = Lba(at.0 + blocks_in(run.start));
        written += blocks_in(run.len()) * u64::from(LOGICAL_BLOCK_BYTES);
        to.write(at, data.slice(run)).await?;
    }
    Ok(written)
}

fn blocks_in(byte_len: usize) -> u64 {
    u64::try_from(byte_len).expect("a length in memory") / u64::from(LOGICAL_BLOCK_BYTES)
}

/// The parts of `data` that have something else than zeros in them, in whole physical blocks but for the end.
fn data_runs(data: &[u8]) -> Vec<std::ops::Range<usize>> {
    static ZEROS: [u8; PHYSICAL_BYTES] = [0; PHYSICAL_BYTES];
    let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
    for (index, block) in data.chunks(PHYSICAL_BYTES).enumerate() {
        if *block == ZEROS[..block.len()] {
            continue;
        }
        let begin = index * PHYSICAL_BYTES;
        match runs.last_mut().filter(|run| run.end == begin) {
            Some(run) => run.end = begin + block.len(),
            None => runs.push(begin..begin + block.len()),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_left_out_in_whole_physical_blocks() {
        let mut data = vec![0; 5 * PHYSICAL_BYTES + 512];
        assert!(data_runs(&data).is_empty());
        data[PHYSICAL_BYTES] = 1;
        data[3 * PHYSICAL_BYTES - 1] = 1;
        data[5 * PHYSICAL_BYTES + 511] = 1;
        let ends = data.len();
        assert_eq!(data_runs(&data), [PHYSICAL_BYTES..3 * PHYSICAL_BYTES, 5 * PHYSICAL_BYTES..ends]);
    }
}
