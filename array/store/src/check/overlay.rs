//! A medium that keeps in memory what is written to it, so that a check changes nothing.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::cache::BlockMap;
use crate::media::{Media, ReadPart, WritePart};
use crate::page::{BLOCK_BYTES, BLOCK_LEN};

/// See the module. Requests are whole blocks.
pub(super) struct Overlay<M> {
    under: M,
    written: Mutex<BlockMap<Box<[u8]>>>,
}

impl<M: Media> Overlay<M> {
    pub(super) fn over(under: M) -> Self {
        Self { under, written: Mutex::default() }
    }
}

impl<M: Media> Media for Overlay<M> {
    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.under.read_at(offset_bytes, buffer)?;
        let written = self.written.lock();
        for (block, part) in (offset_bytes / BLOCK_LEN..).zip(buffer.chunks_exact_mut(BLOCK_BYTES)) {
            if let Some(content) = written.get(&block) {
                part.copy_from_slice(content);
            }
        }
        Ok(())
    }

    fn write_at(&self, offset_bytes: u64, data: &[u8]) -> io::Result<()> {
        let blocks = (offset_bytes / BLOCK_LEN..).zip(data.chunks_exact(BLOCK_BYTES));
        self.written.lock().extend(blocks.map(|(block, content)| (block, content.into())));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn len_bytes(&self) -> io::Result<u64> {
        self.under.len_bytes()
    }

    fn set_len_bytes(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A medium that outlives the pool that is opened on it.
pub(super) struct SharedMedia(pub(super) Arc<dyn Media>);

impl Media for SharedMedia {
    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset_bytes, buffer)
    }

    fn write_at(&self, offset_bytes: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(offset_bytes, data)
    }

    fn read_many(&self, parts: &mut [ReadPart<'_>]) -> io::Result<()> {
        self.0.read_many(parts)
    }

    fn write_many(&self, parts: &[WritePart<'_>]) -> io::Result<()> {
        self.0.write_many(parts)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn len_bytes(&self) -> io::Result<u64> {
        self.0.len_bytes()
    }

    fn set_len_bytes(&self, len_bytes: u64) -> io::Result<()> {
        self.0.set_len_bytes(len_bytes)
    }
}
