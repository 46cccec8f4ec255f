//! Reading the log back, a window at a time.

use lunshadow_lun::AlignedBuffer;

use crate::geometry::Geometry;
use crate::log::{BatchHead, HEAD_BYTES, LogPlace};
use crate::media::Media;
use crate::page::{BLOCK_BYTES, BLOCK_LEN, index};
use crate::pool::OpenError;
use crate::record::Record;

/// How many blocks are read at once.
const WINDOW_BLOCKS: u64 = 256;

/// See the module. The log does not change while there is one.
pub(crate) struct LogReader<'a> {
    media: &'a dyn Media,
    geometry: Geometry,
    /// The blocks of the ring from the place `first` on.
    window: Option<(u64, AlignedBuffer)>,
}

impl<'a> LogReader<'a> {
    pub(crate) fn new(media: &'a dyn Media, geometry: Geometry) -> Self {
        Self { media, geometry, window: None }
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The block at a position.
    pub(crate) fn block(&mut self, position: u64) -> Result<&[u8], OpenError> {
        let place = position % self.geometry.log_blocks();
        let first = place / WINDOW_BLOCKS * WINDOW_BLOCKS;
        if self.window.as_ref().is_none_or(|(known, _)| *known != first) {
            let count = WINDOW_BLOCKS.min(self.geometry.log_blocks() - first);
            let mut blocks = AlignedBuffer::of_len(index(count * BLOCK_LEN));
            self.media.read_at(self.geometry.log_offset_bytes(first), &mut blocks).map_err(OpenError::Io)?;
            self.window = Some((first, blocks));
        }
        let (_, blocks) = self.window.as_ref().expect("filled above");
        Ok(&blocks[index(place - first) * BLOCK_BYTES..][..BLOCK_BYTES])
    }

    /// The batches from a place on that are whole, in order.
    pub(crate) fn batches_from(&mut self, mut place: LogPlace, pool_id: u128) -> Result<Vec<BatchHead>, OpenError> {
        let geometry = self.geometry;
        let start = place.position;
        let mut found: Vec<BatchHead> = Vec::new();
        while place.position - start < geometry.log_blocks() {
            let Some(head) = BatchHead::parse(self.block(place.position)?, pool_id) else { break };
            let in_ring = place.position - start + head.block_count() <= geometry.log_blocks();
            if !in_ring || !head.is_next(&place, &geometry) || self.payload(&head)?.is_none() {
                break;
            }
            place = place.behind(&head);
            found.push(head);
        }
        Ok(found)
    }

    /// Whether anywhere in the ring a batch of the pool begins for which `is_meant` is true.
    pub(crate) fn has_batch(
        &mut self,
        pool_id: u128,
        is_meant: impl Fn(&BatchHead) -> bool,
    ) -> Result<bool, OpenError> {
        for position in 0..self.geometry.log_blocks() {
            if BatchHead::parse(self.block(position)?, pool_id).is_some_and(|head| is_meant(&head)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The records of a batch as bytes, or `None` if it is torn.
    pub(crate) fn payload(&mut self, head: &BatchHead) -> Result<Option<Vec<u8>>, OpenError> {
        let mut bytes = Vec::with_capacity(index(head.block_count()) * BLOCK_BYTES);
        for position in head.position.get()..head.position.get() + head.block_count() {
            bytes.extend_from_slice(self.block(position)?);
        }
        let payload = bytes[HEAD_BYTES..HEAD_BYTES + head.payload_len()].to_vec();
        Ok(head.payload_matches(&payload).then_some(payload))
    }

    /// The records of a batch that was found to be whole.
    pub(crate) fn records(&mut self, head: &BatchHead) -> Result<Vec<Record>, OpenError> {
        let payload = self.payload(head)?.ok_or_else(|| self.damaged_at(head))?;
        let mut rest = payload.as_slice();
        let mut records = Vec::new();
        while !rest.is_empty() {
            records.push(Record::decode(&mut rest).map_err(|_| self.damaged_at(head))?);
        }
        Ok(records)
    }

    /// The error for a batch that cannot be.
    pub(crate) fn damaged_at(&self, head: &BatchHead) -> OpenError {
        let block = self.geometry.log_offset_bytes(head.position.get()) / BLOCK_LEN;
        OpenError::Damaged { what: "log", block }
    }
}
