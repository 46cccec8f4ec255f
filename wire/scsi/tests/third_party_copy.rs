//! Third-party copy: bytes as the tables of SPC-4 and SBC-3 lay them out, and nothing that comes from the wire makes a parser panic.

use lunshadow_control::{Association, CodeSet, Designator, DesignatorKind};
use lunshadow_scsi::vpd::{CopyLimits, ThirdPartyCopy, TokenLimits};
use lunshadow_scsi::{
    BlockSegment, Command, CopyDescriptor, CopyList, CopyListLimits, CopyParameters, CopyProgress, CopyStatus,
    FieldPointer, ListIdUsage, OffloadListError, Peripheral, PopulateToken, RodToken, RodTokenInformation, RodType,
    TokenRange, WriteUsingToken, opcode,
};
use proptest::collection::vec;
use proptest::prelude::*;

const LIMITS: CopyListLimits = CopyListLimits { descriptors: 2, segments: 1, list_len: 92 };

fn naa() -> Designator {
    let (association, kind) = (Association::LUN, DesignatorKind::NAA);
    Designator { code_set: CodeSet::BINARY, association, kind, bytes: vec![0x30, 1, 2, 3, 4, 5, 6, 7] }
}

#[test]
fn cdbs_are_laid_out_as_in_spc_and_sbc() {
    let check = |command: Command, cdb: [u8; 16]| {
        assert_eq!(command.to_cdb().as_bytes(), cdb, "{command:?}");
        assert_eq!(Command::parse(&cdb), Ok(command));
    };
    let (list_id, len) = (0x0102_0304, 0x0506_0708);
    check(Command::ExtendedCopy { parameter_len: len }, [0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 6, 7, 8, 0, 0]);
    check(
        Command::PopulateToken { list_id, parameter_len: len },
        [0x83, 0x10, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0],
    );
    check(
        Command::WriteUsingToken { list_id, parameter_len: len },
        [0x83, 0x11, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0],
    );
    check(
        Command::ReceiveCopyStatus { list_id: 9, allocation_len: len },
        [0x84, 0, 9, 0, 0, 0, 0, 0, 0, 0, 5, 6, 7, 8, 0, 0],
    );
    check(
        Command::ReceiveCopyOperatingParameters { allocation_len: len },
        [0x84, 3, 0, 0, 0, 0, 0, 0, 0, 0, 5, 6, 7, 8, 0, 0],
    );
    check(
        Command::ReceiveRodTokenInformation { list_id, allocation_len: len },
        [0x84, 7, 1, 2, 3, 4, 0, 0, 0, 0, 5, 6, 7, 8, 0, 0],
    );
}

#[test]
fn parameter_lists_of_tokens_are_laid_out_as_in_sbc() {
    let ranges = vec![TokenRange { lba: 0x0102_0304_0506_0708, block_count: 0x0a0b_0c0d }];
    let range = [1, 2, 3, 4, 5, 6, 7, 8, 0x0a, 0x0b, 0x0c, 0x0d, 0, 0, 0, 0];
    let rod_type = Some(RodType::POINT_IN_TIME);
    let populate = PopulateToken { immediate: true, rod_type, inactivity_timeout_s: 30, ranges: ranges.clone() };
    let bytes = populate.to_bytes();
    assert_eq!(bytes[..16], [0, 30, 3, 0, 0, 0, 0, 30, 0, 0x80, 0, 0, 0, 0, 0, 16]);
    assert_eq!(bytes[16..], range);
    assert_eq!(PopulateToken::parse(&bytes), Ok(populate));
    assert_eq!(PopulateToken::parse(&bytes[..15]), Err(OffloadListError::NoHeader(15)));

    let token = RodToken::point_in_time(0x1122, &naa(), 4096, 512, [9; 32]);
    let write = WriteUsingToken { immediate: false, delete_token: true, offset: 0x0304, token: token.clone(), ranges };
    let bytes = write.to_bytes();
    assert_eq!((bytes.len(), &bytes[..16]), (552, &[2, 0x26, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 4][..]));
    assert_eq!(bytes[16..528], token.as_bytes()[..]);
    assert_eq!(bytes[528..536], [0, 0, 0, 0, 0, 0, 0, 16]);
    assert_eq!(bytes[536..], range);
    assert_eq!(WriteUsingToken::parse(&bytes), Ok(write));
    let mut cut = bytes;
    cut.pop();
    assert_eq!(WriteUsingToken::parse(&cut), Err(OffloadListError::InvalidField(FieldPointer::byte(534))));
}

