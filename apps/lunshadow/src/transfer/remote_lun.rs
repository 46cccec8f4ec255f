//! The LUN of an import or export of a pool that is served: its blocks come and go over the control API.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use lunshadow_array_client::{AdminClient, ArrayError};
use lunshadow_control::{CONTENT_BYTES_MAX, ContentExtent, ProblemCode, TransferAnswer};
use lunshadow_lun::{BlockCount, Extent, LOGICAL_BLOCK_BYTES, Lba, Lun, LunError, LunId};
use parking_lot::Mutex;

/// How many blocks one request carries at most.
const BLOCKS_MAX: u64 = CONTENT_BYTES_MAX as u64 / LOGICAL_BLOCK_BYTES as u64;

/// A LUN behind a control service.
pub(crate) struct RemoteLun {
    client: Arc<AdminClient>,
    transfer: LunId,
    block_count: BlockCount,
    /// Where there is content, as far as it was asked for last.
    extents: Arc<Mutex<Vec<ContentExtent>>>,
}

impl RemoteLun {
    pub(crate) fn new(client: Arc<AdminClient>, begun: &TransferAnswer) -> Self {
        let block_count = BlockCount(begun.len_bytes / u64::from(LOGICAL_BLOCK_BYTES));
        Self { client, transfer: begun.transfer, block_count, extents: Arc::default() }
    }

    async fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&AdminClient, LunId) -> Result<T, ArrayError> + Send + 'static,
    ) -> Result<T, LunError> {
        let (client, transfer) = (Arc::clone(&self.client), self.transfer);
        let asked = tokio::task::spawn_blocking(move || ask(&client, transfer)).await;
        asked.map_err(|error| LunError::Io(std::io::Error::other(error)))?.map_err(failed)
    }

    fn check(&self, at: Lba, count: BlockCount) -> Result<(), LunError> {
        let size = self.block_count;
        let fits = at.checked_add(count).is_some_and(|end| end.0 <= size.0);
        if fits { Ok(()) } else { Err(LunError::OutOfRange { at, count, size }) }
    }

    /// What is known of the block, cut to `count`.
    fn known(&self, at: Lba, count: BlockCount) -> Option<Extent> {
        let extents = self.extents.lock();
        let holds =
            |extent: &&ContentExtent| (extent.first_block..extent.first_block + extent.block_count).contains(&at.0);
        let found = extents.iter().find(holds)?;
        let rest = found.first_block + found.block_count - at.0;
        Some(Extent { count: BlockCount(rest.min(count.0)), mapped: found.mapped })
    }
}

fn failed(error: ArrayError) -> LunError {
    match error {
        ArrayError::Refused { code: ProblemCode::OutOfSpace, .. } => LunError::OutOfSpace,
        ArrayError::Refused { code: ProblemCode::PoolReadOnly, .. } => LunError::Poisoned,
        ArrayError::Refused { detail, .. } => LunError::Io(std::io::Error::other(detail)),
        ArrayError::Unreachable { detail } => {
            LunError::Io(std::io::Error::other(format!("the control service does not answer: {detail}")))
        }
    }
}

impl Lun for RemoteLun {
    fn id(&self) -> LunId {
        self.transfer
    }

    fn block_count(&self) -> BlockCount {
        self.block_count
    }

    async fn extent(&self, at: Lba, count: BlockCount) -> Result<Extent, LunError> {
        self.check(at, count)?;
        if let Some(known) = self.known(at, count) {
            return Ok(known);
        }
        let extents = self.ask(move |client, transfer| client.transfer_extents(transfer, at.0)).await?;
        *self.extents.lock() = extents;
        // Whatever an array answers, content is not taken for a hole.
        Ok(self.known(at, count).unwrap_or(Extent { count: BlockCount(1), mapped: true }))
    }

    async fn read(&self, at: Lba, count: BlockCount) -> Result<Bytes, LunError> {
        self.check(at, count)?;
        let mut content = BytesMut::new();
        let mut done = 0;
        while done < count.0 {
            let (block, part) = (at.0 + done, BLOCKS_MAX.min(count.0 - done));
            let read = self.ask(move |client, transfer| client.read_blocks(transfer, block, part)).await?;
            if read.len() as u64 != BlockCount(part).bytes() {
                return Err(LunError::Io(std::io::Error::other("the array answered with less than was asked for")));
            }
            content.extend_from_slice(&read);
            done += part;
        }
        Ok(content.freeze())
    }

    async fn write(&self, at: Lba, data: Bytes) -> Result<(), LunError> {
        let byte_len = data.len();
        let count = BlockCount::from_bytes(byte_len as u64).ok_or(LunError::NotWholeBlocks { byte_len })?;
        self.check(at, count)?;
        let mut rest = data;
        let mut block = at.0;
        while !rest.is_empty() {
            let part = rest.split_to(CONTENT_BYTES_MAX.min(rest.len()));
            let here = block;
            block += part.len() as u64 / u64::from(LOGICAL_BLOCK_BYTES);
            self.ask(move |client, transfer| client.write_blocks(transfer, here, &part)).await?;
        }
        Ok(())
    }

    /// The end of the transfer makes all durable.
    async fn flush(&self) -> Result<(), LunError> {
        Ok(())
    }

    async fn discard(&self, at: Lba, count: BlockCount) -> Result<(), LunError> {
        self.check(at, count)?;
        let mut done = 0;
        while done < count.0 {
            let part = BLOCKS_MAX.min(count.0 - done);
            let zeros = vec![0; usize::try_from(BlockCount(part).bytes()).unwrap_or(usize::MAX)];
            self.write(Lba(at.0 + done), Bytes::from(zeros)).await?;
            done += part;
        }
        Ok(())
    }
}
