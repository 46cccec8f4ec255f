//! Numbered records in dependent order: the load that runs while a shadow copy is taken, and the proof on the shadow LUNs.
//!
//! Many lanes write at once, over all disks in turn. A record says which records had been acknowledged before it was issued: all
//! below `all_before`, and `previous`, the one that its own lane wrote last. An application that writes like this relies on its
//! storage never to show a record without the ones that it depends on, and neither may a shadow copy: if a record is there, all
//! that it depends on are there, on whatever disk they are.
//!
//! Each disk has an area of slots, used as a ring; a record's number decides its disk and slot. A record that is no longer there
//! because a later one took its slot counts as there. Each run of the writer has a number of its own: what an earlier run left in
//! the areas counts as nothing.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, bail};
use bytes::{BufMut as _, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// The length of a record: one physical block.
pub const RECORD_BYTES: usize = 4096;

/// Marks a slot that holds a record.
const MAGIC: [u8; 8] = *b"LSRECORD";

/// Where a lane's first record points to: no previous one.
const NONE: u64 = u64::MAX;

/// A disk that records are written to.
pub trait RecordDisk: Send + Sync + 'static {
    /// Writes a record into a slot of this disk's area and returns when the disk has acknowledged it.
    fn write_slot(&self, slot: u64, record: Bytes) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// The shape of the areas, equal on all disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Areas {
    /// How many disks take part.
    pub disk_count: u64,
    /// How many slots each disk has.
    pub slots_per_disk: u64,
}

impl Areas {
    fn total_slots(self) -> u64 {
        self.disk_count * self.slots_per_disk
    }

    /// The disk and slot of a record.
    fn place(self, number: u64) -> (u64, u64) {
        (number % self.disk_count, number / self.disk_count % self.slots_per_disk)
    }

    /// The latest record below `limit` that belongs into a slot, if there is one.
    fn latest_below(self, limit: u64, disk: u64, slot: u64) -> Option<u64> {
        let first = slot * self.disk_count + disk;
        let last = limit.checked_sub(1)?.checked_sub(first)?;
        Some(first + last / self.total_slots() * self.total_slots())
    }
}

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// The run of the writer that it belongs to.
    pub run: u64,
    /// Its number: 0, 1, 2 … in the order in which records were issued.
    pub number: u64,
    /// All records below this number had been acknowledged when this one was issued.
    pub all_before: u64,
    /// The record that this one's lane had written, and seen acknowledged, before.
    pub previous: Option<u64>,
}

impl Record {
    /// The bytes of the record: a checksum protects all of them, so that a torn record is told from a whole one.
    fn encode(self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(RECORD_BYTES);
        bytes.put_slice(&MAGIC);
        bytes.put_u64_le(self.run);
        bytes.put_u64_le(self.number);
        bytes.put_u64_le(self.all_before);
        bytes.put_u64_le(self.previous.unwrap_or(NONE));
        // The rest of the block differs from record to record, so that mixed halves of two records cannot look whole.
        while bytes.len() < RECORD_BYTES - 8 {
            bytes.put_u64_le((self.number ^ self.run << 48).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ bytes.len() as u64);
        }
        let checksum = crc32c::crc32c(&bytes);
        bytes.put_u32_le(checksum);
        bytes.put_u32_le(0);
        bytes.freeze()
    }

    /// Reads a slot: `Ok(None)` if nothing was written there in this run.
    fn decode(slot: &[u8], run: u64) -> anyhow::Result<Option<Self>> {
        if slot.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let word = |at: usize| -> anyhow::Result<u64> {
            let bytes = slot.get(at..at + 8).context("the slot is too short")?;
            Ok(u64::from_le_bytes(bytes.try_into()?))
        };
        let checksum = crc32c::crc32c(slot.get(..RECORD_BYTES - 8).context("the slot is too short")?);
        if slot[..8] != MAGIC || word(RECORD_BYTES - 8)? != u64::from(checksum) {
            bail!("a torn or foreign record");
        }
        let previous = word(32)?;
        let previous = (previous != NONE).then_some(previous);
        let record = Self { run: word(8)?, number: word(16)?, all_before: word(24)?, previous };
        Ok((record.run == run).then_some(record))
    }
}

