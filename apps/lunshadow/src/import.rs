//! Copies a disk image into a LUN.

use std::io::Read as _;

use anyhow::Context as _;
use bytes::Bytes;
use lunshadow_lun::{BlockCount, Lba, LunHandle};

use crate::image::Image;

/// How much is read and written at a time.
const CHUNK_BYTES: u64 = 1 << 20;

/// Copies `image` to the beginning of `lun`, which is new and therefore full of zeros: zeros are not written. Tells `progress` how many
/// bytes of the image are done. Durable on return.
///
/// # Errors
/// If the image cannot be read or the LUN cannot be written.
pub async fn import(image: &Image, lun: &LunHandle, progress: impl Fn(u64)) -> anyhow::Result<()> {
    let mut done_bytes = 0;
    let len_bytes = image.block_count.bytes();
    while done_bytes < len_bytes {
        let wanted_bytes = CHUNK_BYTES.min(len_bytes - done_bytes);
        let mut reader = image.reader().with_context(|| format!("cannot read {}", image.path.display()))?;
        let chunk = tokio::task::spawn_blocking(move || -> std::io::Result<Vec<u8>> {
            use std::io::{Seek as _, SeekFrom};
            let mut chunk = Vec::new();
            reader.seek(SeekFrom::Start(done_bytes))?;
            reader.take(wanted_bytes).read_to_end(&mut chunk)?;
            Ok(chunk)
        })
        .await?
        .with_context(|| format!("cannot read {}", image.path.display()))?;
        anyhow::ensure!(
            chunk.len() as u64 == wanted_bytes,
            "{} became shorter while it was imported; leave it alone and try again",
            image.path.display()
        );
        if chunk.iter().any(|byte| *byte != 0) {
            let at = BlockCount::from_bytes(done_bytes).context("chunks are whole blocks")?;
            lun.write(Lba(at.0), Bytes::from(chunk)).await.context("cannot write to the pool")?;
        }
        done_bytes += wanted_bytes;
        progress(done_bytes);
    }
    lun.flush().await.context("cannot write to the pool")
}
