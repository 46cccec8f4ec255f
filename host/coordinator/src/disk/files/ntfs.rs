//! Files of an NTFS volume, by `ntfs`.

use std::collections::HashSet;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::ControlFlow;

use ntfs::structured_values::{NtfsFileAttributeFlags, NtfsFileNamespace};
use ntfs::{KnownNtfsFileRecordNumber, Ntfs, NtfsAttribute, NtfsAttributeFlags};

use super::UnreadReason;
use super::walk::{Damage, FoundFile, MeteredCursor, Walk, join};
use crate::disk::{DiskIo, Volume};

/// The first file record that is not set aside for metadata files.
const FIRST_USER_RECORD: u64 = 24;

/// Where the header of a non-resident attribute has the length of the initialised part of the value.
const INITIALIZED_LEN_OFFSET: u64 = 0x38;

pub(super) fn walk(disk: &dyn DiskIo, volume: &Volume, walk: &mut Walk<'_, '_>) -> Result<(), Damage> {
    let mut cursor = walk.cursor(disk, volume);
    let ntfs = Ntfs::new(&mut cursor)?;
    let root = KnownNtfsFileRecordNumber::RootDirectory as u64;
    let mut seen = HashSet::from([root]);
    let mut directories = vec![(String::new(), 0, root)];
    while let Some((directory, depth, record_number)) = directories.pop() {
        for named in read_directory(&ntfs, &mut cursor, record_number, depth, walk)? {
            let path = join(&directory, &named.name);
            let flow = if named.is_link {
                walk.show_unread(&path, named.len_bytes, UnreadReason::Link)?
            } else if !named.is_directory {
                show_file(&ntfs, &mut cursor, named.record_number, &path, walk)?
            } else if !seen.insert(named.record_number) {
                return Err(Damage(format!("{path}: the directory has a second name")));
            } else {
                if walk.enters(&path) {
                    directories.push((path, depth + 1, named.record_number));
                }
                continue;
            };
            if flow.is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// An entry of a directory.
struct Named {
    name: String,
    record_number: u64,
    len_bytes: u64,
    is_directory: bool,
    is_link: bool,
}

/// The entries of a directory, less the metadata files and the short names that files have for DOS beside their own.
fn read_directory(
    ntfs: &Ntfs,
    cursor: &mut MeteredCursor<'_>,
    record_number: u64,
    depth: usize,
    walk: &mut Walk<'_, '_>,
) -> Result<Vec<Named>, Damage> {
    let directory = ntfs.file(cursor, record_number)?;
    let index = directory.directory_index(cursor)?;
    let mut entries = index.entries();
    let mut found = Vec::new();
    while let Some(entry) = entries.next(cursor) {
        let entry = entry?;
        walk.count_entry(depth)?;
        let Some(key) = entry.key().transpose()? else {
            continue;
        };
        let record_number = entry.file_reference().file_record_number();
        if key.namespace() == NtfsFileNamespace::Dos || record_number < FIRST_USER_RECORD {
            continue;
        }
        found.push(Named {
            name: key.name().to_string_lossy(),
            record_number,
            len_bytes: key.data_size(),
            is_directory: key.is_directory(),
            is_link: key.file_attributes().contains(NtfsFileAttributeFlags::REPARSE_POINT),
        });
    }
    Ok(found)
}

/// Shows the unnamed stream of a file.
fn show_file(
    ntfs: &Ntfs,
    cursor: &mut MeteredCursor<'_>,
    record_number: u64,
    path: &str,
    walk: &mut Walk<'_, '_>,
) -> Result<ControlFlow<()>, Damage> {
    let file = ntfs.file(cursor, record_number)?;
    let Some(item) = file.data(cursor, "").transpose()? else {
        return walk.show(FoundFile { path, len_bytes: 0, unread: None }, &mut io::empty());
    };
    let attribute = item.to_attribute()?;
    let len_bytes = attribute.value_length();
    // Both flags say how clusters are filled. A value within the file record has none.
    if !attribute.is_resident() && attribute.flags().contains(NtfsAttributeFlags::ENCRYPTED) {
        return walk.show_unread(path, len_bytes, UnreadReason::Encrypted);
    }
    if !attribute.is_resident() && attribute.flags().contains(NtfsAttributeFlags::COMPRESSED) {
        return walk.show_unread(path, len_bytes, UnreadReason::Compressed);
    }
    let initialized_len = initialized_len_bytes(&attribute, cursor)?.min(len_bytes);
    let value = attribute.value(cursor)?;
    let initialized = value.attach(cursor).take(initialized_len);
    // What was never written reads as zeros, whatever the clusters hold. The crate does not know that.
    let mut content = initialized.chain(io::repeat(0).take(len_bytes - initialized_len));
    walk.show(FoundFile { path, len_bytes, unread: None }, &mut content)
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
