//! Files of an NTFS volume, by `ntfs`.

use std::cell::RefCell;
use std::io::{self, Read, Seek, SeekFrom};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ntfs::indexes::NtfsFileNameIndex;
use ntfs::structured_values::{NtfsFileAttributeFlags, NtfsFileName, NtfsFileNamespace};
use ntfs::{
    KnownNtfsFileRecordNumber, Ntfs, NtfsAttribute, NtfsAttributeFlags, NtfsAttributeType, NtfsFile, NtfsReadSeek,
    NtfsTime,
};

use super::metered::{MeteredCursor, Step};
use super::reader::{Attributes, Entry, Failure, FileKind, Reader, Space, Task, Visit, find_by_listing};
use super::{UnreadReason, reparse};
use crate::disk::{DiskIo, Volume};

/// The first file record that is not set aside for metadata files.
const FIRST_USER_RECORD: u64 = 24;

/// Where the header of a non-resident attribute has the length of the initialised part of the value.
const INITIALIZED_LEN_OFFSET: u64 = 0x38;

/// From the first day of NTFS' calendar to that of Unix'.
const FROM_1601_TO_1970: Duration = Duration::from_secs(11_644_473_600);

/// How much of the bitmap of clusters is looked at at once.
const BITMAP_PART_BYTES: usize = 64 * 1024;

pub(super) fn with_reader<T: Task>(disk: &dyn DiskIo, volume: &Volume, task: T) -> Result<T::Output, Failure> {
    let step = Step::default();
    let mut cursor = MeteredCursor::new(disk, volume, step.clone());
    let mut ntfs = Ntfs::new(&mut cursor)?;
    // Without it names are looked for in listings.
    let has_upcase_table = ntfs.read_upcase_table(&mut cursor).is_ok();
    let volume_len_bytes = volume.len_bytes;
    let cursor = RefCell::new(cursor);
    Ok(task.run(&NtfsReader { ntfs: &ntfs, cursor, step, has_upcase_table, volume_len_bytes }))
}

struct NtfsReader<'n, 'd> {
    ntfs: &'n Ntfs,
    cursor: RefCell<MeteredCursor<'d>>,
    step: Step,
    has_upcase_table: bool,
    volume_len_bytes: u64,
}

/// A file record, as a directory refers to it.
#[derive(Clone, Copy)]
struct Record {
    number: u64,
    is_reparse_point: bool,
}

/// The unnamed stream of a file.
struct Stream<'n> {
    file: NtfsFile<'n>,
    position: u64,
    len_bytes: u64,
    /// What was never written reads as zeros, whatever the clusters hold. The crate does not know that.
    initialized_len_bytes: u64,
}

