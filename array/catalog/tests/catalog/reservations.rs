//! What the target keeps of persistent reservations.

use bytes::Bytes;
use lunshadow_catalog::LunDeletion;
use lunshadow_control::LunId;
use lunshadow_lun::LunMap;

use crate::setup::TestArray;

async fn keep(array: &TestArray, lun: LunId, record: Option<&'static str>) {
    let store = array.catalog.reservation_store().expect("the catalog keeps them");
    store.keep(lun, record.map(|record| Bytes::from_static(record.as_bytes()))).await.unwrap();
}

fn kept(array: &TestArray, lun: LunId) -> Option<Bytes> {
    let store = array.catalog.reservation_store().expect("the catalog keeps them");
    store.kept(lun)
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
