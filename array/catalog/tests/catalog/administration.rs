//! What an administrator is shown of shadow sets.

use std::time::Duration;

use lunshadow_catalog::AbortReason;
use lunshadow_control::{Outcome, ProblemCode, SetPhase, ShadowUse};
use lunshadow_lun::LunNumber;

use crate::setup::{COMMITTED_LEASE, TestArray, set};

#[tokio::test(start_paused = true)]
async fn sets_of_all_hosts_are_shown_with_leases_and_what_became_of_them() {
    let array = TestArray::new().await;
    let kept = array.kept(1).await;
    let shadows = array.shadows_of(kept);
    array.catalog.map(array.host, &shadows[..1]).await.unwrap();
    array.catalog.note_use(array.host, &shadows[..1], ShadowUse::Recovered).await.unwrap();
    array.clock.advance(Duration::from_secs(1));
    let aborted = array.committed(2).await;
    array.catalog.abort(array.host, aborted).await.unwrap();
    array.clock.advance(Duration::from_secs(1));
    let foreign = set(3);
    array.catalog.assign(array.stranger, array.sources[0]).await.unwrap();
    array.catalog.prepare(array.stranger, foreign, &array.sources[..1]).await.unwrap();
    array.clock.advance(Duration::from_secs(1));
    let committed = array.committed(4).await;
    array.clock.advance(Duration::from_secs(60));

    let (now_unix_ms, sets) = array.catalog.administered_sets();
    assert_eq!(sets.iter().map(|set| set.summary.set).collect::<Vec<_>>(), [committed, foreign, aborted, kept]);
    let [committed, foreign, aborted, kept] = &sets[..] else { panic!("{sets:?}") };
    assert_eq!(now_unix_ms - committed.created_at_unix_ms, 60_000);
    let left = COMMITTED_LEASE - Duration::from_secs(60);
    assert_eq!(committed.summary.lease_left_ms, Some(u64::try_from(left.as_millis()).unwrap()));
    assert_eq!((foreign.host.as_deref(), foreign.summary.phase), (Some("stranger"), SetPhase::Prepared));
    assert_eq!((aborted.summary.phase, aborted.reason), (SetPhase::Aborted, Some(AbortReason::Requested)));
    assert_eq!((kept.summary.phase, kept.summary.lease_left_ms), (SetPhase::Kept, None));

    let seen: Vec<_> = kept.luns.iter().filter(|lun| !lun.mappings.is_empty()).collect();
    let [seen] = seen[..] else { panic!("{:?}", kept.luns) };
    assert_eq!((seen.shadow, seen.used), (shadows[0], Some(ShadowUse::Recovered)));
    assert_eq!(seen.mappings, [("host".to_owned(), LunNumber(3))]);
    let names: Vec<_> = kept.luns.iter().filter_map(|lun| lun.source_name.as_deref()).collect();
    assert!(names.contains(&"data") && names.contains(&"log"), "{names:?}");
}

#[tokio::test(start_paused = true)]
async fn of_sets_that_are_over_each_hosts_youngest_are_shown() {
    let array = TestArray::new().await;
    array.catalog.assign(array.stranger, array.sources[0]).await.unwrap();
    let of_stranger = set(1000);
    array.catalog.prepare(array.stranger, of_stranger, &array.sources[..1]).await.unwrap();
    array.catalog.abort(array.stranger, of_stranger).await.unwrap();
    for number in 1..=40 {
        array.clock.advance(Duration::from_secs(1));
        let set = array.prepared(number).await;
        array.catalog.abort(array.host, set).await.unwrap();
    }
    let (_, sets) = array.catalog.administered_sets();
    let shown: Vec<_> = sets.iter().map(|found| found.summary.set).collect();
    let expected: Vec<_> = (9..=40).rev().chain([1000]).map(set).collect();
    assert_eq!(shown, expected);
}

#[tokio::test(start_paused = true)]
async fn an_administrator_deletes_a_set_in_any_state_and_whoever_sees_it() {
    let array = TestArray::new().await;
    let kept = array.kept(1).await;
    let shadows = array.shadows_of(kept);
    array.catalog.map(array.host, &shadows).await.unwrap();
    let prepared = array.prepared(2).await;
    for set in [kept, prepared] {
        assert_eq!(array.catalog.delete_set(set).await.unwrap(), Outcome::Done);
        assert_eq!(array.catalog.delete_set(set).await.unwrap(), Outcome::AlreadySo);
        let error = array.catalog.targets(array.host, set).unwrap_err();
        assert_eq!(error.code(), ProblemCode::SetAborted);
    }
    assert_eq!(array.catalog.map(array.host, &shadows).await.unwrap_err().code(), ProblemCode::SetAborted);
    let (_, sets) = array.catalog.administered_sets();
    assert!(sets.iter().all(|set| set.reason == Some(AbortReason::Deleted)), "{sets:?}");
    assert!(sets.iter().flat_map(|set| &set.luns).all(|lun| lun.mappings.is_empty()), "{sets:?}");
    assert_eq!(array.catalog.delete_set(set(77)).await.unwrap_err().code(), ProblemCode::UnknownSet);
    let another = array.kept(3).await;
    assert_eq!(array.shadows_of(another).len(), shadows.len());
}

#[tokio::test(start_paused = true)]
async fn a_lun_that_has_left_its_set_outlives_the_set() {
    let array = TestArray::new().await;
    let kept = array.kept(1).await;
    let shadows = array.shadows_of(kept);
    array.catalog.map(array.host, &shadows).await.unwrap();
    array.catalog.note_use(array.host, &shadows[..1], ShadowUse::ReadWrite).await.unwrap();
    assert_eq!(array.catalog.delete_set(kept).await.unwrap(), Outcome::Done);
    assert_eq!(array.catalog.map(array.host, &shadows[..1]).await.unwrap(), [Outcome::AlreadySo]);
    assert!(array.catalog.map(array.host, &shadows[1..2]).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_administrator_makes_a_shadow_lun_a_lun_of_its_own() {
    let array = TestArray::new().await;
    let kept = array.kept(1).await;
    let shadows = array.shadows_of(kept);
    array.catalog.map(array.host, &shadows).await.unwrap();
    assert_eq!(array.catalog.detach(shadows[0]).await.unwrap(), Outcome::Done);
    assert_eq!(array.catalog.detach(shadows[0]).await.unwrap(), Outcome::AlreadySo);
    assert_eq!(array.catalog.release(array.host, shadows[0]).await.unwrap_err().code(), ProblemCode::WrongRole);
    let luns = array.catalog.administered_luns();
    assert!(luns.iter().any(|lun| lun.lun == shadows[0] && lun.name.starts_with("shadow-")), "{luns:?}");
    assert_eq!(array.catalog.delete_set(kept).await.unwrap(), Outcome::Done);
    assert_eq!(array.catalog.detach(shadows[1]).await.unwrap_err().code(), ProblemCode::UnknownLun);
}
