//! The files that somebody refers to by number.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::reader::Reader;
use super::volume_files::FileNumber;

/// Files by number. It is as large as the number of files that are referred to.
pub(super) struct Known<N> {
    root: N,
    files: HashMap<FileNumber, File<N>>,
}

struct File<N> {
    node: N,
    references: u64,
}

impl<N> Known<N> {
    pub(super) fn new(root: N) -> Self {
        Self { root, files: HashMap::new() }
    }

    pub(super) fn node(&self, number: FileNumber) -> Option<&N> {
        if number == FileNumber::ROOT { Some(&self.root) } else { self.files.get(&number).map(|file| &file.node) }
    }

    /// Adds a reference.
    pub(super) fn refer(&mut self, number: FileNumber, node: N) {
        if number != FileNumber::ROOT {
            self.files.entry(number).or_insert(File { node, references: 0 }).references += 1;
        }
    }

    /// Takes references away. Answers whether that was the last one.
    pub(super) fn forget(&mut self, number: FileNumber, count: u64) -> bool {
        let Some(file) = self.files.get_mut(&number) else { return false };
        file.references = file.references.saturating_sub(count);
        let is_last = file.references == 0;
        if is_last {
            self.files.remove(&number);
        }
        is_last
    }
}

/// The number of an entry of a directory: that of the file system, or else one that is made of its path. That two paths of a volume with a
/// hundred million files make the same one has a chance of one in four thousand.
pub(super) fn number<R: Reader>(reader: &R, directory: FileNumber, name: &[u8], node: &R::Node) -> FileNumber {
    reader.number(node).map_or_else(
        || {
            let mut hasher = DefaultHasher::new();
            (directory, name).hash(&mut hasher);
            // 0 is no number, and 1 that of the root.
            FileNumber(hasher.finish().max(2))
        },
        FileNumber,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_until_its_last_reference_is_gone() {
        let (mut known, a) = (Known::new("root"), FileNumber(7));
        assert_eq!(known.node(FileNumber::ROOT), Some(&"root"));
        assert_eq!(known.node(a), None);
        for _ in 0..3 {
            known.refer(a, "a");
        }
        assert!(!known.forget(a, 2));
        assert_eq!(known.node(a), Some(&"a"));
        assert!(known.forget(a, 1));
        assert_eq!(known.node(a), None);
        assert!(!known.forget(a, 1));
        assert!(!known.forget(FileNumber::ROOT, 1));
        assert_eq!(known.node(FileNumber::ROOT), Some(&"root"));
    }
}