impl<'n> Reader for NtfsReader<'n, '_> {
    type Node = Record;
    type Open = Stream<'n>;

    fn root(&self) -> Record {
        Record { number: KnownNtfsFileRecordNumber::RootDirectory as u64, is_reparse_point: false }
    }

    fn number(&self, node: &Record) -> Option<u64> {
        Some(node.number)
    }

    /// Less the metadata files, and the short names that files have for DOS beside their own.
    fn list(&self, directory: &Record, visit: &mut Visit<'_, Record>) -> Result<(), Failure> {
        let directory = self.directory(directory)?;
        let index = directory.directory_index(&mut *self.cursor.borrow_mut())?;
        let mut entries = index.entries();
        loop {
            self.step.begin();
            let Some(entry) = entries.next(&mut *self.cursor.borrow_mut()) else { return Ok(()) };
            let entry = entry?;
            let Some(key) = entry.key().transpose()? else { continue };
            let Some(node) = named(&key, entry.file_reference().file_record_number()) else { continue };
            let kind = self.kind(&key, node)?;
            if visit(Entry { name: key.name().to_string_lossy().into_bytes(), kind, node }).is_break() {
                return Ok(());
            }
        }
    }

    fn find(&self, directory: &Record, name: &[u8]) -> Result<Option<Record>, Failure> {
        let Ok(text) = str::from_utf8(name) else { return Ok(None) };
        if self.has_upcase_table && !text.contains(char::REPLACEMENT_CHARACTER) {
            let directory = self.directory(directory)?;
            let mut cursor = self.cursor.borrow_mut();
            let index = directory.directory_index(&mut *cursor)?;
            let mut finder = index.finder();
            let Some(entry) = NtfsFileNameIndex::find(&mut finder, self.ntfs, &mut *cursor, text) else {
                return Ok(None);
            };
            let entry = entry?;
            let key = entry.key().transpose()?.filter(|key| key.name().to_string_lossy() == text);
            if let Some(node) = key.and_then(|key| named(&key, entry.file_reference().file_record_number())) {
                return Ok(Some(node));
            }
        }
        // The index is searched without regard to case, and may have several names that differ in that alone.
        find_by_listing(self, directory, name)
    }

    fn attributes(&self, node: &Record) -> Result<Attributes, Failure> {
        let file = self.file(*node)?;
        let information = file.info()?;
        let link = self.link(&file, *node)?;
        let (kind, len_bytes) = match link {
            Some(target) => (FileKind::Link, u64::try_from(target.len())?),
            None if file.is_directory() => (FileKind::Directory, 0),
            None => (FileKind::File, self.len_bytes(&file)?),
        };
        Ok(Attributes {
            kind,
            len_bytes,
            links: self.links(&file)?,
            mode: None,
            owner: None,
            accessed: time(information.access_time()),
            modified: time(information.modification_time()),
            changed: time(information.mft_record_modification_time()),
        })
    }

    fn open(&self, node: &Record, position: u64) -> Result<Stream<'n>, Failure> {
        let file = self.file(*node)?;
        if file.is_directory() {
            return Err(Failure::WrongKind);
        }
        if node.is_reparse_point {
            return Err(Failure::Unread(UnreadReason::Link));
        }
        let (len_bytes, initialized_len_bytes) = self.lengths(&file)?;
        Ok(Stream { file, position, len_bytes, initialized_len_bytes })
    }

    fn read(&self, open: &mut Stream<'n>, into: &mut [u8]) -> Result<usize, Failure> {
        self.step.begin();
        let is_initialized = open.position < open.initialized_len_bytes;
        let end = if is_initialized { open.initialized_len_bytes } else { open.len_bytes };
        let left = end.saturating_sub(open.position);
        let count = usize::try_from(left).map_or(into.len(), |left| left.min(into.len()));
        if is_initialized {
            let mut cursor = self.cursor.borrow_mut();
            let data = open.file.data(&mut *cursor, "").ok_or(Failure::WrongKind)??;
            let mut value = data.to_attribute()?.value(&mut *cursor)?;
            value.seek(&mut *cursor, SeekFrom::Start(open.position))?;
            value.read_exact(&mut *cursor, &mut into[..count])?;
        } else {
            into[..count].fill(0);
        }
        open.position += u64::try_from(count)?;
        Ok(count)
    }

    fn target(&self, link: &Record) -> Result<Vec<u8>, Failure> {
        let file = self.file(*link)?;
        self.link(&file, *link)?.ok_or(Failure::WrongKind)
    }

    fn space(&self) -> Result<Space, Failure> {
        if self.ntfs.size() > self.volume_len_bytes {
            return Err(Failure::Damaged("it is longer than its volume".to_owned()));
        }
        let mut cursor = self.cursor.borrow_mut();
        let bitmap = self.ntfs.file(&mut *cursor, KnownNtfsFileRecordNumber::Bitmap as u64)?;
        let data = bitmap.data(&mut *cursor, "").ok_or(Failure::WrongKind)??;
        let mut value = data.to_attribute()?.value(&mut *cursor)?;
        let block_bytes = self.ntfs.cluster_size();
        let blocks = self.ntfs.size() / u64::from(block_bytes);
        let (mut part, mut left, mut used) = (vec![0; BITMAP_PART_BYTES], blocks, 0);
        while left > 0 {
            self.step.begin();
            let count = value.read(&mut *cursor, &mut part)?;
            if count == 0 {
                return Err(Failure::Damaged("the bitmap of clusters is too short".to_owned()));
            }
            for byte in &part[..count] {
                let bits = u32::try_from(left.min(8))?;
                // The bits beyond the last cluster are set.
                used += u64::from((u16::from(*byte) & ((1 << bits) - 1)).count_ones());
                left -= u64::from(bits);
            }
        }
        Ok(Space { block_bytes, blocks, free_blocks: blocks - used, files: 0, free_files: 0 })
    }
}

