//! Imports and exports that nobody touches any more.

use std::time::Duration;

use lunshadow_control::ProblemCode;
use lunshadow_lun::{BlockCount, Pool as _};

use crate::setup::{TestArray, code, name};

/// Less than the time after which a transfer is given up, and more than half of it.
const A_WHILE: Duration = Duration::from_secs(100);

#[tokio::test(start_paused = true)]
async fn a_transfer_lives_as_long_as_somebody_touches_it() {
    let array = TestArray::new().await;
    let luns_before = array.pool.luns();
    let import = array.catalog.begin_import(name("filled"), BlockCount(8)).await.unwrap().id();
    let export = array.catalog.begin_export(array.sources[0]).await.unwrap().id();
    assert_eq!(array.pool.luns().len(), luns_before.len() + 2);
    for _ in 0..4 {
        tokio::time::sleep(A_WHILE).await;
        array.catalog.import(import).unwrap();
        array.catalog.transfer(export).unwrap();
    }
    assert_eq!(code(array.catalog.import(export)), ProblemCode::UnknownLun, "an export is not written to");

    // The import goes on, the export is forgotten by its user.
    tokio::time::sleep(A_WHILE).await;
    array.catalog.import(import).unwrap();
    tokio::time::sleep(A_WHILE).await;
    array.background().await;
    assert_eq!(code(array.catalog.transfer(export)), ProblemCode::UnknownLun);
    assert_eq!(array.pool.luns().len(), luns_before.len() + 1);

    tokio::time::sleep(2 * A_WHILE).await;
    array.background().await;
    assert_eq!(code(array.catalog.finish_transfer(import).await), ProblemCode::UnknownLun);
    assert_eq!(array.pool.luns(), luns_before, "something is left of the transfers");
    array.catalog.create_lun(name("filled"), BlockCount(8)).await.unwrap();
}