/// How far the writer was at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// All records below this number were acknowledged.
    pub acknowledged_below: u64,
    /// Records from this number on had not been issued.
    pub issued_below: u64,
}

#[derive(Default)]
struct Ledger {
    next: u64,
    in_flight: BTreeSet<u64>,
    in_flight_max: usize,
}

impl Ledger {
    fn mark(&self) -> Mark {
        Mark { acknowledged_below: self.in_flight.first().copied().unwrap_or(self.next), issued_below: self.next }
    }
}

struct Shared<D> {
    disks: Vec<D>,
    run: u64,
    areas: Areas,
    ledger: Mutex<Ledger>,
    acknowledged: Notify,
    stop: AtomicBool,
}

/// The writer: runs from [`RecordWriter::start`] until [`RecordWriter::stop`].
pub struct RecordWriter<D> {
    shared: Arc<Shared<D>>,
    lanes: JoinSet<anyhow::Result<()>>,
}

/// Reads how far a writer is, from any thread.
pub trait Progress: Send + Sync {
    /// How far the writer is now.
    fn mark(&self) -> Mark;
}

impl<D: Send + Sync> Progress for Shared<D> {
    fn mark(&self) -> Mark {
        self.ledger.lock().mark()
    }
}

impl<D: RecordDisk> RecordWriter<D> {
    /// Starts `lane_count` lanes: that many records are in flight all the time.
    pub fn start(disks: Vec<D>, run: u64, slots_per_disk: u64, lane_count: usize) -> Self {
        let areas = Areas { disk_count: disks.len() as u64, slots_per_disk };
        let shared = Arc::new(Shared {
            disks,
            run,
            areas,
            ledger: Mutex::default(),
            acknowledged: Notify::new(),
            stop: AtomicBool::new(false),
        });
        let mut lanes = JoinSet::new();
        for _ in 0..lane_count {
            lanes.spawn(run_lane(Arc::clone(&shared)));
        }
        Self { shared, lanes }
    }

    /// The shape of the areas.
    pub fn areas(&self) -> Areas {
        self.shared.areas
    }

    /// A reader of the writer's progress.
    pub fn progress(&self) -> Arc<dyn Progress> {
        Arc::clone(&self.shared) as Arc<dyn Progress>
    }

    /// Waits until `count` records are acknowledged from now on, or a lane has failed.
    pub async fn wait_for(&mut self, count: u64) -> anyhow::Result<()> {
        let until = self.shared.mark().acknowledged_below + count;
        loop {
            let acknowledged = self.shared.acknowledged.notified();
            if self.shared.mark().acknowledged_below >= until {
                return Ok(());
            }
            tokio::select! {
                () = acknowledged => {}
                ended = self.lanes.join_next() => ended.context("the record writer has ended")???,
            }
        }
    }

    /// Stops all lanes, waits for what is in flight, and tells how many records were written and how many were in flight at most.
    pub async fn stop(mut self) -> anyhow::Result<(u64, usize)> {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.acknowledged.notify_waiters();
        while let Some(ended) = self.lanes.join_next().await {
            ended??;
        }
        let ledger = self.shared.ledger.lock();
        Ok((ledger.next, ledger.in_flight_max))
    }
}

async fn run_lane<D: RecordDisk>(shared: Arc<Shared<D>>) -> anyhow::Result<()> {
    let mut previous = None;
    while !shared.stop.load(Ordering::Acquire) {
        let notified = shared.acknowledged.notified();
        let Some(record) = issue(&shared, previous) else {
            notified.await;
            continue;
        };
        let (disk, slot) = shared.areas.place(record.number);
        let disk = &shared.disks[usize::try_from(disk).context("the number of disks is small")?];
        let written = disk.write_slot(slot, record.encode()).await;
        shared.ledger.lock().in_flight.remove(&record.number);
        shared.acknowledged.notify_waiters();
        written.with_context(|| format!("record {} was not written", record.number))?;
        previous = Some(record.number);
    }
    Ok(())
}

