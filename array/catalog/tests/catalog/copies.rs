//! Full copies and imports that cannot begin, and what a restart makes of what they left.

use lunshadow_catalog::CatalogError;
use lunshadow_lun::{BlockCount, Pool as _};

use crate::fake_pool::{Fault, Faults};
use crate::setup::{TestArray, name};

/// What can fail when a copy begins.
const FAULTS: [fn(&mut Faults); 3] = [
    |faults| faults.prepare_fails = Some(Fault::OutOfSpace),
    |faults| faults.commit_fails = Some(Fault::OutOfSpace),
    |faults| faults.create_fails = Some(Fault::OutOfSpace),
];

#[tokio::test(start_paused = true)]
async fn nothing_is_left_of_a_copy_that_cannot_begin() {
    for fault in FAULTS {
        let array = TestArray::new().await;
        array.pool.switch(fault);
        let refused = array.catalog.start_copy(array.sources[0], name("twin"), None).await;
        assert!(matches!(refused, Err(CatalogError::OutOfSpace)), "{refused:?}");
        assert!(array.pool.shadows().is_empty() && array.pool.luns().len() == 2);
        assert!(array.catalog.copies().is_empty() && array.catalog.orphans().is_empty());
        array.pool.switch(|faults| *faults = Faults::default());
        array.catalog.create_lun(name("twin"), BlockCount(8)).await.unwrap();
        let array = array.reopen().await;
        assert_eq!(array.catalog.luns().len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_removed_is_removed_at_the_next_opening() {
    let array = TestArray::new().await;
    array.pool.switch(|faults| {
        faults.create_fails = Some(Fault::OutOfSpace);
        faults.delete_fails = Some(Fault::Poisoned);
    });
    array.catalog.start_copy(array.sources[0], name("twin"), None).await.unwrap_err();
    assert_eq!(array.pool.shadows().len(), 1, "the content is frozen and cannot be deleted");
    assert!(array.catalog.orphans().is_empty(), "the catalog knows what it is");
    let taken = array.catalog.begin_import(name("twin"), BlockCount(8)).await;
    assert!(matches!(taken, Err(CatalogError::NameTaken(_))), "{taken:?}");
    array.pool.switch(|faults| *faults = Faults::default());
    let array = array.reopen().await;
    assert!(array.pool.shadows().is_empty());
    array.catalog.begin_import(name("twin"), BlockCount(8)).await.unwrap();

    // An import that nobody finishes is not seen, and gone at the next opening.
    assert_eq!((array.catalog.luns().len(), array.pool.luns().len()), (2, 3));
    let array = array.reopen().await;
    assert_eq!((array.catalog.luns().len(), array.pool.luns().len()), (2, 2));
    array.catalog.create_lun(name("twin"), BlockCount(8)).await.unwrap();
}
