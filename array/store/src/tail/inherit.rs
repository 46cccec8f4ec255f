//! Taking over what a process that was killed has left: its data goes where it belongs, its records become batches of the log. Recovery goes on from there
//! as if the medium had had all of it. Whoever is killed meanwhile leaves the rest to the next one.

use lunshadow_lun::AlignedBuffer;

use super::{Opening, Tail, blocks, stream};
use crate::geometry::Geometry;
use crate::log::{LogPlace, batch_of};
use crate::log_reader::LogReader;
use crate::log_writer::write_ring;
use crate::media::Media;
use crate::page::BLOCK_LEN;
use crate::pool::OpenError;
use crate::record::Record;
use crate::recovery::has_its_data;
use crate::superblock::Superblock;

/// Brings to the medium what is in the tail and belongs to the last opening of the pool.
pub(crate) fn take_over(
    tail: &Tail,
    media: &dyn Media,
    superblock: &Superblock,
    geometry: &Geometry,
) -> Result<(), OpenError> {
    let opening = Opening { pool_id: superblock.pool_id.get(), epoch: superblock.epoch.get() };
    let remains = stream::remains(&tail.file).map_err(OpenError::Io)?;
    let Some(remains) = remains.filter(|remains| remains.opening == opening) else { return Ok(()) };
    let data = blocks::remains(&tail.file, stream::LEN_BYTES, opening).map_err(OpenError::Io)?;
    let data_count = data.len();
    for (offset_bytes, data) in data {
        let is_data = offset_bytes.is_multiple_of(BLOCK_LEN) && geometry.place(offset_bytes / BLOCK_LEN).is_some();
        if is_data {
            media.write_at(offset_bytes, &AlignedBuffer::copy_of(&data)).map_err(OpenError::Io)?;
        }
    }
    let mut log = LogReader::new(media, *geometry);
    let batches = log.batches_from(superblock.log_place(), superblock.pool_id.get())?;
    // It is the last one that can lack its data. Then nothing may come behind it.
    if let Some(last) = batches.last()
        && !has_its_data(media, geometry, &log.records(last)?)?
    {
        return Ok(());
    }
    let mut next = superblock.log_place();
    batches.iter().for_each(|batch| next = next.behind(batch));
    let mut record_count = 0;
    for (sequence, payload) in remains.batches {
        if sequence < next.sequence {
            continue;
        }
        let (payload, count) = sound_part(media, geometry, &payload)?;
        let Some(behind) = add_batch((media, geometry, superblock), sequence, next, payload)? else { break };
        (next, record_count) = (behind, record_count + count);
    }
    if record_count + data_count > 0 {
        tracing::warn!(
            records = record_count,
            blocks = data_count,
            "took over what a process that was killed had answered"
        );
    }
    Ok(())
}

/// Makes a batch behind the last one durable. `None` if it does not belong there, is empty, or the log has no room for it.
fn add_batch(
    (media, geometry, superblock): (&dyn Media, &Geometry, &Superblock),
    sequence: u64,
    next: LogPlace,
    payload: &[u8],
) -> Result<Option<LogPlace>, OpenError> {
    if payload.is_empty() || sequence != next.sequence {
        return Ok(None);
    }
    let (head, bytes) = batch_of(superblock.pool_id.get(), next, superblock.generation.get(), payload);
    if next.position - superblock.log_position.get() + head.block_count() > geometry.log_blocks() {
        return Ok(None);
    }
    media.sync().map_err(OpenError::Io)?;
    write_ring(media, geometry, next.position, &bytes).and_then(|()| media.sync()).map_err(OpenError::Io)?;
    Ok(Some(next.behind(&head)))
}

/// As many records as can be read and have their data, and how many these are.
fn sound_part<'a>(media: &dyn Media, geometry: &Geometry, payload: &'a [u8]) -> Result<(&'a [u8], usize), OpenError> {
    let (mut rest, mut count) = (payload, 0);
    loop {
        let mut behind = rest;
        let Some(record) = (!rest.is_empty()).then(|| Record::decode(&mut behind).ok()).flatten() else { break };
        if !has_its_data(media, geometry, &[record])? {
            break;
        }
        (rest, count) = (behind, count + 1);
    }
    Ok((&payload[..payload.len() - rest.len()], count))
}
