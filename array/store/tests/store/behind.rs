//! Writes that are answered before the medium has them.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use lunshadow_lun::{BlockCount, Lba, LunError, LunHandle, LunId, Pool as _, ShadowMember, ShadowSetId, finish_up};
use lunshadow_store::{ScrubOptions, StoreConfig, StorePool};

use crate::check::assert_clean;
use crate::model::small_config;
use crate::sim_media::{Attempt, Loss, Operation, SimMedia, after_power_cut};

const LENGTH: BlockCount = BlockCount(8 * 1024);
/// Where the data area of a pool with this geometry begins, or before it.
const LOG_END_BYTES: u64 = 72 * 4096;

fn filled(tag: u8) -> Bytes {
    Bytes::from(vec![tag; 4096])
}

/// A medium that begins late with what it is told to write, a pool on it, and a LUN whose first block is filled with 1s, durably.
async fn late() -> (SimMedia, StorePool, LunHandle) {
    let media = SimMedia::default();
    let pool = StorePool::create_on(media.clone(), &small_config(4096)).unwrap();
    let lun = pool.create(LunId::random(), LENGTH).await.unwrap();
    lun.write(Lba(0), filled(1)).await.unwrap();
    lun.flush().await.unwrap();
    media.be_lazy(true);
    (media, pool, lun)
}

async fn tag_of(lun: &LunHandle, block: u64) -> u8 {
    let content = lun.read(Lba(block * 8), BlockCount(8)).await.unwrap();
    assert!(content.iter().all(|byte| *byte == content[0]), "block {block} is whole");
    content[0]
}

/// Whether the medium has got a block that is filled with a tag.
fn has_got(media: &SimMedia, tag: u8) -> bool {
    let is_it =
        |operation: Operation| matches!(operation, Operation::Write { data, .. } if data[..] == filled(tag)[..]);
    media.trace().into_iter().any(is_it)
}

