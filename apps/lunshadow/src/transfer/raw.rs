//! Raw images: holes are passed over, and zeros make holes.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use lunshadow_lun::{BlockCount, LOGICAL_BLOCK_BYTES, Lba, LunHandle};

use crate::image::Image;
use crate::import;

/// How much is read and written at a time.
const CHUNK_BLOCKS: u64 = (1 << 20) / LOGICAL_BLOCK_BYTES as u64;

/// Zeros of this length are a hole in a file.
const HOLE_BYTES: usize = 4096;

/// Fills a new LUN with an image.
pub(super) async fn import(image: &Image, lun: &LunHandle, progress: impl Fn(u64)) -> anyhow::Result<()> {
    import::import(image, lun, progress).await
}

/// Writes the content of a LUN to an empty file, which gets its length.
pub(super) async fn export(lun: &LunHandle, file: &File, progress: impl Fn(u64)) -> anyhow::Result<()> {
    let file = Arc::new(file.try_clone().context("cannot write the image")?);
    let end = lun.block_count().0;
    file.set_len(lun.block_count().bytes()).context("cannot write the image")?;
    let mut at = 0;
    while at < end {
        let extent = lun.extent(Lba(at), BlockCount(end - at)).await.context("cannot read the LUN")?;
        let mut passed = extent.count.0;
        if extent.mapped {
            passed = passed.min(CHUNK_BLOCKS);
            let content = lun.read(Lba(at), BlockCount(passed)).await.context("cannot read the LUN")?;
            let (file, offset) = (Arc::clone(&file), BlockCount(at).bytes());
            let written = tokio::task::spawn_blocking(move || write_sparse(&file, offset, &content)).await?;
            written.context("cannot write the image")?;
        }
        at += passed;
        progress(BlockCount(at).bytes());
    }
    Ok(())
}

fn write_sparse(file: &File, offset: u64, content: &Bytes) -> std::io::Result<()> {
    static ZEROS: [u8; HOLE_BYTES] = [0; HOLE_BYTES];
    let mut at = offset;
    for part in content.chunks(HOLE_BYTES) {
        if *part != ZEROS[..part.len()] {
            file.write_all_at(part, at)?;
        }
        at += part.len() as u64;
    }
    Ok(())
}
