//! Mappings, LUN numbers, inventories and the release of shadow LUNs.

use std::collections::BTreeSet;

use lunshadow_catalog::Limits;
use lunshadow_control::{LunId, Outcome, ProblemCode};
use lunshadow_lun::{BlockCount, LunMap, LunNumber};

use crate::fake_pool::Fault;
use crate::setup::{TestArray, code, initiator, name};

#[tokio::test(start_paused = true)]
async fn numbers_run_in_a_circle_and_leave_out_zero() {
    let array = TestArray::new().await;
    let lun = array.catalog.create_lun(name("extra"), BlockCount(8)).await.unwrap().id;
    let mut numbers = Vec::new();
    for _ in 0..300 {
        let assigned = array.catalog.assign(array.host, lun).await.unwrap();
        assert_eq!(assigned.outcome, Outcome::Done);
        let again = array.catalog.assign(array.host, lun).await.unwrap();
        assert_eq!((again.number, again.outcome), (assigned.number, Outcome::AlreadySo));
        numbers.push(assigned.number.0);
        array.catalog.unassign(array.host, lun).await.unwrap();
    }
    let expected: Vec<u8> = (3..=255).chain(3..=255).take(300).collect();
    assert_eq!(numbers, expected);

    let array = array.reopen().await;
    let after_restart = array.catalog.assign(array.host, lun).await.unwrap().number;
    assert_eq!(after_restart, LunNumber(50), "a number was used again at once");
    let mapped = array.catalog.mappings(array.host).unwrap();
    let [first, second] = array.sources[..] else { panic!("two LUNs") };
    assert_eq!(mapped, [(LunNumber(1), first), (LunNumber(2), second), (LunNumber(50), lun)]);
}

#[tokio::test(start_paused = true)]
async fn a_hosts_numbers_run_out() {
    for luns_of_host in [3, 1000] {
        let array = TestArray::with_limits(Limits { luns_of_host, ..Limits::default() }).await;
        let mut numbers: BTreeSet<u8> = [1, 2].into();
        let last = loop {
            let lun = array.catalog.create_lun(name(&format!("lun{}", numbers.len())), BlockCount(8)).await.unwrap().id;
            match array.catalog.assign(array.host, lun).await {
                Ok(assigned) => assert!(numbers.insert(assigned.number.0), "{:?} was used twice", assigned.number),
                Err(error) => break error,
            }
        };
        assert_eq!(last.code(), ProblemCode::LimitReached);
        assert_eq!(numbers.len(), luns_of_host.min(255));
        assert!(!numbers.contains(&0));
    }
}

#[tokio::test(start_paused = true)]
async fn mapping_shadow_luns_is_all_or_none() {
    let array = TestArray::with_limits(Limits { luns_of_host: 3, ..Limits::default() }).await;
    let shadows = array.shadows_of_kept().await;
    let before = array.inventory();
    assert_eq!(code(array.catalog.map(array.host, &shadows).await), ProblemCode::LimitReached);
    let with_unknown = [shadows[0], LunId::random()];
    assert_eq!(code(array.catalog.map(array.host, &with_unknown).await), ProblemCode::UnknownLun);
    assert_eq!(array.inventory().generation, before.generation);
    let twice = array.catalog.map(array.host, &[shadows[0], shadows[0]]).await.unwrap();
    assert_eq!(twice, [Outcome::Done, Outcome::AlreadySo]);
    assert_eq!(array.seen().last(), Some(&shadows[0]));
    let again = array.catalog.map(array.host, &[array.sources[0], shadows[0]]).await.unwrap();
    assert_eq!(again, [Outcome::AlreadySo, Outcome::AlreadySo]);
}

