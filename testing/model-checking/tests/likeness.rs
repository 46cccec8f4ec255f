//! States that the searches take for one go on alike.
#![expect(clippy::print_stdout, reason = "how much was compared is what these tests have to tell")]

use std::convert::Infallible;
use std::fmt;

use lunshadow_model_checking::array::{self, ArraySystem, Request};
use lunshadow_model_checking::explorer::{Bounds, System};
use lunshadow_model_checking::lifecycle::{self, LifecycleSystem};
use lunshadow_model_checking::likeness::compare;
use lunshadow_model_checking::promise::Broken;
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

/// Two digits, each of which can be turned on. What is compared forgets the second one.
struct Digits {
    digits: [u8; 2],
    forgets: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    First,
    Second,
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::First => "turn the first digit",
            Self::Second => "turn the second digit",
        })
    }
}

impl System for Digits {
    type Setup = bool;
    type Action = Turn;
    type Remains = Infallible;

    fn start(forgets: &bool) -> Self {
        Self { digits: [0, 0], forgets: *forgets }
    }

    fn resume(_: &bool, remains: &Infallible) -> Self {
        match *remains {}
    }

    fn remains(&mut self) -> Option<Infallible> {
        None
    }

    /// The first digit can be turned when the second one is even.
    fn actions(&self) -> Vec<Turn> {
        let first = self.digits[1].is_multiple_of(2).then_some(Turn::First);
        first.into_iter().chain([Turn::Second]).collect()
    }

    fn take(&mut self, action: &Turn) -> Result<(), Broken> {
        let digit = &mut self.digits[usize::from(*action == Turn::Second)];
        *digit = (*digit + 1) % 4;
        Ok(())
    }

    fn fingerprint(&self) -> u64 {
        let [first, second] = self.digits;
        u64::from(first) * 10 + if self.forgets { 0 } else { u64::from(second) }
    }

    fn check(&self) -> Result<(), Broken> {
        Ok(())
    }

    fn end(self) -> Result<(), Broken> {
        Ok(())
    }
}

#[test]
fn what_a_fingerprint_forgets_is_found_by_how_the_state_goes_on() {
    let sound = compare::<Digits>(&false, Bounds::default(), 1).unwrap();
    assert_eq!((sound.states, sound.ways), (16, 24 - 15));
    let difference = compare::<Digits>(&true, Bounds::default(), 1).unwrap_err().to_string();
    assert!(
        difference.contains("turn the first digit") && difference.contains("turn the second digit"),
        "{difference}"
    );
}
