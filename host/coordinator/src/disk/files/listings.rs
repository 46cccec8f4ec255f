//! Parts of directories that were listed lately.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use super::reader::{Entry, Failure, Reader};
use super::volume_files::FileNumber;

/// How many entries are read at once: readers begin at the first entry, so a directory is gone through once for each so many.
const PART_ENTRIES: usize = 32_768;

/// How many are kept in all.
const KEPT_ENTRIES: usize = 65_536;

/// Whoever lists a directory asks for a few entries at a time, and then for each of them by its name.
pub(super) struct Listings<N> {
    /// The most recently used one is at the front.
    kept: VecDeque<Listing<N>>,
}

struct Listing<N> {
    directory: FileNumber,
    /// The index of the first entry that is here.
    first: u64,
    entries: Vec<Entry<N>>,
    /// No entry comes after these.
    is_end: bool,
}

impl<N> Default for Listings<N> {
    fn default() -> Self {
        Self { kept: VecDeque::new() }
    }
}

impl<N: Clone> Listings<N> {
    /// The entries from the index `from` on, or some of them; none at the end.
    pub(super) fn entries<R: Reader<Node = N>>(
        &mut self,
        reader: &R,
        directory: FileNumber,
        node: &N,
        from: u64,
    ) -> Result<&[Entry<N>], Failure> {
        let kept = self.kept.iter().position(|listing| listing.directory == directory && listing.part(from).is_some());
        match kept.and_then(|index| self.kept.remove(index)) {
            Some(listing) => self.kept.push_front(listing),
            None => {
                let listing = read(reader, directory, node, from)?;
                self.keep(listing);
            }
        }
        Ok(self.kept.front().and_then(|listing| listing.part(from)).unwrap_or_default())
    }

    /// The entry of a name, None if there is none; or None if the directory is not here as a whole.
    pub(super) fn find(&self, directory: FileNumber, name: &[u8]) -> Option<Option<N>> {
        let is_whole = |listing: &&Listing<N>| listing.directory == directory && listing.first == 0 && listing.is_end;
        let listing = self.kept.iter().find(is_whole)?;
        Some(listing.entries.iter().find(|entry| entry.name == name).map(|entry| entry.node.clone()))
    }

    pub(super) fn forget(&mut self, directory: FileNumber) {
        self.kept.retain(|listing| listing.directory != directory);
    }

    fn keep(&mut self, listing: Listing<N>) {
        self.kept.push_front(listing);
        let mut entries = 0;
        self.kept.retain(|listing| {
            // So many count as entries as an empty directory takes memory.
            entries += listing.entries.len() + 1;
            entries <= KEPT_ENTRIES
        });
    }
}

impl<N> Listing<N> {
    /// What is here of what begins at `from`, if that is here.
    fn part(&self, from: u64) -> Option<&[Entry<N>]> {
        let index = usize::try_from(from.checked_sub(self.first)?).ok()?;
        let is_here = index < self.entries.len() || self.is_end;
        is_here.then(|| self.entries.get(index..).unwrap_or_default())
    }
}

fn read<R: Reader>(reader: &R, directory: FileNumber, node: &R::Node, first: u64) -> Result<Listing<R::Node>, Failure> {
    let (mut index, mut entries, mut is_end) = (0, Vec::new(), true);
    reader.list(node, &mut |entry| {
        if entries.len() == PART_ENTRIES {
            is_end = false;
            return ControlFlow::Break(());
        }
        if is_shown(&entry.name) {
            if index >= first {
                entries.push(entry);
            }
            index += 1;
        }
        ControlFlow::Continue(())
    })?;
    Ok(Listing { directory, first, entries, is_end })
}

/// Whether a name can be one of a file here. Damage and other systems make such that cannot.
fn is_shown(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/') && !name.contains(&0)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::disk::files::reader::{Attributes, FileKind, Space, Visit};

    /// Directories of so many entries, which are called by their numbers.
    struct Numbers {
        listed: Cell<u32>,
    }

    impl Reader for Numbers {
        type Node = u64;
        type Open = ();

        fn root(&self) -> u64 {
            0
        }

        fn number(&self, node: &u64) -> Option<u64> {
            Some(*node)
        }

        fn list(&self, directory: &u64, visit: &mut Visit<'_, u64>) -> Result<(), Failure> {
            self.listed.set(self.listed.get() + 1);
            for node in 0..*directory {
                // Such names are no files'.
                let impossible = Entry { name: b"a/b".to_vec(), kind: FileKind::File, node };
                let entry = Entry { name: node.to_string().into_bytes(), kind: FileKind::File, node };
                if visit(impossible).is_break() || visit(entry).is_break() {
                    break;
                }
            }
            Ok(())
        }

        fn attributes(&self, _node: &u64) -> Result<Attributes, Failure> {
            Err(Failure::WrongKind)
        }

        fn open(&self, _node: &u64, _position: u64) -> Result<(), Failure> {
            Err(Failure::WrongKind)
        }

        fn read(&self, _open: &mut (), _into: &mut [u8]) -> Result<usize, Failure> {
            Err(Failure::WrongKind)
        }

        fn target(&self, _link: &u64) -> Result<Vec<u8>, Failure> {
            Err(Failure::WrongKind)
        }

        fn space(&self) -> Result<Space, Failure> {
            Err(Failure::WrongKind)
        }
    }

    /// Goes through a directory as the kernel does.
    fn gone_through(listings: &mut Listings<u64>, reader: &Numbers, len: u64) -> Vec<u64> {
        let mut found = Vec::new();
        loop {
            let from = u64::try_from(found.len()).unwrap();
            let entries = listings.entries(reader, FileNumber(len), &len, from).unwrap();
            if entries.is_empty() {
                return found;
            }
            found.extend(entries.iter().take(1000).map(|entry| entry.node));
        }
    }

    #[test]
    fn a_directory_is_gone_through_once_for_each_part() {
        let (mut listings, reader) = (Listings::default(), Numbers { listed: Cell::new(0) });
        for (len, parts) in [(0, 1), (1, 1), (32_768, 1), (32_769, 2), (100_000, 4)] {
            assert!(gone_through(&mut listings, &reader, len).into_iter().eq(0..len), "{len}");
            assert_eq!(reader.listed.take(), parts, "{len}");
            assert!(listings.kept.iter().map(|listing| listing.entries.len()).sum::<usize>() <= KEPT_ENTRIES);
        }
    }

    #[test]
    fn names_are_found_in_directories_that_are_here_as_a_whole() {
        let (mut listings, reader) = (Listings::default(), Numbers { listed: Cell::new(0) });
        assert_eq!(listings.find(FileNumber(10), b"7"), None);
        gone_through(&mut listings, &reader, 10);
        gone_through(&mut listings, &reader, 40_000);
        assert_eq!(listings.find(FileNumber(10), b"7"), Some(Some(7)));
        assert_eq!(listings.find(FileNumber(10), b"10"), Some(None));
        assert_eq!(listings.find(FileNumber(10), b"a/b"), Some(None));
        // Of this only parts are here.
        assert_eq!(listings.find(FileNumber(40_000), b"7"), None);
        listings.forget(FileNumber(10));
        assert_eq!(listings.find(FileNumber(10), b"7"), None);
    }
}
