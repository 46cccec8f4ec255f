//! States that the searches take for one go on alike.
#![expect(clippy::print_stdout, reason = "how much was compared is what these tests have to tell")]

use lunshadow_model_checking::array::{self, ArraySystem, Request};
use lunshadow_model_checking::explorer::{Bounds, System};
use lunshadow_model_checking::lifecycle::{self, LifecycleSystem};
use lunshadow_model_checking::likeness::compare;
use lunshadow_model_checking::provider::{self, ProviderSystem};

#[cfg(test)]
fn assert_alike<S: System>(name: &str, setup: &S::Setup, bounds: Bounds, one_in: usize) {
    let compared = compare::<S>(setup, bounds, one_in).unwrap_or_else(|difference| panic!("{name}: {difference:#}"));
    println!("{name}: {compared}");
    assert!(compared.ways > 100, "{name}: {compared}");
}

#[test]
fn sets_of_the_life_cycle_go_on_alike() {
    assert_alike::<LifecycleSystem>("life cycle", &lifecycle::Setup::default(), Bounds::default(), 4);
}

#[test]
fn one_set_goes_on_alike() {
    let mut setup = array::Setup::new(1).unwrap();
    setup.at_once = 2;
    setup.crashes = 1;
    setup.failures = 1;
    assert_alike::<ArraySystem>("one set", &setup, Bounds { depth: 8, ..Bounds::default() }, 16);
    setup.failures = 0;
    setup.holds_records = true;
    setup.requests = Request::ALL.to_vec();
    assert_alike::<ArraySystem>("one set, its records held", &setup, Bounds { depth: 5, ..Bounds::default() }, 16);
}

#[test]
fn two_sets_go_on_alike() {
    let mut setup = array::Setup::new(2).unwrap();
    setup.at_once = 2;
    assert_alike::<ArraySystem>("two sets", &setup, Bounds { depth: 5, ..Bounds::default() }, 16);
}

#[test]
fn a_creation_goes_on_alike() {
    let mut setup = provider::Setup::new().unwrap();
    setup.losses = 1;
    assert_alike::<ProviderSystem>("a creation", &setup, Bounds { depth: 10, ..Bounds::default() }, 2);
}
