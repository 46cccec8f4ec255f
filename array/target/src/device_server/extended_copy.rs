//! EXTENDED COPY (LID1) between the disks that an initiator sees, and what is reported of it.

use std::fmt;
use std::sync::Arc;

use lunshadow_lun::{BlockCount, LOGICAL_BLOCK_BYTES, Lba, copy_blocks, identity_of};
use lunshadow_scsi::vpd::{CopyLimits, ThirdPartyCopy};
use lunshadow_scsi::{
    Access, AdditionalSense, BlockSegment, CopyDescriptor, CopyList, CopyListError, CopyListLimits, CopyParameters,
    FieldPointer, ListIdUsage, Readiness, Sense, SenseKey, descriptor_type,
};

use super::copies::{COPIES_MAX, CopyAction, CopyEnd, OPCODES};
use super::medium::{Kind, Operation, check_range, written};
use super::nexus::Nexus;
use super::offload::{sense_of_copy, token_limits};
use super::unit::Disk;
use super::{Completion, illegal_request, invalid_field, invalid_parameter};

/// MAXIMUM CSCD DESCRIPTOR COUNT.
const DESCRIPTORS_MAX: u16 = 16;
/// MAXIMUM SEGMENT DESCRIPTOR COUNT.
const SEGMENTS_MAX: u16 = 64;
const DESCRIPTOR_BYTES: u32 = 32;
const SEGMENT_BYTES: u32 = 28;
/// MAXIMUM DESCRIPTOR LIST LENGTH.
const LIST_LEN_MAX: u32 = DESCRIPTORS_MAX as u32 * DESCRIPTOR_BYTES + SEGMENTS_MAX as u32 * SEGMENT_BYTES;
const LIST_LIMITS: CopyListLimits = CopyListLimits {
    descriptors: DESCRIPTORS_MAX as usize,
    segments: SEGMENTS_MAX as usize,
    list_len: LIST_LEN_MAX as usize,
};
/// MAXIMUM SEGMENT LENGTH: what a segment descriptor can say.
const SEGMENT_LEN_MAX: u32 = u16::MAX as u32 * LOGICAL_BLOCK_BYTES;
/// Far more than the longest list, so that the lengths in it are looked at first.
const PARAMETER_LEN_MAX: u32 = 1 << 20;
/// DATA SEGMENT GRANULARITY: a logical block, as a power of two.
const GRANULARITY_EXPONENT: u8 = 9;
/// Segment and CSCD descriptors, ascending.
const DESCRIPTOR_TYPES: [u8; 2] = [descriptor_type::BLOCK_TO_BLOCK, descriptor_type::IDENTIFICATION];

/// Page 8Fh.
pub(super) fn third_party_copy() -> ThirdPartyCopy {
    let concurrent_max = u32::try_from(COPIES_MAX).unwrap_or(u32::MAX);
    ThirdPartyCopy {
        token_limits: token_limits(),
        commands: ThirdPartyCopy::commands_of_table(OPCODES),
        list_limits: (DESCRIPTORS_MAX, SEGMENTS_MAX, LIST_LEN_MAX),
        descriptor_types: DESCRIPTOR_TYPES.to_vec(),
        operations: CopyLimits {
            concurrent_max,
            identified_max: concurrent_max,
            segment_len_max: SEGMENT_LEN_MAX,
            granularity_exponent: GRANULARITY_EXPONENT,
        },
    }
}

/// RECEIVE COPY OPERATING PARAMETERS.
pub(super) fn operating_parameters() -> Vec<u8> {
    let parameters = CopyParameters {
        without_list_id: true,
        descriptors_max: DESCRIPTORS_MAX,
        segments_max: SEGMENTS_MAX,
        list_len_max: LIST_LEN_MAX,
        segment_len_max: SEGMENT_LEN_MAX,
        concurrent_max: u8::try_from(COPIES_MAX).unwrap_or(u8::MAX),
        granularity_exponent: GRANULARITY_EXPONENT,
        descriptor_types: DESCRIPTOR_TYPES.to_vec(),
    };
    parameters.to_bytes()
}

/// RECEIVE COPY STATUS(LID1).
pub(super) fn copy_status(nexus: &Nexus, list_id: u8) -> Result<Vec<u8>, Sense> {
    let progress = nexus.copies().progress(list_id);
    progress.map(|progress| progress.to_bytes()).ok_or_else(|| invalid_field(2))
}

/// An EXTENDED COPY that waits for its parameters.
pub(super) struct ExtendedCopy {
    pub(super) parameter_len: u32,
    pub(super) nexus: Arc<Nexus>,
    /// All disks that the initiator sees.
    pub(super) disks: Vec<Disk>,
}

impl fmt::Debug for ExtendedCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExtendedCopy").field("parameter_len", &self.parameter_len).finish_non_exhaustive()
    }
}

impl Operation {
    pub(super) fn extended_copy(disk: Disk, copy: ExtendedCopy) -> Result<Self, Sense> {
        if copy.parameter_len > PARAMETER_LEN_MAX {
            return Err(illegal_request(AdditionalSense::PARAMETER_LIST_LENGTH_ERROR));
        }
        Ok(Self { disk, kind: Kind::ExtendedCopy(Box::new(copy)) })
    }
}

impl ExtendedCopy {
    pub(super) async fn run(self, list: &[u8]) -> Completion {
        if self.parameter_len == 0 {
            return Completion::good();
        }
        self.copy(list).await.unwrap_or_else(Completion::check)
    }

