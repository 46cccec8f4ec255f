//! A disk in memory behind a scripted peer.

use bytes::Bytes;
use lunshadow_control::{Association, CodeSet, Designator, DesignatorKind};
use lunshadow_iscsi::pdu::ScsiCommand;
use lunshadow_scsi::vpd::{BlockLimits, DeviceIdentification, SupportedPages, UnitSerialNumber};
use lunshadow_scsi::{
    AdditionalSense, Capacity16, Command, LunAddress, LunList, ModeData, ModeForm, ModePage, Peripheral, Power, Sense,
    SenseKey, StandardInquiry, Status, UnmapRange,
};
use tokio::io::DuplexStream;

use crate::peer::Peer;

pub(crate) const BLOCK_BYTES: u32 = 512;
pub(crate) const BLOCKS: u64 = 1000;
/// Blocks that one command may move.
pub(crate) const TRANSFER_MAX: u32 = 8;

/// The command after which the disk has a change of its capacity to report.
pub(crate) const CHANGE: Command = Command::StartStopUnit { power: Power::Start, immediate: false };

/// What a test looks at when the initiator is gone.
pub(crate) struct RamDisk {
    pub(crate) blocks: Vec<u8>,
    pub(crate) flushes: u32,
    pub(crate) commands: Vec<Command>,
    pub(crate) unmapped: Vec<UnmapRange>,
    /// Sense data to answer the next commands with, one each.
    pub(crate) refusals: Vec<Sense>,
    /// How many commands find the disk busy after that.
    pub(crate) busy: u32,
    pub(crate) pages: Vec<u8>,
}

impl RamDisk {
    pub(crate) fn new() -> Self {
        Self {
            blocks: vec![0; usize::try_from(BLOCKS * u64::from(BLOCK_BYTES)).expect("small")],
            flushes: 0,
            commands: Vec::new(),
            unmapped: Vec::new(),
            refusals: Vec::new(),
            busy: 0,
            pages: vec![0x00, 0x80, 0x83, 0xb0],
        }
    }

    /// Serves until the initiator closes the connection.
    pub(crate) async fn serve(mut self, mut peer: Peer<DuplexStream>) -> Self {
        while let Some(pdu) = peer.receive().await {
            let header = *pdu.bhs.view::<ScsiCommand>().expect("a SCSI command");
            let command = Command::parse(&header.cdb).expect("a sound CDB");
            self.commands.push(command);
            let written = if header.is_write() { peer.collect(&header, &pdu.data).await.0 } else { Vec::new() };
            if !self.refusals.is_empty() {
                let sense = self.refusals.remove(0);
                peer.respond(header.itt, Status::CHECK_CONDITION, Some(sense)).await;
            } else if self.busy > 0 {
                self.busy -= 1;
                peer.respond(header.itt, Status::BUSY, None).await;
            } else {
                match self.execute(&command, &written) {
                    Ok(data) if header.is_read() => {
                        let asked = header.expected_data_transfer_length.get() as usize;
                        peer.respond_with_data(&header, &data.slice(..data.len().min(asked))).await;
                    }
                    Ok(_) => peer.respond(header.itt, Status::GOOD, None).await,
                    Err(sense) => peer.respond(header.itt, Status::CHECK_CONDITION, Some(sense)).await,
                }
            }
        }
        self
    }

