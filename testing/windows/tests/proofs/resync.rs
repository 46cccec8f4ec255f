//! `ResyncLuns` and its `IVssAsync`.

use std::time::{Duration, Instant};

use lunshadow_vss::HResult;
use lunshadow_windows::planted::{Command, ResyncEnd};
use lunshadow_windows::raw::{Operation, PlantedServer, RawProvider};

use crate::rig::{OK, array_of, server, shadows_of, sources};

const PENDING: HResult = HResult::VSS_S_ASYNC_PENDING;
const FINISHED: HResult = HResult::VSS_S_ASYNC_FINISHED;
const CANCELLED: HResult = HResult::VSS_S_ASYNC_CANCELLED;
const FOR_EVER: u32 = u32::MAX;

fn begun(provider: &RawProvider, numbers: &[u128]) -> Operation {
    let shadows = shadows_of(provider, numbers);
    let count = u32::try_from(numbers.len()).expect("small");
    let begun = Instant::now();
    let (answer, operation) = provider.resync(Some(&mut array_of(&shadows)), Some(&mut sources(numbers)), count);
    assert_eq!(answer, OK);
    assert!(begun.elapsed() < Duration::from_secs(1), "it returns at once");
    operation.expect("a success has an object")
}

/// The events until then: that of the end may be among them.
fn end(server: &PlantedServer, end: ResyncEnd) -> Vec<u16> {
    server.ask(&Command::EndResync(end)).expect("the process runs").events
}

#[test]
fn p_099_p_106_it_is_pending_and_then_finished() {
    let server = server();
    let provider = server.provider();
    for numbers in [vec![1], (1..=64).collect()] {
        let operation = begun(&provider, &numbers);
        assert_eq!(operation.query_status(None), (OK, PENDING));
        end(&server, ResyncEnd::Finished);
        assert_eq!(operation.wait(FOR_EVER), OK);
        assert_eq!(operation.query_status(None), (OK, FINISHED));
    }
}

#[test]
fn p_107_a_failure_of_the_array_is_the_state() {
    let server = server();
    let provider = server.provider();
    let operation = begun(&provider, &[1]);
    end(&server, ResyncEnd::Failed);
    assert_eq!(operation.wait(FOR_EVER), HResult::VSS_E_PROVIDER_VETO);
    assert_eq!(operation.query_status(None), (OK, HResult::VSS_E_PROVIDER_VETO));
    assert_eq!(operation.cancel(), HResult::VSS_E_PROVIDER_VETO);
}

#[test]
fn p_108_any_number_may_wait_for_any_time() {
    let server = server();
    let provider = server.provider();
    let operation = begun(&provider, &[1]);
    let begun = Instant::now();
    assert_eq!(operation.wait(0), OK);
    assert_eq!(operation.query_status(None), (OK, PENDING), "the time was up");
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(operation.wait(10), OK);
    std::thread::scope(|scope| {
        let waiters: Vec<_> = (0..4).map(|_| scope.spawn(|| operation.wait(FOR_EVER))).collect();
        assert_eq!(operation.query_status(None), (OK, PENDING), "waiting delays no question");
        end(&server, ResyncEnd::Finished);
        assert!(waiters.into_iter().all(|waiter| waiter.join().expect("it ends") == OK));
    });
    assert_eq!(operation.query_status(None), (OK, FINISHED));
}

#[test]
fn p_109_a_cancellation_stops_it_and_is_remembered() {
    let server = server();
    let provider = server.provider();
    let operation = begun(&provider, &[1]);
    assert_eq!(operation.cancel(), OK);
    assert_eq!(operation.cancel(), CANCELLED);
    assert_eq!(operation.query_status(None), (OK, CANCELLED));
    assert_eq!(operation.wait(FOR_EVER), OK);
    let operation = begun(&provider, &[2]);
    end(&server, ResyncEnd::Finished);
    assert_eq!(operation.wait(FOR_EVER), OK);
    assert_eq!(operation.cancel(), FINISHED);
}

#[test]
fn p_110_the_reserved_parameter_may_be_anything() {
    let server = server();
    let provider = server.provider();
    let operation = begun(&provider, &[1]);
    let mut reserved = 4711;
    assert_eq!(operation.query_status(Some(&mut reserved)), (OK, PENDING));
    assert_eq!(reserved, 4711);
    assert_eq!(operation.query_status(None), (OK, PENDING));
}

#[test]
fn p_111_letting_go_of_the_object_is_told_and_stops_nothing() {
    const UNOBSERVED: u16 = 46;
    const RESYNC_FINISHED: u16 = 2;
    let server = server();
    let provider = server.provider();
    let operation = begun(&provider, &[1]);
    server.state();
    drop(operation);
    // The release travels by itself; a call after it, on the same apartment, has it behind it or not.
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut events = Vec::new();
    while !events.contains(&UNOBSERVED) {
        assert!(Instant::now() < deadline, "nothing was said: {events:?}");
        events.extend(server.state().events);
    }
    assert_eq!(provider.on_unload(false), HResult::S_FALSE, "it still runs");
    events.extend(end(&server, ResyncEnd::Finished));
    while !events.contains(&RESYNC_FINISHED) {
        assert!(Instant::now() < deadline, "its end was not noticed: {events:?}");
        events.extend(server.state().events);
    }
}

#[test]
fn the_object_outlives_the_provider_that_made_it() {
    let server = server();
    let operation = begun(&server.provider(), &[1]);
    assert_eq!(operation.query_status(None), (OK, PENDING));
    end(&server, ResyncEnd::Finished);
    assert_eq!(operation.wait(FOR_EVER), OK);
}
