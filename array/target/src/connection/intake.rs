//! Where what comes from the network is put, so that the data of a write can go to a medium from there.
//!
//! A PDU that comes alone has its data at a multiple of [`DATA_ALIGNMENT_BYTES`]. One that is read together with those before it does
//! not, and is moved when it turns out to be data for a LUN; the same goes for the first part of one that was read so.

use bytes::{Buf as _, Bytes, BytesMut};
use lunshadow_lun::{AlignedBuffer, DATA_ALIGNMENT_BYTES, LOGICAL_BLOCK_BYTES, is_aligned};

/// Room for what comes next, when a header has not said yet how much that is.
const READ_BYTES: usize = 16 * 1024;

/// Makes room for `missing_bytes` more of the PDU whose beginning `buffer` holds, or for some PDUs if it holds nothing.
pub(super) fn make_room(buffer: &mut BytesMut, data_offset_bytes: usize, missing_bytes: usize) {
    let room_bytes = if buffer.is_empty() { missing_bytes.max(READ_BYTES) } else { missing_bytes };
    let lies_well = |buffer: &BytesMut| padding_of(buffer, data_offset_bytes) == 0;
    if lies_well(buffer) && buffer.capacity() - buffer.len() >= room_bytes {
        return;
    }
    let begun = buffer.split();
    let begun_len = begun.len();
    // Whoever holds a part of it keeps its memory from being used again.
    let begun = Some(begun).filter(|begun| !begun.is_empty());
    buffer.reserve(DATA_ALIGNMENT_BYTES + begun_len + room_bytes);
    let padding_bytes = padding_of(buffer, data_offset_bytes);
    buffer.resize(padding_bytes, 0);
    buffer.advance(padding_bytes);
    buffer.extend_from_slice(begun.as_deref().unwrap_or(&[]));
}

/// How far on a PDU would have to begin for its data to be aligned.
fn padding_of(buffer: &BytesMut, data_offset_bytes: usize) -> usize {
    let data_begins_at = buffer.as_ptr().addr() + data_offset_bytes;
    data_begins_at.next_multiple_of(DATA_ALIGNMENT_BYTES) - data_begins_at
}

/// Data as a LUN wants it: where it lies, if that suits media, or else in a place that does.
pub(crate) fn settled(data: Bytes) -> Bytes {
    const BLOCK_BYTES: usize = LOGICAL_BLOCK_BYTES as usize;
    if data.len() < BLOCK_BYTES || is_aligned(&data, DATA_ALIGNMENT_BYTES) {
        return data;
    }
    AlignedBuffer::copy_of(&data).freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFSET: usize = 48;

    fn data_lies_well(buffer: &BytesMut) -> bool {
        (buffer.as_ptr().addr() + OFFSET).is_multiple_of(DATA_ALIGNMENT_BYTES)
    }

    #[test]
    fn the_first_pdu_of_a_reading_has_aligned_data() {
        let mut buffer = BytesMut::new();
        let mut kept = Vec::new();
        for round in 0..50 {
            make_room(&mut buffer, OFFSET, OFFSET);
            assert!(data_lies_well(&buffer) && buffer.capacity() >= READ_BYTES);
            buffer.extend_from_slice(&[7; OFFSET + 4096]);
            let pdu = buffer.split_to(OFFSET + 4096).freeze();
            // Some data is still in use when the next comes, some is not.
            if round % 3 == 0 {
                kept.push(pdu);
            }
        }
        assert!(kept.iter().all(|pdu| pdu.iter().all(|byte| *byte == 7)));
    }

    #[test]
    fn a_pdu_that_begins_behind_others_is_moved_once() {
        let mut buffer = BytesMut::new();
        make_room(&mut buffer, OFFSET, OFFSET);
        buffer.extend_from_slice(&[1; 1000]);
        let before = buffer.split_to(100).freeze();
        make_room(&mut buffer, OFFSET, 65536);
        assert!(data_lies_well(&buffer) && buffer.len() == 900 && buffer.capacity() >= 900 + 65536);
        let place = buffer.as_ptr();
        buffer.extend_from_slice(&[2; 30000]);
        make_room(&mut buffer, OFFSET, 65536 - 30000);
        assert_eq!(buffer.as_ptr(), place);
        assert!(buffer[..900] == [1; 900] && buffer[900..] == [2; 30000] && before[..] == [1; 100]);
    }

    #[test]
    fn data_is_moved_only_if_it_has_to_be() {
        let aligned = AlignedBuffer::copy_of(&[3; 8192]).freeze();
        assert_eq!(settled(aligned.clone()).as_ptr(), aligned.as_ptr());
        let moved = settled(aligned.slice(48..4144));
        assert!(is_aligned(&moved, DATA_ALIGNMENT_BYTES) && moved[..] == [3; 4096]);
        let parameters = aligned.slice(48..72);
        assert_eq!(settled(parameters.clone()).as_ptr(), parameters.as_ptr());
    }
}