fn is_data(attempt: Attempt) -> bool {
    matches!(attempt, Attempt::Write { offset_bytes } if offset_bytes >= LOG_END_BYTES)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_is_answered_and_read_before_the_medium_has_it() {
    let (media, pool, lun) = late().await;
    lun.write(Lba(0), filled(2)).await.unwrap();
    lun.write(Lba(8), filled(3)).await.unwrap();
    assert!(!has_got(&media, 2) && !has_got(&media, 3));
    assert_eq!([tag_of(&lun, 0).await, tag_of(&lun, 1).await, tag_of(&lun, 2).await], [2, 3, 0]);
    let patched = lun.write(Lba(9), Bytes::from_static(&[4; 512])).await;
    assert!(patched.is_ok(), "a part of a block needs the rest of it: {patched:?}");
    let content = lun.read(Lba(0), BlockCount(24)).await.unwrap();
    assert!(content[..4096] == filled(2) && content[4096..4608] == [3; 512] && content[4608..5120] == [4; 512]);
    let report = pool.scrub(ScrubOptions::default(), |_| {}).await.unwrap();
    assert!(report.damage.is_empty(), "{report:?}");
    lun.flush().await.unwrap();
    assert!(has_got(&media, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_flushed_or_captured_is_on_the_medium() {
    let (media, pool, lun) = late().await;
    let start = media.restart_trace();
    lun.write(Lba(0), filled(2)).await.unwrap();
    lun.write(Lba(0), filled(3)).await.unwrap();
    lun.flush().await.unwrap();
    let flushed = media.trace_len();
    lun.write(Lba(0), filled(4)).await.unwrap();
    let (set, shadow) = (ShadowSetId(uuid::Uuid::new_v4()), LunId::random());
    pool.prepare(set, &[ShadowMember { source: lun.id(), shadow }]).await.unwrap();
    pool.commit(set, Duration::from_secs(60)).await.unwrap();
    let captured = media.trace_len();
    lun.write(Lba(0), filled(5)).await.unwrap();
    let id = lun.id();
    drop((lun, pool));
    let trace = media.trace();
    for (cut, expected, of_shadow) in [(flushed, 3, None), (captured, 4, Some(4))] {
        let image = after_power_cut(&start, &trace, cut, Loss::Everything);
        assert_clean(&image, &format!("cut behind {cut}"));
        let pool = StorePool::open_on(SimMedia::with(image), &small_config(4096)).unwrap();
        assert_eq!(tag_of(&pool.open(id).unwrap(), 0).await, expected);
        let found = match pool.open(shadow) {
            Ok(shadow) => Some(tag_of(&shadow, 0).await),
            Err(_) => None,
        };
        assert_eq!(found, of_shadow);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_fails_after_its_answer_is_tried_again_by_the_flush() {
    let (media, pool, lun) = late().await;
    let mut attempts = 0;
    media.fail_when(move |attempt| {
        attempts += u32::from(is_data(attempt));
        (is_data(attempt) && attempts == 1).then(|| io::Error::other("the medium is broken for a moment"))
    });
    lun.write(Lba(0), filled(2)).await.unwrap();
    lun.flush().await.unwrap();
    media.fail_no_more();
    let (image, id) = (media.image(), lun.id());
    assert!(has_got(&media, 2));
    drop((lun, pool));
    let pool = StorePool::open_on(SimMedia::with(image), &small_config(4096)).unwrap();
    assert_eq!(tag_of(&pool.open(id).unwrap(), 0).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_that_cannot_be_written_after_its_answer_is_a_failed_flush() {
    let (media, pool, lun) = late().await;
    media.fail_when(|attempt| is_data(attempt).then(|| io::Error::other("the medium is broken")));
    lun.write(Lba(0), filled(2)).await.unwrap();
    assert!(matches!(lun.flush().await, Err(LunError::Poisoned)));
    assert_eq!(tag_of(&lun, 0).await, 2, "what was answered is what is read");
    assert!(matches!(lun.write(Lba(0), filled(3)).await, Err(LunError::Poisoned)));
    media.fail_no_more();
    let id = lun.id();
    drop((lun, pool));
    let pool = StorePool::open_on(media, &small_config(4096)).unwrap();
    let lun = pool.open(id).unwrap();
    assert_eq!(tag_of(&lun, 0).await, 1, "nothing that was flushed is lost");
    lun.write(Lba(0), filled(4)).await.unwrap();
    lun.flush().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_says_that_the_medium_is_full_and_goes_on_when_it_has_room() {
    let (media, pool, lun) = late().await;
    media.hide_room();
    media.limit_room(Some(0));
    lun.write(Lba(0), filled(2)).await.unwrap();
    for _ in 0..3 {
        assert!(matches!(lun.flush().await, Err(LunError::OutOfSpace)));
    }
    assert_eq!(tag_of(&lun, 0).await, 2);
    media.be_lazy(false);
    assert!(matches!(lun.write(Lba(8), filled(3)).await, Err(LunError::OutOfSpace)), "who writes now hears of it");
    media.limit_room(None);
    lun.flush().await.unwrap();
    lun.write(Lba(8), filled(4)).await.unwrap();
    lun.flush().await.unwrap();
    pool.close().await.unwrap();
    let (image, id) = (media.image(), lun.id());
    assert_clean(&image, "a pool whose medium was full");
    drop((lun, pool));
    let pool = StorePool::open_on(SimMedia::with(image), &small_config(4096)).unwrap();
    let lun = pool.open(id).unwrap();
    assert_eq!([tag_of(&lun, 0).await, tag_of(&lun, 1).await], [2, 4]);
}

/// What a connection leaves undone is begun when it finishes up, or by whoever syncs.
#[tokio::test]
async fn the_medium_hears_of_a_write_when_those_are_told_who_wait() {
    let (media, pool, lun) = late().await;
    media.be_lazy(false);
    let now = |block: u64, tag| lun.write_now(Lba(block * 8), filled(tag)).is_ok();
    assert!(now(0, 2) && now(1, 3));
    assert_eq!([tag_of(&lun, 0).await, tag_of(&lun, 1).await], [2, 3]);
    finish_up();
    assert!(has_got(&media, 2) && has_got(&media, 3));
    assert!(now(2, 4));
    lun.flush().await.unwrap();
    assert!(has_got(&media, 4), "a flush waits for nobody else");
    assert!(lun.write_now(Lba(1), Bytes::from(vec![5; 4096])).is_err(), "a part of a block needs the rest of it");
    assert!(now(3, 0) && tag_of(&lun, 3).await == 0, "zeros take no block");
    assert!(now(4, 6));
    drop((lun, pool));
    // There is nothing left to do it with.
    finish_up();
}

/// Who asks for it, and who has a medium that may be short of room, hears of a write when the medium has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_waits_for_the_medium_where_it_has_to() {
    for (write_behind_bytes, room) in [(0, None), (1 << 20, Some(1000))] {
        let media = SimMedia::default();
        media.limit_room(room);
        let config = StoreConfig { write_behind_bytes, ..small_config(4096) };
        let pool = StorePool::create_on(media.clone(), &config).unwrap();
        let lun = pool.create(LunId::random(), LENGTH).await.unwrap();
        lun.write(Lba(0), filled(2)).await.unwrap();
        assert!(has_got(&media, 2));
    }
}
