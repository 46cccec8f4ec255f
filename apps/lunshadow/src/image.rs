//! Disk images that users bring: checked before anything else happens, read, never written.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use lunshadow_lun::BlockCount;

/// Why a file cannot be imported as a LUN. Each text is the one line that the user gets.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// There is no such file, or it may not be read.
    #[error("cannot read {path}; give the path of a raw disk image that this user may read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A folder, a socket, or another thing without content of its own.
    #[error("{0} is not a file; give the path of a raw disk image")]
    NotAFile(PathBuf),
    /// Nothing in it.
    #[error("{0} is empty; give a raw disk image that holds a partition table or a file system")]
    Empty(PathBuf),
    /// Not a disk.
    #[error(
        "{path} has {len_bytes} bytes, which is not a multiple of 512, so it is not a raw disk image; convert other formats with: qemu-img convert -O raw"
    )]
    NotWholeBlocks {
        /// The file.
        path: PathBuf,
        /// Its length.
        len_bytes: u64,
    },
    /// A disk image, but of a format that has to be converted first.
    #[error("{path} is a {format} image, not a raw one; convert it with: qemu-img convert -O raw {path} disk.img")]
    NotRaw {
        /// The file.
        path: PathBuf,
        /// What it is.
        format: &'static str,
    },
}

/// A raw disk image that has been looked at: a whole number of blocks, more than none, readable.
#[derive(Debug)]
pub struct Image {
    /// Where it is.
    pub path: PathBuf,
    /// Its length.
    pub block_count: BlockCount,
    file: File,
}

impl Image {
    /// Opens an image for reading only.
    ///
    /// # Errors
    /// Whatever of [`ImageError`] is wrong with it.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        match format_of(path)? {
            Some(format) => Err(ImageError::NotRaw { path: path.to_owned(), format }),
            None => Self::open_as_raw(path),
        }
    }

    /// Opens a file whose content is a disk's, whatever it looks like.
    ///
    /// # Errors
    /// Any [`ImageError`] but `NotRaw`.
    pub fn open_as_raw(path: &Path) -> Result<Self, ImageError> {
        let unreadable = |source| ImageError::Unreadable { path: path.to_owned(), source };
        // Opening comes after the look at the kind of file: to open a pipe would wait for a writer.
        let metadata = std::fs::metadata(path).map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(ImageError::NotAFile(path.to_owned()));
        }
        let file = File::open(path).map_err(unreadable)?;
        let len_bytes = metadata.len();
        if len_bytes == 0 {
            return Err(ImageError::Empty(path.to_owned()));
        }
        let block_count = BlockCount::from_bytes(len_bytes)
            .ok_or_else(|| ImageError::NotWholeBlocks { path: path.to_owned(), len_bytes })?;
        Ok(Self { path: path.to_owned(), block_count, file })
    }

    /// The image as a file at its beginning.
    ///
    /// # Errors
    /// If the file cannot be opened a second time.
    pub fn reader(&self) -> io::Result<File> {
        use std::io::Seek as _;
        let mut file = self.file.try_clone()?;
        file.rewind()?;
        Ok(file)
    }
}

/// The name that `qemu-img` has for the format of an image that is not raw, if it is one that is often met.
///
/// # Errors
/// `Unreadable`, `NotAFile`.
pub fn format_of(path: &Path) -> Result<Option<&'static str>, ImageError> {
    let unreadable = |source| ImageError::Unreadable { path: path.to_owned(), source };
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(ImageError::NotAFile(path.to_owned()));
    }
    other_format(&mut File::open(path).map_err(unreadable)?).map_err(unreadable)
}

/// Image formats that are often met and that must not be served as if they were disks.
fn other_format(file: &mut File) -> io::Result<Option<&'static str>> {
    let mut start = Vec::new();
    Read::by_ref(file).take(8).read_to_end(&mut start)?;
    let formats: [(&[u8], &str); 4] =
        [(b"QFI\xfb", "qcow2"), (b"KDMV", "vmdk"), (b"vhdxfile", "vhdx"), (b"conectix", "vpc")];
    Ok(formats.iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, name)| *name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_file_with(content: &[u8]) -> Result<Image, ImageError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.img");
        std::fs::write(&path, content).unwrap();
        Image::open(&path)
    }

    #[test]
    fn what_is_not_an_image_is_named() {
        assert!(matches!(open_file_with(&[]), Err(ImageError::Empty(_))));
        assert!(matches!(open_file_with(&[0; 700]), Err(ImageError::NotWholeBlocks { len_bytes: 700, .. })));
        assert!(matches!(open_file_with(b"QFI\xfb rest"), Err(ImageError::NotRaw { format: "qcow2", .. })));
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Image::open(dir.path()), Err(ImageError::NotAFile(_))));
        assert!(matches!(Image::open(&dir.path().join("none")), Err(ImageError::Unreadable { .. })));
    }

    #[test]
    fn an_image_is_read_from_its_beginning_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.img");
        std::fs::write(&path, [7; 1024]).unwrap();
        let image = Image::open(&path).unwrap();
        assert_eq!(image.block_count, BlockCount(2));
        for _ in 0..2 {
            let mut content = Vec::new();
            image.reader().unwrap().read_to_end(&mut content).unwrap();
            assert_eq!(content, [7; 1024]);
        }
    }
}
