//! A connection's way out: numbers PDUs, and a task that writes them.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Buf;
use lunshadow_iscsi::pdu::{DigestConfig, EncodedPdu, Pdu};
use lunshadow_iscsi::sequence::{CmdSnVerdict, CmdSnWindow};
use lunshadow_iscsi::serial::SerialNumber;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::tasks::Slot;

/// PDUs that may wait to be written. A full queue stops the connection's reader, and nobody else.
const QUEUE_PDUS: usize = 32;
/// PDUs that go out in one write.
const BATCH_PDUS: usize = 16;

/// Numbers the target's PDUs in the order in which they leave (RFC 7143 4.2.2) and queues them.
pub(crate) struct Outlet {
    queue: mpsc::Sender<Pdu>,
    /// One task, which ends with the outlet.
    writer: JoinSet<io::Result<()>>,
    stat_sn: SerialNumber,
    window: CmdSnWindow<Pdu>,
    /// Places of the window that have opened again and that the window does not know of yet.
    opened: Arc<AtomicU32>,
    /// How many places the window is to have.
    depth: u32,
    /// How many of those that open again stay closed, because the window has too many.
    surplus: u32,
}

/// The connection cannot be written to any more.
#[derive(Debug, thiserror::Error)]
#[error("the connection cannot be written to")]
pub(crate) struct Closed;

impl Outlet {
    pub(crate) fn new(
        writer: impl AsyncWrite + Send + Unpin + 'static,
        digests: DigestConfig,
        (stat_sn, cmd_sn): (SerialNumber, SerialNumber),
        depth: u32,
        answer_time: Duration,
    ) -> Self {
        let (queue, queued) = mpsc::channel(QUEUE_PDUS);
        let mut task = JoinSet::new();
        task.spawn(write(writer, digests, queued, answer_time));
        let window = CmdSnWindow::new(cmd_sn, depth);
        Self { queue, writer: task, stat_sn, window, opened: Arc::default(), depth, surplus: 0 }
    }

    /// Gives the window another depth. It becomes smaller only as commands end, since MaxCmdSN never goes back.
    pub(crate) fn resize(&mut self, depth: u32) {
        let (more, fewer) = (depth.saturating_sub(self.depth), self.depth.saturating_sub(depth));
        self.depth = depth;
        let back = more.min(self.surplus);
        self.surplus = self.surplus - back + fewer;
        for _ in back..more {
            self.window.release();
        }
    }

    /// Puts a request that is not immediate in its place; appends what is now in order to `ready`.
    pub(crate) fn accept(&mut self, cmd_sn: SerialNumber, request: Pdu, ready: &mut Vec<Pdu>) -> CmdSnVerdict {
        self.open_window();
        self.window.accept(cmd_sn, request, ready)
    }

    /// Counts a request as received that was aborted before it could be taken; appends what is now in order to `ready`.
    pub(crate) fn pass_over(&mut self, cmd_sn: SerialNumber, request: SerialNumber, ready: &mut Vec<Pdu>) -> bool {
        self.open_window();
        self.window.pass_over(cmd_sn, request, ready)
    }

    /// The place in the window of a request that is in order.
    pub(crate) fn slot(&self) -> Slot {
        Slot::new(&self.opened)
    }

    /// Queues a PDU, waiting while the initiator does not read.
    pub(crate) async fn send(&mut self, mut pdu: Pdu) -> Result<(), Closed> {
        self.open_window();
        pdu.bhs.stamp_response(self.stat_sn, self.window.exp_cmd_sn(), self.window.max_cmd_sn());
        if pdu.bhs.consumes_stat_sn() {
            self.stat_sn = self.stat_sn.next();
        }
        self.queue.send(pdu).await.map_err(|_| Closed)
    }

    /// Waits until all that was queued has been written, or an initiator that does not read has had its time.
    pub(crate) async fn finish(mut self, at_most: Duration) -> io::Result<()> {
        drop(self.queue);
        match tokio::time::timeout(at_most, self.writer.join_next()).await {
            Ok(Some(written)) => written.map_err(io::Error::other)?,
            Ok(None) => Ok(()),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    fn open_window(&mut self) {
        for _ in 0..self.opened.swap(0, Ordering::AcqRel) {
            if self.surplus > 0 {
                self.surplus -= 1;
            } else {
                self.window.release();
            }
        }
    }
}

async fn write(
    mut writer: impl AsyncWrite + Send + Unpin,
    digests: DigestConfig,
    mut queued: mpsc::Receiver<Pdu>,
    answer_time: Duration,
) -> io::Result<()> {
    let mut pdus = Vec::with_capacity(BATCH_PDUS);
    while queued.recv_many(&mut pdus, BATCH_PDUS).await > 0 {
        let mut batch = Batch(pdus.drain(..).map(|pdu| pdu.encode(digests)).collect());
        while batch.has_remaining() {
            let written = tokio::time::timeout(answer_time, writer.write_buf(&mut batch)).await;
            if written.map_err(|_| io::ErrorKind::TimedOut)?? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
    }
    writer.shutdown().await
}

/// PDUs one behind the other, so that one vectored write takes headers and data of all of them.
struct Batch(VecDeque<EncodedPdu>);

impl Buf for Batch {
    fn remaining(&self) -> usize {
        self.0.iter().map(Buf::remaining).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.0.front().map_or(&[], |pdu| pdu.chunk())
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for pdu in &self.0 {
            filled += pdu.chunks_vectored(&mut slices[filled..]);
        }
        filled
    }

    fn advance(&mut self, mut bytes: usize) {
        while let Some(pdu) = self.0.front_mut() {
            let passed = bytes.min(pdu.remaining());
            pdu.advance(passed);
            bytes -= passed;
            if pdu.has_remaining() {
                break;
            }
            self.0.pop_front();
        }
        assert!(bytes == 0, "cannot advance past the end of a batch");
    }
}
