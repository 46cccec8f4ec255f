//! Searches of a size that CI has time for, with the promises held against every state. `cargo xtask model` has more time.
#![expect(clippy::print_stdout, reason = "how many states there were is what these tests have to tell")]

use lunshadow_model_checking::array::{self, ArraySystem, Request};
use lunshadow_model_checking::explorer::{Bounds, Explored, System, explore};
use lunshadow_model_checking::lifecycle::{self, LifecycleSystem};
use lunshadow_model_checking::provider::{self, ProviderSystem};

#[cfg(test)]
fn search<S: System>(name: &str, setup: &S::Setup, bounds: Bounds) -> Explored {
    let explored = explore::<S>(setup, bounds);
    let explored = explored.unwrap_or_else(|counterexample| panic!("{name}: {counterexample}"));
    println!("{name}: {explored}");
    explored
}

#[cfg(test)]
fn search_all<S: System>(name: &str, setup: &S::Setup) {
    let explored = search::<S>(name, setup, Bounds::default());
    assert!(explored.complete && explored.states > 100, "{explored}");
}

#[test]
fn life_cycle_of_two_sets_with_calls_that_overlap() {
    search_all::<LifecycleSystem>("life cycle", &lifecycle::Setup::default());
}

#[test]
fn one_set_with_everything_that_can_be_asked() {
    let mut setup = array::Setup::new(1).unwrap();
    setup.requests = Request::ALL.to_vec();
    search_all::<ArraySystem>("one set, all requests", &setup);
}

#[test]
fn one_set_with_requests_that_overlap_and_a_pool_that_fails() {
    let mut setup = array::Setup::new(1).unwrap();
    setup.at_once = 2;
    setup.failures = 1;
    search_all::<ArraySystem>("one set, requests that overlap", &setup);
}

/// To the depth at which sets came back that had been called over, and parts of them, when this was written.
#[test]
fn one_set_with_a_crash_before_its_records_are_durable() {
    let mut setup = array::Setup::new(1).unwrap();
    setup.requests = vec![Request::PrepareAll, Request::Arm, Request::Commit, Request::Abort];
    setup.crashes = 1;
    setup.holds_records = true;
    setup.at_once = 2;
    search::<ArraySystem>("one set, a crash", &setup, Bounds { depth: 9, ..Bounds::default() });
}

#[test]
fn the_first_steps_of_two_sets_of_two_hosts() {
    let mut setup = array::Setup::new(2).unwrap();
    setup.at_once = 2;
    search::<ArraySystem>("two sets, the first steps", &setup, Bounds { depth: 4, ..Bounds::default() });
}

#[test]
fn a_creation_over_a_channel_that_loses_something() {
    let mut setup = provider::Setup::new().unwrap();
    setup.losses = 1;
    search_all::<ProviderSystem>("a creation, one loss", &setup);
}
