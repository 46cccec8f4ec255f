//! Data of a task: the initiator's plan against the target's checks, and every way to break the rules.

use lunshadow_iscsi::negotiation::SessionParameters;
use lunshadow_iscsi::pdu::{DataIn, DataOut, FINAL, ScsiCommand, Tag};
use lunshadow_iscsi::transfer::{
    ReadError, ReadTransfer, WriteError, WritePlan, WriteTransfer, data_in_slices, data_out_slices,
};
use lunshadow_scsi::LunAddress;
use proptest::prelude::*;

fn command(length: u32, is_final: bool) -> ScsiCommand {
    let flags = ScsiCommand::WRITE | if is_final { FINAL } else { 0 };
    ScsiCommand { flags, expected_data_transfer_length: length.into(), ..ScsiCommand::default() }
}

fn data_out(ttt: Tag, data_sn: u32, offset: u32, is_final: bool) -> DataOut {
    let flags = if is_final { FINAL } else { 0 };
    DataOut { flags, ttt, data_sn: data_sn.into(), buffer_offset: offset.into(), ..DataOut::default() }
}

/// 2 KiB unsolicited, 4 KiB bursts, 1 KiB segments, two R2Ts at once.
fn small() -> SessionParameters {
    SessionParameters {
        initial_r2t: false,
        immediate_data: true,
        first_burst_length: 2048,
        max_burst_length: 4096,
        target_max_recv_data_segment_length: 1024,
        initiator_max_recv_data_segment_length: 1024,
        max_outstanding_r2t: 2,
        ..SessionParameters::default()
    }
}

/// After 1 KiB of immediate and 1 KiB of unsolicited data, two R2Ts of 4 KiB are under way with the tags 1 and 2.
fn with_two_r2ts() -> WriteTransfer {
    let mut write = WriteTransfer::new(&small(), &command(16384, false), 1024).expect("within the limits");
    assert_eq!(write.next_r2t(Tag::new(0)), None, "unsolicited data comes first");
    let placed = write.accept(&data_out(Tag::default(), 0, 1024, true), 1024).expect("within the limits");
    assert_eq!((placed.range, placed.ends_sequence), (1024..2048, true));
    let first = write.next_r2t(Tag::new(1)).expect("due");
    let second = write.next_r2t(Tag::new(2)).expect("due");
    assert_eq!((first.r2t_sn, first.offset, first.length), (0, 2048, 4096));
    assert_eq!((second.r2t_sn, second.offset, second.length), (1, 6144, 4096));
    assert_eq!(write.next_r2t(Tag::new(3)), None, "two are open");
    write
}

// RFC 7143 §4.2.5.3 MUST: a Data-Out for an R2T has the LUN of its command, or the command ends.
#[test]
fn a_write_breaks_off_at_each_wrong_data_out() {
    let check = |header: DataOut, length: usize, expected: WriteError| {
        assert_eq!(with_two_r2ts().accept(&header, length), Err(expected), "{header:?}");
    };
    check(data_out(Tag::new(1), 1, 2048, false), 1024, WriteError::DataSn { expected: 0, received: 1 });
    check(data_out(Tag::new(1), 0, 3072, false), 1024, WriteError::Offset { expected: 2048, received: 3072 });
    check(data_out(Tag::new(2), 0, 6144, false), 1024, WriteError::UnknownTransfer { ttt: 2 });
    check(data_out(Tag::new(9), 0, 2048, false), 1024, WriteError::UnknownTransfer { ttt: 9 });
    let other_unit = DataOut { lun: LunAddress::peripheral(1), ..data_out(Tag::new(1), 0, 2048, false) };
    check(other_unit, 1024, WriteError::UnknownTransfer { ttt: 1 });
    check(data_out(Tag::default(), 1, 2048, false), 1024, WriteError::UnexpectedUnsolicited);
    check(data_out(Tag::new(1), 0, 2048, true), 1024, WriteError::SequenceLength { end: 3072, asked: 6144 });
    check(data_out(Tag::new(1), 0, 2048, false), 4097, WriteError::SequenceLength { end: 6145, asked: 6144 });
    check(data_out(Tag::new(1), 0, 2048, true), 5000, WriteError::SequenceLength { end: 7048, asked: 6144 });
}

