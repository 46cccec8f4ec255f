//! A disk: one logical unit of a session.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use lunshadow_scsi::vpd::{
    self, BlockLimits, DeviceIdentification, LogicalBlockProvisioning, SupportedPages, UnitSerialNumber,
};
use lunshadow_scsi::{
    BlockRange, Capacity10, Capacity16, Command, LunAddress, LunList, ModeData, ModeForm, PageControl, ResponseError,
    SelectReport, Sense, SenseKey, StandardInquiry, Status, UnmapRange,
};
use parking_lot::Mutex;

use crate::error::DiskError;
use crate::identity::DiskIdentity;
use crate::session::Session;
use crate::task::{DataDirection, ScsiResponse};

/// How often a command is sent that unit attentions interrupt. A logical unit can have several to report, one per command.
const ATTEMPTS_MAX: u32 = 10;
/// Time before a command is sent again that the logical unit had no room for; it doubles each time.
const BUSY_PAUSE: Duration = Duration::from_millis(2);
/// The longest transfer of one command to a disk that names no limit, in bytes.
const TRANSFER_BYTES_MAX: u32 = 4 << 20;
/// ALLOCATION LENGTH for a VPD page.
const PAGE_BYTES_MAX: u16 = 4096;
/// The most ranges that fit the parameter list of one UNMAP.
const UNMAP_RANGES_MAX: usize = 4095;

/// One logical unit of a session. Clones are the same disk.
///
/// Addresses and counts are in logical blocks of the disk. Requests of any length are split to what the disk takes in one
/// command, and run one command after the other; run several requests at once to have several commands in flight.
#[derive(Clone, Debug)]
pub struct Disk {
    session: Session,
    lun: LunAddress,
    geometry: Arc<Mutex<Option<Geometry>>>,
}

/// How long a disk is and how much it takes in one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Logical blocks.
    pub block_count: u64,
    /// Bytes of a logical block.
    pub block_bytes: u32,
    /// Logical blocks of a physical block.
    pub blocks_per_physical: u32,
    /// Whether space can be given back with UNMAP (LBPME).
    pub thin: bool,
    /// Page B0h; all zeros if the disk does not have it.
    pub limits: BlockLimits,
}

impl Disk {
    /// The logical unit `lun` of `session`. Nothing is sent yet.
    #[must_use]
    pub fn new(session: Session, lun: LunAddress) -> Self {
        Self { session, lun, geometry: Arc::default() }
    }

    /// Its address.
    #[must_use]
    pub const fn lun(&self) -> LunAddress {
        self.lun
    }

    /// Its session.
    #[must_use]
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// TEST UNIT READY.
    ///
    /// # Errors
    /// See [`DiskError`].
    pub async fn test_unit_ready(&self) -> Result<(), DiskError> {
        self.run("TEST UNIT READY", &Command::TestUnitReady, DataDirection::None).await.map(drop)
    }

    /// Standard INQUIRY data.
    ///
    /// # Errors
    /// See [`DiskError`].
    pub async fn inquiry(&self) -> Result<StandardInquiry, DiskError> {
        let command = Command::Inquiry { page: None, allocation_len: 255 };
        self.ask("INQUIRY", &command, 255, StandardInquiry::parse).await
    }

    /// A VPD page, read by `parse`, which gets the whole page.
    ///
    /// # Errors
    /// See [`DiskError`].
    pub async fn vpd_page<T>(
        &self,
        page: u8,
        parse: impl FnOnce(&[u8]) -> Result<T, ResponseError>,
    ) -> Result<T, DiskError> {
        let command = Command::Inquiry { page: Some(page), allocation_len: PAGE_BYTES_MAX };
        self.ask("INQUIRY", &command, u32::from(PAGE_BYTES_MAX), parse).await
    }

    /// Page B2h.
    ///
    /// # Errors
    /// See [`DiskError`].
    pub async fn provisioning(&self) -> Result<LogicalBlockProvisioning, DiskError> {
        self.vpd_page(vpd::page::LOGICAL_BLOCK_PROVISIONING, LogicalBlockProvisioning::parse).await
    }

