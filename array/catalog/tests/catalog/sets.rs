//! Shadow sets from the first preparation to their end.

use std::time::Duration;

use lunshadow_catalog::{Limits, Preparation, SetState};
use lunshadow_control::{LunId, Outcome, ProblemCode, identity_of};
use lunshadow_lun::BlockCount;

use crate::fake_pool::Fault;
use crate::setup::{TestArray, code, name, set};

#[tokio::test(start_paused = true)]
async fn a_set_goes_all_the_way_and_every_step_can_be_repeated() {
    let array = TestArray::new().await;
    let (catalog, host, id) = (&array.catalog, array.host, set(1));
    let [first, second] = array.sources[..] else { panic!("two LUNs") };
    assert_eq!(catalog.prepare(host, id, &[first, first]).await.unwrap(), Outcome::Done);
    assert_eq!(catalog.prepare(host, id, &[first]).await.unwrap(), Outcome::AlreadySo);
    assert_eq!(catalog.prepare(host, id, &[first, second]).await.unwrap(), Outcome::Done);
    assert_eq!(array.pool.prepared_members(id), 2);
    assert_eq!(catalog.wait_prepared(host, id, Duration::ZERO).await.unwrap(), Preparation::Ready);
    catalog.check_armable(host, id).unwrap();
    assert!(array.pool.shadows().is_empty());

    assert_eq!(catalog.arm(host, id, None).await.unwrap(), Outcome::Done);
    assert_eq!(catalog.arm(host, id, None).await.unwrap(), Outcome::AlreadySo);
    assert_eq!(catalog.commit(host, id).await.unwrap(), Outcome::Done);
    assert_eq!(catalog.commit(host, id).await.unwrap(), Outcome::AlreadySo);
    let targets = catalog.targets(host, id).unwrap();
    assert_eq!(targets.iter().map(|target| target.source).collect::<Vec<_>>(), [first, second]);
    for target in &targets {
        assert_eq!(target.identity, identity_of(target.shadow));
        assert!(array.pool.has(target.shadow));
    }
    assert_eq!(catalog.keep(host, id).await.unwrap(), Outcome::Done);
    assert_eq!(catalog.keep(host, id).await.unwrap(), Outcome::AlreadySo);
    assert_eq!(catalog.commit(host, id).await.unwrap(), Outcome::AlreadySo);
    catalog.map(host, &array.shadows_of(id)).await.unwrap();
    assert_eq!(array.seen().len(), 4);
    assert_eq!(catalog.targets(host, id).unwrap(), targets);
    assert_eq!(catalog.luns().len(), 4);
    assert_eq!(code(catalog.abort(host, id).await), ProblemCode::WrongState);
    assert_eq!(code(catalog.withdraw(host, id).await), ProblemCode::WrongState);
    assert_eq!(array.seen().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn every_step_at_the_wrong_time_is_refused() {
    let array = TestArray::new().await;
    let (catalog, host) = (&array.catalog, array.host);
    let extra = catalog.create_lun(name("extra"), BlockCount(8)).await.unwrap().id;
    catalog.assign(host, extra).await.unwrap();

    let prepared = array.prepared(1).await;
    assert_eq!(code(catalog.commit(host, prepared).await), ProblemCode::WrongState);
    assert_eq!(code(catalog.keep(host, prepared).await), ProblemCode::WrongState);
    assert_eq!(code(catalog.targets(host, prepared)), ProblemCode::WrongState);

    let armed = array.armed(2).await;
    assert_eq!(code(catalog.prepare(host, armed, &[extra]).await), ProblemCode::WrongState);
    assert_eq!(code(catalog.keep(host, armed).await), ProblemCode::WrongState);
    assert_eq!(code(catalog.targets(host, armed)), ProblemCode::WrongState);
    catalog.abort(host, armed).await.unwrap();

    let committed = array.committed(3).await;
    assert_eq!(code(catalog.prepare(host, committed, &[extra]).await), ProblemCode::WrongState);
    assert_eq!(code(catalog.arm(host, committed, None).await), ProblemCode::WrongState);
    assert_eq!(code(catalog.check_armable(host, committed)), ProblemCode::WrongState);
    assert_eq!(array.shadows_of(committed).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_aborted_set_stays_aborted() {
    let array = TestArray::new().await;
    let (catalog, host) = (&array.catalog, array.host);
    let committed = array.committed(1).await;
    let shadows = array.shadows_of(committed);
    catalog.map(host, &shadows).await.unwrap();
    for (number, id) in [(1, committed), (2, array.prepared(2).await), (3, array.armed(3).await)] {
        assert_eq!(catalog.abort(host, id).await.unwrap(), Outcome::Done, "set {number}");
        assert_eq!(catalog.abort(host, id).await.unwrap(), Outcome::AlreadySo);
        assert_eq!(catalog.withdraw(host, id).await.unwrap(), Outcome::AlreadySo);
        assert_eq!(code(catalog.prepare(host, id, &array.sources).await), ProblemCode::SetAborted);
        assert_eq!(code(catalog.wait_prepared(host, id, Duration::ZERO).await), ProblemCode::SetAborted);
        assert_eq!(code(catalog.check_armable(host, id)), ProblemCode::SetAborted);
        assert_eq!(code(catalog.arm(host, id, None).await), ProblemCode::SetAborted);
        assert_eq!(code(catalog.commit(host, id).await), ProblemCode::SetAborted);
        assert_eq!(code(catalog.keep(host, id).await), ProblemCode::SetAborted);
        assert_eq!(code(catalog.targets(host, id)), ProblemCode::SetAborted);
    }
    assert_eq!(code(catalog.map(host, &shadows).await), ProblemCode::SetAborted);
    assert_eq!(catalog.release(host, shadows[0]).await.unwrap(), Outcome::AlreadySo);
    assert_eq!(array.seen(), array.sources);
    assert!(array.pool.shadows().is_empty());
    assert_eq!(array.pool.prepared_sets(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_kept_set_can_be_withdrawn_until_it_was_mapped() {
    let array = TestArray::new().await;
    let kept = array.kept(1).await;
    assert_eq!(code(array.catalog.abort(array.host, kept).await), ProblemCode::WrongState);
    assert_eq!(array.catalog.withdraw(array.host, kept).await.unwrap(), Outcome::Done);
    assert!(array.pool.shadows().is_empty());

    let committed = array.committed(2).await;
    let shadows = array.shadows_of(committed);
    array.catalog.map(array.host, &shadows).await.unwrap();
    array.catalog.unmap(array.host, &shadows).await.unwrap();
    array.catalog.keep(array.host, committed).await.unwrap();
    let array = array.reopen().await;
    assert_eq!(code(array.catalog.withdraw(array.host, committed).await), ProblemCode::WrongState);
    assert_eq!(array.pool.shadows().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_set_is_its_owners_alone() {
    let array = TestArray::new().await;
    let (catalog, stranger) = (&array.catalog, array.stranger);
    let id = array.committed(1).await;
    let unknown = ProblemCode::UnknownSet;
    assert_eq!(code(catalog.prepare(stranger, id, &[]).await), unknown);
    assert_eq!(code(catalog.wait_prepared(stranger, id, Duration::ZERO).await), unknown);
    assert_eq!(code(catalog.check_armable(stranger, id)), unknown);
    assert_eq!(code(catalog.arm(stranger, id, None).await), unknown);
    assert_eq!(code(catalog.commit(stranger, id).await), unknown);
    assert_eq!(code(catalog.keep(stranger, id).await), unknown);
    assert_eq!(code(catalog.targets(stranger, id)), unknown);
    assert_eq!(code(catalog.set_state(stranger, id)), unknown);
    // An abort of what does not exist for the host is harmless, and does nothing.
    assert_eq!(catalog.abort(stranger, id).await.unwrap(), Outcome::AlreadySo);
    assert_eq!(catalog.withdraw(stranger, id).await.unwrap(), Outcome::AlreadySo);
    assert_eq!(array.shadows_of(id).len(), 2);
    assert_eq!(code(catalog.prepare(stranger, set(2), &array.sources).await), ProblemCode::UnknownLun);
    assert_eq!(code(catalog.set_state(stranger, set(2))), unknown);
}

#[tokio::test(start_paused = true)]
async fn a_preparation_adds_all_luns_or_none() {
    let array = TestArray::new().await;
    let (catalog, host) = (&array.catalog, array.host);
    let [first, second] = array.sources[..] else { panic!("two LUNs") };
    let kept = array.kept(9).await;
    let shadow = array.shadows_of(kept)[0];
    let fresh = set(1);
    assert_eq!(code(catalog.prepare(host, fresh, &[first, LunId::random()]).await), ProblemCode::UnknownLun);
    assert_eq!(code(catalog.prepare(host, fresh, &[first, shadow]).await), ProblemCode::WrongRole);
    assert_eq!(code(catalog.set_state(host, fresh)), ProblemCode::UnknownSet);
    for (fault, expected) in [(Fault::OutOfSpace, ProblemCode::OutOfSpace), (Fault::Io, ProblemCode::Internal)] {
        array.pool.switch(|faults| faults.prepare_fails = Some(fault));
        assert_eq!(code(catalog.prepare(host, fresh, &[first]).await), expected);
        assert_eq!(code(catalog.set_state(host, fresh)), ProblemCode::UnknownSet);
        array.pool.switch(|faults| faults.prepare_fails = None);
    }
    catalog.prepare(host, fresh, &[first]).await.unwrap();
    array.pool.switch(|faults| faults.prepare_fails = Some(Fault::OutOfSpace));
    assert_eq!(code(catalog.prepare(host, fresh, &[second]).await), ProblemCode::OutOfSpace);
    array.pool.switch(|faults| faults.prepare_fails = None);
    catalog.arm(host, fresh, None).await.unwrap();
    catalog.commit(host, fresh).await.unwrap();
    let targets = catalog.targets(host, fresh).unwrap();
    assert_eq!(targets.iter().map(|target| target.source).collect::<Vec<_>>(), [first]);
    array.pool.fill();
    assert_eq!(code(catalog.prepare(host, set(2), &[first]).await), ProblemCode::OutOfSpace);
}

#[tokio::test(start_paused = true)]
async fn the_limits_hold() {
    let limits = Limits { luns_in_set: 2, shadows_of_lun: 3, ..Limits::default() };
    let array = TestArray::with_limits(limits).await;
    let (catalog, host) = (&array.catalog, array.host);
    let third = catalog.create_lun(name("third"), BlockCount(8)).await.unwrap().id;
    catalog.assign(host, third).await.unwrap();
    array.prepared(1).await;
    assert_eq!(code(catalog.prepare(host, set(1), &[third]).await), ProblemCode::LimitReached);
    array.kept(2).await;
    let committed = array.committed(3).await;
    let one_more = catalog.prepare(host, set(4), &array.sources[..1]).await;
    assert_eq!(code(one_more), ProblemCode::LimitReached);
    catalog.abort(host, committed).await.unwrap();
    catalog.prepare(host, set(4), &array.sources[..1]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_abort_ends_the_wait_for_a_preparation_at_once() {
    let array = TestArray::new().await;
    let (catalog, host, id) = (&array.catalog, array.host, set(1));
    array.pool.switch(|faults| faults.prepare_hangs = true);
    assert_eq!(catalog.prepare(host, id, &array.sources).await.unwrap(), Outcome::Done);
    assert_eq!(code(catalog.check_armable(host, id)), ProblemCode::WrongState);
    let short = catalog.wait_prepared(host, id, Duration::from_millis(10)).await.unwrap();
    assert_eq!(short, Preparation::Running);

    let began = tokio::time::Instant::now();
    let waiter = tokio::spawn({
        let catalog = std::sync::Arc::clone(catalog);
        async move {
            let result = catalog.wait_prepared(host, id, Duration::from_secs(3600)).await;
            (result, began.elapsed())
        }
    });
    tokio::task::yield_now().await;
    assert_eq!(catalog.abort(host, id).await.unwrap(), Outcome::Done);
    let (result, waited) = waiter.await.unwrap();
    assert_eq!(code(result), ProblemCode::SetAborted);
    assert!(waited < Duration::from_millis(100), "the wait went on for {waited:?}");

    // What the pool prepares after that is forgotten again.
    array.pool.switch(|faults| faults.prepare_hangs = false);
    array.background().await;
    assert_eq!(array.pool.prepared_sets(), 0);
    assert_eq!(catalog.set_state(host, id).unwrap(), SetState::Aborted);
}

#[tokio::test(start_paused = true)]
async fn a_preparation_that_fails_late_tells_who_waits() {
    let array = TestArray::new().await;
    let (catalog, host, id) = (&array.catalog, array.host, set(1));
    array.pool.switch(|faults| faults.prepare_hangs = true);
    catalog.prepare(host, id, &array.sources).await.unwrap();
    array.pool.switch(|faults| {
        faults.prepare_fails = Some(Fault::OutOfSpace);
        faults.prepare_hangs = false;
    });
    let waited = catalog.wait_prepared(host, id, Duration::from_secs(60)).await;
    assert_eq!(code(waited), ProblemCode::OutOfSpace);
    assert_eq!(code(catalog.arm(host, id, None).await), ProblemCode::SetAborted);
    array.pool.switch(|faults| faults.prepare_fails = None);
    array.prepared(2).await;
}

#[tokio::test]
async fn a_pool_that_others_fill_meanwhile_ends_no_preparation_well() {
    let array = TestArray::new().await;
    let (catalog, host, id) = (&array.catalog, array.host, set(1));
    catalog.prepare(host, id, &array.sources).await.unwrap();
    array.pool.fill();
    assert_eq!(code(catalog.wait_prepared(host, id, Duration::ZERO).await), ProblemCode::OutOfSpace);
    array.pool.reclaim(1 << 20);
    assert_eq!(code(catalog.wait_prepared(host, id, Duration::ZERO).await), ProblemCode::OutOfSpace);
    array.pool.reclaim(1 << 30);
    assert_eq!(
        catalog.wait_prepared(host, id, Duration::ZERO).await.unwrap(),
        Preparation::Ready,
        "a write waits for what comes back"
    );
    array.pool.drain();
    array.pool.reclaim(0);
    assert_eq!(catalog.wait_prepared(host, id, Duration::ZERO).await.unwrap(), Preparation::Ready);
    catalog.arm(host, id, None).await.unwrap();
    array.pool.fill();
    assert_eq!(
        catalog.wait_prepared(host, id, Duration::ZERO).await.unwrap(),
        Preparation::Ready,
        "it was ready already"
    );
    assert_eq!(catalog.abort(host, id).await.unwrap(), Outcome::Done);
}

#[tokio::test(start_paused = true)]
async fn a_preparation_that_takes_long_gets_ready() {
    let array = TestArray::new().await;
    let (catalog, host, id) = (&array.catalog, array.host, set(1));
    array.pool.switch(|faults| faults.prepare_hangs = true);
    catalog.prepare(host, id, &array.sources[..1]).await.unwrap();
    catalog.prepare(host, id, &array.sources[1..]).await.unwrap();
    array.pool.switch(|faults| faults.prepare_hangs = false);
    assert_eq!(catalog.wait_prepared(host, id, Duration::from_secs(60)).await.unwrap(), Preparation::Ready);
    catalog.arm(host, id, None).await.unwrap();
    catalog.commit(host, id).await.unwrap();
    assert_eq!(array.shadows_of(id).len(), 2);
}
