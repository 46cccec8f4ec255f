//! What hosts tell about shadow LUNs, the overview, and shadow LUNs that become LUNs of their own.

use std::time::Duration;

use lunshadow_catalog::LunDeletion;
use lunshadow_control::{LunRole, Outcome, ProblemCode, SetPhase, ShadowUse};

use crate::setup::{TestArray, code, name};

#[tokio::test(start_paused = true)]
async fn a_broken_off_shadow_lun_is_a_lun_of_its_own() {
    let array = TestArray::new().await;
    let set = array.kept(1).await;
    let shadows = array.shadows_of(set);
    array.catalog.map(array.host, &shadows).await.unwrap();
    let seen = array.seen();
    assert_eq!(array.catalog.note_use(array.host, &shadows[..1], ShadowUse::ReadWrite).await.unwrap(), [Outcome::Done]);
    assert_eq!(
        array.catalog.note_use(array.host, &shadows[..1], ShadowUse::ReadWrite).await.unwrap(),
        [Outcome::AlreadySo]
    );
    assert_eq!(array.seen(), seen, "it stays where it is");
    assert_eq!(code(array.catalog.release(array.host, shadows[0]).await), ProblemCode::WrongRole);
    assert_eq!(array.shadows_of(set), shadows[1..]);

    let array = array.reopen().await;
    assert_eq!(array.seen(), seen);
    assert_eq!(code(array.catalog.release(array.host, shadows[0]).await), ProblemCode::WrongRole);
    assert!(array.catalog.orphans().is_empty());
    let own_name = format!("shadow-{}", &shadows[0].to_string()[..8]);
    assert_eq!(array.catalog.lun_named(&name(&own_name)), Some(shadows[0]));
    // Who broke it off may have it masked, after a restart too; what never was a shadow LUN stays.
    assert_eq!(array.catalog.unmap(array.host, &shadows[..1]).await.unwrap(), [Outcome::Done]);
    assert_eq!(array.catalog.unmap(array.host, &shadows[..1]).await.unwrap(), [Outcome::AlreadySo]);
    assert_eq!(code(array.catalog.unmap(array.host, &array.sources[..1]).await), ProblemCode::NotAllowed);
    array.catalog.release(array.host, shadows[1]).await.unwrap();
    assert!(array.pool.has(shadows[0]) && !array.pool.has(shadows[1]));
    assert_eq!(array.catalog.delete_lun(shadows[0], LunDeletion::default()).await.unwrap(), Outcome::Done);
    assert!(!array.pool.has(shadows[0]));
}

#[tokio::test(start_paused = true)]
async fn only_shadow_luns_that_a_host_sees_and_that_stay_can_be_broken_off() {
    let array = TestArray::new().await;
    let set = array.committed(1).await;
    let shadow = array.shadows_of(set)[0];
    let note = |host, lun, used| {
        let catalog = &array.catalog;
        async move { catalog.note_use(host, &[lun], used).await }
    };
    assert_eq!(code(note(array.host, shadow, ShadowUse::ReadWrite).await), ProblemCode::WrongState);
    array.catalog.keep(array.host, set).await.unwrap();
    for used in [ShadowUse::ReadWrite, ShadowUse::Recovering] {
        assert_eq!(code(note(array.stranger, shadow, used).await), ProblemCode::UnknownLun);
    }
    let source = array.sources[0];
    assert_eq!(code(note(array.host, source, ShadowUse::Recovering).await), ProblemCode::WrongRole);
    assert_eq!(note(array.host, source, ShadowUse::ReadWrite).await.unwrap(), [Outcome::AlreadySo]);
    assert_eq!(note(array.host, shadow, ShadowUse::Recovering).await.unwrap(), [Outcome::Done]);
    assert_eq!(note(array.host, shadow, ShadowUse::Recovering).await.unwrap(), [Outcome::AlreadySo]);
    assert_eq!(note(array.host, shadow, ShadowUse::Recovered).await.unwrap(), [Outcome::Done]);
    assert_eq!(array.catalog.release(array.host, shadow).await.unwrap(), Outcome::Done, "it is a shadow LUN still");
}

#[tokio::test(start_paused = true)]
async fn the_overview_has_the_luns_and_the_sets_of_the_host() {
    let array = TestArray::new().await;
    let old = array.kept(1).await;
    array.clock.advance(Duration::from_secs(60));
    let aborted = array.prepared(2).await;
    array.catalog.abort(array.host, aborted).await.unwrap();
    array.clock.advance(Duration::from_secs(60));
    let new = array.prepared(3).await;
    let shadow = array.shadows_of(old)[0];
    array.catalog.map(array.host, &[shadow]).await.unwrap();

    let overview = array.catalog.overview(array.host).unwrap();
    let luns: Vec<_> = overview.luns.iter().map(|lun| (lun.number, lun.name.as_deref(), lun.len_bytes)).collect();
    assert_eq!(luns, [(1, Some("data"), 4096), (2, Some("log"), 4096), (3, None, 4096)]);
    assert!(matches!(overview.luns[2].role, LunRole::Shadow { set, .. } if set == old));
    let sets: Vec<_> = overview.sets.iter().map(|set| (set.set, set.phase, set.lun_count)).collect();
    assert_eq!(sets, [(new, SetPhase::Prepared, 2), (aborted, SetPhase::Aborted, 2), (old, SetPhase::Kept, 2)]);
    assert_eq!(overview.sets[0].lease_left_ms, Some(3_600_000));
    assert_eq!(overview.sets[2].commit_took_us, Some(0), "the clock stood still");
    assert_eq!(overview.sets[2].committed_at_unix_ms, Some(overview.now_unix_ms - 120_000));
    let strangers = array.catalog.overview(array.stranger).unwrap();
    assert!(strangers.luns.is_empty() && strangers.sets.is_empty());

    let array = array.reopen().await;
    let kept = array.catalog.overview(array.host).unwrap().sets.pop().unwrap();
    assert_eq!((kept.set, kept.committed_at_unix_ms), (old, overview.sets[2].committed_at_unix_ms));
}

#[tokio::test(start_paused = true)]
async fn of_sets_that_are_over_the_overview_has_the_youngest() {
    let array = TestArray::new().await;
    let kept = array.kept(1000).await;
    for number in 0..40 {
        array.clock.advance(Duration::from_secs(1));
        let set = array.prepared(number).await;
        array.catalog.abort(array.host, set).await.unwrap();
    }
    let sets = array.catalog.overview(array.host).unwrap().sets;
    assert_eq!(sets.len(), 33);
    assert_eq!(sets[32].set, kept);
    assert_eq!(sets[0].set, crate::setup::set(39));
}