    /// Who the disk is. Pages that it does not list are not asked for.
    ///
    /// # Errors
    /// See [`DiskError`].
    pub async fn identity(&self) -> Result<DiskIdentity, DiskError> {
        let inquiry = self.inquiry().await?;
        let listed = self.vpd_page(vpd::page::SUPPORTED_PAGES, SupportedPages::parse).await?.pages;
        let mut identity = DiskIdentity { inquiry, serial: None, designators: Vec::new() };
        if listed.contains(&vpd::page::UNIT_SERIAL_NUMBER) {
            let page = self.vpd_page(vpd::page::UNIT_SERIAL_NUMBER, UnitSerialNumber::parse).await?;
            identity.serial = Some(page.serial);
        }
        if listed.contains(&vpd::page::DEVICE_IDENTIFICATION) {
            let page = self.vpd_page(vpd::page::DEVICE_IDENTIFICATION, DeviceIdentification::parse).await?;
            identity.designators = page.designators;
        }
        Ok(identity)
    }

    /// READ CAPACITY(16), or (10) where the disk does not have that.
    ///
    /// # Errors
    /// See [`DiskError`].
    pub async fn read_capacity(&self) -> Result<Capacity16, DiskError> {
        let length = u32::try_from(Capacity16::LEN).expect("32 bytes");
        let command = Command::ReadCapacity16 { allocation_len: length };
        match self.ask("READ CAPACITY(16)", &command, length, Capacity16::parse).await {
            Err(DiskError::CheckCondition { sense: Sense { key: SenseKey::ILLEGAL_REQUEST, .. }, .. }) => {
                let short = self.ask("READ CAPACITY(10)", &Command::ReadCapacity10, 8, Capacity10::parse).await?;
                Ok(Capacity16 {
                    last_lba: u64::from(short.last_lba),
                    block_bytes: short.block_bytes,
                    physical_exponent: 0,
                    lowest_aligned_lba: 0,
                    thin: false,
                    unmapped_reads_zeros: false,
                })
            }
            answer => answer,
        }
    }

    /// Length and limits of the disk. They are asked for once, and again after a unit attention that may have changed them.
    ///
    /// # Errors
    /// See [`DiskError`].
    pub async fn geometry(&self) -> Result<Geometry, DiskError> {
        let known = *self.geometry.lock();
        if let Some(known) = known {
            return Ok(known);
        }
        let capacity = self.read_capacity().await?;
        if capacity.block_bytes == 0 {
            return Err(DiskError::NoBlockLength);
        }
        let listed = self.vpd_page(vpd::page::SUPPORTED_PAGES, SupportedPages::parse).await?.pages;
        let limits = if listed.contains(&vpd::page::BLOCK_LIMITS) {
            self.vpd_page(vpd::page::BLOCK_LIMITS, BlockLimits::parse).await?
        } else {
            BlockLimits::default()
        };
        let geometry = Geometry {
            block_count: capacity.last_lba.saturating_add(1),
            block_bytes: capacity.block_bytes,
            blocks_per_physical: 1 << u32::from(capacity.physical_exponent),
            thin: capacity.thin,
            limits,
        };
        *self.geometry.lock() = Some(geometry);
        Ok(geometry)
    }

    /// Reads `block_count` blocks from `lba` on.
    ///
    /// # Errors
    /// See [`DiskError`].
    pub async fn read(&self, lba: u64, block_count: u32) -> Result<Bytes, DiskError> {
        let geometry = self.geometry().await?;
        let mut pieces = geometry.pieces(lba, block_count).peekable();
        let mut whole = BytesMut::new();
        while let Some((lba, blocks)) = pieces.next() {
            let length = blocks * geometry.block_bytes;
            let command = Command::Read { range: BlockRange::new(lba, blocks), fua: false };
            let response = self.run("READ", &command, DataDirection::In(length)).await?;
            let (received_bytes, expected_bytes) = (response.data.len(), length as usize);
            if received_bytes != expected_bytes {
                return Err(DiskError::ShortData { command: "READ", received_bytes, expected_bytes });
            }
            if whole.is_empty() && pieces.peek().is_none() {
                return Ok(response.data);
            }
            whole.extend_from_slice(&response.data);
        }
        Ok(whole.freeze())
    }

