//! The messages of the event log, as a resource of the program: one per situation, made from the provider's own table of situations.
//!
//! The build script includes this file to write the resource, and the event log to name messages by the same ids.

use crate::events::{EventId, Severity};

/// What the log shows: the whole text comes with the event, since it says which LUN, set or array it is about.
const MESSAGE: &str = "%1\r\n";

/// `MESSAGE_RESOURCE_UNICODE`.
const UNICODE: u16 = 1;

/// The id of a situation's message: the severity in the two highest bits, as for status codes, and the number by which people know it.
pub const fn message_id(id: EventId) -> u32 {
    let severity: u32 = match id.severity() {
        Severity::Information => 1,
        Severity::Warning => 2,
        Severity::Error => 3,
    };
    severity << 30 | id.number() as u32
}

/// The resource: `MESSAGE_RESOURCE_DATA`, a count of blocks, the blocks with their ranges of ids, then the messages in the order of their ids.
pub fn message_table() -> Vec<u8> {
    let mut ids: Vec<u32> = EventId::ALL.iter().map(|id| message_id(*id)).collect();
    ids.sort_unstable();
    let blocks: Vec<&[u32]> = ids.chunk_by(|one, next| one + 1 == *next).collect();
    let entry = entry();
    let mut table = count_of(&blocks).to_le_bytes().to_vec();
    let mut offset = 4 + 12 * blocks.len();
    for block in &blocks {
        for field in [block[0], block[block.len() - 1], u32::try_from(offset).expect("a small table")] {
            table.extend(field.to_le_bytes());
        }
        offset += entry.len() * block.len();
    }
    table.extend(entry.repeat(ids.len()));
    table
}

fn count_of<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).expect("few items")
}

/// `MESSAGE_RESOURCE_ENTRY`: its length, what the text is made of, the text with a zero; the length is a multiple of four.
fn entry() -> Vec<u8> {
    let mut text: Vec<u8> = MESSAGE.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    text.resize(text.len().next_multiple_of(4), 0);
    let len_bytes = u16::try_from(4 + text.len()).expect("a short text");
    [&len_bytes.to_le_bytes()[..], &UNICODE.to_le_bytes(), &text].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn u32_at(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
    }

    /// All messages of a table, read as the format is described.
    fn read(table: &[u8]) -> Vec<(u32, String)> {
        let mut found = Vec::new();
        for block in 0..u32_at(table, 0) as usize {
            let at = 4 + 12 * block;
            let (low, high) = (u32_at(table, at), u32_at(table, at + 4));
            let mut place = u32_at(table, at + 8) as usize;
            for id in low..=high {
                let len = usize::from(u16::from_le_bytes([table[place], table[place + 1]]));
                assert_eq!(table[place + 2..place + 4], [1, 0], "Unicode");
                let units: Vec<u16> = table[place + 4..place + len]
                    .chunks(2)
                    .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
                    .collect();
                let text = String::from_utf16(&units).expect("a text");
                found.push((id, text.trim_end_matches('\0').to_owned()));
                place += len;
            }
        }
        found
    }

    #[test]
    fn every_situation_has_its_message() {
        let messages = read(&message_table());
        assert_eq!(messages.len(), EventId::ALL.len());
        for id in EventId::ALL {
            assert!(messages.contains(&(message_id(*id), MESSAGE.to_owned())), "{id:?}");
        }
    }

    #[test]
    fn p_019_the_severity_is_part_of_the_id() {
        assert_eq!(message_id(EventId::SetCreated), 0x4000_0001);
        assert_eq!(message_id(EventId::OrphanCandidate), 0x8000_0028);
        assert_eq!(message_id(EventId::OutOfSpace), 0xc000_000e);
    }
}
