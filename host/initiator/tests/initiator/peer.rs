//! A target that does as each test says, over any stream.

use std::num::NonZeroU16;

use bytes::{Bytes, BytesMut};
use lunshadow_initiator::{Session, SessionConfig};
use lunshadow_iscsi::login::{
    Admission, Authentication, NegotiatedSession, TargetLogin, TargetLoginConfig, TargetStep,
};
use lunshadow_iscsi::negotiation::Preferences;
use lunshadow_iscsi::pdu::{
    DataIn, DataOut, DigestConfig, FINAL, Opcode, Pdu, PduDecoder, ReadyToTransfer, Response, ScsiCommand,
    ScsiResponse, Tag,
};
use lunshadow_iscsi::sequence::{CmdSnVerdict, CmdSnWindow};
use lunshadow_iscsi::serial::SerialNumber;
use lunshadow_iscsi::transfer::{WriteTransfer, data_in_slices};
use lunshadow_scsi::{Sense, SenseFormat, Status};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};

pub(crate) const INITIATOR: &str = "iqn.2026-11.org.example:host";
pub(crate) const TARGET: &str = "iqn.2026-11.org.example:array";

/// The target's end of a connection.
pub(crate) struct Peer<S> {
    stream: S,
    decoder: PduDecoder,
    buffer: BytesMut,
    pub(crate) session: NegotiatedSession,
    pub(crate) stat_sn: SerialNumber,
    window: CmdSnWindow<()>,
}

/// A session and its peer, after a login over a stream in memory.
pub(crate) async fn connected(own: Preferences, theirs: Preferences, window: u32) -> (Session, Peer<DuplexStream>) {
    let config = SessionConfig { preferences: own, ..config() };
    connected_as(config, theirs, window).await
}

pub(crate) async fn connected_as(
    config: SessionConfig,
    theirs: Preferences,
    window: u32,
) -> (Session, Peer<DuplexStream>) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let (session, peer) = tokio::join!(Session::over(near, config), Peer::accept(far, theirs, window));
    (session.expect("the peer lets everyone in"), peer)
}