    /// Writes `data`, a number of blocks, from `lba` on. It is durable after a [`flush`](Self::flush).
    ///
    /// # Errors
    /// See [`DiskError`]. When a long write fails, some of its pieces may have been written.
    pub async fn write(&self, lba: u64, data: Bytes) -> Result<(), DiskError> {
        let geometry = self.geometry().await?;
        let not_blocks = DiskError::NotBlocks { len_bytes: data.len(), block_bytes: geometry.block_bytes };
        let block_bytes = geometry.block_bytes as usize;
        if !data.len().is_multiple_of(block_bytes) {
            return Err(not_blocks);
        }
        let block_count = u32::try_from(data.len() / block_bytes).map_err(|_| not_blocks)?;
        let mut rest = data;
        for (lba, blocks) in geometry.pieces(lba, block_count) {
            let piece = rest.split_to(blocks as usize * block_bytes);
            let command = Command::Write { range: BlockRange::new(lba, blocks), fua: false };
            self.run("WRITE", &command, DataDirection::Out(piece)).await?;
        }
        Ok(())
    }

    /// Makes everything durable that was written before.
    ///
    /// # Errors
    /// See [`DiskError`].
    pub async fn flush(&self) -> Result<(), DiskError> {
        let command = Command::SynchronizeCache { range: BlockRange::new(0, 0), immediate: false };
        self.run("SYNCHRONIZE CACHE", &command, DataDirection::None).await.map(drop)
    }

    /// Gives the blocks of `ranges` back.
    ///
    /// # Errors
    /// See [`DiskError`].
    pub async fn unmap(&self, ranges: &[UnmapRange]) -> Result<(), DiskError> {
        let limits = self.geometry().await?.limits;
        for list in unmap_lists(ranges, &limits) {
            let bytes = UnmapRange::list_to_bytes(&list);
            let parameter_len = u16::try_from(bytes.len()).expect("at most 4095 ranges of 16 bytes");
            let command = Command::Unmap { anchor: false, parameter_len };
            self.run("UNMAP", &command, DataDirection::Out(bytes.into())).await?;
        }
        Ok(())
    }

    /// All logical units that the session sees.
    ///
    /// # Errors
    /// See [`DiskError`].
    pub async fn report_luns(&self) -> Result<Vec<LunAddress>, DiskError> {
        let mut length = 4096;
        loop {
            let command = Command::ReportLuns { select: SelectReport::Addressable, allocation_len: length };
            let list = self.ask("REPORT LUNS", &command, length, LunList::parse).await?;
            if list.whole_bytes() <= length {
                return Ok(list.luns);
            }
            length = list.whole_bytes();
        }
    }

    /// Mode page `page` with its current values, 3Fh for all pages.
    ///
    /// # Errors
    /// See [`DiskError`].
    pub async fn mode_sense(&self, page: u8) -> Result<ModeData, DiskError> {
        let form = ModeForm::Six;
        let (control, allocation_len) = (PageControl::Current, 255);
        let command =
            Command::ModeSense { form, without_block_descriptor: true, control, page, subpage: 0, allocation_len };
        self.ask("MODE SENSE(6)", &command, 255, |data| ModeData::parse(form, data)).await
    }

    /// Runs a command that is answered with parameter data.
    async fn ask<T>(
        &self,
        name: &'static str,
        command: &Command,
        length: u32,
        parse: impl FnOnce(&[u8]) -> Result<T, ResponseError>,
    ) -> Result<T, DiskError> {
        let response = self.run(name, command, DataDirection::In(length)).await?;
        parse(&response.data).map_err(|source| DiskError::Response { command: name, source })
    }

    /// Runs a command to its end: repeats it after unit attentions and while the logical unit is busy, and answers only what
    /// ended with GOOD.
    async fn run(
        &self,
        name: &'static str,
        command: &Command,
        direction: DataDirection,
    ) -> Result<ScsiResponse, DiskError> {
        let cdb = command.to_cdb();
        let mut pause = BUSY_PAUSE;
        for attempt in 1.. {
            let response = self.session.command(self.lun, &cdb, direction.clone()).await?;
            let (status, last) = (response.status, attempt == ATTEMPTS_MAX);
            match (status, response.sense) {
                (Status::GOOD, _) => return Ok(response),
                (Status::CHECK_CONDITION, Some(sense)) if sense.key == SenseKey::UNIT_ATTENTION && !last => {
                    // Whatever it was about, the disk may not be what it was.
                    *self.geometry.lock() = None;
                }
                (Status::CHECK_CONDITION, Some(sense)) => {
                    return Err(DiskError::CheckCondition { command: name, sense });
                }
                (Status::BUSY | Status::TASK_SET_FULL, _) if !last => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                _ => return Err(DiskError::Status { command: name, status }),
            }
        }
        unreachable!("the last attempt returns")
    }
}

