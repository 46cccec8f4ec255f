//! A connection's way out: numbers PDUs and writes them, while commands go on.
//!
//! Nothing waits for an initiator that does not read, but the connection's reader, which takes no more requests then.

use std::collections::VecDeque;
use std::future::{Future as _, poll_fn};
use std::io::{self, IoSlice};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Buf;
use lunshadow_iscsi::pdu::{DigestConfig, EncodedPdu, Pdu};
use lunshadow_iscsi::sequence::{CmdSnVerdict, CmdSnWindow};
use lunshadow_iscsi::serial::SerialNumber;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::tasks::Slot;

/// With so many PDUs to be written, no more requests are read.
const QUEUE_PDUS: usize = 32;

/// Numbers the target's PDUs in the order in which they leave (RFC 7143 4.2.2) and writes them.
pub(crate) struct Outlet<W> {
    writer: W,
    digests: DigestConfig,
    queue: Batch,
    /// How long an initiator may take none of what is to be written.
    answer_time: Duration,
    /// When that is over, once a write has found that the initiator has to read first.
    deadline: Option<Instant>,
    stat_sn: SerialNumber,
    window: CmdSnWindow<Pdu>,
    /// The last MaxCmdSN that was sent.
    told_max_cmd_sn: SerialNumber,
    /// Places of the window that have opened again and that the window does not know of yet.
    opened: Arc<AtomicU32>,
    /// How many places the window is to have.
    depth: u32,
    /// How many of those that open again stay closed, because the window has too many.
    surplus: u32,
}

impl<W: AsyncWrite + Unpin> Outlet<W> {
    pub(crate) fn new(
        writer: W,
        digests: DigestConfig,
        (stat_sn, cmd_sn): (SerialNumber, SerialNumber),
        depth: u32,
        answer_time: Duration,
    ) -> Self {
        let window = CmdSnWindow::new(cmd_sn, depth);
        Self {
            writer,
            digests,
            queue: Batch::default(),
            answer_time,
            deadline: None,
            stat_sn,
            told_max_cmd_sn: window.max_cmd_sn(),
            window,
            opened: Arc::default(),
            depth,
            surplus: 0,
        }
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

    /// Puts a request that is not immediate in its place.
    pub(crate) fn accept(&mut self, cmd_sn: SerialNumber, request: Pdu) -> CmdSnVerdict<Pdu> {
        self.open_window();
        self.window.accept(cmd_sn, request)
    }

    /// The request that waits and is in order now.
    pub(crate) fn take_next(&mut self) -> Option<Pdu> {
        self.window.take_next()
    }

    /// Takes back that the last request in order was received. Its [slot](Self::slot) must have been dropped, and nothing sent since.
    pub(crate) fn take_back(&mut self) {
        self.window.take_back();
        self.opened.fetch_sub(1, Ordering::AcqRel);
    }

    /// Counts a request as received that was aborted before it could be taken.
    pub(crate) fn pass_over(&mut self, cmd_sn: SerialNumber, request: SerialNumber) -> bool {
        self.open_window();
        self.window.pass_over(cmd_sn, request)
    }

    /// Whether the window has opened further than any PDU has told the initiator, and none is to be written that could.
    pub(crate) fn has_more_to_tell(&mut self) -> bool {
        self.open_window();
        self.is_empty() && self.window.max_cmd_sn() != self.told_max_cmd_sn
    }

    /// The place in the window of a request that is in order.
    pub(crate) fn slot(&self) -> Slot {
        Slot::new(&self.opened)
    }

    /// Queues a PDU. What bounds the memory of its data is kept until it has been written.
    pub(crate) fn send(&mut self, mut pdu: Pdu, room: Option<OwnedSemaphorePermit>) {
        self.open_window();
        // RFC 7143 §4.2.2.1 MUST NOT: a response comes before the command is acknowledged.
        // RFC 7143 §4.2.2.2 MUST: responses are numbered by StatSN.
        pdu.bhs.stamp_response(self.stat_sn, self.window.exp_cmd_sn(), self.window.max_cmd_sn());
        self.told_max_cmd_sn = self.window.max_cmd_sn();
        if pdu.bhs.consumes_stat_sn() {
            self.stat_sn = self.stat_sn.next();
        }
        // RFC 7143 §13.1 MUST: a digest that was agreed on is in every PDU of the full feature phase.
        self.queue.0.push_back((pdu.encode(self.digests), room));
    }

    /// The number of the next answer.
    pub(crate) const fn next_stat_sn(&self) -> SerialNumber {
        self.stat_sn
    }

    /// Whether there is nothing to be written.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.0.is_empty()
    }

    /// Whether so much is to be written that nothing more should be asked for.
    pub(crate) fn is_full(&self) -> bool {
        self.queue.0.len() >= QUEUE_PDUS
    }

    /// Writes all that is queued.
    ///
    /// # Errors
    /// Also if the initiator takes nothing for too long. May be dropped at any await and called again.
    pub(crate) async fn write(&mut self) -> io::Result<()> {
        if let Poll::Ready(written) = poll_fn(|context| Poll::Ready(self.poll_write(context))).await {
            return written;
        }
        while let Some(deadline) = self.deadline {
            match tokio::time::timeout_at(deadline, poll_fn(|context| self.poll_write(context))).await {
                Ok(written) => return written,
                // Something was taken since.
                Err(_) if self.deadline.is_some_and(|later| later > deadline) => {}
                Err(_) => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
        Ok(())
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.queue.0.is_empty() {
            match pin!(self.writer.write_buf(&mut self.queue)).poll(context) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(_)) => self.deadline = None,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.deadline.get_or_insert_with(|| Instant::now() + self.answer_time);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Waits until all that was queued has been written, or an initiator that does not read has had its time.
    pub(crate) async fn finish(mut self, at_most: Duration) -> io::Result<()> {
        let finishing = async {
            self.write().await?;
            self.writer.shutdown().await
        };
        tokio::time::timeout(at_most, finishing).await.map_err(|_| io::ErrorKind::TimedOut)?
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

/// PDUs one behind the other, so that one vectored write takes headers and data of all of them.
#[derive(Default)]
struct Batch(VecDeque<(EncodedPdu, Option<OwnedSemaphorePermit>)>);

impl Buf for Batch {
    fn remaining(&self) -> usize {
        self.0.iter().map(|(pdu, _)| pdu.remaining()).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.0.front().map_or(&[], |(pdu, _)| pdu.chunk())
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (pdu, _) in &self.0 {
            if filled == slices.len() {
                break;
            }
            filled += pdu.chunks_vectored(&mut slices[filled..]);
        }
        filled
    }

    fn advance(&mut self, mut bytes: usize) {
        while let Some((pdu, _)) = self.0.front_mut() {
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
