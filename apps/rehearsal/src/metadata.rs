//! A metadata file: a cabinet with the backup components document, the aliases and the writers.

use std::io::{self, Read, Seek, Write};

use cab::{Cabinet, CabinetBuilder, CompressionType};
use lunshadow_diskshadow::Metadata;
use serde::{Deserialize, Serialize};

/// The document, if the set is transportable.
const DOCUMENT: &str = "bcd.xml";

/// All else.
const NOTES: &str = "notes.json";

/// More than this is no document: one volume takes a few kilobytes of it.
const PART_BYTES_MAX: u64 = 64 << 20;

#[derive(Serialize, Deserialize)]
struct Notes {
    aliases: Vec<(String, String)>,
    writers: Vec<String>,
}

/// Writes the cabinet.
pub(crate) fn write(file: impl Write + Seek, metadata: &Metadata) -> io::Result<()> {
    let Metadata { document, aliases, writers } = metadata;
    let notes = serde_json::to_string_pretty(&Notes { aliases: aliases.clone(), writers: writers.clone() })?;
    let parts = document.iter().map(|document| (DOCUMENT, document.as_str())).chain([(NOTES, notes.as_str())]);
    let parts: Vec<_> = parts.collect();
    let mut builder = CabinetBuilder::new();
    let folder = builder.add_folder(CompressionType::None);
    for (name, _) in &parts {
        folder.add_file(*name);
    }
    let mut cabinet = builder.build(file)?;
    while let Some(mut writer) = cabinet.next_file()? {
        let (_, content) = parts.iter().find(|(name, _)| *name == writer.file_name()).ok_or(io::ErrorKind::NotFound)?;
        writer.write_all(content.as_bytes())?;
    }
    cabinet.finish()?;
    Ok(())
}

/// Reads a cabinet that [`write()`] wrote.
pub(crate) fn read(file: impl Read + Seek) -> io::Result<Metadata> {
    let mut cabinet = Cabinet::new(file)?;
    // Those of Windows are compressed. What is not ours is not unpacked.
    if cabinet.folder_entries().any(|folder| folder.compression_type() != CompressionType::None) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "this cabinet was not written by Lunshadow"));
    }
    let has_document = cabinet.get_file_entry(DOCUMENT).is_some();
    let document = if has_document { Some(part(&mut cabinet, DOCUMENT)?) } else { None };
    let Notes { aliases, writers } = serde_json::from_str(&part(&mut cabinet, NOTES)?)?;
    Ok(Metadata { document, aliases, writers })
}

fn part(cabinet: &mut Cabinet<impl Read + Seek>, name: &str) -> io::Result<String> {
    let mut text = String::new();
    cabinet.read_file(name)?.take(PART_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn metadata_comes_back_as_it_was() {
        let aliases = vec![("VSS_SHADOW_1".to_owned(), "{1}".to_owned()), ("Größe".to_owned(), "a b".to_owned())];
        for document in [None, Some("<backup-document/>".repeat(10_000))] {
            let metadata = Metadata { document, aliases: aliases.clone(), writers: vec!["SqlServerWriter".to_owned()] };
            let mut file = Cursor::new(Vec::new());
            write(&mut file, &metadata).unwrap();
            assert_eq!(&file.get_ref()[..4], b"MSCF");
            assert_eq!(read(Cursor::new(file.into_inner())).unwrap(), metadata);
        }
    }

    #[test]
    fn what_is_no_metadata_is_refused() {
        let mut file = Cursor::new(Vec::new());
        write(&mut file, &Metadata::default()).unwrap();
        let whole = file.into_inner();
        for len in 0..whole.len() {
            assert!(read(Cursor::new(whole[..len].to_vec())).is_err(), "{len} bytes of {}", whole.len());
        }
        assert!(read(Cursor::new(b"create\n".to_vec())).is_err());

        let mut builder = CabinetBuilder::new();
        builder.add_folder(CompressionType::MsZip).add_file(NOTES);
        let mut compressed = builder.build(Cursor::new(Vec::new())).unwrap();
        compressed.next_file().unwrap().unwrap().write_all(b"{}").unwrap();
        let compressed = compressed.finish().unwrap().into_inner();
        let refused = read(Cursor::new(compressed)).unwrap_err().to_string();
        assert!(refused.contains("not written by Lunshadow"), "{refused}");
    }
}