impl<'n> NtfsReader<'n, '_> {
    fn file(&self, record: Record) -> Result<NtfsFile<'n>, Failure> {
        self.step.begin();
        Ok(self.ntfs.file(&mut *self.cursor.borrow_mut(), record.number)?)
    }

    fn directory(&self, record: &Record) -> Result<NtfsFile<'n>, Failure> {
        let file = self.file(*record)?;
        if file.is_directory() { Ok(file) } else { Err(Failure::WrongKind) }
    }

    /// What an entry stands for. Of a reparse point the entry does not tell.
    fn kind(&self, key: &NtfsFileName, node: Record) -> Result<FileKind, Failure> {
        let is_link = node.is_reparse_point && self.link(&self.file(node)?, node)?.is_some();
        Ok(match (is_link, key.is_directory()) {
            (true, _) => FileKind::Link,
            (false, true) => FileKind::Directory,
            (false, false) => FileKind::File,
        })
    }

    /// The target, if it is a link.
    fn link(&self, file: &NtfsFile<'n>, node: Record) -> Result<Option<Vec<u8>>, Failure> {
        if !node.is_reparse_point {
            return Ok(None);
        }
        let mut cursor = self.cursor.borrow_mut();
        let mut attributes = file.attributes();
        while let Some(item) = attributes.next(&mut *cursor) {
            let item = item?;
            let attribute = item.to_attribute()?;
            if attribute.ty()? == NtfsAttributeType::ReparsePoint {
                let value = attribute.value(&mut *cursor)?;
                let mut data = Vec::new();
                value.attach(&mut *cursor).take(reparse::LEN_MAX_BYTES).read_to_end(&mut data)?;
                return Ok(reparse::link_target(&data));
            }
        }
        Ok(None)
    }

    /// How many names a file has, less those for DOS.
    fn links(&self, file: &NtfsFile<'n>) -> Result<u32, Failure> {
        let mut links = u32::from(file.hard_link_count());
        for attribute in file.attributes_raw() {
            let attribute = attribute?;
            if attribute.ty()? == NtfsAttributeType::FileName {
                let name = attribute.structured_value::<_, NtfsFileName>(&mut *self.cursor.borrow_mut())?;
                links = links.saturating_sub(u32::from(name.namespace() == NtfsFileNamespace::Dos));
            }
        }
        Ok(links.max(1))
    }

    fn len_bytes(&self, file: &NtfsFile<'n>) -> Result<u64, Failure> {
        let Some(item) = file.data(&mut *self.cursor.borrow_mut(), "").transpose()? else { return Ok(0) };
        Ok(item.to_attribute()?.value_length())
    }

    /// The length of the unnamed stream, and how much of it was ever written.
    fn lengths(&self, file: &NtfsFile<'n>) -> Result<(u64, u64), Failure> {
        let mut cursor = self.cursor.borrow_mut();
        let Some(item) = file.data(&mut *cursor, "").transpose()? else { return Ok((0, 0)) };
        let attribute = item.to_attribute()?;
        let len_bytes = attribute.value_length();
        // Both flags say how clusters are filled. A value within the file record has none.
        if !attribute.is_resident() && attribute.flags().contains(NtfsAttributeFlags::ENCRYPTED) {
            return Err(Failure::Unread(UnreadReason::Encrypted));
        }
        if !attribute.is_resident() && attribute.flags().contains(NtfsAttributeFlags::COMPRESSED) {
            return Err(Failure::Unread(UnreadReason::Compressed));
        }
        Ok((len_bytes, initialized_len_bytes(&attribute, &mut cursor)?.min(len_bytes)))
    }
}

/// What an entry refers to, unless it is a short name for DOS or a metadata file.
fn named(key: &NtfsFileName, number: u64) -> Option<Record> {
    let is_shown = key.namespace() != NtfsFileNamespace::Dos && number >= FIRST_USER_RECORD;
    let is_reparse_point = key.file_attributes().contains(NtfsFileAttributeFlags::REPARSE_POINT);
    is_shown.then_some(Record { number, is_reparse_point })
}

fn time(time: NtfsTime) -> Option<SystemTime> {
    let intervals = time.nt_timestamp();
    let nanoseconds = u32::try_from(intervals % 10_000_000 * 100).ok()?;
    UNIX_EPOCH.checked_sub(FROM_1601_TO_1970)?.checked_add(Duration::new(intervals / 10_000_000, nanoseconds))
}

/// How much of the value was ever written. The crate does not tell, but it tells where the attribute is.
fn initialized_len_bytes(attribute: &NtfsAttribute<'_, '_>, cursor: &mut MeteredCursor<'_>) -> io::Result<u64> {
    let position = attribute.position().value().filter(|_| !attribute.is_resident());
    let Some(position) = position else {
        return Ok(attribute.value_length());
    };
    let mut bytes = [0; 8];
    cursor.seek(SeekFrom::Start(position.get().saturating_add(INITIALIZED_LEN_OFFSET)))?;
    cursor.read_exact(&mut bytes)?;
    // Attributes are aligned to 8 bytes, so the last two may be replaced by the sector's update sequence number. No file is
    // long enough to have anything there.
    bytes[6..].fill(0);
    Ok(u64::from_le_bytes(bytes))
}