#[test]
fn tokens_are_laid_out_as_in_spc() {
    let token = RodToken::point_in_time(0x1122, &naa(), 0x0102_0304, 512, [9; 32]);
    let bytes = token.as_bytes();
    assert_eq!(bytes[..16], [0, 0x80, 0, 0, 0, 0, 0x01, 0xf8, 0, 0, 0, 0, 0, 0, 0x11, 0x22]);
    let creator = [0xe4, 0, 0, 0, 1, 3, 0, 8, 0x30, 1, 2, 3, 4, 5, 6, 7];
    assert_eq!(bytes[16..32], creator);
    assert_eq!(bytes[44..48], [0, 0, 2, 0], "DISK BLOCK LENGTH");
    assert_eq!(bytes[48..64], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]);
    assert_eq!((bytes[96..100].to_vec(), &bytes[128..160]), (vec![0, 0, 2, 0], &[9; 32][..]));
    assert_eq!((token.id(), token.bytes_represented(), token.has_length()), (0x1122, 0x0102_0304, true));
    assert_eq!(RodToken::zero().rod_type(), RodType::BLOCK_ZERO);
    assert!(!format!("{token:?}").contains('9'), "the secret is not for logs");
}

#[test]
fn information_is_laid_out_as_in_spc() {
    let mut information = RodTokenInformation {
        service_action: 0x10,
        status: CopyStatus::COMPLETED,
        update_delay_ms: None,
        completion_status: 0,
        sense: Vec::new(),
        blocks: 0x0102,
        token: Some(RodToken::zero()),
    };
    let bytes = information.to_bytes();
    assert_eq!(bytes.len(), 32 + 4 + 2 + 512);
    assert_eq!(bytes[..8], [0, 0, 2, 0x22, 0x10, 1, 0, 0]);
    assert_eq!(bytes[8..16], [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0xf1]);
    assert_eq!(bytes[16..32], [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes[32..42], [0, 0, 2, 2, 0, 0, 0xff, 0xff, 0, 1]);
    assert_eq!(RodTokenInformation::parse(&bytes), Ok(information.clone()));
    information.token = None;
    assert_eq!(RodTokenInformation::parse(&bytes[..100]), Ok(information.clone()), "a token that is cut off");
    information.sense = vec![0x70; 18];
    information.update_delay_ms = Some(100);
    let bytes = information.to_bytes();
    assert_eq!((bytes[13], bytes[14], bytes.len()), (18, 18, 32 + 18 + 4));
    assert_eq!(RodTokenInformation::parse(&bytes), Ok(information));
}

#[test]
fn lists_of_extended_copy_are_laid_out_as_in_spc() {
    let descriptor = CopyDescriptor { designator: naa(), block_bytes: 512, null: false };
    let segment = BlockSegment { from: 0, to: 1, block_count: 0x0203, from_lba: 4, to_lba: 5 };
    let descriptors = vec![descriptor.clone(), CopyDescriptor { null: true, ..descriptor }];
    let list = CopyList { list_id: 7, usage: ListIdUsage::NotHeld, descriptors, segments: vec![segment] };
    let bytes = list.to_bytes();
    assert_eq!(bytes[..16], [7, 0x10, 0, 64, 0, 0, 0, 0, 0, 0, 0, 28, 0, 0, 0, 0]);
    assert_eq!(bytes[16..32], [0xe4, 0, 0, 0, 1, 3, 0, 8, 0x30, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!((bytes[44..48].to_vec(), bytes[49]), (vec![0, 0, 2, 0], 0x20));
    let segment = [2, 0, 0, 0x18, 0, 0, 0, 1, 0, 0, 2, 3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 5];
    assert_eq!(bytes[80..], segment);
    assert_eq!(CopyList::parse(&bytes, &LIMITS), Ok(list));

    let parameters = CopyParameters {
        without_list_id: true,
        descriptors_max: 16,
        segments_max: 64,
        list_len_max: 0x0900,
        segment_len_max: 0x0102_0304,
        concurrent_max: 5,
        granularity_exponent: 9,
        descriptor_types: vec![0x02, 0xe4],
    };
    let bytes = parameters.to_bytes();
    assert_eq!(bytes[..20], [0, 0, 0, 42, 1, 0, 0, 0, 0, 16, 0, 64, 0, 0, 9, 0, 1, 2, 3, 4]);
    assert_eq!(bytes[34..], [0, 5, 5, 9, 0, 0, 0, 0, 0, 2, 0x02, 0xe4]);
    assert_eq!(CopyParameters::parse(&bytes), Ok(parameters));
    for (ended_well, code) in [(None, 0), (Some(true), 1), (Some(false), 2)] {
        let progress = CopyProgress { ended_well, segments: 3, bytes: 0x0400 };
        assert_eq!(progress.to_bytes(), [0, 0, 0, 8, code, 0, 3, 0, 0, 0, 4, 0]);
        assert_eq!(CopyProgress::parse(&progress.to_bytes()), Ok(progress));
    }
}

#[test]
fn the_page_is_laid_out_as_in_spc_and_sbc() {
    let token_limits = TokenLimits {
        ranges_max: 0x0102,
        inactivity_max_s: 600,
        inactivity_default_s: 60,
        transfer_max_blocks: 0x0001_0000,
        transfer_optimal_blocks: 0x0800,
        block_bytes: 512,
    };
    let page = ThirdPartyCopy {
        token_limits,
        commands: ThirdPartyCopy::commands_of_table([opcode::THIRD_PARTY_COPY_OUT, opcode::THIRD_PARTY_COPY_IN]),
        list_limits: (16, 64, 0x0900),
        descriptor_types: vec![0x02, 0xe4],
        operations: CopyLimits {
            concurrent_max: 4,
            identified_max: 4,
            segment_len_max: 0x0200,
            granularity_exponent: 9,
        },
    };
    let bytes = page.to_bytes(Peripheral::DISK);
    assert_eq!(bytes[..2], [0, 0x8f]);
    assert_eq!(usize::from(u16::from_be_bytes([bytes[2], bytes[3]])), bytes.len() - 4);
    // What Windows reads: type 0000h, length 0020h.
    let limits = [
        0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 2, 0x58, 0, 0, 0, 60, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 8,
        0,
    ];
    assert_eq!(bytes[4..40], limits);
    let commands = [0, 1, 0, 12, 10, 0x83, 3, 0, 0x10, 0x11, 0x84, 3, 0, 3, 7, 0];
    assert_eq!(bytes[40..56], commands);
    assert_eq!(bytes[56..72], [0, 4, 0, 28, 0, 0, 0, 0, 0, 16, 0, 64, 0, 0, 9, 0]);
    assert_eq!(bytes[88..96], [0, 8, 0, 4, 2, 0x02, 0xe4, 0]);
    let features = &bytes[96..];
    assert_eq!((&features[..4], &features[24..28]), (&[1, 6, 0, 92][..], &[0, 0, 2, 0x58][..]));
    assert_eq!(features[46..56], [0, 48, 0, 0, 0, 0x2c, 0, 0, 0, 0]);
    assert_eq!(features[56..72], [0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0], "in bytes");
    let types = &features[96..];
    assert_eq!(types[..16], [1, 8, 0, 132, 0, 0, 0, 128, 0, 0x80, 0, 0, 3, 0, 0, 1]);
    assert_eq!(types[72..80], [0xff, 0xff, 0, 1, 1, 0, 0, 0]);
    assert_eq!(types[136..154], [0x80, 1, 0, 32, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 2, 0, 9, 0]);
    assert_eq!(types.len(), 136 + 36);
    let read = ThirdPartyCopy::parse_token_limits(&bytes).expect("the page").expect("the first descriptor");
    assert_eq!(read, TokenLimits { block_bytes: 0, ..token_limits });
}

proptest! {
    #[test]
    fn lists_read_back(
        (immediate, flag) in any::<(bool, bool)>(),
        (rod_type, timeout, offset) in (any::<Option<u32>>(), any::<u32>(), any::<u64>()),
        ranges in vec(any::<(u64, u32)>(), 1..40),
    ) {
        let ranges: Vec<_> = ranges.into_iter().map(|(lba, block_count)| TokenRange { lba, block_count }).collect();
        let rod_type = rod_type.map(RodType);
        let populate = PopulateToken { immediate, rod_type, inactivity_timeout_s: timeout, ranges: ranges.clone() };
        prop_assert_eq!(PopulateToken::parse(&populate.to_bytes()), Ok(populate));
        let write = WriteUsingToken { immediate, delete_token: flag, offset, token: RodToken::zero(), ranges };
        prop_assert_eq!(WriteUsingToken::parse(&write.to_bytes()), Ok(write));
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in vec(any::<u8>(), 0..700)) {
        drop(PopulateToken::parse(&bytes));
        drop(WriteUsingToken::parse(&bytes));
        drop(RodTokenInformation::parse(&bytes));
        drop(CopyParameters::parse(&bytes));
        drop(CopyProgress::parse(&bytes));
        drop(ThirdPartyCopy::parse_token_limits(&bytes));
        // A header that leads further.
        if bytes.len() > 16 {
            bytes[1] = 0;
            bytes[2..16].copy_from_slice(&[0, 64, 0, 0, 0, 0, 0, 0, 0, 28, 0, 0, 0, 0]);
            bytes[16] = 0xe4;
        }
        drop(CopyList::parse(&bytes, &LIMITS));
    }
}