    fn execute(&mut self, command: &Command, written: &[u8]) -> Result<Bytes, Sense> {
        let bytes_of = |lba: u64, count: u32| {
            let start = usize::try_from(lba * u64::from(BLOCK_BYTES)).expect("small");
            let range = start..start + (count * BLOCK_BYTES) as usize;
            let out_of_range = Sense::new(SenseKey::ILLEGAL_REQUEST, AdditionalSense::LBA_OUT_OF_RANGE);
            if lba + u64::from(count) <= BLOCKS { Ok(range) } else { Err(out_of_range) }
        };
        Ok(match *command {
            Command::TestUnitReady => Bytes::new(),
            Command::Inquiry { page: None, .. } => inquiry().to_bytes().into(),
            Command::Inquiry { page: Some(page), .. } => self.page(page).into(),
            Command::ReadCapacity16 { .. } => capacity().to_bytes().into(),
            Command::ReportLuns { allocation_len, .. } => {
                let mut data = LunList::of(luns()).to_bytes();
                data.truncate(allocation_len as usize);
                data.into()
            }
            Command::ModeSense { form: ModeForm::Six, page, .. } => {
                let other = ModePage::Other { page, subpage: None, body: vec![1, 2, 3] };
                ModeData { write_protected: true, pages: vec![other], ..ModeData::default() }
                    .to_bytes(ModeForm::Six)
                    .into()
            }
            Command::Read { range, .. } => {
                assert!(range.block_count() <= TRANSFER_MAX);
                Bytes::copy_from_slice(&self.blocks[bytes_of(range.lba(), range.block_count())?])
            }
            Command::Write { range, .. } => {
                assert!(range.block_count() <= TRANSFER_MAX);
                self.blocks[bytes_of(range.lba(), range.block_count())?].copy_from_slice(written);
                Bytes::new()
            }
            Command::SynchronizeCache { .. } => {
                self.flushes += 1;
                Bytes::new()
            }
            Command::Unmap { .. } => {
                self.unmapped.extend(UnmapRange::parse_list(written).expect("a sound list"));
                Bytes::new()
            }
            CHANGE => {
                let code = AdditionalSense::CAPACITY_DATA_CHANGED;
                self.refusals.push(Sense::new(SenseKey::UNIT_ATTENTION, code));
                Bytes::new()
            }
            _ => {
                let code = AdditionalSense::INVALID_COMMAND_OPERATION_CODE;
                return Err(Sense::new(SenseKey::ILLEGAL_REQUEST, code));
            }
        })
    }

    fn page(&self, page: u8) -> Vec<u8> {
        let peripheral = Peripheral::DISK;
        match page {
            0x80 => UnitSerialNumber { serial: "0123456789abcdef".to_owned() }.to_bytes(peripheral),
            0x83 => DeviceIdentification { designators: designators() }.to_bytes(peripheral),
            0xb0 => BlockLimits {
                transfer_max: TRANSFER_MAX,
                unmap_blocks_max: 100,
                unmap_descriptors_max: 2,
                ..BlockLimits::default()
            }
            .to_bytes(peripheral),
            _ => SupportedPages { pages: self.pages.clone() }.to_bytes(peripheral),
        }
    }
}

pub(crate) fn inquiry() -> StandardInquiry {
    StandardInquiry {
        peripheral: Peripheral::DISK,
        removable: false,
        version: StandardInquiry::SPC_4,
        target_port_groups: 0,
        third_party_copy: false,
        multi_port: false,
        command_queuing: true,
        vendor: "LUNSHDW".to_owned(),
        product: "SHADOW LUN".to_owned(),
        revision: "1".to_owned(),
        version_descriptors: Vec::new(),
    }
}

pub(crate) fn capacity() -> Capacity16 {
    Capacity16 {
        last_lba: BLOCKS - 1,
        block_bytes: BLOCK_BYTES,
        physical_exponent: 3,
        lowest_aligned_lba: 0,
        thin: true,
        unmapped_reads_zeros: true,
    }
}

/// More than fit the first REPORT LUNS.
pub(crate) fn luns() -> Vec<LunAddress> {
    (0..4096_u16)
        .map(|number| LunAddress([0x40 | number.to_be_bytes()[0], number.to_be_bytes()[1], 0, 0, 0, 0, 0, 0]))
        .collect()
}

pub(crate) fn designators() -> Vec<Designator> {
    let naa = Designator {
        code_set: CodeSet::BINARY,
        association: Association::LUN,
        kind: DesignatorKind::NAA,
        bytes: vec![0x31, 2, 3, 4, 5, 6, 7, 8],
    };
    let port = Designator {
        code_set: CodeSet::BINARY,
        association: Association::TARGET_PORT,
        kind: DesignatorKind::RELATIVE_TARGET_PORT,
        bytes: vec![0, 0, 0, 1],
    };
    vec![naa, port]
}