// RFC 7143 §11.7.7 MUST: a Data-Out without data is taken.
#[test]
fn a_sequence_may_end_with_a_data_out_without_data() {
    let mut write = WriteTransfer::new(&small(), &command(6144, false), 1024).expect("within the limits");
    let nothing = write.accept(&data_out(Tag::default(), 0, 1024, false), 0).expect("nothing");
    assert_eq!((nothing.range, nothing.ends_sequence), (1024..1024, false));
    write.accept(&data_out(Tag::default(), 1, 1024, false), 1024).expect("within the limits");
    write.accept(&data_out(Tag::default(), 2, 2048, true), 0).expect("the F bit");
    write.next_r2t(Tag::new(1)).expect("due");
    write.accept(&data_out(Tag::new(1), 0, 2048, false), 4096).expect("what was asked for");
    assert!(!write.is_complete(), "the F bit has not come");
    write.accept(&data_out(Tag::new(1), 1, 6144, true), 0).expect("the F bit");
    assert!(write.is_complete());
}

#[test]
fn what_is_discarded_ends_its_sequence() {
    let mut write = with_two_r2ts();
    write.discard(&data_out(Tag::new(2), 0, 0, false));
    write.discard(&data_out(Tag::default(), 0, 0, true));
    write.discard(&data_out(Tag::new(9), 0, 0, true));
    assert!(write.is_awaiting(), "the second one");
    write.discard(&data_out(Tag::new(2), 0, 0, true));
    assert!(!write.is_awaiting());

    let mut write = WriteTransfer::refused(&small(), &command(8192, false), 1000);
    assert!(write.is_awaiting());
    write.discard(&data_out(Tag::default(), 0, 0, true));
    assert!(!write.is_awaiting());
    assert!(!WriteTransfer::refused(&small(), &command(8192, true), 2049).is_awaiting());
}

// RFC 7143 §13.11 MUST: data that comes unasked where ImmediateData is No and InitialR2T is Yes is refused.
#[test]
fn unsolicited_data_keeps_within_what_was_agreed() {
    let refused = |parameters: &SessionParameters, command: ScsiCommand, immediate: usize| {
        WriteTransfer::new(parameters, &command, immediate).expect_err("outside the limits")
    };
    let no_immediate = SessionParameters { immediate_data: false, ..small() };
    assert_eq!(refused(&no_immediate, command(4096, true), 1), WriteError::UnexpectedUnsolicited);
    let r2t_only = SessionParameters { initial_r2t: true, ..small() };
    assert_eq!(refused(&r2t_only, command(4096, false), 512), WriteError::UnexpectedUnsolicited);
    assert!(WriteTransfer::new(&r2t_only, &command(4096, true), 512).is_ok());
    let neither = SessionParameters { initial_r2t: true, immediate_data: false, ..small() };
    assert_eq!(refused(&neither, command(4096, true), 1), WriteError::UnexpectedUnsolicited);
    assert_eq!(refused(&neither, command(4096, false), 0), WriteError::UnexpectedUnsolicited);
    assert_eq!(refused(&small(), command(8192, true), 2049), WriteError::UnsolicitedTooLong { end: 2049, limit: 2048 });
    assert_eq!(refused(&small(), command(512, true), 513), WriteError::UnsolicitedTooLong { end: 513, limit: 512 });

    let mut write = WriteTransfer::new(&small(), &command(8192, false), 1024).expect("within the limits");
    let too_long = write.accept(&data_out(Tag::default(), 0, 1024, true), 1025);
    assert_eq!(too_long, Err(WriteError::UnsolicitedTooLong { end: 2049, limit: 2048 }));

    let mut write = WriteTransfer::new(&small(), &command(8192, true), 1024).expect("within the limits");
    let after_final = write.accept(&data_out(Tag::default(), 0, 1024, true), 512);
    assert_eq!(after_final, Err(WriteError::UnexpectedUnsolicited), "the command's F bit said that none follows");
}

#[test]
fn a_target_may_want_less_than_was_announced() {
    let mut write = WriteTransfer::new(&small(), &command(8192, true), 0).expect("within the limits");
    write.want_only(512);
    let r2t = write.next_r2t(Tag::new(1)).expect("due");
    assert_eq!((r2t.offset, r2t.length), (0, 512));
    assert!(!write.is_complete());
    write.accept(&data_out(Tag::new(1), 0, 0, true), 512).expect("what was asked for");
    assert!(write.is_complete());
    assert_eq!(write.next_r2t(Tag::new(2)), None);

    let mut write = WriteTransfer::new(&small(), &command(8192, false), 1024).expect("within the limits");
    write.want_only(512);
    assert!(!write.is_complete(), "unsolicited data is still on its way");
    write.accept(&data_out(Tag::default(), 0, 1024, true), 1024).expect("allowed");
    assert!(write.is_complete());
}

