//! The load while the shadow copy is taken: records on both LUNs, over a session of its own.
//!
//! The session goes past the host's hold on writes, as a cluster node or a raw device would: whether the records on the shadow
//! LUNs are consistent depends on the array alone.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use lunshadow_control::InitiatorName;
use lunshadow_coordinator::{Activity, Entry, TimelineObserver};
use lunshadow_initiator::{Disk, Session};
use lunshadow_lun::LOGICAL_BLOCK_BYTES;
use lunshadow_scsi::LunAddress;
use parking_lot::Mutex;

use super::stage::{RECORD_SLOTS, TrialLun};
use crate::array::TARGET_NAME;
use crate::records::{Mark, Progress, RECORD_BYTES, RecordDisk, RecordWriter};

/// How many records are in flight.
pub(super) const LANES: usize = 64;

/// The area of records of one LUN, over iSCSI.
pub(super) struct RecordArea {
    disk: Disk,
    first_block: u64,
}

/// How many blocks a record takes.
const RECORD_BLOCKS: u64 = RECORD_BYTES as u64 / LOGICAL_BLOCK_BYTES as u64;

impl RecordDisk for RecordArea {
    async fn write_slot(&self, slot: u64, record: Bytes) -> anyhow::Result<()> {
        Ok(self.disk.write(self.first_block + slot * RECORD_BLOCKS, record).await?)
    }
}

/// The session that the load uses, and the areas of records behind it.
pub(super) struct Load {
    session: Session,
    luns: Vec<TrialLun>,
}

impl Load {
    /// Logs in.
    ///
    /// # Errors
    /// If the target refuses.
    pub(super) async fn log_in(
        portal: SocketAddr,
        initiator: &InitiatorName,
        luns: &[TrialLun],
    ) -> anyhow::Result<Self> {
        let session = Session::login(portal, initiator, TARGET_NAME).await;
        Ok(Self { session: session.context("the record writer cannot log in")?, luns: luns.to_vec() })
    }

    /// Starts a run of the writer.
    #[must_use]
    pub(super) fn start(&self, run: u64) -> RecordWriter<RecordArea> {
        let area = |lun: &TrialLun| RecordArea {
            disk: Disk::new(self.session.clone(), LunAddress::peripheral(lun.number.0)),
            first_block: lun.records_at_bytes() / u64::from(LOGICAL_BLOCK_BYTES),
        };
        RecordWriter::start(self.luns.iter().map(area).collect(), run, RECORD_SLOTS, LANES)
    }

    /// Logs out.
    ///
    /// # Errors
    /// If the connection is lost.
    pub(super) async fn log_out(self) -> anyhow::Result<()> {
        Ok(self.session.logout().await?)
    }
}

/// Notes how far the writer was before the commit was asked for and after it was answered.
pub(super) struct CommitMarks {
    progress: Arc<dyn Progress>,
    marks: Mutex<(Option<Mark>, Option<Mark>)>,
}

impl CommitMarks {
    /// Watches a writer.
    #[must_use]
    pub(super) fn new(progress: Arc<dyn Progress>) -> Self {
        Self { progress, marks: Mutex::default() }
    }

    /// Both marks.
    ///
    /// # Errors
    /// If there was no commit.
    pub(super) fn taken(&self) -> anyhow::Result<(Mark, Mark)> {
        let (before, after) = *self.marks.lock();
        before.zip(after).context("no commit was seen")
    }
}

impl TimelineObserver for CommitMarks {
    fn ended(&self, entry: &Entry) {
        let Activity::Call { method, .. } = entry.activity else { return };
        let mut marks = self.marks.lock();
        match method {
            // The commit follows this call, so all that is acknowledged now is before it.
            "PreCommitSnapshots" => marks.0 = Some(self.progress.mark()),
            // Told after the release of the host's writes, hence after the answer of the commit.
            "CommitSnapshots" => marks.1 = Some(self.progress.mark()),
            _ => {}
        }
    }
}
