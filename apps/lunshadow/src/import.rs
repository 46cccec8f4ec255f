//! Copies a disk image into a LUN.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use lunshadow_lun::{BlockCount, Lba, LunHandle, PHYSICAL_BLOCK_BYTES, write_sparse};
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::image::Image;

/// How much is read and written at a time.
const CHUNK_BYTES: u64 = 1 << 20;

/// Copies `image` to the beginning of `lun`, which is new and therefore full of zeros: holes and zeros are not written. Tells `progress` how
/// many bytes of the image are done. Durable on return.
///
/// # Errors
/// If the image cannot be read or the LUN cannot be written.
pub async fn import(image: &Image, lun: &LunHandle, progress: impl Fn(u64)) -> anyhow::Result<()> {
    let unreadable = || format!("cannot read {}", image.path.display());
    let file = Arc::new(image.reader().with_context(unreadable)?);
    let len_bytes = image.block_count.bytes();
    let mut done_bytes = 0;
    while done_bytes < len_bytes {
        let reader = Arc::clone(&file);
        let next = tokio::task::spawn_blocking(move || next_data(&reader, done_bytes, len_bytes)).await?;
        let Some((at, chunk)) = next.with_context(unreadable)? else { break };
        done_bytes = at + chunk.len() as u64;
        let at = BlockCount::from_bytes(at).context("chunks are whole blocks")?;
        write_sparse(lun, Lba(at.0), &Bytes::from(chunk)).await.context("cannot write to the pool")?;
        progress(done_bytes);
    }
    let now_bytes = file.metadata().with_context(unreadable)?.len();
    anyhow::ensure!(
        now_bytes >= len_bytes,
        "{} became shorter while it was imported; leave it alone and try again",
        image.path.display()
    );
    progress(len_bytes);
    lun.flush().await.context("cannot write to the pool")
}

/// What is next in the file from `from` on, a chunk at most, and where it is; `None` if there are only holes.
fn next_data(file: &File, from: u64, end: u64) -> io::Result<Option<(u64, Vec<u8>)>> {
    let begin = match rustix::fs::seek(file, SeekFrom::Data(from)) {
        Ok(begin) => begin,
        // Nothing but a hole, up to the end.
        Err(Errno::NXIO) => return Ok(None),
        // A file system that does not tell.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => from,
        Err(error) => return Err(error.into()),
    };
    // Where the file system has finer holes than storage has blocks.
    let begin = from.max(begin / u64::from(PHYSICAL_BLOCK_BYTES) * u64::from(PHYSICAL_BLOCK_BYTES));
    if begin >= end {
        return Ok(None);
    }
    let mut chunk = vec![0; usize::try_from(CHUNK_BYTES.min(end - begin)).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut chunk, begin)?;
    Ok(Some((begin, chunk)))
}
