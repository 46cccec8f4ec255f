//! Whole sets at an administrator's word.

use lunshadow_catalog::SetState;
use lunshadow_control::{Outcome, ProblemCode};

use crate::fake_pool::Fault;
use crate::setup::{TestArray, code, set};

#[tokio::test(start_paused = true)]
async fn a_capture_is_a_kept_set_of_the_host_and_can_be_repeated() {
    let array = TestArray::new().await;
    let (catalog, host) = (&array.catalog, array.host);
    for outcome in [Outcome::Done, Outcome::AlreadySo] {
        // In another order, and with one of them twice, it is the same.
        let luns = [array.sources[1], array.sources[0], array.sources[1]];
        assert_eq!(catalog.capture(host, set(1), &luns).await.unwrap(), outcome);
    }
    assert_eq!(catalog.set_state(host, set(1)).unwrap(), SetState::Kept);
    assert_eq!(array.shadows_of(set(1)).len(), 2);
    // It is not mapped to anybody, and it has no lease that would end it.
    assert_eq!(array.seen(), array.sources);
    let array = array.reopen().await;
    assert_eq!(array.catalog.set_state(array.host, set(1)).unwrap(), SetState::Kept);
}

#[tokio::test(start_paused = true)]
async fn a_capture_goes_on_from_where_an_earlier_one_was_left() {
    let array = TestArray::new().await;
    let (catalog, host) = (&array.catalog, array.host);
    for state in [SetState::Prepared, SetState::Armed, SetState::Committed] {
        let begun = match state {
            SetState::Prepared => array.prepared(1).await,
            SetState::Armed => array.armed(2).await,
            _ => array.committed(3).await,
        };
        assert_eq!(catalog.capture(host, begun, &array.sources).await.unwrap(), Outcome::Done, "{state:?}");
        assert_eq!(catalog.set_state(host, begun).unwrap(), SetState::Kept);
    }
}

#[tokio::test(start_paused = true)]
async fn a_set_of_other_luns_is_left_as_it_is() {
    let array = TestArray::new().await;
    let (catalog, host) = (&array.catalog, array.host);
    for (begun, state) in [(array.committed(1).await, SetState::Committed), (array.kept(2).await, SetState::Kept)] {
        assert_eq!(code(catalog.capture(host, begun, &array.sources[..1]).await), ProblemCode::WrongState);
        assert_eq!(catalog.set_state(host, begun).unwrap(), state);
    }
    assert_eq!(code(catalog.capture(array.stranger, set(3), &array.sources).await), ProblemCode::UnknownLun);
    assert_eq!(code(catalog.set_state(array.stranger, set(3))), ProblemCode::UnknownSet);
}

#[tokio::test(start_paused = true)]
async fn a_capture_that_fails_leaves_nothing() {
    for (fault, expected) in [(Fault::OutOfSpace, ProblemCode::OutOfSpace), (Fault::Io, ProblemCode::Internal)] {
        let array = TestArray::new().await;
        array.pool.switch(|faults| faults.commit_fails = Some(fault));
        assert_eq!(code(array.catalog.capture(array.host, set(1), &array.sources).await), expected);
        array.background().await;
        assert!(array.pool.shadows().is_empty());
        assert_eq!(array.pool.prepared_sets(), 0);
    }
}