#[test]
fn a_read_breaks_off_at_each_wrong_data_in() {
    let header = |data_sn: u32, offset: u32| DataIn {
        data_sn: data_sn.into(),
        buffer_offset: offset.into(),
        ..DataIn::default()
    };
    let mut read = ReadTransfer::new(1024);
    assert_eq!(read.accept(&header(0, 0), 512), Ok(0..512));
    assert_eq!(read.clone().accept(&header(0, 512), 512), Err(ReadError::DataSn { expected: 1, received: 0 }));
    assert_eq!(read.clone().accept(&header(1, 0), 512), Err(ReadError::Offset { expected: 512, received: 0 }));
    assert_eq!(read.clone().accept(&header(1, 512), 513), Err(ReadError::TooLong { end: 1025, expected_length: 1024 }));
    assert_eq!(read.accept(&header(1, 512), 512), Ok(512..1024));
    assert_eq!(read.received(), 1024);
}

fn any_parameters() -> impl Strategy<Value = SessionParameters> {
    let length = || 512_u32..9000;
    (any::<(bool, bool)>(), length(), length(), length(), length(), 1_u32..5).prop_map(
        |((initial_r2t, immediate_data), initiator, target, max_burst, first_burst, r2ts)| SessionParameters {
            initial_r2t,
            immediate_data,
            initiator_max_recv_data_segment_length: initiator,
            target_max_recv_data_segment_length: target,
            max_burst_length: max_burst,
            first_burst_length: first_burst.min(max_burst),
            max_outstanding_r2t: r2ts,
            ..SessionParameters::default()
        },
    )
}

proptest! {
    /// Whatever was agreed, what the initiator sends is what the target takes, and every byte arrives once and in order.
    #[test]
    fn a_planned_write_arrives(parameters in any_parameters(), length in 0_u32..60_000) {
        let plan = WritePlan::new(&parameters, length);
        let command = command(length, plan.unsolicited.is_empty());
        let mut write = WriteTransfer::new(&parameters, &command, plan.immediate.len()).expect("the plan is within the limits");
        let mut arrived = plan.immediate.end as usize;
        let mut sequences = Vec::from([(Tag::default(), plan.unsolicited)]);
        let mut next_tag = 0;
        while let Some((ttt, sequence)) = (!sequences.is_empty()).then(|| sequences.remove(0)) {
            prop_assert!(sequence.len() <= parameters.max_burst_length as usize);
            for slice in data_out_slices(&parameters, sequence) {
                prop_assert!(slice.length <= parameters.target_max_recv_data_segment_length);
                let header = data_out(ttt, slice.data_sn, slice.offset, slice.is_final);
                let placed = write.accept(&header, slice.length as usize).expect("in order");
                prop_assert_eq!(placed.range.start, arrived);
                prop_assert_eq!(placed.ends_sequence, slice.is_final);
                arrived = placed.range.end;
            }
            while let Some(r2t) = write.next_r2t(Tag::new(next_tag)) {
                next_tag += 1;
                sequences.push((r2t.ttt, r2t.offset..r2t.offset + r2t.length));
            }
            prop_assert!(sequences.len() <= parameters.max_outstanding_r2t as usize);
        }
        prop_assert_eq!(arrived, length as usize);
        prop_assert!(write.is_complete());
        prop_assert_eq!(write.r2ts_sent(), next_tag);
    }

    // RFC 7143 §4.2.2.4 MUST: the Data-Ins and R2Ts of a command are numbered from 0.
    // RFC 7143 §13.12 MUST: a data segment is no longer than the other end's MaxRecvDataSegmentLength.
    // RFC 7143 §11.7.1 MUST NOT: a sequence of Data-In is longer than MaxBurstLength.
    #[test]
    fn a_read_in_slices_arrives(parameters in any_parameters(), length in 0_u32..60_000) {
        let mut read = ReadTransfer::new(length);
        let mut sequence = 0;
        let mut ended = true;
        for slice in data_in_slices(&parameters, length) {
            prop_assert!(slice.length > 0 && slice.length <= parameters.initiator_max_recv_data_segment_length);
            let header = DataIn { data_sn: slice.data_sn.into(), buffer_offset: slice.offset.into(), ..DataIn::default() };
            read.accept(&header, slice.length as usize).expect("in order");
            sequence += slice.length;
            prop_assert!(sequence <= parameters.max_burst_length);
            if slice.ends_sequence {
                sequence = 0;
            }
            ended = slice.ends_sequence;
            prop_assert_eq!(slice.is_last, slice.offset + slice.length == length);
        }
        prop_assert!(ended);
        prop_assert_eq!(read.received(), length);
    }
}
