//! The writer task: gives requests their numbers in the order that they leave, and waits for the command window.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use lunshadow_iscsi::pdu::{DataOut, FINAL, Pdu};
use lunshadow_iscsi::serial::SerialNumber;
use lunshadow_iscsi::transfer::data_out_slices;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::connection::Connection;
use crate::error::ConnectionError;

/// Something to send.
pub(crate) enum Outgoing {
    /// A request that takes a CmdSN, and for a write the unsolicited data behind it.
    Numbered(Pdu, Option<DataOutSequence>),
    /// A request for immediate delivery, or an answer to a NOP-In.
    Immediate(Pdu),
    /// Data that an R2T asked for.
    Data(DataOutSequence),
}

/// A sequence of Data-Out PDUs that has still to be cut.
pub(crate) struct DataOutSequence {
    /// The header of all of them but DataSN, offset and F bit.
    pub(crate) template: DataOut,
    /// All data of the task.
    pub(crate) data: Bytes,
    /// Which part of it to send, in bytes.
    pub(crate) range: Range<u32>,
}

/// The writer's end of a connection.
pub(crate) struct Writer<'a, S> {
    stream: S,
    connection: &'a Connection,
    /// Requests that wait for the command window. What needs no window overtakes them, or a full window could never open: its
    /// commands may be waiting for data.
    waiting: VecDeque<(Pdu, Option<DataOutSequence>)>,
}

impl<'a, S: AsyncWrite + Unpin> Writer<'a, S> {
    pub(crate) const fn new(stream: S, connection: &'a Connection) -> Self {
        Self { stream, connection, waiting: VecDeque::new() }
    }

    /// Sends what comes, until the connection fails.
    pub(crate) async fn run(mut self, mut work: mpsc::UnboundedReceiver<Outgoing>) -> Result<(), ConnectionError> {
        loop {
            while let Ok(outgoing) = work.try_recv() {
                self.take(outgoing).await?;
            }
            if !self.waiting.is_empty()
                && let Some((cmd_sn, exp_stat_sn)) = self.connection.take_cmd_sn()
                && let Some((request, unsolicited)) = self.waiting.pop_front()
            {
                self.send(request, cmd_sn, exp_stat_sn).await?;
                if let Some(sequence) = unsolicited {
                    self.send_sequence(sequence).await?;
                }
                continue;
            }
            tokio::select! {
                outgoing = work.recv() => match outgoing {
                    Some(outgoing) => self.take(outgoing).await?,
                    None => return Ok(()),
                },
                () = self.connection.window_moved.notified() => {}
            }
        }
    }

    async fn take(&mut self, outgoing: Outgoing) -> Result<(), ConnectionError> {
        match outgoing {
            Outgoing::Numbered(request, unsolicited) => {
                self.waiting.push_back((request, unsolicited));
                Ok(())
            }
            Outgoing::Immediate(request) => {
                let (cmd_sn, exp_stat_sn) = self.connection.current_numbers();
                self.send(request, cmd_sn, exp_stat_sn).await
            }
            Outgoing::Data(sequence) => self.send_sequence(sequence).await,
        }
    }

    async fn send_sequence(&mut self, sequence: DataOutSequence) -> Result<(), ConnectionError> {
        let DataOutSequence { template, data, range } = sequence;
        for slice in data_out_slices(&self.connection.session.parameters, range) {
            let header = DataOut {
                flags: if slice.is_final { FINAL } else { 0 },
                data_sn: slice.data_sn.into(),
                buffer_offset: slice.offset.into(),
                ..template
            };
            let start = slice.offset as usize;
            let pdu = Pdu::new(header, data.slice(start..start + slice.length as usize));
            let (cmd_sn, exp_stat_sn) = self.connection.current_numbers();
            self.send(pdu, cmd_sn, exp_stat_sn).await?;
        }
        Ok(())
    }

    async fn send(&mut self, mut pdu: Pdu, cmd_sn: SerialNumber, exp: SerialNumber) -> Result<(), ConnectionError> {
        pdu.bhs.stamp_request(cmd_sn, exp);
        let mut encoded = pdu.encode(self.connection.session.parameters.digests());
        self.stream.write_all_buf(&mut encoded).await.map_err(ConnectionError::io)
    }
}