impl Geometry {
    /// Blocks that one READ or WRITE may have.
    fn blocks_per_command(&self) -> u32 {
        let usual = (TRANSFER_BYTES_MAX / self.block_bytes).max(1);
        if self.limits.transfer_max == 0 { usual } else { usual.min(self.limits.transfer_max) }
    }

    /// The commands that `block_count` blocks from `lba` on take.
    fn pieces(&self, mut lba: u64, block_count: u32) -> impl Iterator<Item = (u64, u32)> + use<> {
        let most = self.blocks_per_command();
        let mut left = block_count;
        std::iter::from_fn(move || {
            let blocks = left.min(most);
            let piece = (blocks > 0).then_some((lba, blocks));
            left -= blocks;
            lba = lba.saturating_add(u64::from(blocks));
            piece
        })
    }
}

/// Lists of ranges, each of which the disk takes in one UNMAP. A limit of 0 says nothing.
fn unmap_lists(ranges: &[UnmapRange], limits: &BlockLimits) -> Vec<Vec<UnmapRange>> {
    let blocks_max = if limits.unmap_blocks_max == 0 { u32::MAX } else { limits.unmap_blocks_max };
    let ranges_max = match limits.unmap_descriptors_max as usize {
        0 => UNMAP_RANGES_MAX,
        most => most.min(UNMAP_RANGES_MAX),
    };
    let mut lists: Vec<Vec<UnmapRange>> = Vec::new();
    let mut blocks_left = 0;
    for range in ranges {
        let UnmapRange { mut lba, block_count: mut left } = *range;
        while left > 0 {
            if blocks_left == 0 || lists.last().is_none_or(|list| list.len() >= ranges_max) {
                lists.push(Vec::new());
                blocks_left = blocks_max;
            }
            let block_count = left.min(blocks_left);
            if let Some(list) = lists.last_mut() {
                list.push(UnmapRange { lba, block_count });
            }
            blocks_left -= block_count;
            left -= block_count;
            lba += u64::from(block_count);
        }
    }
    lists
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn geometry(block_bytes: u32, transfer_max: u32) -> Geometry {
        let limits = BlockLimits { transfer_max, ..BlockLimits::default() };
        Geometry { block_count: 1 << 40, block_bytes, blocks_per_physical: 1, thin: true, limits }
    }

    #[test]
    fn transfers_keep_to_the_limit_of_the_disk() {
        let pieces = |geometry: Geometry, count| geometry.pieces(100, count).collect::<Vec<_>>();
        assert_eq!(pieces(geometry(512, 8), 20), [(100, 8), (108, 8), (116, 4)]);
        assert_eq!(pieces(geometry(512, 8), 0), []);
        assert_eq!(pieces(geometry(512, 0), 8193), [(100, 8192), (8292, 1)], "4 MiB where nothing is said");
        assert_eq!(pieces(geometry(1 << 30, 0), 2), [(100, 1), (101, 1)], "a block at least");
    }

    proptest! {
        #[test]
        fn unmap_lists_hold_the_ranges_and_keep_the_limits(
            ranges in proptest::collection::vec((0_u64..1000, 0_u32..50), 0..20),
            unmap_blocks_max in 0_u32..60,
            unmap_descriptors_max in 0_u32..5,
        ) {
            let ranges: Vec<_> = ranges.into_iter().map(|(lba, block_count)| UnmapRange { lba, block_count }).collect();
            let limits = BlockLimits { unmap_blocks_max, unmap_descriptors_max, ..BlockLimits::default() };
            let lists = unmap_lists(&ranges, &limits);
            for list in &lists {
                prop_assert!(!list.is_empty());
                prop_assert!(unmap_descriptors_max == 0 || list.len() <= unmap_descriptors_max as usize);
                let blocks: u32 = list.iter().map(|range| range.block_count).sum();
                prop_assert!(unmap_blocks_max == 0 || blocks <= unmap_blocks_max);
            }
            let blocks_of = |ranges: &[UnmapRange]| {
                ranges.iter().flat_map(|r| r.lba..r.lba + u64::from(r.block_count)).collect::<Vec<_>>()
            };
            prop_assert_eq!(blocks_of(&lists.concat()), blocks_of(&ranges));
        }
    }
}
