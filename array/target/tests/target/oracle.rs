//! READ, WRITE and UNMAP in all their forms against a plain vector of bytes.

use lunshadow_scsi::{BlockRange, CdbForm, Command, Status, UnmapRange};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::device_server::Bench;

const LUN: u8 = 1;
const BLOCKS: u64 = 2048;

#[derive(Debug, Clone)]
enum Step {
    Write { range: BlockRange, fua: bool, fill: u8 },
    Read { range: BlockRange, fua: bool },
    Unmap { lba: u64, block_count: u32 },
}

fn ranges() -> impl Strategy<Value = BlockRange> {
    let forms = prop_oneof![Just(CdbForm::Six), Just(CdbForm::Ten), Just(CdbForm::Twelve), Just(CdbForm::Sixteen)];
    // Some reach beyond the end.
    (forms, 0..BLOCKS + 8, prop_oneof![0..16_u32, 200..300_u32])
        .prop_filter_map("the form holds it", |(form, lba, count)| BlockRange::with_form(form, lba, count))
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (ranges(), any::<bool>(), 1..=255_u8).prop_map(|(range, fua, fill)| Step::Write { range, fua, fill }),
        3 => (ranges(), any::<bool>()).prop_map(|(range, fua)| Step::Read { range, fua }),
        1 => (0..BLOCKS + 8, 0..200_u32).prop_map(|(lba, block_count)| Step::Unmap { lba, block_count }),
    ]
}

/// Bytes that differ from block to block, so that no displacement goes unseen.
fn pattern(fill: u8, len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| fill ^ u8::try_from(at / 512 % 251).expect("below 251") ^ u8::try_from(at % 7).expect("below 7"))
        .collect()
}

fn place(lba: u64, block_count: u32) -> Option<std::ops::Range<usize>> {
    let end = lba + u64::from(block_count);
    let bytes = |block: u64| usize::try_from(block * 512).expect("small");
    (end <= BLOCKS).then(|| bytes(lba)..bytes(end))
}

async fn check(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let bench = Bench::new().await;
    let mut oracle = vec![0; usize::try_from(BLOCKS * 512).expect("small")];
    for step in steps {
        let (command, data_out, place) = match step {
            Step::Write { range, fua, fill } => {
                let data = pattern(fill, range.block_count() as usize * 512);
                let place = place(range.lba(), range.block_count());
                if let Some(place) = place.clone() {
                    oracle[place].copy_from_slice(&data);
                }
                (Command::Write { range, fua }, data, place)
            }
            Step::Read { range, fua } => {
                (Command::Read { range, fua }, Vec::new(), place(range.lba(), range.block_count()))
            }
            Step::Unmap { lba, block_count } => {
                let place = place(lba, block_count);
                if let Some(place) = place.clone() {
                    oracle[place].fill(0);
                }
                let list = UnmapRange::list_to_bytes(&[UnmapRange { lba, block_count }]);
                (Command::Unmap { anchor: false, parameter_len: 24 }, list, place)
            }
        };
        let completion = bench.run(LUN, command, data_out).await;
        let expected = if place.is_some() { Status::GOOD } else { Status::CHECK_CONDITION };
        prop_assert_eq!(completion.status, expected, "{:?}", command);
        if let (Command::Read { .. }, Some(place)) = (command, place) {
            prop_assert_eq!(&completion.data_in[..], &oracle[place], "{:?}", command);
        }
    }
    let all = Command::Read { range: BlockRange::new(0, u32::try_from(BLOCKS).expect("small")), fua: false };
    prop_assert_eq!(&bench.run(LUN, all, Vec::new()).await.data_in[..], &oracle[..]);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn blocks_read_as_they_were_written(steps in vec(steps(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(check(steps))?;
    }
}
