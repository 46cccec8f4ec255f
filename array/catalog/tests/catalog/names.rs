//! LUNs and hosts as the administrator handles them.

use lunshadow_catalog::{CatalogError, LunDeletion};
use lunshadow_control::{HostId, LunRole, Outcome, ProblemCode};
use lunshadow_lun::{BlockCount, LunMap, LunOrigin};

use crate::fake_pool::Fault;
use crate::setup::{TestArray, code, initiator, name};

#[tokio::test(start_paused = true)]
async fn a_lun_has_a_unique_name_that_can_change() {
    let array = TestArray::new().await;
    let catalog = &array.catalog;
    let made = catalog.create_lun(name("extra"), BlockCount(16)).await.unwrap();
    assert_eq!(made.outcome, Outcome::Done);
    let again = catalog.create_lun(name("EXTRA"), BlockCount(16)).await.unwrap();
    assert_eq!((again.id, again.outcome), (made.id, Outcome::AlreadySo));
    let other_length = catalog.create_lun(name("extra"), BlockCount(24)).await;
    assert!(matches!(other_length, Err(CatalogError::NameTaken(_))));

    assert_eq!(catalog.rename_lun(made.id, name("extra")).await.unwrap(), Outcome::AlreadySo);
    assert!(matches!(catalog.rename_lun(made.id, name("Data")).await, Err(CatalogError::NameTaken(_))));
    assert_eq!(catalog.rename_lun(made.id, name("Extra")).await.unwrap(), Outcome::Done);
    assert_eq!(catalog.rename_lun(made.id, name("spare")).await.unwrap(), Outcome::Done);
    assert_eq!(catalog.lun_named(&name("spare")), Some(made.id));
    assert_eq!(catalog.lun_named(&name("extra")), None);

    let array = array.reopen().await;
    let entry = array.catalog.luns().into_iter().find(|entry| entry.lun == made.id).unwrap();
    assert_eq!(entry.name, Some(name("spare")));
    assert_eq!((entry.block_count, entry.role, entry.in_pool), (BlockCount(16), LunRole::Source, true));
}

#[tokio::test(start_paused = true)]
async fn a_lun_that_is_mapped_is_not_deleted() {
    let array = TestArray::new().await;
    let [lun, _] = array.sources[..] else { panic!("two LUNs") };
    assert!(matches!(array.catalog.delete_lun(lun, LunDeletion::default()).await, Err(CatalogError::Mapped(_))));
    assert_eq!(array.catalog.unassign(array.host, lun).await.unwrap(), Outcome::Done);
    assert_eq!(array.catalog.delete_lun(lun, LunDeletion::default()).await.unwrap(), Outcome::Done);
    assert!(!array.pool.has(lun));
    assert_eq!(array.catalog.delete_lun(lun, LunDeletion::default()).await.unwrap(), Outcome::AlreadySo);
    assert_eq!(array.catalog.luns().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_creation_leaves_nothing() {
    let array = TestArray::new().await;
    array.pool.switch(|faults| faults.create_fails = Some(Fault::OutOfSpace));
    let result = array.catalog.create_lun(name("extra"), BlockCount(16)).await;
    assert_eq!(code(result), ProblemCode::OutOfSpace);
    array.pool.switch(|faults| faults.create_fails = None);
    assert_eq!(array.catalog.create_lun(name("extra"), BlockCount(24)).await.unwrap().outcome, Outcome::Done);
    let empty = array.catalog.create_lun(name("empty"), BlockCount(0)).await;
    assert_eq!(code(empty), ProblemCode::LimitReached);
    assert_eq!(array.catalog.luns().len(), 3);
    assert_eq!(array.reopen().await.catalog.luns().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_failed_deletion_can_be_repeated_and_is_finished_by_a_restart() {
    let array = TestArray::new().await;
    let [first, second] = array.sources[..] else { panic!("two LUNs") };
    array.pool.switch(|faults| faults.delete_fails = Some(Fault::Io));
    for lun in [first, second] {
        array.catalog.unassign(array.host, lun).await.unwrap();
        assert_eq!(code(array.catalog.delete_lun(lun, LunDeletion::default()).await), ProblemCode::Internal);
        assert_eq!(code(array.catalog.assign(array.host, lun).await), ProblemCode::UnknownLun);
    }
    array.pool.switch(|faults| faults.delete_fails = None);
    assert_eq!(array.catalog.delete_lun(first, LunDeletion::default()).await.unwrap(), Outcome::Done);
    assert!(array.pool.has(second));
    let array = array.reopen().await;
    assert!(!array.pool.has(second));
    assert!(array.catalog.luns().is_empty());
}

#[tokio::test(start_paused = true)]
async fn strange_and_missing_luns_are_told() {
    let array = TestArray::new().await;
    let kept = array.kept(1).await;
    let stray = lunshadow_control::LunId::random();
    array.pool.put(stray, LunOrigin::Empty);
    array.pool.lose(array.sources[0]);
    let array = array.reopen().await;
    assert_eq!(array.catalog.orphans(), [stray]);
    assert!(array.pool.has(stray));
    let missing: Vec<_> =
        array.catalog.luns().into_iter().filter(|entry| !entry.in_pool).map(|entry| entry.lun).collect();
    assert_eq!(missing, [array.sources[0]]);
    assert_eq!(array.seen(), [array.sources[1]]);
    assert_eq!(array.shadows_of(kept).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_initiator_belongs_to_one_host() {
    let array = TestArray::new().await;
    let catalog = &array.catalog;
    let both = vec![initiator("b"), initiator("a")];
    let made = catalog.add_host(name("cluster"), both.clone()).await.unwrap();
    assert_eq!(made.outcome, Outcome::Done);
    let again = catalog.add_host(name("Cluster"), vec![initiator("a"), initiator("b"), initiator("a")]).await.unwrap();
    assert_eq!((again.id, again.outcome), (made.id, Outcome::AlreadySo));
    let fewer = catalog.add_host(name("cluster"), vec![initiator("a")]).await;
    assert!(matches!(fewer, Err(CatalogError::NameTaken(_))));
    let stolen = catalog.add_host(name("thief"), vec![initiator("new"), initiator("a")]).await;
    assert!(matches!(stolen, Err(CatalogError::InitiatorTaken(_))));
    assert_eq!(catalog.host_of(&initiator("new")), None);
    assert!(catalog.inventory(&initiator("new")).is_none(), "an unknown initiator was let in");

    let array = array.reopen().await;
    for initiator in both {
        assert_eq!(array.catalog.host_of(&initiator), Some(made.id));
        assert!(array.catalog.inventory(&initiator).unwrap().luns.is_empty());
    }
    assert_eq!(array.catalog.hosts().len(), 3);
    let record = array.catalog.who_am_i(made.id).unwrap();
    assert_eq!((record.name.as_str(), record.initiators.len()), ("cluster", 2));
    let nobody = HostId(uuid::Uuid::nil());
    assert_eq!(code(array.catalog.who_am_i(nobody)), ProblemCode::NotAllowed);
}
