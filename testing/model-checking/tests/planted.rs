//! The searches find what is wrong, and call it by the name of the promise that it breaks.
#![expect(clippy::print_stdout, reason = "the counterexamples are worth reading")]

use lunshadow_model_checking::array::{self, ArraySystem, Request};
use lunshadow_model_checking::explorer::{Bounds, System, explore};
use lunshadow_model_checking::lifecycle::{self, LifecycleSystem};
use lunshadow_model_checking::promise::Promise;
use lunshadow_model_checking::provider::{self, ProviderSystem};

#[cfg(test)]
fn assert_found<S: System>(setup: &S::Setup, fault: &str, promise: Promise) {
    match explore::<S>(setup, Bounds::default()) {
        Ok(explored) => panic!("{fault} was not found in {explored}"),
        Err(counterexample) => {
            println!("{fault}: {counterexample}");
            assert_eq!(counterexample.broken.promise, promise, "{fault}: {counterexample}");
            assert!(!counterexample.way.is_empty());
        }
    }
}

#[test]
fn every_fault_of_the_life_cycle_is_found() {
    for (fault, promise) in lifecycle::Fault::ALL {
        let setup = lifecycle::Setup { fault: Some(fault), ..lifecycle::Setup::default() };
        assert_found::<LifecycleSystem>(&setup, &format!("{fault:?}"), promise);
    }
}

#[test]
fn every_fault_of_the_array_is_found() {
    for (fault, promise) in array::Fault::ALL {
        let sets = if fault == array::Fault::AbortsOthers { 2 } else { 1 };
        let mut setup = array::Setup::new(sets).unwrap();
        setup.requests = Request::ALL.to_vec();
        setup.crashes = 1;
        setup.holds_records = fault == array::Fault::SwallowsAnswers;
        setup.fault = Some(fault);
        assert_found::<ArraySystem>(&setup, &format!("{fault:?}"), promise);
    }
}

#[test]
fn every_fault_of_the_provider_is_found() {
    for (fault, promise) in provider::Fault::ALL {
        let mut setup = provider::Setup::new().unwrap();
        setup.losses = 1;
        // Calls that overlap are what that one shows by.
        setup.at_once = if fault == provider::Fault::IgnoresAborts { 2 } else { 1 };
        setup.fault = Some(fault);
        assert_found::<ProviderSystem>(&setup, &format!("{fault:?}"), promise);
    }
}