    async fn copy(&self, list: &[u8]) -> Result<Completion, Sense> {
        let list = CopyList::parse(list, &LIST_LIMITS).map_err(sense_of_list)?;
        for (index, descriptor) in list.descriptors.iter().enumerate() {
            check_descriptor(descriptor, 16 + 32 * index)?;
        }
        let held = (list.usage != ListIdUsage::None).then(|| u32::from(list.list_id));
        if let Some(list_id) = held {
            self.nexus.copies().begin(list_id, CopyAction::EXTENDED_COPY, false)?;
        }
        let (mut segments, mut block_count) = (0, 0);
        let mut ended = Ok(());
        for segment in &list.segments {
            ended = self.segment(&list.descriptors, segment).await;
            if ended.is_err() {
                break;
            }
            segments += 1;
            block_count += u64::from(segment.block_count);
        }
        let completion = ended.map_or_else(Completion::check, |()| Completion::good());
        if let Some(list_id) = held {
            let end = match completion.sense {
                None => CopyEnd::well(block_count),
                Some(_) => CopyEnd::badly(completion.clone(), block_count),
            };
            self.nexus.copies().end(list_id, CopyEnd { segments, ..end });
        }
        Ok(completion)
    }

    async fn segment(&self, descriptors: &[CopyDescriptor], segment: &BlockSegment) -> Result<(), Sense> {
        let source = self.disk(descriptors, segment.from, Access::Reading)?;
        let target = self.disk(descriptors, segment.to, Access::Changing)?.writable()?;
        let count = BlockCount(segment.block_count.into());
        let (from, to) = (Lba(segment.from_lba), Lba(segment.to_lba));
        for (disk, at) in [(&source, from), (&target, to)] {
            check_range(&disk.lun, at, count).map_err(|_| aborted(AdditionalSense::NONE))?;
        }
        if count.0 == 0 {
            return Ok(());
        }
        let _held = target.state.ranges.shared(to.0..to.0 + count.0).await;
        let mut content = source.lun.clone();
        if source.lun.id() == target.lun.id() && from.0.abs_diff(to.0) < count.0 {
            // What the copy overwrites on its way is still to be read.
            let pinned = source.lun.pin().await.map_err(|error| super::medium::report(&source.lun, &error))?;
            content = pinned.ok_or_else(|| aborted(AdditionalSense::INSUFFICIENT_RESOURCES))?;
        }
        let copied = copy_blocks((&content, from), (&target.lun, to), count).await;
        copied.map_err(|error| sense_of_copy(&target, &error))?;
        written(&target, false).await
    }

    /// The disk that a descriptor of the list names, as far as the initiator sees it and reservations let it.
    fn disk(&self, descriptors: &[CopyDescriptor], id: u16, access: Access) -> Result<Disk, Sense> {
        let unreachable = aborted(AdditionalSense::COPY_TARGET_DEVICE_NOT_REACHABLE);
        let descriptor = descriptors.get(usize::from(id)).ok_or(unreachable)?;
        let is_named = |disk: &&Disk| {
            let designators = identity_of(disk.lun.id()).designators;
            designators
                .iter()
                .any(|own| own.kind == descriptor.designator.kind && own.bytes == descriptor.designator.bytes)
        };
        let disk = self.disks.iter().find(is_named).filter(|_| !descriptor.null);
        let disk = disk.ok_or(unreachable)?;
        if !disk.state.admits(&self.nexus, access, false) {
            return Err(aborted(AdditionalSense::THIRD_PARTY_DEVICE_FAILURE));
        }
        let usable = disk.check(Readiness::Loaded);
        usable.map_err(|_| aborted(AdditionalSense::THIRD_PARTY_DEVICE_FAILURE))?;
        Ok(disk.clone())
    }
}

const fn aborted(code: AdditionalSense) -> Sense {
    Sense::new(SenseKey::COPY_ABORTED, code)
}

/// DISK BLOCK LENGTH has to be that of the disks here.
fn check_descriptor(descriptor: &CopyDescriptor, at: usize) -> Result<(), Sense> {
    if descriptor.block_bytes == LOGICAL_BLOCK_BYTES {
        return Ok(());
    }
    Err(invalid_parameter(FieldPointer::byte(at + 29)))
}

fn sense_of_list(error: CopyListError) -> Sense {
    let pointed = |code, field| illegal_request(code).with_pointer(lunshadow_scsi::SensePointer::ParameterList(field));
    match error {
        CopyListError::Truncated | CopyListError::TooLong => {
            illegal_request(AdditionalSense::PARAMETER_LIST_LENGTH_ERROR)
        }
        CopyListError::InvalidField(field) => invalid_parameter(field),
        CopyListError::TooManyDescriptors => illegal_request(AdditionalSense::TOO_MANY_TARGET_DESCRIPTORS),
        CopyListError::UnsupportedDescriptor(field) => pointed(AdditionalSense::UNSUPPORTED_TARGET_DESCRIPTOR, field),
        CopyListError::TooManySegments => illegal_request(AdditionalSense::TOO_MANY_SEGMENT_DESCRIPTORS),
        CopyListError::UnsupportedSegment(field) => pointed(AdditionalSense::UNSUPPORTED_SEGMENT_DESCRIPTOR, field),
        CopyListError::InlineData => illegal_request(AdditionalSense::INLINE_DATA_LENGTH_EXCEEDED),
    }
}
