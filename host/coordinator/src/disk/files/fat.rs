//! Files of a FAT volume, by `fatfs`.

use std::io::{Read, Seek, SeekFrom};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fatfs::{Date, DirEntry, File, FileSystem, FsOptions, Time};

use super::metered::{MeteredCursor, Step};
use super::reader::{Attributes, Entry, Failure, FileKind, Reader, Space, Task, Visit};
use crate::disk::{DiskIo, Volume};

/// The most entries of a directory, whose length is limited to 2 MiB (FAT specification 1.03, "Directory structure").
const ENTRIES_MAX: usize = 65_536;

pub(super) fn with_reader<T: Task>(disk: &dyn DiskIo, volume: &Volume, task: T) -> Result<T::Output, Failure> {
    let step = Step::default();
    let cursor = MeteredCursor::new(disk, volume, step.clone());
    let file_system = FileSystem::new(cursor, FsOptions::new().update_accessed_date(false))?;
    Ok(task.run(&FatReader { file_system: &file_system, step }))
}

struct FatReader<'a, 'd> {
    file_system: &'a FileSystem<MeteredCursor<'d>>,
    step: Step,
}

impl<'a, 'd> Reader for FatReader<'a, 'd> {
    /// None for the root, which has no entry.
    type Node = Option<Rc<DirEntry<'a, MeteredCursor<'d>>>>;
    type Open = File<'a, MeteredCursor<'d>>;

    fn root(&self) -> Self::Node {
        None
    }

    fn number(&self, _node: &Self::Node) -> Option<u64> {
        None
    }

    fn list(&self, directory: &Self::Node, visit: &mut Visit<'_, Self::Node>) -> Result<(), Failure> {
        let directory = match directory {
            None => self.file_system.root_dir(),
            Some(entry) if entry.is_dir() => entry.to_dir(),
            Some(_) => return Err(Failure::WrongKind),
        };
        self.step.begin();
        for (index, entry) in directory.iter().enumerate() {
            if index == ENTRIES_MAX {
                return Err(Failure::Damaged("a directory does not end".to_owned()));
            }
            let entry = entry?;
            self.step.begin();
            let name = entry.file_name();
            if name == "." || name == ".." {
                continue;
            }
            let kind = if entry.is_dir() { FileKind::Directory } else { FileKind::File };
            if visit(Entry { name: name.into_bytes(), kind, node: Some(Rc::new(entry)) }).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn attributes(&self, node: &Self::Node) -> Result<Attributes, Failure> {
        let attributes = Attributes {
            kind: FileKind::Directory,
            len_bytes: 0,
            links: 1,
            mode: None,
            owner: None,
            accessed: None,
            modified: None,
            changed: None,
        };
        let Some(entry) = node else { return Ok(attributes) };
        let (kind, len_bytes) = if entry.is_dir() { (FileKind::Directory, 0) } else { (FileKind::File, entry.len()) };
        let modified = entry.modified();
        Ok(Attributes {
            kind,
            len_bytes,
            accessed: time(entry.accessed(), None),
            modified: time(modified.date, Some(modified.time)),
            ..attributes
        })
    }

    fn open(&self, node: &Self::Node, position: u64) -> Result<Self::Open, Failure> {
        let entry = node.as_ref().filter(|entry| !entry.is_dir()).ok_or(Failure::WrongKind)?;
        let mut file = entry.to_file();
        // Along the chain of clusters, but no farther than the file is long.
        self.step.begin_long();
        if file.seek(SeekFrom::Start(position))? != position {
            return Err(Failure::Damaged("the content is shorter than the file".to_owned()));
        }
        Ok(file)
    }

    fn read(&self, open: &mut Self::Open, into: &mut [u8]) -> Result<usize, Failure> {
        self.step.begin();
        Ok(open.read(into)?)
    }

    fn target(&self, _link: &Self::Node) -> Result<Vec<u8>, Failure> {
        Err(Failure::WrongKind)
    }

    fn space(&self) -> Result<Space, Failure> {
        // The whole table may have to be counted.
        self.step.begin_long();
        let stats = self.file_system.stats()?;
        Ok(Space {
            block_bytes: stats.cluster_size(),
            blocks: stats.total_clusters().into(),
            free_blocks: stats.free_clusters().into(),
            files: 0,
            free_files: 0,
        })
    }
}

/// A point in time as FAT has it, taken as UTC; None if it is none, as in entries that never had one.
fn time(date: Date, time: Option<Time>) -> Option<SystemTime> {
    let days = u64::try_from(days_since_1970(date)?).ok()?;
    let seconds = time.map_or(0, |time| (u64::from(time.hour) * 60 + u64::from(time.min)) * 60 + u64::from(time.sec));
    let millis = time.map_or(0, |time| u64::from(time.millis));
    UNIX_EPOCH.checked_add(Duration::from_millis((days * 86_400 + seconds) * 1000 + millis))
}

/// Counts years from March on, so that the leap day is the last of its year.
fn days_since_1970(date: Date) -> Option<i64> {
    if !(1..=12).contains(&date.month) || !(1..=31).contains(&date.day) {
        return None;
    }
    let (year, month, day) = (i64::from(date.year), i64::from(date.month), i64::from(date.day));
    let year = if month > 2 { year } else { year - 1 };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    // 719 468 days are from 1 March of year 0 to 1 January 1970.
    Some(year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_days_since_1970() {
        // By `date -u -d 1980-01-01 +%s` and so on, divided by 86 400.
        for (year, month, day, days) in [
            (1980, 1, 1, 3652),
            (1999, 12, 31, 10_956),
            (2000, 2, 29, 11_016),
            (2000, 3, 1, 11_017),
            (2026, 11, 29, 20_786),
            (2100, 3, 1, 47_541),
            (2107, 12, 31, 50_402),
        ] {
            assert_eq!(days_since_1970(Date { year, month, day }), Some(days), "{year}-{month}-{day}");
        }
        assert_eq!(days_since_1970(Date { year: 1980, month: 0, day: 0 }), None);
    }

    #[test]
    fn times_are_taken_as_utc() {
        let date = Date { year: 2026, month: 11, day: 29 };
        let noon = time(date, Some(Time { hour: 12, min: 30, sec: 58, millis: 990 })).unwrap();
        assert_eq!(noon.duration_since(UNIX_EPOCH).unwrap().as_millis(), (20_786 * 86_400 + 45_058) * 1000 + 990);
    }
}