#[tokio::test(start_paused = true)]
async fn every_change_of_a_view_is_a_new_generation_and_others_do_not_notice() {
    let array = TestArray::new().await;
    let stranger = || array.catalog.inventory(&initiator("stranger")).unwrap();
    let shadows = array.shadows_of_kept().await;
    let (mut generations, others) = (BTreeSet::from([array.inventory().generation]), stranger().generation);
    for _ in 0..3 {
        array.catalog.map(array.host, &shadows).await.unwrap();
        assert!(generations.insert(array.inventory().generation));
        assert_eq!(array.seen().len(), 4);
        let outcomes = array.catalog.unmap(array.host, &shadows).await.unwrap();
        assert_eq!(outcomes, [Outcome::Done, Outcome::Done]);
        assert!(generations.insert(array.inventory().generation));
        assert_eq!(array.seen(), array.sources);
        let outcomes = array.catalog.unmap(array.host, &shadows).await.unwrap();
        assert_eq!(outcomes, [Outcome::AlreadySo, Outcome::AlreadySo]);
        assert!(!generations.insert(array.inventory().generation), "nothing had changed");
    }
    assert!(generations.iter().is_sorted());
    assert_eq!(stranger().generation, others);
    assert!(stranger().luns.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_host_does_not_unmap_what_the_administrator_mapped() {
    let array = TestArray::new().await;
    let shadows = array.shadows_of_kept().await;
    array.catalog.map(array.host, &shadows).await.unwrap();
    let mixed = [shadows[0], array.sources[0]];
    assert_eq!(code(array.catalog.unmap(array.host, &mixed).await), ProblemCode::NotAllowed);
    assert_eq!(array.seen().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_sees_the_source_may_import() {
    let array = TestArray::new().await;
    let set = array.kept(1).await;
    let shadows = array.shadows_of(set);
    let stranger = array.stranger;
    assert_eq!(code(array.catalog.map(stranger, &shadows).await), ProblemCode::UnknownLun);
    assert_eq!(code(array.catalog.release(stranger, shadows[0]).await), ProblemCode::NotAllowed);
    assert_eq!(code(array.catalog.release(stranger, array.sources[0]).await), ProblemCode::NotAllowed);
    // By an administrator's word for the shadow LUN itself, or for its source.
    array.catalog.assign(stranger, shadows[0]).await.unwrap();
    assert_eq!(array.catalog.map(stranger, &shadows[..1]).await.unwrap(), [Outcome::AlreadySo]);
    assert_eq!(code(array.catalog.map(stranger, &shadows).await), ProblemCode::UnknownLun);
    array.catalog.assign(stranger, array.sources[1]).await.unwrap();
    let source_of =
        |shadow| array.catalog.targets(array.host, set).unwrap().iter().find(|t| t.shadow == shadow).unwrap().source;
    let importable = shadows.iter().copied().find(|shadow| source_of(*shadow) == array.sources[1]).unwrap();
    array.catalog.map(stranger, &[importable]).await.unwrap();
    assert!(array.catalog.mappings(stranger).unwrap().iter().any(|(_, lun)| *lun == importable));
    // The set stays its owner's.
    assert_eq!(code(array.catalog.targets(stranger, set)), ProblemCode::UnknownSet);
}

#[tokio::test(start_paused = true)]
async fn a_released_shadow_lun_is_gone_everywhere() {
    let array = TestArray::new().await;
    let set = array.kept(1).await;
    let shadows = array.shadows_of(set);
    array.catalog.map(array.host, &shadows).await.unwrap();
    array.catalog.assign(array.stranger, shadows[0]).await.unwrap();
    assert_eq!(array.catalog.release(array.host, shadows[0]).await.unwrap(), Outcome::Done);
    assert_eq!(array.catalog.release(array.host, shadows[0]).await.unwrap(), Outcome::AlreadySo);
    assert!(!array.pool.has(shadows[0]));
    assert!(array.catalog.mappings(array.stranger).unwrap().is_empty());
    assert!(array.catalog.inventory(&initiator("stranger")).unwrap().luns.is_empty());
    assert_eq!(array.seen(), [array.sources[0], array.sources[1], shadows[1]]);
    assert_eq!(array.shadows_of(set), [shadows[1]]);
    assert_eq!(code(array.catalog.release(array.host, array.sources[0]).await), ProblemCode::WrongRole);
    assert_eq!(array.catalog.release(array.host, shadows[1]).await.unwrap(), Outcome::Done);
    assert_eq!(array.catalog.withdraw(array.host, set).await.unwrap(), Outcome::AlreadySo);
    let array = array.reopen().await;
    assert_eq!(array.seen(), array.sources);
    assert!(array.shadows_of(set).is_empty());
    assert_eq!(code(array.catalog.prepare(array.host, set, &array.sources).await), ProblemCode::WrongState);
}

#[tokio::test(start_paused = true)]
async fn a_release_that_failed_can_be_repeated() {
    let array = TestArray::new().await;
    let shadows = array.shadows_of_kept().await;
    array.pool.switch(|faults| faults.delete_fails = Some(Fault::Poisoned));
    assert_eq!(code(array.catalog.release(array.host, shadows[0]).await), ProblemCode::PoolReadOnly);
    array.pool.switch(|faults| faults.delete_fails = None);
    let array = array.reopen().await;
    assert!(array.pool.has(shadows[0]), "a kept shadow LUN was deleted without its release being answered");
    assert_eq!(array.catalog.release(array.host, shadows[0]).await.unwrap(), Outcome::Done);
    assert!(!array.pool.has(shadows[0]));
}

impl TestArray {
    async fn shadows_of_kept(&self) -> Vec<LunId> {
        let set = self.kept(1).await;
        self.shadows_of(set)
    }
}