/// Takes the next number, unless its slot may still be in use by a record in flight.
fn issue<D>(shared: &Shared<D>, previous: Option<u64>) -> Option<Record> {
    let mut ledger = shared.ledger.lock();
    let Mark { acknowledged_below, issued_below: number } = ledger.mark();
    if number >= acknowledged_below + shared.areas.total_slots() {
        return None;
    }
    ledger.next += 1;
    ledger.in_flight.insert(number);
    ledger.in_flight_max = ledger.in_flight_max.max(ledger.in_flight.len());
    Some(Record { run: shared.run, number, all_before: acknowledged_below, previous })
}

/// What the areas of the shadow LUNs say.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RecordVerdict {
    /// How many records are there.
    pub found: u64,
    /// The highest number among them.
    pub highest: Option<u64>,
    /// All records below this number have to be there, because some record says so or because they were acknowledged before the
    /// commit began.
    pub all_below: u64,
    /// What is wrong; empty if the records form a prefix of what was written.
    pub violations: Vec<String>,
}

impl RecordVerdict {
    /// Whether the proof holds: there are records, and nothing is wrong with them.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.found > 0 && self.violations.is_empty()
    }
}

/// Judges the areas as they were read from the shadow LUNs, one byte array a disk. `before` was taken before the commit was
/// asked for, `after` once it was answered.
///
/// # Errors
/// If an area is shorter than its slots.
pub fn judge(areas: Areas, run: u64, contents: &[Bytes], before: Mark, after: Mark) -> anyhow::Result<RecordVerdict> {
    let mut violations = Vec::new();
    let mut found = Vec::new();
    for (disk, content) in contents.iter().enumerate() {
        let mut records = Vec::new();
        for slot in 0..usize::try_from(areas.slots_per_disk)? {
            let bytes =
                content.get(slot * RECORD_BYTES..(slot + 1) * RECORD_BYTES).context("the area was not read whole")?;
            records.push(match Record::decode(bytes, run) {
                Ok(Some(record)) if areas.place(record.number) != (disk as u64, slot as u64) => {
                    violations.push(format!("record {} is in a slot that is not its own", record.number));
                    None
                }
                Ok(record) => record,
                Err(error) => {
                    violations.push(format!("disk {disk}, slot {slot}: {error}"));
                    None
                }
            });
        }
        found.push(records);
    }
    let records: Vec<Record> = found.iter().flatten().filter_map(|record| *record).collect();
    let all_below =
        records.iter().map(|record| record.all_before).chain([before.acknowledged_below]).max().unwrap_or_default();
    for (disk, slots) in found.iter().enumerate() {
        for (slot, record) in slots.iter().enumerate() {
            let needed = areas.latest_below(all_below, disk as u64, slot as u64);
            if let Some(needed) = needed.filter(|needed| record.is_none_or(|record| record.number < *needed)) {
                violations.push(format!("record {needed} is missing, though records depend on all below {all_below}"));
            }
        }
    }
    for record in &records {
        if record.number >= after.issued_below {
            violations.push(format!("record {} was written after the commit", record.number));
        }
        let Some(previous) = record.previous else { continue };
        let (disk, slot) = areas.place(previous);
        let there = found[usize::try_from(disk)?][usize::try_from(slot)?];
        if there.is_none_or(|there: Record| there.number < previous) {
            violations.push(format!("record {} is there without record {previous}", record.number));
        }
    }
    let highest = records.iter().map(|record| record.number).max();
    Ok(RecordVerdict { found: records.len() as u64, highest, all_below, violations })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AREAS: Areas = Areas { disk_count: 2, slots_per_disk: 8 };

    /// Areas after the given records were written, one after the other.
    fn areas_with(records: impl IntoIterator<Item = u64>, lag: u64) -> Vec<Bytes> {
        let mut contents = vec![vec![0; 8 * RECORD_BYTES]; 2];
        for number in records {
            let record = Record {
                run: 2,
                number,
                all_before: number.saturating_sub(lag),
                previous: number.checked_sub(lag + 1),
            };
            let (disk, slot) = AREAS.place(number);
            let at = usize::try_from(slot).unwrap() * RECORD_BYTES;
            contents[usize::try_from(disk).unwrap()][at..at + RECORD_BYTES].copy_from_slice(&record.encode());
        }
        contents.into_iter().map(Bytes::from).collect()
    }

    fn judged(contents: &[Bytes], before: u64, after: u64) -> RecordVerdict {
        let mark = |below| Mark { acknowledged_below: below, issued_below: below };
        judge(AREAS, 2, contents, mark(before), mark(after)).unwrap()
    }

    #[test]
    fn every_prefix_holds_before_and_after_the_ring_wraps() {
        for end in 1..50 {
            let verdict = judged(&areas_with(0..end, 3), 0, end);
            assert!(verdict.holds(), "{verdict:?}");
            assert_eq!(verdict.highest, Some(end - 1));
        }
    }

    #[test]
    fn records_that_nothing_depends_on_may_be_missing() {
        let in_flight_missing = (0..30).filter(|number| *number != 28);
        assert!(judged(&areas_with(in_flight_missing, 3), 0, 30).holds());
    }

    #[test]
    fn a_missing_record_that_others_depend_on_is_found() {
        let with_hole = (0..30).filter(|number| *number != 20);
        let verdict = judged(&areas_with(with_hole, 3), 0, 30);
        assert!(verdict.violations.iter().any(|violation| violation.contains("record 20 is missing")), "{verdict:?}");
    }

    #[test]
    fn one_disk_captured_later_than_the_other_is_found() {
        let early = areas_with(0..20, 3);
        let late = areas_with(0..40, 3);
        assert!(!judged(&[early[0].clone(), late[1].clone()], 0, 40).holds());
    }

    #[test]
    fn an_acknowledged_record_that_is_missing_is_found() {
        assert!(!judged(&areas_with(0..20, 3), 25, 40).holds());
    }

    #[test]
    fn a_record_from_after_the_commit_is_found() {
        assert!(!judged(&areas_with(0..20, 3), 0, 15).holds());
    }

    #[test]
    fn a_torn_record_is_found() {
        let mut contents = areas_with(0..20, 3);
        let mut torn = contents[0].to_vec();
        torn[512..1024].fill(0);
        contents[0] = torn.into();
        assert!(!judged(&contents, 0, 20).holds());
    }

    #[test]
    fn what_an_earlier_run_left_counts_as_nothing() {
        let mark = Mark { acknowledged_below: 0, issued_below: 0 };
        assert_eq!(judge(AREAS, 3, &areas_with(0..20, 3), mark, mark).unwrap().found, 0);
    }

    #[test]
    fn empty_areas_prove_nothing() {
        assert!(!judged(&areas_with([], 0), 0, 0).holds());
    }

    struct MemoryDisk(Arc<Mutex<Vec<u8>>>);

    impl RecordDisk for MemoryDisk {
        async fn write_slot(&self, slot: u64, record: Bytes) -> anyhow::Result<()> {
            tokio::task::yield_now().await;
            let at = usize::try_from(slot)? * RECORD_BYTES;
            self.0.lock()[at..at + RECORD_BYTES].copy_from_slice(&record);
            Ok(())
        }
    }

    #[tokio::test]
    async fn the_writer_keeps_all_lanes_in_flight_and_leaves_a_prefix() {
        let contents: Vec<_> = (0..2).map(|_| Arc::new(Mutex::new(vec![0; 256 * RECORD_BYTES]))).collect();
        let disks = contents.iter().map(|content| MemoryDisk(Arc::clone(content))).collect();
        let mut writer = RecordWriter::start(disks, 7, 256, 64);
        writer.wait_for(2000).await.unwrap();
        let areas = writer.areas();
        let (written, in_flight_max) = writer.stop().await.unwrap();
        assert!(written >= 2000);
        assert_eq!(in_flight_max, 64);
        let contents: Vec<_> = contents.iter().map(|content| Bytes::from(content.lock().clone())).collect();
        let end = Mark { acknowledged_below: written, issued_below: written };
        assert!(judge(areas, 7, &contents, end, end).unwrap().holds());
    }
}
