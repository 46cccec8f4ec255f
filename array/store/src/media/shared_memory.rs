//! Memory that is part of a file: what was written to it is there when the process has been killed, for whoever opens the file next.
#![expect(unsafe_code, reason = "the memory is a file's, of which the language knows nothing")]

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{MmapMut, MmapOptions};

const WORD_BYTES: usize = size_of::<u64>();

/// See the module. Nobody else maps the same part.
pub(crate) struct SharedMemory {
    map: MmapMut,
}

impl SharedMemory {
    /// A part of a file, which is as long as that at least. It begins at a multiple of a page.
    pub(crate) fn of(file: &File, offset_bytes: u64, len_bytes: usize) -> io::Result<Self> {
        // SAFETY: the file is this process' alone: it lies in a folder in which others cannot change what is ours, and nobody opens it without the
        // lock of the pool that it belongs to. Nothing makes it shorter while it is mapped.
        let map = unsafe { MmapOptions::new().offset(offset_bytes).len(len_bytes).map_mut(file) }?;
        Ok(Self { map })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Writes bytes, which count when something is [published](Self::publish) that says so.
    pub(crate) fn write(&mut self, at: usize, bytes: &[u8]) {
        self.map[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// The word of that number.
    pub(crate) fn word(&self, number: usize) -> u64 {
        let at = number * WORD_BYTES;
        let bytes = self.map[at..at + WORD_BYTES].try_into().expect("as long as a word");
        u64::from_le_bytes(bytes)
    }

    /// Sets a word. Wherever the process is killed, all that was written before is there when this is.
    pub(crate) fn publish(&mut self, number: usize, value: u64) {
        let word = self.map[number * WORD_BYTES..][..WORD_BYTES].as_mut_ptr().cast::<u64>();
        // SAFETY: the word is within the map, which is borrowed exclusively, and aligned, since maps begin at pages.
        unsafe { AtomicU64::from_ptr(word) }.store(value.to_le(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_in_the_file() {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(8192).expect("room");
        let mut memory = SharedMemory::of(&file, 4096, 4096).expect("a map");
        memory.write(100, b"bytes");
        memory.publish(511, 7);
        assert_eq!((memory.word(511), memory.word(0)), (7, 0));
        drop(memory);
        let again = SharedMemory::of(&file, 0, 8192).expect("a map");
        assert_eq!(&again.bytes()[4196..4201], b"bytes");
        assert_eq!(again.word(512 + 511), 7);
    }
}
