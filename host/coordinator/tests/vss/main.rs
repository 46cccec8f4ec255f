//! The coordinator against a scripted provider on a host in memory, under a clock that the tests advance.
#![cfg(test)]

mod adoption;
mod breaks;
mod clocks;
mod documents;
mod failures;
mod knobs;
mod providers;
mod recovery;
mod requests;
mod sequence;
mod support;
mod transport;
