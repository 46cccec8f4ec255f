//! What the target keeps of LUNs, such as persistent reservations.

use bytes::Bytes;
use lunshadow_catalog::LunDeletion;
use lunshadow_control::LunId;
use lunshadow_lun::{LunHandle, LunMap, UnitRecord};

use crate::setup::TestArray;

async fn keep(array: &TestArray, lun: LunId, bytes: Option<&'static str>) {
    let store = array.catalog.unit_store().expect("the catalog keeps them");
    let bytes = bytes.map(|bytes| Bytes::from_static(bytes.as_bytes()));
    store.keep(lun, UnitRecord::Reservations, bytes).await.unwrap();
}

fn kept(array: &TestArray, lun: LunId) -> Option<Bytes> {
    let store = array.catalog.unit_store().expect("the catalog keeps them");
    store.kept(lun, UnitRecord::Reservations)
}

fn being_sanitized(array: &TestArray) -> Vec<LunId> {
    let store = array.catalog.unit_store().expect("the catalog keeps them");
    store.all_kept(UnitRecord::Sanitize).iter().map(LunHandle::id).collect()
}

#[tokio::test(start_paused = true)]
async fn records_of_one_lun_do_not_get_in_each_others_way() {
    let array = TestArray::new().await;
    let lun = array.sources[0];
    keep(&array, lun, Some("reservations")).await;
    let store = array.catalog.unit_store().expect("the catalog keeps them");
    assert_eq!((store.kept(lun, UnitRecord::Sanitize), being_sanitized(&array)), (None, vec![]));
    store.keep(lun, UnitRecord::Sanitize, Some("sanitize".into())).await.unwrap();
    let array = array.reopen().await;
    assert_eq!((kept(&array, lun), being_sanitized(&array)), (Some("reservations".into()), vec![lun]));
    let store = array.catalog.unit_store().expect("the catalog keeps them");
    assert_eq!(store.kept(lun, UnitRecord::Sanitize), Some("sanitize".into()));
    assert_eq!(store.kept(lun, UnitRecord::PortGroups), None);
    store.keep(lun, UnitRecord::PortGroups, Some("groups".into())).await.unwrap();
    let array = array.reopen().await;
    let store = array.catalog.unit_store().expect("the catalog keeps them");
    let found = UnitRecord::ALL.map(|record| store.kept(lun, record));
    assert_eq!(found, ["reservations", "sanitize", "groups"].map(|bytes| Some(bytes.into())));
    keep(&array, lun, None).await;
    let array = array.reopen().await;
    assert_eq!((kept(&array, lun), being_sanitized(&array)), (None, vec![lun]));
}

#[tokio::test(start_paused = true)]
async fn records_come_back_as_they_were_kept_last() {
    let array = TestArray::new().await;
    let (first, second, shadow) = (array.sources[0], array.sources[1], array.kept(1).await);
    let shadow = array.shadows_of(shadow)[0];
    keep(&array, first, Some("old")).await;
    keep(&array, first, Some("new")).await;
    keep(&array, second, Some("gone")).await;
    keep(&array, second, None).await;
    keep(&array, shadow, Some("shadow")).await;
    // A LUN that nobody knows any more, as if it had been deleted by a program of before.
    let unknown = LunId::random();
    keep(&array, unknown, Some("nobody's")).await;
    let found = [first, second, shadow].map(|lun| kept(&array, lun));
    assert_eq!(found, [Some("new".into()), None, Some("shadow".into())]);
    let array = array.reopen().await;
    let found = [first, second, shadow, unknown].map(|lun| kept(&array, lun));
    assert_eq!(found, [Some("new".into()), None, Some("shadow".into()), None]);
}

#[tokio::test(start_paused = true)]
async fn records_go_with_their_luns() {
    let array = TestArray::new().await;
    let set = array.kept(1).await;
    let (source, shadow) = (array.sources[0], array.shadows_of(set)[0]);
    for lun in [source, shadow] {
        keep(&array, lun, Some("record")).await;
    }
    array.catalog.release(array.host, shadow).await.unwrap();
    array.catalog.unassign(array.host, source).await.unwrap();
    array.catalog.delete_lun(source, LunDeletion { keep_shadows: true, ..LunDeletion::default() }).await.unwrap();
    assert_eq!([source, shadow].map(|lun| kept(&array, lun)), [None, None]);
    let array = array.reopen().await;
    assert_eq!([source, shadow].map(|lun| kept(&array, lun)), [None, None]);
}
