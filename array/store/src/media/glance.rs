//! A look at a medium that somebody else may have open.

use std::fs::File;
use std::io::{self, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::Media;

/// A medium that is only read, and not locked.
pub(crate) struct Glance(File);

impl Glance {
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        File::open(path).map(Self)
    }
}

impl Media for Glance {
    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset_bytes)
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn sync(&self) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn len_bytes(&self) -> io::Result<u64> {
        (&self.0).seek(io::SeekFrom::End(0))
    }

    fn set_len_bytes(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}