pub(crate) fn config() -> SessionConfig {
    SessionConfig::new(INITIATOR.parse().expect("a valid name"), TARGET)
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// Lets an initiator log in.
    pub(crate) async fn accept(mut stream: S, preferences: Preferences, window: u32) -> Self {
        let mut login = TargetLogin::new(TargetLoginConfig {
            preferences,
            command_window: window,
            first_stat_sn: SerialNumber(u32::MAX - 1),
        });
        let mut decoder = PduDecoder::new(8192);
        let mut buffer = BytesMut::new();
        loop {
            let pdu = next_pdu(&mut stream, &decoder, &mut buffer).await.expect("a login request");
            let step = match login.handle(&pdu).expect("a login request") {
                TargetStep::Admit(_) => {
                    let tsih = NonZeroU16::new(1).expect("not zero");
                    login.admit(Admission {
                        tsih,
                        portal_group_tag: 1,
                        target_alias: None,
                        authentication: Authentication::None,
                    })
                }
                step => step,
            };
            let (response, complete) = match step {
                TargetStep::Complete { response, session } => (response, Some(session)),
                TargetStep::Send(response) | TargetStep::Refused { response, .. } => (response, None),
                TargetStep::Admit(_) => unreachable!("admitted above"),
            };
            write(&mut stream, &response, DigestConfig::default()).await;
            if let Some(session) = complete {
                let length_max = session.parameters.target_max_recv_data_segment_length as usize;
                decoder.reconfigure(session.parameters.digests(), length_max);
                let stat_sn = session.next_stat_sn;
                let window = CmdSnWindow::new(session.first_cmd_sn, window);
                return Self { stream, decoder, buffer, session: *session, stat_sn, window };
            }
        }
    }

    /// The initiator's next PDU, which must keep to the command window; `None` when it has closed the connection.
    pub(crate) async fn receive(&mut self) -> Option<Pdu> {
        let pdu = next_pdu(&mut self.stream, &self.decoder, &mut self.buffer).await?;
        if !pdu.bhs.is_immediate() && pdu.bhs.opcode() != Opcode::DATA_OUT {
            let verdict = self.window.accept(pdu.bhs.own_sn.into(), ());
            assert_eq!(verdict, CmdSnVerdict::Ready(()), "{pdu:?}");
        }
        Some(pdu)
    }

    /// The initiator's next PDU, a SCSI command.
    pub(crate) async fn command(&mut self) -> (ScsiCommand, Bytes) {
        let pdu = self.receive().await.expect("a command");
        let header = pdu.bhs.view::<ScsiCommand>().expect("a SCSI command");
        (*header, pdu.data.clone())
    }

    /// Sends a PDU with the numbers of the moment. What ends a command opens the window for one more.
    pub(crate) async fn send(&mut self, mut pdu: Pdu) {
        match pdu.bhs.response() {
            Response::Scsi(_) | Response::Text(_) => self.window.release(),
            Response::DataIn(data) if data.has_status() => self.window.release(),
            _ => {}
        }
        pdu.bhs.stamp_response(self.stat_sn, self.window.exp_cmd_sn(), self.window.max_cmd_sn());
        if pdu.bhs.consumes_stat_sn() {
            self.stat_sn.take();
        }
        write(&mut self.stream, &pdu, self.session.parameters.digests()).await;
    }

    /// Ends a command.
    pub(crate) async fn respond(&mut self, itt: Tag, status: Status, sense: Option<Sense>) {
        let header = ScsiResponse { status: status.0, itt, ..ScsiResponse::default() };
        let data = sense.map_or_else(Bytes::new, |sense| {
            let sense = sense.to_bytes(SenseFormat::Fixed);
            let length = u16::try_from(sense.len()).expect("18 bytes");
            [&length.to_be_bytes()[..], &sense].concat().into()
        });
        self.send(Pdu::new(header, data)).await;
    }

    /// Ends a read with its data, the status riding on the last part of it.
    pub(crate) async fn respond_with_data(&mut self, command: &ScsiCommand, data: &Bytes) {
        let length = u32::try_from(data.len()).expect("a small read");
        let residual_count = command.expected_data_transfer_length.get().saturating_sub(length);
        let underflow = if residual_count > 0 { DataIn::UNDERFLOW } else { 0 };
        for slice in data_in_slices(&self.session.parameters, length) {
            let status = if slice.is_last { DataIn::STATUS | underflow } else { 0 };
            let header = DataIn {
                flags: status | if slice.ends_sequence { FINAL } else { 0 },
                itt: command.itt,
                ttt: Tag::default(),
                data_sn: slice.data_sn.into(),
                buffer_offset: slice.offset.into(),
                residual_count: if slice.is_last { residual_count.into() } else { 0.into() },
                ..DataIn::default()
            };
            let start = slice.offset as usize;
            self.send(Pdu::new(header, data.slice(start..start + slice.length as usize))).await;
        }
        if data.is_empty() {
            let header = ScsiResponse {
                flags: FINAL | if residual_count > 0 { ScsiResponse::UNDERFLOW } else { 0 },
                itt: command.itt,
                residual_count: residual_count.into(),
                ..ScsiResponse::default()
            };
            self.send(Pdu::bare(header)).await;
        }
    }

    /// Collects a write's data with R2Ts; answers the data and the number of R2Ts.
    pub(crate) async fn collect(&mut self, command: &ScsiCommand, immediate: &Bytes) -> (Vec<u8>, u32) {
        let mut write = WriteTransfer::new(&self.session.parameters, command, immediate.len()).expect("as agreed");
        let mut data = vec![0; command.expected_data_transfer_length.get() as usize];
        data[..immediate.len()].copy_from_slice(immediate);
        let mut next_tag = 100;
        loop {
            while let Some(grant) = write.next_r2t(Tag::new(next_tag)) {
                next_tag += 1;
                let header = ReadyToTransfer {
                    itt: command.itt,
                    lun: command.lun,
                    ttt: grant.ttt,
                    r2t_sn: grant.r2t_sn.into(),
                    buffer_offset: grant.offset.into(),
                    desired_data_transfer_length: grant.length.into(),
                    ..ReadyToTransfer::default()
                };
                self.send(Pdu::bare(header)).await;
            }
            if write.is_complete() {
                return (data, write.r2ts_sent());
            }
            let pdu = self.receive().await.expect("data");
            let header = pdu.bhs.view::<DataOut>().expect("data");
            assert_eq!(header.itt, command.itt);
            let placed = write.accept(header, pdu.data.len()).expect("data as agreed");
            data[placed.range].copy_from_slice(&pdu.data);
        }
    }
}

async fn next_pdu(stream: &mut (impl AsyncRead + Unpin), decoder: &PduDecoder, buffer: &mut BytesMut) -> Option<Pdu> {
    loop {
        if let Some(pdu) = decoder.decode(buffer).expect("a sound stream") {
            return Some(pdu);
        }
        // An initiator that is dropped may also reset the connection.
        if stream.read_buf(buffer).await.unwrap_or(0) == 0 {
            return None;
        }
    }
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), pdu: &Pdu, digests: DigestConfig) {
    stream.write_all_buf(&mut pdu.encode(digests)).await.expect("the initiator listens");
}
